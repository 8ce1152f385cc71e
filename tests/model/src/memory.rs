//! What an actor has in memory: its next step, and what it has read.

use crate::state::{Lane, MAX_EVENTS, PerAggregate, Row, Set, Settled};

/// The next statement of an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Between two passes, statements or retries.
    #[default]
    Start,
    /// A bulk worker takes a free lane.
    TakeLane,
    /// A bulk worker reads the lane that it holds.
    ReadLane,
    /// A worker reads the chains of aggregates with missing predecessors.
    ReadChain,
    /// A mutation reads chains in a statement after the one that read the rows.
    ReadChainAfterRows,
    /// The write statement of a quick worker locks and compares the lane.
    StartWrite,
    /// The write statement share-locks the next parked row.
    ShareParked,
    /// A statement inserts the next claim.
    Claim,
    /// A statement writes the next view row; then a worker parks aggregates.
    WriteRows,
    /// A worker settles and commits.
    Commit,
    /// A mutation settles in a transaction of its own.
    SettleSeparately,
    /// A bulk worker that found no free lane splits one.
    SplitLane,
    /// An append inserts an event.
    Insert,
    /// An inline projection reads what to claim.
    StartInlineClaim,
    /// An inline projection inserts the next claim.
    InlineClaim,
    /// An inline projection reads the row and folds.
    InlineFold,
    /// An inline projection writes the row.
    InlineWrite,
    /// A retry locks the parked row.
    LockParked,
    /// A retry reads the chain of the parked aggregate.
    ReadParkedChain,
    /// A retry reads the row and folds the chain.
    FoldParkedChain,
    /// A retry unparks the aggregate, unless a fold failed, and commits.
    Unpark,
    /// A skip claims the event.
    SkipClaim,
    /// A skip raises the version of the row.
    SkipRow,
    /// An inline append or a retry shares the lock of the projection; an append then reads which generation is live.
    LockProjection,
    /// A reprojection stores C and the slices.
    PlanSlices,
    /// A fill that has locked a slice reads the events of the slice's next aggregate.
    ReadSlice,
    /// A fill writes claims and the row.
    FillRows,
    /// A fill advances the slice and commits.
    AdvanceSlice,
    /// A mutation advances the slice in a transaction of its own.
    AdvanceSeparately,
    /// A fill whose slices are done creates the lane of the generation.
    CreateLane,
    /// A swap takes the lock of the projection.
    LockForSwap,
    /// A swap locks the lanes of both generations.
    LockLanes,
    /// A swap makes the generation live and commits.
    GoLive,
    /// A removal marks the generation.
    Mark,
    /// A removal deletes what the generation has stored, one step after the other; `target` counts the steps.
    Remove,
    /// A mutation merges lanes that it has read without locks.
    MergeUnlocked,
    /// The actor has finished.
    Done,
}

/// What an actor has in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    pub(crate) step: Step,
    pub(crate) txid: Option<u8>,
    /// The generation that the actor works on.
    pub(crate) generation: u8,
    /// A fill has joined this reprojection, and folds with its fold.
    pub(crate) joined: u8,
    /// Passes begun, statements finished, or retries finished.
    pub(crate) rounds: u8,
    /// An append's next event.
    pub(crate) version: u8,
    pub(crate) position: u8,

    /// The frozen snapshot C.
    pub(crate) frozen: Set,
    /// The lane as the batch read it, and its place.
    pub(crate) lane: Lane,
    pub(crate) lane_index: u8,
    /// What the batch will settle, and the events that it looked at.
    pub(crate) settle: Settled,
    pub(crate) looked_at: Set,
    /// Parked aggregates whose events the batch passes over.
    pub(crate) relied_on: Set,
    /// Aggregates whose chain must be read, and the highest version to read.
    pub(crate) incomplete: Set,
    pub(crate) highest: PerAggregate<u8>,
    /// Events to fold, the rows to fold them into, and up to which version claims are known.
    pub(crate) events: Set,
    pub(crate) rows: PerAggregate<Row>,
    pub(crate) claimed_to: PerAggregate<u8>,

    /// Events to claim, in log order, and how many of them this statement has handled.
    pub(crate) targets: [u8; MAX_EVENTS as usize],
    pub(crate) target_count: u8,
    pub(crate) target: u8,
    /// Events that this transaction has claimed.
    pub(crate) claimed: Set,
    /// Rows to write, and aggregates to park.
    pub(crate) new_rows: PerAggregate<Row>,
    pub(crate) to_write: Set,
    pub(crate) to_park: Set,
    /// Events that this transaction has claimed in order to skip them.
    pub(crate) skipped: Set,
    /// Whether the fold left out an event whose predecessor it does not know.
    pub(crate) released: bool,
}

impl Memory {
    pub(crate) fn set_targets(&mut self, events: &[u8]) {
        self.targets = Default::default();
        self.target_count = 0;
        self.target = 0;
        for (slot, event) in self.targets.iter_mut().zip(events) {
            *slot = *event;
            self.target_count += 1;
        }
    }
}
