//! The aggregates that a view is behind on.

use sqlx::Row;
use uuid::Uuid;

use crate::db::{DbError, Session};
use crate::event::AggregateId;
use crate::view::View;

/// How many events are looked at, claimed or not.
const MAX_LOOKED_AT: i64 = 20_000;
/// How many aggregates are returned at most: that many that wait, and that many parked ones.
const MAX_AGGREGATES: usize = 1000;

/// Aggregates with events that a view has not folded, at one moment.
#[derive(Debug)]
pub struct Unfolded {
    /// The aggregates, parked ones included.
    pub aggregates: Vec<AggregateId>,
    /// The last id up to which all parked ones are among them; `None`: all of them are.
    pub end: Option<AggregateId>,
    /// Whether all that wait without being parked are among them. If not, the view is too far behind to find them quickly.
    pub is_complete: bool,
}

/// Finds the aggregates after an id with events that a view has not folded.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn find_unfolded(
    connection: &mut Session<'_>,
    view: &View,
    after: Option<AggregateId>,
) -> Result<Unfolded, DbError> {
    // Postgres and `u128` order ids alike: by their bytes.
    let first = after.map_or(Some(0), |AggregateId(id)| id.as_u128().checked_add(1));
    let Some(first) = first else {
        return Ok(Unfolded {
            aggregates: Vec::new(),
            end: None,
            is_complete: true,
        });
    };
    let types = view.projection.block();
    let row = sqlx::query(include_str!("sql/find_unfolded.sql"))
        .bind(view.lock_domain())
        .bind(types.start)
        .bind(types.end)
        .bind(MAX_LOOKED_AT)
        .bind(i64::try_from(MAX_AGGREGATES + 1).unwrap_or(i64::MAX))
        .bind(Uuid::from_u128(first))
        .fetch_one(connection)
        .await?;
    let (waiting, mut parked): (Vec<Uuid>, Vec<Uuid>) =
        (row.try_get("waiting")?, row.try_get("parked")?);
    let has_more = parked.len() > MAX_AGGREGATES;
    parked.truncate(MAX_AGGREGATES);
    let end = parked.last().filter(|_| has_more).copied();
    Ok(Unfolded {
        aggregates: waiting.into_iter().chain(parked).map(AggregateId).collect(),
        end: end.map(AggregateId),
        is_complete: row.try_get("is_complete")?,
    })
}
