//! Claiming: finds the next events of a projection and inserts their claims.

use std::collections::HashSet;

use sqlx::Row;

use super::ProjectionError;
use super::read::ReadEvents;
use super::settled::{LogCursor, Snapshot, Span};
use crate::db::Session;
use crate::event::{AggregateId, EventId, RecordedEvent};
use crate::view::View;

/// What one claim statement read and claimed.
#[derive(Debug)]
pub(super) struct ClaimResult {
    /// How many events it read, including events of other domains and events that other workers have claimed.
    pub scanned: u64,
    /// The last event it read; the next batch begins after it.
    pub last: Option<LogCursor>,
    /// The events that this transaction has claimed, in log order.
    pub claimed: ReadEvents,
}

/// Reads the next `limit` events in `spans` that are visible in `frozen`, and claims those that the projection handles.
pub(super) async fn claim(
    connection: &mut Session<'_>,
    view: &View,
    spans: &[Span],
    frozen: &Snapshot,
    limit: i64,
) -> Result<ClaimResult, ProjectionError> {
    let types = view.projection.block();
    let rows = sqlx::query(include_str!("sql/claim.sql"))
        .bind(view.name())
        .bind(
            spans
                .iter()
                .map(|span| span.after.txid.to_string())
                .collect::<Vec<_>>(),
        )
        .bind(
            spans
                .iter()
                .map(|span| span.after.position)
                .collect::<Vec<_>>(),
        )
        .bind(
            spans
                .iter()
                .map(|span| span.before.to_string())
                .collect::<Vec<_>>(),
        )
        .bind(frozen.to_string())
        .bind(types.start)
        .bind(types.end)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    let (mut claimed, mut claimed_ids) = (ReadEvents::default(), HashSet::new());
    let (mut scanned, mut last) = (0, None);
    for row in &rows {
        let (id, position): (Option<uuid::Uuid>, Option<i64>) =
            (row.try_get("id")?, row.try_get("position")?);
        match (id, position) {
            (Some(_), Some(_)) => claimed.push(row)?,
            (Some(id), None) => {
                claimed_ids.insert((EventId(id), AggregateId(row.try_get("aggregate_id")?)));
            }
            (None, position) => {
                let txid = row.try_get::<String, _>("txid")?;
                let txid = txid.parse().map_err(|_| super::settled::SnapshotError)?;
                last = position.map(|position| LogCursor { txid, position });
                scanned = row.try_get::<i64, _>("looked_at")?.unsigned_abs();
            }
        }
    }
    claimed.retain(|id, aggregate_id| claimed_ids.contains(&(id, aggregate_id)));
    Ok(ClaimResult {
        scanned,
        last,
        claimed,
    })
}

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
        .bind(view.name())
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
