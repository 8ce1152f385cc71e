//! How far a projection is behind.

use sqlx::Row;

use super::ProjectionError;
use crate::db::{Pool, Tries};
use crate::view::View;

/// How many events a health check looks at, at most: what it costs must not grow with the backlog.
pub const MAX_COUNTED_EVENTS: i64 = 10_000;

/// How far a projection is behind.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Status {
    /// Events without a claim, not those of parked aggregates.
    pub lag_events: u64,
    /// The age of the oldest of them.
    pub lag_seconds: f64,
    /// Aggregates that are parked.
    pub parked: u64,
    /// Whether all that may be without a claim was looked at. If not, there may be more events, and older ones.
    #[serde(skip)]
    pub whole: bool,
}

/// The status of one projection; at most `counted` events are counted.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn measure(pool: &Pool, view: &View, counted: i64) -> Result<Status, ProjectionError> {
    let mut tries = Tries::default();
    loop {
        match count(pool, view, counted).await {
            Err(ProjectionError::Db(error)) if tries.again(pool, &error) => {}
            result => return result,
        }
    }
}

async fn count(pool: &Pool, view: &View, counted: i64) -> Result<Status, ProjectionError> {
    let types = view.projection.block();
    let row = sqlx::query(include_str!("sql/lag.sql"))
        .bind(view.name())
        .bind(types.start)
        .bind(types.end)
        .bind(counted)
        .fetch_one(&mut *pool.acquire().await?)
        .await?;
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(Status {
        lag_events: count("events")?,
        lag_seconds: row.try_get("seconds")?,
        parked: count("parked")?,
        whole: row.try_get("whole")?,
    })
}

/// How many aggregates are parked.
pub(super) async fn parked(pool: &Pool, view: &View) -> Result<u64, ProjectionError> {
    let count: i64 = sqlx::query_scalar(include_str!("sql/count_parked.sql"))
        .bind(view.name())
        .fetch_one(&mut *pool.acquire().await?)
        .await?;
    Ok(count.unsigned_abs())
}
