//! The aggregates that a view is behind on.

use sqlx::Row;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::event::AggregateId;
use crate::view::View;

/// How many events are looked at, claimed or not.
const MAX_LOOKED_AT: i64 = 20_000;
/// How many aggregates are returned at most.
const MAX_AGGREGATES: i64 = 1000;

/// Aggregates with events that a view has not folded, at one moment.
#[derive(Debug)]
pub struct Unfolded {
    /// The aggregates, parked ones included.
    pub aggregates: Vec<AggregateId>,
    /// Whether these are all of them. If not, the view is too far behind to find them quickly.
    pub is_complete: bool,
}

/// Finds the aggregates with events that a view has not folded.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn find_unfolded(connection: &mut Session<'_>, view: &View) -> Result<Unfolded, DbError> {
    let types = view.projection.block();
    let row = sqlx::query(include_str!("sql/find_unfolded.sql"))
        .bind(view.lock_domain())
        .bind(types.start)
        .bind(types.end)
        .bind(MAX_LOOKED_AT)
        .bind(MAX_AGGREGATES + 1)
        .fetch_one(connection)
        .await?;
    let ids: Vec<Uuid> = row.try_get("aggregates")?;
    Ok(Unfolded {
        aggregates: ids.into_iter().map(AggregateId).collect(),
        is_complete: row.try_get("is_complete")?,
    })
}
