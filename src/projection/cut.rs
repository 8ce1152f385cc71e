//! Cuts the aggregates into ranges of ids with about the same number of events each, for work that several sessions share.

use uuid::Uuid;

use crate::db::{DbError, Session};

/// How to cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// The most ranges.
    pub max_ranges: i64,
    /// The fewest events of a range.
    pub min_events: i64,
    /// How many pages of the log are read to estimate where the events are.
    pub sampled_pages: i64,
}

/// The first ids of all ranges but the lowest, in order.
pub(super) async fn cut(session: &mut Session<'_>, how: Cut) -> Result<Vec<Uuid>, DbError> {
    let pages: i64 = sqlx::query_scalar(include_str!("sql/count_pages.sql"))
        .fetch_one(&mut *session)
        .await?;
    let boundaries = sqlx::query_scalar(include_str!("sql/cut_ranges.sql"))
        .bind(how.max_ranges)
        .bind(how.min_events)
        .bind(pages)
        .bind(how.sampled_pages)
        .fetch_all(&mut *session)
        .await?;
    Ok(boundaries)
}
