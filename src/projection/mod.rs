//! Projections: any number of workers fold events into views, exactly once and in order, without a leader.
//!
//! A batch is two statements (`read`, `write`). The first only reads: C, what the lane has settled, the next events, and their
//! view rows. The worker folds in memory (`plan`). The second statement does everything or nothing: it compares the lane with
//! what was read, locks the parked rows that the batch relied on, inserts the claims, writes the rows, parks, and settles. No
//! transaction is open while a worker without a backlog folds, so a worker that vanishes leaves nothing behind.
//!
//! # Why every event is folded exactly once and in order
//!
//! The claims alone guarantee it, whatever lanes and settled states say.
//!
//! 1. A claim is a row in `locker` with a unique key. The claimed versions of an aggregate are always 1 … k, and its row is the
//!    fold of them. A batch reads the row and k at one moment (the row's version; without a row, the claim of the
//!    predecessor, in the same statement), folds k + 1 … m and claims them. Another transaction that changed the row since
//!    has claimed k + 1, by the same rule. So one of the two claims fails, and a failed claim undoes the whole batch: *the
//!    claim of k + 1 compares and swaps the aggregate at version k*. (tests: `four_workers_claim_each_event_once`,
//!    `a_row_that_changed_after_the_read_is_not_overwritten`, `a_worker_killed_by_sigkill_at_any_step_loses_no_event`)
//! 2. A worker waits for a claim that another open transaction holds, and never skips it, because that transaction may abort.
//!    `lock_timeout` bounds the wait. A lost batch is read again. (tests:
//!    `a_worker_waits_for_a_claim_held_by_another_transaction`, `a_batch_is_read_again_after_a_deadlock_aborts_it`)
//! 3. Log order `(txid, position)` agrees with the versions, except where a transaction received its id before the event that
//!    precedes its own was committed. The transaction that inserted version n + 1 saw version n committed, or inserted both;
//!    so a snapshot that sees n + 1 sees n, and a batch pulls missing predecessors in (`chain`). If one is missing from the
//!    log, the aggregate is parked. (tests: `a_version_with_an_older_txid_than_its_predecessor_pulls_it_in`,
//!    `after_a_deletion_the_predecessor_claim_is_read_from_the_locker`)
//! 4. An inline fold reads rows and unclaimed events together, like a batch, and writes only if it gets all claims. Otherwise it
//!    keeps the claims that it got, and reads the rows after them, as retries do: a claim proves that no other transaction has
//!    folded the event, and the row is then at the version below. An append whose row is known inserts and claims its event in one
//!    statement, if the row is at the version below: then no earlier event is unclaimed. (tests:
//!    `inline_appends_and_workers_fold_each_event_once`, `an_inline_fold_starts_over_when_a_worker_has_claimed_its_backlog`,
//!    `a_row_that_is_behind_is_read`)
//!
//! # Why no event is forgotten
//!
//! The settled states alone guarantee it. The invariant of a lane (`settled`): every event of its slots that is visible in the
//! snapshot, or belongs to the begun transaction at or below the position, is claimed or its aggregate is parked. A lane changes in
//! three ways only.
//!
//! 5. By a batch whose lane is as it was read, and locked until the commit. It adds exactly what the batch looked at: all of it
//!    is claimed in this transaction, was claimed before, or is parked. C is frozen before anything is written, so what C does
//!    not see stays unsettled; and C sees the transaction in which a batch stops, so no event can join it. (tests:
//!    `a_batch_settles_exactly_what_it_looked_at`, `an_event_of_a_transaction_that_commits_late_is_not_skipped`,
//!    `a_pass_reads_exactly_what_its_frozen_snapshot_sees`, `a_pass_at_its_deadline_settles_what_it_applied`)
//! 6. By a split: both halves state what the whole stated. The split waits for the batch of the worker that holds the lane.
//!    (test: `both_halves_of_a_split_lane_continue_where_the_lane_was`)
//! 7. By a merge with all lanes locked: the lane states what all of them stated. (test:
//!    `merged_lanes_settle_only_what_all_of_them_have_settled`)
//!
//! A batch shares the lock of the parked rows that it relied on until it commits. A retry locks the parked row first, reads the
//! aggregate's chain in later statements, and folds all of it before it unparks the aggregate. So either the retry reads what the
//! batch passed over, or the batch finds that the row is gone and writes nothing. (tests:
//! `a_pass_waits_for_a_retry_that_locks_the_parked_row`, `a_retry_waits_for_passes_that_share_lock_the_parked_row`,
//! `a_retry_folds_the_whole_chain_before_it_unparks`)
//!
//! After a restore into another cluster, that cluster's transaction counter may be behind the ids in the log. foldlog detects this
//! when it connects and when a pass finds nothing, and corrects it with an offset. (tests:
//! `appends_and_catch_up_continue_on_a_restored_log`, `a_pass_detects_that_the_log_was_restored_during_the_pass`)
//!
//! # Why workers make progress
//!
//! 8. A committed batch that looked at anything settles all of it, down to a position within a transaction. Only lost batches
//!    repeat, and a batch is lost only to another transaction that committed, or to a deadlock, a timeout or a crash. (test:
//!    `a_large_transaction_is_folded_by_short_invocations`)
//! 9. Lanes have disjoint aggregates, so workers share no claim, no view row and no lane row (`lane`). (test:
//!    `two_invocations_share_a_backlog_and_meet_their_deadlines`)
//! 10. An event that cannot be folded parks its aggregate, and only that. `plan` decides about each aggregate separately, so this
//!     includes events and rows that cannot be decoded, panics in the domain's code, and rows that cannot be serialized; rows
//!     that the database rejects are found by halving the batch. (tests:
//!     `one_poison_event_parks_its_aggregate_and_a_thousand_others_go_on`,
//!     `an_event_with_an_infinite_created_at_parks_only_its_aggregate`,
//!     `a_panic_in_deserialize_apply_or_serialize_parks_only_its_aggregate`,
//!     `a_rejected_upsert_is_bisected_to_the_aggregates_that_cause_it`)
//!
//! `tests/model` is an explicit-state model of this protocol: each rule that is left out makes it lose an event, fold one twice, or
//! stop. `tests/it/replay` replays these mutations against this code, and `tests/it/overlap.rs` lets workers of the build before
//! lanes work beside it. Postgres itself decides whether a transaction id is visible in a snapshot ([`pg_visible_in_snapshot`]).
//! `docs/DESIGN.md` explains why foldlog orders events by `(txid, position)` and uses claims instead of a checkpoint, and
//! how the alternatives fail.
//!
//! [`pg_visible_in_snapshot`]: https://www.postgresql.org/docs/current/functions-info.html

mod batch;
mod budget;
mod catch_up;
mod chain;
mod claim;
mod cut;
mod failure_class;
mod fold;
mod generation;
mod inline;
mod lane;
mod listener;
mod parked;
mod parked_page;
mod plan;
mod polls;
pub mod preview;
mod quick_session;
mod read;
mod read_events;
pub mod reproject;
mod retry;
mod retry_together;
mod rows;
mod settled;
mod skip;
mod skipped_page;
mod snapshot;
pub mod status;
mod verb_results;
pub mod verify;
mod worker;
mod write;

pub use self::budget::Budget;
pub use self::catch_up::{CatchUp, catch_up};
pub use self::failure_class::FailureClass;
pub use self::inline::{
    FoldedFor, append_and_fold, append_known, fold_ahead, fold_inline, fold_stored,
};
pub use self::listener::{CHANNEL, Listener};
pub use self::parked::{RetryReport, retry, retry_one};
pub use self::parked_page::{ParkedAggregate, ParkedPage, list_parked};
pub use self::skip::{SkipError, SkipReport, skip};
pub use self::skipped_page::{SkippedEvent, SkippedPage, list_skipped};
pub use self::snapshot::{Snapshot, SnapshotError};
pub use self::verb_results::{VerbResult, list_verb_results, store_verb_result};
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
    /// `migrate up` has not created the view with the definition that this build has.
    #[error("the view {0} is not defined as in this build; run `migrate up`")]
    NotDefined(&'static str),
    /// A build with another fold has begun to fill a generation with this definition.
    #[error(
        "another build, with another fold, has begun to reproject {0}; let it finish, or cancel its reprojection"
    )]
    OtherFold(&'static str),
    /// Another process has cancelled the reprojection, or there is none.
    #[error("there is no reprojection of {0}; start one with reproject")]
    Cancelled(&'static str),
    /// The snapshot that the generation is filled with is gone, because the database was copied while it was filled.
    #[error(
        "the reprojection of {0} cannot be continued in this copy of the database; cancel it, and reproject again"
    )]
    SnapshotLost(&'static str),
    /// Two rows of the new generation break a set rule whose index was created after the generation.
    #[error(
        "rows of the new generation of {0} break a set rule that is newer than the generation; cancel the reprojection, and reproject again"
    )]
    BreaksRule(&'static str),
    /// Another invocation has started a verification in place of this one.
    #[error(
        "another verification of {0} was started in place of this one; send the verb again when it has ended"
    )]
    VerifyReplaced(&'static str),
    /// The view has set rules and is folded inline, and its live generation was created from another definition than this build
    /// has. Nothing was appended, because the rules could not be checked.
    #[error(
        "the live generation of the view {0} has another definition than this build; reproject it"
    )]
    NotReprojected(&'static str),
    /// More events wait in the view than an inline fold reads. Nothing was appended. The appends of a group are sent alone then, and an
    /// append that is sent alone folds a part of them.
    #[error("more events than an append folds wait in the view {0}")]
    TooManyEvents(&'static str),
}

impl From<sqlx::Error> for ProjectionError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}
