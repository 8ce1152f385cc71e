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
    /// A skip does not raise the version of the row.
    SkipKeepsVersion,
    /// Harmless: a skip does not lock the parked row before it claims.
    SkipWithoutParkedLock,
    /// A skip unparks the aggregate itself, without folding the rest of its chain.
    SkipUnparksAtOnce,
    /// A skip raises the version of the row, and claims nothing.
    SkipWithoutClaim,
    /// A skip does not ask whether the aggregate is parked at this event.
    SkipAheadOfParked,
    /// C and the slices are stored without asking whether the generation was cancelled.
    PlanNotCompared,
    /// Each slice is filled under a snapshot of its own, and the generation is settled at the newest one.
    SnapshotPerSlice,
    /// The lane of a filled generation has settled the snapshot in which it is created.
    SettledAtCurrentSnapshot,
    /// A fill that finds no free slice takes the generation for filled, although another worker holds a slice.
    SettledWhileSliceHeld,
    /// The statement that creates the lane does not ask again whether all slices are done.
    SlicesNotCompared,
    /// A slice is advanced in a transaction before the one that writes its claims and rows.
    CursorBeforeClaims,
    /// A slice is advanced in a transaction after the one that writes its claims and rows.
    CursorAfterCommit,
    /// A fill does not lock its slice.
    SliceNotLocked,
    /// A pass creates a missing lane also for a generation that is being filled or removed.
    LaneCreatedByPass,
    /// A swap does not take the lock of the projection.
    SwapWithoutLock,
    /// A swap does not catch up under its lock.
    SwapWithoutCatchUp,
    /// A swap freezes C before it has the lock of the projection.
    SwapSnapshotBeforeLock,
    /// A swap does not ask whether the generation is filled.
    SwapBeforeFilled,
    /// A swap lets workers project the live generation further while it catches up the new one.
    LiveBatchesNotStopped,
    /// A swap does not ask whether an aggregate is parked in the new generation at an event that the live one has.
    ParkedNotCompared,
    /// Swaps, removals and the end of a fill do not compare the state of the generation under their locks.
    PhaseNotCompared,
    /// A retry does not share the lock of the projection.
    RetryWithoutLock,
    /// An inline append does not share the lock of the projection.
    AppendWithoutLock,
    /// An inline append reads which generation is live before it has the lock.
    LiveReadBeforeLock,
    /// The fold of a generation does not know what was skipped in another one.
    SkipPerGeneration,
    /// A generation gets the name of one that was cancelled, so workers of that one go on with it.
    NameReused,
    /// Workers do not project a retired generation.
    RetiredNotProjected,
    /// A removal does not mark the generation before it deletes.
    RemovalNotMarked,
    /// A removal deletes claims and rows before the slices.
    ClaimsRemovedBeforeSlices,
    /// A removal deletes claims and rows before the lanes.
    ClaimsRemovedBeforeLanes,
    /// A removal deletes claims and rows before the parked rows.
    ClaimsRemovedBeforeParked,
    /// Harmless: a fill folds events that C does not see, too.
    FillReadsNewest,
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

/// Each mutation that breaks skips, and a scenario that shows it.
pub const SKIP_MUTATIONS: [(Mutation, &str); 4] = [
    (
        Mutation::SkipKeepsVersion,
        "skip the second event, row exists",
    ),
    (
        Mutation::SkipUnparksAtOnce,
        "skip the first event, late append",
    ),
    (
        Mutation::SkipWithoutClaim,
        "skip the second event, row exists",
    ),
    (
        Mutation::SkipAheadOfParked,
        "skip an event after the one that fails",
    ),
];

/// Changes that skips tolerate.
pub const SKIP_VARIANTS: [Mutation; 1] = [Mutation::SkipWithoutParkedLock];

/// Each mutation that breaks reprojections, and a scenario that shows it.
pub const GENERATION_MUTATIONS: [(Mutation, &str); 26] = [
    (Mutation::PlanNotCompared, "cancel and begin again"),
    (
        Mutation::SnapshotPerSlice,
        "fill, two workers, late appends",
    ),
    (
        Mutation::SettledAtCurrentSnapshot,
        "fill, two workers, late appends",
    ),
    (
        Mutation::SettledWhileSliceHeld,
        "fill, two workers, late appends",
    ),
    (Mutation::SlicesNotCompared, "cancel and begin again"),
    (Mutation::CursorBeforeClaims, "fill, two workers, crashes"),
    (Mutation::CursorAfterCommit, "fill, two workers, crashes"),
    (Mutation::SliceNotLocked, "fill, two workers, crashes"),
    (Mutation::LaneCreatedByPass, "cancel beside workers"),
    (Mutation::SwapWithoutLock, "swap beside inline appends"),
    (Mutation::SwapWithoutCatchUp, "swap beside inline appends"),
    (
        Mutation::SwapSnapshotBeforeLock,
        "swap beside inline appends",
    ),
    (Mutation::SwapBeforeFilled, "swap beside workers"),
    (Mutation::LiveBatchesNotStopped, "swap beside workers"),
    (Mutation::ParkedNotCompared, "swap with parked aggregates"),
    (
        Mutation::RetryWithoutLock,
        "swap with an event that fails later",
    ),
    (Mutation::PhaseNotCompared, "cancel beside a swap"),
    (Mutation::AppendWithoutLock, "swap under a set-wide rule"),
    (Mutation::LiveReadBeforeLock, "swap under a set-wide rule"),
    (Mutation::SkipPerGeneration, "swap beside a skip"),
    (Mutation::NameReused, "cancel and begin again"),
    (Mutation::RetiredNotProjected, "swap beside workers"),
    (Mutation::RemovalNotMarked, "cancel beside a swap"),
    (Mutation::ClaimsRemovedBeforeSlices, "cancel beside workers"),
    (Mutation::ClaimsRemovedBeforeLanes, "cancel beside workers"),
    (Mutation::ClaimsRemovedBeforeParked, "cancel beside a retry"),
];

/// Changes that reprojections tolerate.
pub const GENERATION_VARIANTS: [Mutation; 1] = [Mutation::FillReadsNewest];

/// Changes that the protocol tolerates.
pub const VARIANTS: [Mutation; 2] = [
    Mutation::RowAndChainReadSeparately,
    Mutation::FreezeAfterLock,
];
