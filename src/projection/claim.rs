//! Claiming: which events are this projection's next ones, and whose they are.

use std::collections::HashSet;

use sqlx::Row;

use super::ProjectionError;
use super::settled::{LogCursor, Snapshot, Span};
use crate::db::Session;
use crate::event::{AggregateId, EventId, RecordedEvent};
use crate::store;
use crate::view::View;

/// What one claim statement found.
#[derive(Debug)]
pub(super) struct Batch {
    /// How many events it looked at, whosever they are.
    pub looked: u64,
    /// The last of them; the next batch begins behind it.
    pub last: Option<LogCursor>,
    /// Those that are ours now, in log order.
    pub claimed: Vec<RecordedEvent>,
}

/// Takes the next `limit` events of `spans`, as far as they are visible in `frozen`, and claims them.
pub(super) async fn claim(
    connection: &mut Session,
    view: &View,
    spans: &[Span],
    frozen: &Snapshot,
    limit: i64,
) -> Result<Batch, ProjectionError> {
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
    let (mut events, mut ours) = (Vec::with_capacity(rows.len() / 2), HashSet::new());
    let (mut looked, mut last) = (0, None);
    for row in &rows {
        let (id, position): (Option<uuid::Uuid>, Option<i64>) =
            (row.try_get("id")?, row.try_get("position")?);
        match (id, position) {
            (Some(_), Some(_)) => events.push(store::decode_event(row)?),
            (Some(id), None) => {
                ours.insert((EventId(id), AggregateId(row.try_get("aggregate_id")?)));
            }
            (None, position) => {
                let txid = row.try_get::<String, _>("txid")?;
                let txid = txid.parse().map_err(|_| super::settled::SnapshotError)?;
                last = position.map(|position| LogCursor { txid, position });
                looked = row.try_get::<i64, _>("looked_at")?.unsigned_abs();
            }
        }
    }
    events.retain(|event| ours.contains(&(event.id, event.aggregate_id)));
    Ok(Batch {
        looked,
        last,
        claimed: events,
    })
}

/// Claims given events; returns those that were not somebody else's already.
pub(super) async fn claim_events(
    connection: &mut Session,
    view: &View,
    mut events: Vec<RecordedEvent>,
) -> Result<Vec<RecordedEvent>, ProjectionError> {
    // Nearly log order: workers and appends then seldom meet in opposite order. Where they do, Postgres aborts one.
    events.sort_by_key(|event| event.position);
    let rows = sqlx::query(include_str!("sql/claim_events.sql"))
        .bind(view.name())
        .bind(events.iter().map(|e| e.id.0).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let ours = rows
        .iter()
        .map(|row| {
            Ok((
                EventId(row.try_get("event_id")?),
                AggregateId(row.try_get("aggregate_id")?),
            ))
        })
        .collect::<Result<HashSet<_>, sqlx::Error>>()?;
    events.retain(|event| ours.contains(&(event.id, event.aggregate_id)));
    Ok(events)
}
