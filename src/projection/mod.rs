//! Projections: claim events, fold them into views, exactly once and in order, by any number of workers and no leader.
//!
//! # Why every event is folded exactly once, in order
//!
//! One transaction a batch, READ COMMITTED: claim ([`claim`]), load, fold in memory, write ([`fold`]), commit.
//!
//! **Once.**
//!
//! 1. A claim is a row of `locker` with a unique key. A second worker that inserts the same claim waits for the first
//!    one's transaction, then skips it, or takes over if that one aborted. Claim and view row commit together. (tests:
//!    `four_workers_claim_each_event_once`, `a_worker_killed_by_sigkill_at_any_step_loses_no_event`)
//! 2. A claim that somebody is at is waited for, never skipped: the waiting is bounded, and a batch that was aborted
//!    starts the pass over, because its cursor passed events that may have been anyone's. (tests:
//!    `a_worker_waits_for_a_claim_held_by_another_transaction`, `a_pass_restarts_after_a_deadlock_aborts_its_batch`)
//!
//! **None forgotten.**
//!
//! 3. A pass freezes a snapshot C before it writes anything, walks once what C sees and the settled snapshot does not,
//!    and then settles C. So every event visible in the settled snapshot is claimed or parked, whatever order commits
//!    arrived in. (tests: `an_event_of_a_transaction_that_commits_late_is_not_skipped`, `a_pass_reads_exactly_what_its_frozen_snapshot_sees`)
//!    A pass that is out of time settles the part of C below the transaction that it stopped in: what a walk with that
//!    smaller C would have settled. (tests: `a_pass_that_is_out_of_time_settles_what_it_has_done`,
//!    `a_partial_walk_settles_exactly_the_transactions_it_has_finished`)
//! 4. Nothing is settled when a claim was given back. (tests: `a_version_with_an_older_txid_than_its_predecessor_waits_for_it`,
//!    `a_pass_that_is_out_of_time_settles_nothing_when_it_gave_a_claim_back`)
//! 5. A log whose cluster's counter is behind it is noticed at the first connection and healed by an offset. (test:
//!    `a_restored_log_goes_on_where_it_was`)
//!
//! **In order.**
//!
//! 6. Version n + 1 is visible only where n is, and log order `(txid, position)` agrees with versions but where a
//!    transaction got its id before an event it follows was committed. So version n + 1 is folded only if n is claimed:
//!    the row's version says so, or n is in this batch, or, when there is no row, the locker. Otherwise its claim is
//!    given back in the same transaction. (tests: `a_version_with_an_older_txid_than_its_predecessor_waits_for_it`,
//!    `after_a_deletion_the_predecessor_claim_is_read_from_the_locker`)
//! 7. Row and predecessor are read in one statement, after the claims. Read before, an event committed in between would
//!    be folded over. (test: `the_view_row_is_read_after_the_claims`)
//!
//! **Poison.**
//!
//! 8. An event that cannot be folded parks its aggregate, in the transaction that gives its claim back; all others go on.
//!    (test: `one_poison_event_parks_its_aggregate_and_a_thousand_others_go_on`)
//! 9. A pass share-locks the parked rows it relies on; a retry takes the row first, reads the chain in later statements,
//!    and folds all of it before it un-parks. (tests: `a_pass_waits_for_a_retry_that_locks_the_parked_row`,
//!    `a_retry_waits_for_passes_that_share_lock_the_parked_row`, `a_retry_folds_the_whole_chain_before_it_unparks`)
//!
//! The transaction ids' visibility is Postgres' own ([`pg_visible_in_snapshot`]); the idea of keyset order over `(txid,
//! position)` and of claims instead of a checkpoint are argued, with the ways they break, in `docs/DESIGN.md`.
//!
//! [`claim`]: self
//! [`fold`]: self
//! [`pg_visible_in_snapshot`]: https://www.postgresql.org/docs/current/functions-info.html

mod budget;
mod catch_up;
mod claim;
mod fold;
mod inline;
mod listener;
mod parked;
mod settled;
pub mod status;

pub use self::budget::Budget;
pub use self::catch_up::{CatchUp, catch_up};
pub use self::inline::fold_inline;
pub use self::listener::{CHANNEL, Listener};
pub use self::parked::{RetryReport, retry};
pub use self::settled::{LogCursor, Snapshot, SnapshotError, Span};
use crate::db::DbError;
use crate::event::{AggregateId, EventId};

/// Why a projection could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The settled snapshot cannot be read: something else wrote it. Deleting its row is safe, and costs a longer search.
    #[error("the settled snapshot cannot be read; deleting its row is safe")]
    Settled(#[from] SnapshotError),
    /// An inline fold failed, so nothing was appended. If an earlier event is at fault, catch-up parks the aggregate.
    #[error("an event of aggregate {aggregate_id} cannot be folded into {projection}")]
    FoldFailed {
        /// The projection.
        projection: &'static str,
        /// The aggregate.
        aggregate_id: AggregateId,
        /// The event that is at fault: an earlier one, or one of the append.
        event_id: EventId,
    },
}

impl From<sqlx::Error> for ProjectionError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}
