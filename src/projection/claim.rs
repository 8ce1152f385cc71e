//! Claims of given events, for inline folds and retries: they claim first, and read the view rows after that.

use std::collections::HashSet;

use sqlx::Row;

use super::ProjectionError;
use crate::db::Session;
use crate::event::{AggregateId, EventId, RecordedEvent};
use crate::view::View;

/// Claims the given events; returns those that no other transaction had claimed already.
pub(super) async fn claim_events(
    connection: &mut Session<'_>,
    view: &View,
    mut events: Vec<RecordedEvent>,
) -> Result<Vec<RecordedEvent>, ProjectionError> {
    // Position order is nearly log order, so workers and inline appends rarely claim the same events in opposite order.
    // If they do, they deadlock and Postgres aborts one of them.
    events.sort_by_key(|event| event.position);
    let rows = sqlx::query(include_str!("sql/claim_events.sql"))
        .bind(view.lock_domain())
        .bind(events.iter().map(|e| e.id.0).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let claimed_ids = rows
        .iter()
        .map(|row| {
            Ok((
                EventId(row.try_get("event_id")?),
                AggregateId(row.try_get("aggregate_id")?),
            ))
        })
        .collect::<Result<HashSet<_>, sqlx::Error>>()?;
    events.retain(|event| claimed_ids.contains(&(event.id, event.aggregate_id)));
    Ok(events)
}

/// Releases the claims of events that this transaction has claimed but not folded.
pub(super) async fn release(
    connection: &mut Session<'_>,
    view: &View,
    events: &[(EventId, AggregateId)],
) -> Result<(), ProjectionError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/release_claims.sql"))
        .bind(view.lock_domain())
        .bind(events.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, id)| id.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
