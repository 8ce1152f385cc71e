//! Skips an event that can never be folded: it counts as applied, without any effect on the view. An operator decides that.
//!
//! The skip locks the parked row first, as a retry does, so it runs before or after each pass and each retry of the aggregate. It
//! claims the event and raises the version of the row, because later events are folded only onto the version before them. Without
//! a row, they are folded after the claim of their predecessor. Then the aggregate is retried.
//!
//! The skip holds for all generations of the projection: the statements that read events for a fold say which of them are skipped, and
//! a fold gives those no effect. So a reprojection and a repair give the same row. (test: `a_skip_holds_for_later_generations_and_repairs`)

use sqlx::Row as _;

use super::ProjectionError;
use super::budget::Budget;
use super::retry::{Retried, retry_aggregate};
use crate::db::{DbError, Pool, Transaction};
use crate::event::{AggregateId, EventId, Version};
use crate::view::{self, View};

/// What was skipped, and what followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipReport {
    /// The skipped event.
    pub event_id: EventId,
    /// Its aggregate.
    pub aggregate_id: AggregateId,
    /// Its version.
    pub version: Version,
    /// How many later events of the aggregate were folded.
    pub applied: u64,
    /// Whether the aggregate is no longer parked.
    pub unparked: bool,
}

/// Why an event was not skipped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipError {
    /// No aggregate is parked because of this event.
    #[error("no aggregate of the projection is parked because of the event {0}")]
    NotParked(EventId),
    /// Two aggregates are parked because of an event with this id.
    #[error(
        "two aggregates are parked because of an event with the id {0}; send `aggregate_id`, too"
    )]
    Ambiguous(EventId),
    /// The event is not the next one to fold.
    #[error(
        "the event {0} is not the next one to fold: an earlier event of the aggregate is missing or not applied, or it is applied itself; \
         retry the projection first"
    )]
    NotNext(EventId),
    /// The database failed.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
}

impl From<DbError> for SkipError {
    fn from(error: DbError) -> Self {
        Self::Projection(error.into())
    }
}

impl From<sqlx::Error> for SkipError {
    fn from(error: sqlx::Error) -> Self {
        Self::Projection(error.into())
    }
}

/// Skips the event because of which an aggregate is parked, records who did it and why, and retries the aggregate.
///
/// The aggregate may be parked in a generation that is filled, but not live. The skip holds for the projection then, too, even if the
/// reprojection is cancelled afterwards: the live row still contains the event, past states and verify leave it out, and a repair removes
/// its effect from the row. So such a skip is right only for an event that shall have no effect at all.
///
/// # Errors
///
/// See [`SkipError`]; nothing has changed then.
pub async fn skip(
    pool: &Pool,
    view: &View,
    (event_id, aggregate_id): (EventId, Option<AggregateId>),
    (actor, reason): (Option<&str>, &str),
    budget: &Budget,
) -> Result<SkipReport, SkipError> {
    let (mut transaction, generation, aggregate_id) =
        lock(pool, view, event_id, aggregate_id).await?;
    let generation = &generation;
    let skipped = sqlx::query_scalar(generation.sql.fill(include_str!("sql/skip_event.sql")))
        .bind(generation.lock_domain())
        .bind(aggregate_id.0)
        .bind(event_id.0)
        .bind(reason)
        .bind(actor)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(DbError::from);
    let version = match skipped {
        Ok(Some(version)) => Version(version),
        Ok(None) => {
            transaction.rollback().await?;
            return Err(SkipError::NotNext(event_id));
        }
        // The event is claimed and has no row: it has ended the aggregate.
        Err(DbError::Conflict { constraint, .. }) if constraint == "locker_pkey" => {
            transaction.rollback().await?;
            return Err(SkipError::NotNext(event_id));
        }
        Err(error) => return Err(error.into()),
    };
    transaction.commit().await?;
    tracing::warn!(
        projection = view.name(),
        event.id = %event_id,
        aggregate.id = %aggregate_id,
        aggregate.version = version.0,
        "skipped an event of the projection {}",
        view.name()
    );
    let mut report = SkipReport {
        event_id,
        aggregate_id,
        version,
        applied: 0,
        unparked: false,
    };
    let retried = Box::pin(retry_aggregate(pool, generation, aggregate_id, budget));
    match budget.run_until_abort(retried).await {
        Some(Ok(Retried::Unparked { applied })) => {
            report.applied = applied;
            report.unparked = true;
        }
        Some(Ok(Retried::Failed { applied, .. } | Retried::Pending { applied })) => {
            report.applied = applied;
        }
        // Another retry was first.
        Some(Ok(Retried::NotParked)) => report.unparked = true,
        // The event is skipped in any case, and the next catch-up retries the aggregate.
        Some(Err(error)) => {
            tracing::warn!(
                projection = view.name(),
                "the aggregate was not retried after the skip: {error}"
            );
        }
        None => {}
    }
    Ok(report)
}

/// Locks the aggregate that is parked because of an event, in the generation that serves readers, or else in one that is filled: what the
/// old fold has applied may be impossible for the new one.
async fn lock(
    pool: &Pool,
    view: &View,
    event_id: EventId,
    aggregate_id: Option<AggregateId>,
) -> Result<(Transaction, View, AggregateId), SkipError> {
    let mut connection = pool.acquire().await?;
    let serving = view::resolve(&mut connection, view).await?.view;
    let filled: Vec<String> = sqlx::query_scalar(include_str!("sql/list_filled.sql"))
        .bind(view.name())
        .bind(&*view.definition_hash)
        .fetch_all(&mut *connection)
        .await?;
    drop(connection);
    let filled = filled.iter().map(|name| view.generation(name));
    for generation in std::iter::once(serving).chain(filled) {
        let mut transaction = pool.begin().await?;
        let parked = sqlx::query(include_str!("sql/lock_parked_event.sql"))
            .bind(generation.lock_domain())
            .bind(event_id.0)
            .bind(aggregate_id.map(|id| id.0))
            .bind(view.name())
            .fetch_all(&mut *transaction)
            .await?;
        match &parked[..] {
            [] => transaction.rollback().await?,
            [row] => {
                let aggregate_id = AggregateId(row.try_get(0)?);
                return Ok((transaction, generation, aggregate_id));
            }
            _ => {
                transaction.rollback().await?;
                return Err(SkipError::Ambiguous(event_id));
            }
        }
    }
    Err(SkipError::NotParked(event_id))
}
