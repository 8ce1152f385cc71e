//! Folding in the append's own transaction: the same claim and fold, of the aggregates just appended to.
//!
//! Everything of theirs that the row lacks is claimed, without a limit, because a later event may not be folded before
//! an earlier one; so the view is never behind an append that was answered. A parked aggregate is left to the retry.

use std::collections::HashSet;

use sqlx::Row;

use super::fold::{self, OnRefusedWrite};
use super::{ProjectionError, claim};
use crate::db::Session;
use crate::event::AggregateId;
use crate::state;
use crate::view::View;

/// Folds what these aggregates' rows lack, in the transaction that has appended to them.
///
/// # Errors
///
/// [`DbError::Conflict`](crate::db::DbError::Conflict) when a set rule of the view refuses the row, [`ProjectionError::FoldFailed`] when an event cannot be folded
/// (an earlier one, or catch-up would park the aggregate). The transaction is over either way.
pub async fn fold_inline(
    connection: &mut Session,
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
    let behind: Vec<_> = state::load(connection, view, &ids)
        .await?
        .into_values()
        .flat_map(|state| state.tail)
        .filter(|event| types.contains(&event.type_id.0))
        .collect();
    let claimed = claim::claim_events(connection, view, behind).await?;
    let mut applied = fold::apply(connection, view, claimed, OnRefusedWrite::Refuse).await?;
    match applied.failures.pop() {
        Some(failure) => Err(ProjectionError::FoldFailed {
            projection: view.name(),
            aggregate_id: failure.aggregate_id,
            event_id: failure.event_id,
        }),
        None => Ok(()),
    }
}
