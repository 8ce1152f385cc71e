//! Mutations of the protocol: each removes or weakens one rule.

/// A change of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A batch settles all that C sees, although there were more events than it could take.
    AllSettledThoughFull,
    /// `settled` is a plain `(txid, position)` cursor without a snapshot.
    CursorWithoutSnapshot,
    /// The transaction in which a batch stopped counts as settled completely.
    StoppedTransactionSettled,
    /// A batch settles all that C sees, except for the transaction in which it stopped.
    AllButStoppedTransactionSettled,
    /// A batch that stops in one transaction keeps the position that was settled in another one.
    PositionOfOtherTransaction,
    /// The transaction that an earlier batch has begun is not finished first.
    BegunTransactionLast,
    /// A batch does not start over when C is older than the lane's begun transaction.
    StaleSnapshotAccepted,
    /// A batch settles in a transaction of its own after it has committed, without comparing the lane.
    SettledInOwnTransaction,
    /// The write statement does not compare the lane with what was read.
    LaneNotCompared,
    /// The write statement compares the lane's turn with the value that it reads itself.
    TurnReadAgain,
    /// Settling, splitting and merging do not increment the lane's turn.
    TurnNotIncremented,
    /// Claims are inserted `on conflict do nothing`, and all events are folded nevertheless.
    ClaimsOnConflictDoNothing,
    /// A claim that another transaction holds is skipped.
    HeldClaimSkipped,
    /// An event is folded although its predecessor is not known to be claimed.
    OrderNotChecked,
    /// A missing predecessor is not pulled into the batch, and its successor is left out.
    PredecessorLeftOut,
    /// A batch is folded in log order instead of version order.
    FoldInLogOrder,
    /// For an aggregate without a row, the read statement does not ask whether its first event is claimed already.
    LockerNotProbed,
    /// The write statement does not read the parked rows again that the batch relies on.
    ParkedNotReadAgain,
    /// The write statement reads these parked rows without locking them.
    ParkedReadWithoutLock,
    /// A retry reads the chain as it was before the retry locked the parked row.
    ChainReadBeforeLock,
    /// A retry folds one event and unparks the aggregate.
    UnparkAfterOneEvent,
    /// A merged lane has settled what either of the two had settled.
    MergeToUnion,
    /// Lanes are merged without locks.
    MergeWithoutLocks,
    /// A split gives the new lane the current snapshot as its settled one.
    SplitWithCurrentSnapshot,
    /// A split does not wait for the holder of the lane.
    SplitWithoutWaiting,
    /// Harmless: the row and the chain of an aggregate are read in two statements.
    RowAndChainReadSeparately,
    /// Harmless: a bulk worker freezes C in its read statement, after it has locked the lane.
    FreezeAfterLock,
}

/// Each mutation that breaks the protocol, and a scenario that shows it.
pub const MUTATIONS: [(Mutation, &str); 25] = [
    (
        Mutation::AllSettledThoughFull,
        "deleted, claims not settled",
    ),
    (
        Mutation::CursorWithoutSnapshot,
        "deleted, claims not settled",
    ),
    (
        Mutation::StoppedTransactionSettled,
        "one big transaction, two bulk, crash",
    ),
    (
        Mutation::AllButStoppedTransactionSettled,
        "deleted, claims not settled",
    ),
    (
        Mutation::PositionOfOtherTransaction,
        "delete and create again",
    ),
    (Mutation::BegunTransactionLast, "late big transaction"),
    (
        Mutation::StaleSnapshotAccepted,
        "inverted, inline appends between",
    ),
    (
        Mutation::SettledInOwnTransaction,
        "two lanes, merge, late appends",
    ),
    (Mutation::LaneNotCompared, "two lanes, merge, late appends"),
    (Mutation::TurnReadAgain, "two lanes, merge, late appends"),
    (Mutation::TurnNotIncremented, "deleted, claims not settled"),
    (Mutation::ClaimsOnConflictDoNothing, "inline beside workers"),
    (Mutation::HeldClaimSkipped, "inline beside workers"),
    (Mutation::OrderNotChecked, "inverted chain of three"),
    (Mutation::PredecessorLeftOut, "inverted chain of three"),
    (Mutation::FoldInLogOrder, "poison inverted, append"),
    (Mutation::LockerNotProbed, "deleted, claims not settled"),
    (Mutation::ParkedNotReadAgain, "poison inverted, append"),
    (Mutation::ParkedReadWithoutLock, "poison inverted, append"),
    (Mutation::ChainReadBeforeLock, "poison inverted, append"),
    (Mutation::UnparkAfterOneEvent, "poison inverted, append"),
    (Mutation::MergeToUnion, "two lanes, merge, late appends"),
    (
        Mutation::MergeWithoutLocks,
        "two lanes, merge, late appends",
    ),
    (
        Mutation::SplitWithCurrentSnapshot,
        "deleted, claims not settled",
    ),
    (Mutation::SplitWithoutWaiting, "deleted, claims not settled"),
];

/// Changes that the protocol tolerates.
pub const VARIANTS: [Mutation; 2] = [
    Mutation::RowAndChainReadSeparately,
    Mutation::FreezeAfterLock,
];
