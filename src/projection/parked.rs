//! Parked aggregates. When an event cannot be folded, foldlog parks its aggregate: the later events of that aggregate wait,
//! and all other aggregates continue. (Other systems call this a dead letter. Here it is per aggregate, keeps the order
//! of events, and is retried.)
//!
//! A retry locks the parked row first and reads the aggregate's chain of events in later statements. Consider a pass that
//! skips an event because of this row. Either the pass has committed before the retry gets the lock, and then the chain
//! contains the event; or the pass waits for the retry, and then finds that the row is gone. The retry folds the whole
//! chain before it unparks the aggregate: otherwise neither the retry nor a pass would fold the rest of the chain.

use std::collections::HashSet;

use sqlx::Row;

use super::budget::Budget;
use super::fold::{self, OnRejectedWrite};
use super::plan::Failure;
use super::read::ReadEvents;
use super::{ProjectionError, claim};
use crate::db::{DbError, Pool, Session};
use crate::event::{AggregateId, Version};
use crate::view::View;

/// A retry reads and folds a chain in chunks of this many events, all in one transaction.
const MAX_CHUNK_EVENTS: usize = 1000;

/// How many parked aggregates a catch-up retries before it reads new events. After a faulty deployment thousands may be
/// parked, and the new events should not wait for all of them.
const MAX_DUE_RETRIES: i64 = 50;

/// The result of retrying parked aggregates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RetryReport {
    /// Aggregates that are no longer parked.
    pub unparked: u64,
    /// Aggregates that failed again and stay parked.
    pub failed: u64,
    /// Events folded.
    pub applied: u64,
}

/// Retries the parked aggregates that are due; returns how many events it folded.
pub(super) async fn retry_due(
    pool: &Pool,
    view: &View,
    budget: &Budget,
) -> Result<u64, ProjectionError> {
    Ok(retry_all(pool, view, true, budget).await?.applied)
}

/// Retries every parked aggregate of a projection now, whether it is due or not.
///
/// # Errors
///
/// Any [`ProjectionError`]. An aggregate that fails again is not an error; [`RetryReport::failed`] counts it.
pub async fn retry(
    pool: &Pool,
    view: &View,
    budget: &Budget,
) -> Result<RetryReport, ProjectionError> {
    retry_all(pool, view, false, budget).await
}

async fn retry_all(
    pool: &Pool,
    view: &View,
    only_due: bool,
    budget: &Budget,
) -> Result<RetryReport, ProjectionError> {
    let rows = sqlx::query(include_str!("sql/find_parked.sql"))
        .bind(view.name())
        .bind(only_due)
        .bind(if only_due { MAX_DUE_RETRIES } else { i64::MAX })
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let mut report = RetryReport::default();
    for row in rows {
        if budget.is_spent() {
            break;
        }
        let aggregate_id = AggregateId(row.try_get("aggregate_id")?);
        let retried = Box::pin(retry_aggregate(pool, view, aggregate_id));
        let Some(retried) = budget.run_until_abort(retried).await else {
            // The aggregates that were retried before this one stay in the report.
            break;
        };
        match retried {
            Ok(Some((applied, unparked))) => {
                report.applied += applied;
                report.unparked += u64::from(unparked);
                report.failed += u64::from(!unparked);
            }
            // The aggregate is no longer parked, or another transaction locks its row: a pass that relies on it, or another
            // retry. A later retry takes care of it.
            Ok(None) | Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// Folds the chain of one parked aggregate. Returns how many events it folded and whether the aggregate is unparked;
/// `None` when the aggregate was not parked.
async fn retry_aggregate(
    pool: &Pool,
    view: &View,
    aggregate_id: AggregateId,
) -> Result<Option<(u64, bool)>, ProjectionError> {
    let mut transaction = pool.begin().await?;
    let locked = sqlx::query(include_str!("sql/lock_parked.sql"))
        .bind(view.name())
        .bind(aggregate_id.0)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(locked) = locked else {
        return Ok(None);
    };
    let (mut from, mut from_first_version) = (Version(locked.try_get("version")?), false);
    let mut folded = 0;
    let failure = loop {
        let chain = read_chain(&mut transaction, view, aggregate_id, from).await?;
        let (read, last) = (
            chain.events.len(),
            chain.events.last().map(|event| event.version),
        );
        let undecodable = chain.undecodable.into_iter().next();
        let claimed = ReadEvents {
            events: claim::claim_events(&mut transaction, view, chain.events).await?,
            ..ReadEvents::default()
        };
        let mut applied =
            fold::apply(&mut transaction, view, claimed, OnRejectedWrite::Bisect).await?;
        folded += applied.folded as u64;
        if let Some(failure) = applied.failures.pop() {
            break Some(failure);
        }
        if applied.released > 0 {
            if from_first_version {
                // Another transaction holds the claim of an event that precedes the chain. This transaction is rolled back,
                // and a later retry folds the chain.
                return Ok(Some((0, false)));
            }
            // There is a new event below the version at which the aggregate was parked: a missing version was inserted.
            // Passes skip parked aggregates, so this retry has to fold it.
            (from, from_first_version) = (Version(1), true);
            continue;
        }
        if undecodable.is_some() {
            break undecodable;
        }
        match last {
            Some(last) if read == MAX_CHUNK_EVENTS => from = Version(last.0 + 1),
            _ => break None,
        }
    };
    match &failure {
        None => unpark(&mut transaction, view, aggregate_id).await?,
        Some(failure) => postpone(&mut transaction, view, failure).await?,
    }
    transaction.commit().await?;
    Ok(Some((folded, failure.is_none())))
}

/// Reads the next chunk of the aggregate's events, beginning with version `from`. It ends before an event that cannot be
/// decoded.
async fn read_chain(
    connection: &mut Session<'_>,
    view: &View,
    aggregate_id: AggregateId,
    from: Version,
) -> Result<ReadEvents, ProjectionError> {
    let types = view.projection.block();
    let rows = sqlx::query(include_str!("sql/read_chain.sql"))
        .bind(aggregate_id.0)
        .bind(from.0)
        .bind(types.start)
        .bind(types.end)
        .bind(i64::try_from(MAX_CHUNK_EVENTS).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    let mut chain = ReadEvents::default();
    for row in &rows {
        chain.push(row)?;
        if !chain.undecodable.is_empty() {
            break;
        }
    }
    Ok(chain)
}

/// Parks the failed aggregates, in the transaction that releases their claims.
pub(super) async fn park(
    connection: &mut Session<'_>,
    view: &View,
    failures: &[Failure],
) -> Result<(), ProjectionError> {
    if failures.is_empty() {
        return Ok(());
    }
    let aggregates: HashSet<AggregateId> = failures.iter().map(|f| f.aggregate_id).collect();
    tracing::warn!(
        projection = view.name(),
        parked.count = aggregates.len(),
        "parked {} aggregates of the projection {} because an event of each cannot be folded; the column parked.error has the cause",
        aggregates.len(),
        view.name()
    );
    sqlx::query(include_str!("sql/park.sql"))
        .bind(view.name())
        .bind(
            failures
                .iter()
                .map(|f| f.aggregate_id.0)
                .collect::<Vec<_>>(),
        )
        .bind(failures.iter().map(|f| f.event_id.0).collect::<Vec<_>>())
        .bind(failures.iter().map(|f| f.version.0).collect::<Vec<_>>())
        .bind(
            failures
                .iter()
                .map(|f| f.reason.as_str())
                .collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
    Ok(())
}

async fn unpark(
    connection: &mut Session<'_>,
    view: &View,
    aggregate_id: AggregateId,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/unpark.sql"))
        .bind(view.name())
        .bind(aggregate_id.0)
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
        .bind(view.name())
        .bind(failure.aggregate_id.0)
        .bind(failure.event_id.0)
        .bind(failure.version.0)
        .bind(&failure.reason)
        .execute(connection)
        .await?;
    Ok(())
}
