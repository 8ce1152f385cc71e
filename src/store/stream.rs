//! Reads events of the log.

use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use crate::db::{DbError, Session};
use crate::event::{AggregateId, EventId, Position, RecordedEvent, TypeId, Version};

/// Reads the events with these ids, of any aggregate; at most two per id.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn find_events(
    connection: &mut Session<'_>,
    ids: &[EventId],
) -> Result<Vec<RecordedEvent>, DbError> {
    let rows = sqlx::query(include_str!("sql/find_events.sql"))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(rows.iter().map(decode_event).collect::<Result<_, _>>()?)
}

/// Decodes a row that has the columns of an event.
///
/// # Errors
///
/// When a column is missing or has another type.
pub fn decode_event(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    let (Json(payload), Json(metadata)) = (row.try_get("payload")?, row.try_get("metadata")?);
    Ok(RecordedEvent {
        id: EventId(row.try_get("id")?),
        aggregate_id: AggregateId(row.try_get("aggregate_id")?),
        type_id: TypeId(row.try_get("type_id")?),
        version: Version(row.try_get("version")?),
        position: Position(row.try_get("position")?),
        created_at: row.try_get("created_at")?,
        payload,
        metadata,
    })
}
