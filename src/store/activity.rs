//! How many events the log gets over time.

use sqlx::query_scalar;
use time::OffsetDateTime;

use crate::db::{DbError, Session};

/// The position of the log's newest event before each of these times; empty if there are no events. Positions have gaps, and those of
/// concurrent appends are not in the order of time, so the difference of two of them is about the number of events between.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn read_positions(
    connection: &mut Session<'_>,
    times: &[OffsetDateTime],
) -> Result<Vec<i64>, DbError> {
    Ok(query_scalar(include_str!("sql/read_positions.sql"))
        .bind(times)
        .fetch_all(connection)
        .await?)
}
