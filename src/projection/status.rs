//! The lag of a projection: how many events it has not folded yet, and how old the oldest of them is.

use sqlx::Row;

use super::ProjectionError;
use crate::db::{Pool, RetryPolicy};
use crate::view::View;

/// A health check reads at most this many events, so that its cost does not grow with the backlog.
pub const MAX_COUNTED_EVENTS: i64 = 10_000;

/// The lag of a projection.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct ProjectionStatus {
    /// Events that are not claimed, without those of parked aggregates.
    pub lag_events: u64,
    /// The age of the oldest of these events, in seconds.
    pub lag_seconds: f64,
    /// Parked aggregates.
    pub parked: u64,
    /// Whether the measurement read all events above the settled snapshot. If not, there may be more unclaimed events than
    /// [`Self::lag_events`], and older ones.
    #[serde(skip)]
    pub is_complete: bool,
}

/// Measures the lag of one projection. Reads at most `max_events` events.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn measure(
    pool: &Pool,
    view: &View,
    max_events: i64,
) -> Result<ProjectionStatus, ProjectionError> {
    let mut retries = RetryPolicy::default();
    loop {
        match query_status(pool, view, max_events).await {
            Err(ProjectionError::Db(error)) if retries.should_retry(pool, &error) => {}
            result => return result,
        }
    }
}

async fn query_status(
    pool: &Pool,
    view: &View,
    max_events: i64,
) -> Result<ProjectionStatus, ProjectionError> {
    let types = view.projection.block();
    let row = sqlx::query(include_str!("sql/lag.sql"))
        .bind(view.name())
        .bind(types.start)
        .bind(types.end)
        .bind(max_events)
        .fetch_one(&mut *pool.acquire().await?)
        .await?;
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(ProjectionStatus {
        lag_events: count("events")?,
        lag_seconds: row.try_get("seconds")?,
        parked: count("parked")?,
        is_complete: row.try_get("whole")?,
    })
}

/// Counts the parked aggregates of a projection.
pub(super) async fn count_parked(pool: &Pool, view: &View) -> Result<u64, ProjectionError> {
    let count: i64 = sqlx::query_scalar(include_str!("sql/count_parked.sql"))
        .bind(view.name())
        .fetch_one(&mut *pool.acquire().await?)
        .await?;
    Ok(count.unsigned_abs())
}
