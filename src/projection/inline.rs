//! Inline projections: the append's own transaction claims and folds the events of the aggregates it appends to.
//!
//! The fold claims all events that are not yet in the view row, without a limit, because an event must not be folded
//! before its predecessors. So when the client receives the response, the view contains the append. An inline fold skips
//! parked aggregates; the retry folds them.

use std::collections::HashSet;

use sqlx::Row;

use super::read_events::ReadEvents;
use super::rows::OnRejectedWrite;
use super::{ProjectionError, claim, fold};
use crate::db::Session;
use crate::event::AggregateId;
use crate::state;
use crate::view::View;

/// Folds all events of these aggregates that their view rows do not contain yet, in the transaction that appended to them.
///
/// # Errors
///
/// [`DbError::Conflict`](crate::db::DbError::Conflict) when a set rule of the view rejects the row, and
/// [`ProjectionError::FoldFailed`] when an event of this append or an earlier one cannot be folded. The caller must roll
/// back the transaction in both cases.
pub async fn fold_inline(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
) -> Result<(), ProjectionError> {
    let parked = sqlx::query(include_str!("sql/still_parked.sql"))
        .bind(view.name())
        .bind(aggregates.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    let parked = parked
        .iter()
        .map(|row| row.try_get(0).map(AggregateId))
        .collect::<Result<HashSet<_>, _>>()?;
    let ids: Vec<AggregateId> = aggregates
        .iter()
        .copied()
        .filter(|id| !parked.contains(id))
        .collect();
    let types = view.projection.block();
    let backlog: Vec<_> = state::load(connection, view, &ids)
        .await?
        .into_values()
        .flat_map(|state| state.tail)
        .filter(|event| types.contains(&event.type_id.0))
        .collect();
    let claimed = ReadEvents {
        events: claim::claim_events(connection, view, backlog).await?,
        ..ReadEvents::default()
    };
    let mut applied = fold::apply(connection, view, claimed, OnRejectedWrite::Return).await?;
    match applied.failures.pop() {
        Some(failure) => Err(ProjectionError::FoldFailed {
            projection: view.name(),
            aggregate_id: failure.aggregate_id,
            event_id: failure.event_id,
        }),
        None => Ok(()),
    }
}
