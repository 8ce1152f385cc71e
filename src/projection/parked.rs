//! Parked aggregates. When an event cannot be folded, foldlog parks its aggregate: the later events of that aggregate wait,
//! and all other aggregates continue. (Other systems call this a dead letter. Here it is per aggregate, keeps the order
//! of events, and is retried.)

use std::collections::HashSet;

use sqlx::Row;

use super::ProjectionError;
use super::budget::Budget;
use super::plan::Failure;
use super::retry::{Retried, retry_aggregate};
use super::retry_together::retry_together;
use crate::db::{DbError, Pool};
use crate::event::AggregateId;
use crate::view::{self, View};

/// How many parked aggregates a catch-up retries. After a faulty deployment thousands may be parked, and the new events should
/// not wait for all of them.
const MAX_DUE_RETRIES: i64 = 50;

/// How many parked aggregates are retried in one transaction, after a row was rejected because of another row.
const MAX_JOINT_RETRIES: i64 = 100;

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
    let generation = view::resolve(&mut *pool.acquire().await?, view).await?;
    if !generation.exists {
        return Ok(RetryReport::default());
    }
    retry_all(pool, &generation.view, false, budget).await
}

/// Retries one parked aggregate now, whether it is due or not; `None` if it is not parked. A row that the database rejects because of the
/// row of another parked aggregate needs [`retry`].
///
/// # Errors
///
/// Any [`ProjectionError`]; a busy database is one, because nothing else was asked for.
pub async fn retry_one(
    pool: &Pool,
    view: &View,
    aggregate_id: AggregateId,
    budget: &Budget,
) -> Result<Option<RetryReport>, ProjectionError> {
    let generation = view::resolve(&mut *pool.acquire().await?, view).await?.view;
    let retried = Box::pin(retry_aggregate(pool, &generation, aggregate_id, budget));
    let mut report = RetryReport::default();
    match budget.run_until_abort(retried).await.transpose()? {
        // It was not folded in the time, and stays parked.
        None => {}
        Some(Retried::NotParked) => return Ok(None),
        Some(Retried::Pending { applied }) => report.applied = applied,
        Some(Retried::Unparked { applied }) => {
            report.applied = applied;
            report.unparked = 1;
        }
        Some(Retried::Failed { applied, .. }) => {
            report.applied = applied;
            report.failed = 1;
        }
    }
    Ok(Some(report))
}

/// Retries every parked aggregate of a generation that is filled, but does not serve readers yet.
pub(super) async fn retry_generation(
    pool: &Pool,
    generation: &View,
    budget: &Budget,
) -> Result<RetryReport, ProjectionError> {
    retry_all(pool, generation, false, budget).await
}

async fn retry_all(
    pool: &Pool,
    view: &View,
    only_due: bool,
    budget: &Budget,
) -> Result<RetryReport, ProjectionError> {
    let limit = if only_due { MAX_DUE_RETRIES } else { i64::MAX };
    let mut report = RetryReport::default();
    let (mut failed, mut has_conflict) = (HashSet::new(), false);
    for aggregate_id in find(pool, view, only_due, limit).await? {
        if budget.is_spent() {
            break;
        }
        let retried = Box::pin(retry_aggregate(pool, view, aggregate_id, budget));
        let Some(retried) = budget.run_until_abort(retried).await else {
            // The aggregates that were retried before this one stay in the report.
            break;
        };
        match retried {
            Ok(Retried::Unparked { applied }) => {
                report.applied += applied;
                report.unparked += 1;
            }
            Ok(Retried::Failed { applied, conflict }) => {
                report.applied += applied;
                failed.insert(aggregate_id);
                has_conflict |= conflict;
            }
            Ok(Retried::Pending { applied }) => report.applied += applied,
            // Another transaction locks the row: a pass that relies on it, or another retry. A later retry takes care of it.
            Ok(Retried::NotParked)
            | Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => {}
            Err(error) => return Err(error),
        }
    }
    if has_conflict && !budget.is_spent() {
        // All of them, because the other row may belong to an aggregate that is not due.
        let ids = find(pool, view, false, MAX_JOINT_RETRIES).await?;
        let retried = Box::pin(retry_together(pool, view, &ids));
        match budget.run_until_abort(retried).await {
            Some(Ok((unparked, applied))) => {
                report.applied += applied;
                report.unparked += unparked.len() as u64;
                failed.retain(|id| !unparked.contains(id));
            }
            None | Some(Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_)))) => {
            }
            Some(Err(error)) => return Err(error),
        }
    }
    report.failed = failed.len() as u64;
    Ok(report)
}

/// The parked aggregates, in the order of their next retry.
async fn find(
    pool: &Pool,
    view: &View,
    only_due: bool,
    limit: i64,
) -> Result<Vec<AggregateId>, ProjectionError> {
    let rows = sqlx::query(include_str!("sql/find_parked.sql"))
        .bind(view.lock_domain())
        .bind(only_due)
        .bind(limit)
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let ids = rows.iter().map(|row| row.try_get(0).map(AggregateId));
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Logs that a batch has parked aggregates.
pub(super) fn log_parked(view: &View, failures: &[Failure]) {
    if failures.is_empty() {
        return;
    }
    let aggregates: HashSet<AggregateId> = failures.iter().map(|f| f.aggregate_id).collect();
    tracing::warn!(
        projection = view.name(),
        parked.count = aggregates.len(),
        "parked {} aggregates of the projection {} because an event of each cannot be folded; the column parked.error has the cause",
        aggregates.len(),
        view.name()
    );
}
