//! Retries of parked aggregates.
//!
//! A retry locks the parked row first and reads the aggregate's chain of events in later statements. Consider a pass that
//! passes over an event because of this row. Either the pass has committed before the retry gets the lock, and then the chain
//! contains the event; or the pass waits for the retry, and then finds that the row is gone. The retry folds the whole
//! chain before it unparks the aggregate: otherwise neither the retry nor a pass would fold the rest of the chain.
//!
//! A long chain is folded in chunks, each in a transaction of its own. So a retry never holds the lock for long, and a deadline
//! loses at most one chunk.

use futures_util::TryStreamExt as _;

use super::budget::Budget;
use super::failure_class::FailureClass;
use super::fold;
use super::plan::Failure;
use super::read::{MAX_BATCH_BYTES, size_of_event};
use super::read_events::ReadEvents;
use super::rows::OnRejectedWrite;
use super::{ProjectionError, claim};
use crate::db::{Pool, Session};
use crate::event::{AggregateId, Version};
use crate::view::View;

/// A retry reads and folds a chain in chunks of this many events.
pub(super) const MAX_CHUNK_EVENTS: u32 = 1000;

/// The result of retrying one aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retried {
    /// It was not parked any more.
    NotParked,
    /// Its whole chain is folded.
    Unparked { applied: u64 },
    /// A part of its chain is folded, and the rest waits: for time, or for another transaction that holds a claim.
    Pending { applied: u64 },
    /// An event of its chain cannot be folded.
    Failed {
        applied: u64,
        /// Whether the database rejected the row because of another row.
        conflict: bool,
    },
}

/// Folds the chain of one parked aggregate, chunk by chunk.
pub(super) async fn retry_aggregate(
    pool: &Pool,
    view: &View,
    aggregate_id: AggregateId,
    budget: &Budget,
) -> Result<Retried, ProjectionError> {
    let mut retry = Retry {
        pool,
        view,
        aggregate_id,
        chunk_events: MAX_CHUNK_EVENTS,
        has_read: false,
    };
    let (mut applied, mut start, mut has_restarted) = (0, Start::AtParked, false);
    loop {
        match Box::pin(retry.fold_chunk(start)).await? {
            Chunk::NotParked => return Ok(Retried::NotParked),
            Chunk::Folded(folded) => applied += folded,
            // There may be an event below the version at which the aggregate was parked: a missing version was inserted. Passes skip
            // parked aggregates, so this retry has to fold it.
            Chunk::Gap if !has_restarted => {
                (start, has_restarted) = (Start::AtFirst, true);
                continue;
            }
            Chunk::Gap => {
                retry.postpone_gap().await?;
                return Ok(Retried::Pending { applied });
            }
            Chunk::Last(folded) => {
                let applied = applied + folded;
                return Ok(Retried::Unparked { applied });
            }
            Chunk::Failed { folded, conflict } => {
                let applied = applied + folded;
                return Ok(Retried::Failed { applied, conflict });
            }
        }
        start = Start::AtParked;
        if budget.is_spent() {
            return Ok(Retried::Pending { applied });
        }
    }
}

/// Where a chunk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// At the version in the parked row.
    AtParked,
    /// At the aggregate's first version.
    AtFirst,
}

/// The result of a chunk.
enum Chunk {
    NotParked,
    /// So many events are folded, and more follow.
    Folded(u64),
    /// The predecessor of the first event is not claimed, or there is no event. Nothing was written.
    Gap,
    /// So many events are folded; they were the last, and the aggregate is unparked.
    Last(u64),
    Failed {
        folded: u64,
        conflict: bool,
    },
}

struct Retry<'a> {
    pool: &'a Pool,
    view: &'a View,
    aggregate_id: AggregateId,
    /// The size of a chunk, as far as memory allows.
    chunk_events: u32,
    /// Whether a chunk had an event.
    has_read: bool,
}

impl Retry<'_> {
    async fn fold_chunk(&mut self, start: Start) -> Result<Chunk, ProjectionError> {
        let (view, id) = (self.view, self.aggregate_id);
        let mut transaction = self.pool.begin().await?;
        let Some(parked_at) = lock(&mut transaction, view, id).await? else {
            transaction.rollback().await?;
            return Ok(Chunk::NotParked);
        };
        let from = match start {
            Start::AtParked => parked_at,
            Start::AtFirst => Version(1),
        };
        let chain = read_chain(&mut transaction, view, id, from, self.chunk_events).await?;
        if chain.is_cut {
            self.chunk_events = chain.read;
        }
        self.has_read |= chain.read > 0;
        if !self.has_read && start == Start::AtParked {
            // The version in the parked row was changed by hand, or an earlier retry has folded all events and not unparked yet. Events
            // that passes have skipped may be below it.
            transaction.rollback().await?;
            return Ok(Chunk::Gap);
        }
        let (is_last, last) = (
            chain.read < self.chunk_events,
            chain.events.events.last().map(|event| event.version),
        );
        let undecodable = chain.events.undecodable.into_iter().next();
        let claimed = ReadEvents {
            events: claim::claim_events(&mut transaction, view, chain.events.events).await?,
            ..ReadEvents::default()
        };
        let mut applied =
            fold::apply(&mut transaction, view, claimed, OnRejectedWrite::Bisect).await?;
        let folded = applied.folded as u64;
        let failure = applied.failures.pop();
        if failure.is_none() && applied.released > 0 {
            transaction.rollback().await?;
            return Ok(Chunk::Gap);
        }
        let chunk = match (failure.or(undecodable), last) {
            (Some(failure), _) => {
                postpone(&mut transaction, view, &failure).await?;
                let conflict = applied.has_conflict;
                Chunk::Failed { folded, conflict }
            }
            (None, Some(last)) if !is_last => {
                advance(&mut transaction, view, id, Version(last.0 + 1)).await?;
                Chunk::Folded(folded)
            }
            (None, _) => {
                if unpark(&mut transaction, view, id).await? {
                    Chunk::Last(folded)
                } else {
                    Chunk::Gap
                }
            }
        };
        transaction.commit().await?;
        Ok(chunk)
    }

    /// Schedules the next retry of an aggregate whose next event waits for a claim.
    async fn postpone_gap(&self) -> Result<(), ProjectionError> {
        sqlx::query(include_str!("sql/delay_parked.sql"))
            .bind(self.view.lock_domain())
            .bind(self.aggregate_id.0)
            .bind(None::<uuid::Uuid>)
            .bind(None::<i32>)
            .bind("an earlier event of the aggregate is not claimed; if this persists, rebuild the view")
            .bind(FailureClass::Gap.name())
            .execute(&mut *self.pool.acquire().await?)
            .await?;
        Ok(())
    }
}

/// Locks a parked row and returns the version at which the aggregate is parked; `None` when it is not parked.
pub(super) async fn lock(
    connection: &mut Session<'_>,
    view: &View,
    aggregate_id: AggregateId,
) -> Result<Option<Version>, ProjectionError> {
    let version = sqlx::query_scalar(include_str!("sql/lock_parked.sql"))
        .bind(view.lock_domain())
        .bind(aggregate_id.0)
        .bind(view.name())
        .fetch_optional(connection)
        .await?;
    Ok(version.map(Version))
}

/// A chunk of a chain.
#[derive(Debug, Default)]
pub(super) struct ChainChunk {
    pub events: ReadEvents,
    /// How many events were read.
    pub read: u32,
    /// How large they are.
    pub bytes: usize,
    /// Whether more events would have been larger than [`MAX_BATCH_BYTES`].
    pub is_cut: bool,
}

/// Reads the next chunk of the aggregate's events, beginning with version `from`. It ends before an event that cannot be
/// decoded.
pub(super) async fn read_chain(
    connection: &mut Session<'_>,
    view: &View,
    aggregate_id: AggregateId,
    from: Version,
    max_events: u32,
) -> Result<ChainChunk, ProjectionError> {
    let types = view.projection.block();
    let mut rows = sqlx::query(include_str!("sql/read_chain.sql"))
        .bind(aggregate_id.0)
        .bind(from.0)
        .bind(types.start)
        .bind(types.end)
        .bind(i64::from(max_events))
        .bind(view.name())
        .fetch(connection);
    let mut chunk = ChainChunk::default();
    while let Some(row) = rows.try_next().await? {
        chunk.bytes += size_of_event(&row)?;
        if chunk.bytes > MAX_BATCH_BYTES && chunk.read > 0 {
            chunk.is_cut = true;
            break;
        }
        chunk.read += 1;
        chunk.events.push(&row)?;
        if !chunk.events.undecodable.is_empty() {
            break;
        }
    }
    Ok(chunk)
}

/// Deletes the parked row; false if the database refuses it, because settled events of the aggregate are not claimed.
pub(super) async fn unpark(
    connection: &mut Session<'_>,
    view: &View,
    aggregate_id: AggregateId,
) -> Result<bool, ProjectionError> {
    let deleted = sqlx::query(include_str!("sql/unpark.sql"))
        .bind(view.lock_domain())
        .bind(aggregate_id.0)
        .execute(connection)
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// Remembers in the parked row how far the chain is folded.
async fn advance(
    connection: &mut Session<'_>,
    view: &View,
    aggregate_id: AggregateId,
    next: Version,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/advance_parked.sql"))
        .bind(view.lock_domain())
        .bind(aggregate_id.0)
        .bind(next.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Schedules the next retry after a failure, with exponential backoff.
async fn postpone(
    connection: &mut Session<'_>,
    view: &View,
    failure: &Failure,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/delay_parked.sql"))
        .bind(view.lock_domain())
        .bind(failure.aggregate_id.0)
        .bind(failure.event_id.0)
        .bind(failure.version.0)
        .bind(&failure.reason)
        .bind(failure.class.name())
        .execute(connection)
        .await?;
    Ok(())
}
