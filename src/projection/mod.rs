//! Projections: any number of workers claim events and fold them into views, exactly once and in order, without a leader.
//!
//! # Why every event is folded exactly once and in order
//!
//! A worker processes a batch in one READ COMMITTED transaction: it claims events ([`claim`]), loads the view rows, folds
//! the events in memory and decides what to write ([`plan`]), writes the rows ([`fold`]) and commits.
//!
//! **Exactly once.**
//!
//! 1. A claim is a row in `locker` with a unique key. If a second worker inserts the same claim, Postgres makes it wait
//!    for the first worker's transaction. When that transaction commits, the second worker skips the event; when it
//!    aborts, the second worker takes the claim over. The claim and the view row commit together. (tests:
//!    `four_workers_claim_each_event_once`, `a_worker_killed_by_sigkill_at_any_step_loses_no_event`)
//! 2. A worker waits for a claim that another transaction holds and never skips it. The wait is bounded by
//!    `lock_timeout`. If a batch aborts, the pass restarts, because its cursor has moved past events whose claims the
//!    abort has released. (tests: `a_worker_waits_for_a_claim_held_by_another_transaction`,
//!    `a_pass_restarts_after_a_deadlock_aborts_its_batch`)
//!
//! **No event is skipped.**
//!
//! 3. A pass freezes a snapshot C before it writes anything. It then reads, once, every event that C sees and the settled
//!    snapshot does not see, and finally stores C as the settled snapshot (a high-water mark, but a whole snapshot
//!    instead of a single number). Therefore every event that is visible in the settled snapshot is either claimed or
//!    belongs to a parked aggregate, in whatever order transactions committed. (tests:
//!    `an_event_of_a_transaction_that_commits_late_is_not_skipped`, `a_pass_reads_exactly_what_its_frozen_snapshot_sees`)
//!    A pass that runs out of time settles the part of C below the transaction in which it stopped. A walk over that
//!    smaller snapshot would have settled the same. (tests: `a_pass_at_its_deadline_settles_what_it_applied`,
//!    `a_partial_walk_settles_exactly_the_transactions_it_has_finished`)
//! 4. A pass that released a claim settles nothing, so the next pass reads the released event again. (tests:
//!    `a_version_with_an_older_txid_than_its_predecessor_waits_for_it`,
//!    `a_pass_that_released_a_claim_at_the_deadline_does_not_settle`)
//! 5. After a restore into another cluster, that cluster's transaction counter may be behind the ids in the log. foldlog
//!    detects this when it first connects and corrects it with an offset. (test: `appends_and_catch_up_continue_on_a_restored_log`)
//!
//! **In order.**
//!
//! 6. Version n + 1 becomes visible only after version n. The log order `(txid, position)` agrees with the versions,
//!    except where a transaction received its id before the event that precedes its own was committed. For this case the
//!    fold checks the order: it folds version n + 1 only if version n is claimed. The row's version proves that, or n is
//!    in the same batch, or, if the row does not exist, `locker` contains the claim. Otherwise the worker releases the
//!    claim of n + 1 in the same transaction. (tests: `a_version_with_an_older_txid_than_its_predecessor_waits_for_it`,
//!    `after_a_deletion_the_predecessor_claim_is_read_from_the_locker`)
//! 7. One statement reads the row and the predecessor's claim, and it runs after the claims are made. If it ran before
//!    them, another worker could commit an event in between, and this worker would overwrite that event's effect. (test:
//!    `the_view_row_is_read_after_the_claims`)
//!
//! **Poison events.**
//!
//! 8. An event that cannot be folded parks its aggregate, in the transaction that releases its claim. All other
//!    aggregates continue. [`plan`] decides about each aggregate separately, so this includes events and rows that cannot
//!    be decoded, panics in the domain's code, and rows that cannot be serialized. (tests:
//!    `one_poison_event_parks_its_aggregate_and_a_thousand_others_go_on`,
//!    `an_event_with_an_infinite_created_at_parks_only_its_aggregate`,
//!    `a_panic_in_deserialize_apply_or_serialize_parks_only_its_aggregate`)
//! 9. A pass takes a share lock on the parked rows that it relies on. A retry locks the parked row first, reads the
//!    aggregate's chain of events in later statements, and folds the whole chain before it unparks the aggregate. (tests:
//!    `a_pass_waits_for_a_retry_that_locks_the_parked_row`,
//!    `a_retry_waits_for_passes_that_share_lock_the_parked_row`, `a_retry_folds_the_whole_chain_before_it_unparks`)
//!
//! Postgres itself decides whether a transaction id is visible in a snapshot ([`pg_visible_in_snapshot`]). `docs/DESIGN.md`
//! explains why foldlog orders events by `(txid, position)` and uses claims instead of a checkpoint, and how the
//! alternatives fail.
//!
//! [`claim`]: self
//! [`fold`]: self
//! [`plan`]: self
//! [`pg_visible_in_snapshot`]: https://www.postgresql.org/docs/current/functions-info.html

mod batch;
mod budget;
mod catch_up;
mod claim;
mod fold;
mod inline;
mod listener;
mod parked;
mod plan;
mod read;
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

/// Why a catch-up, a retry or an inline fold failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// The database returned an error.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The stored settled snapshot cannot be parsed, so a program other than foldlog wrote it. Deleting the projection's
    /// row in `settled` is safe; the next pass then reads the log from the beginning.
    #[error(
        "the settled snapshot cannot be parsed; delete the projection's row in `settled`, which is safe"
    )]
    Settled(#[from] SnapshotError),
    /// An inline fold failed, so nothing was appended. If an earlier event is the cause, a catch-up parks the aggregate,
    /// and appends to it succeed again.
    #[error("the projection {projection} cannot fold an event of aggregate {aggregate_id}")]
    FoldFailed {
        /// The projection's name.
        projection: &'static str,
        /// The aggregate.
        aggregate_id: AggregateId,
        /// The event that cannot be folded: an earlier event, or one of this append.
        event_id: EventId,
    },
}

impl From<sqlx::Error> for ProjectionError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}
