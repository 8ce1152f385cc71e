//! Reads events of the log.

use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::db::{DbError, Session};
use crate::event::{AggregateId, EventId, Position, RecordedEvent, TypeId, Version};

/// The moment from which Postgres counts the microseconds of a `timestamptz`.
const POSTGRES_EPOCH: OffsetDateTime = datetime!(2000-01-01 0:00 UTC);

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
/// [`sqlx::Error::ColumnDecode`] when a value cannot be decoded; any other error when a column is missing.
pub fn decode_event(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    let (Json(payload), Json(metadata)) = (row.try_get("payload")?, row.try_get("metadata")?);
    Ok(RecordedEvent {
        id: EventId(row.try_get("id")?),
        aggregate_id: AggregateId(row.try_get("aggregate_id")?),
        type_id: TypeId(row.try_get("type_id")?),
        version: Version(row.try_get("version")?),
        position: Position(row.try_get("position")?),
        created_at: decode_created_at(row)?,
        payload,
        metadata,
    })
}

/// Decodes `created_at`. Postgres stores `infinity` and years above 9999, and sqlx panics on them.
pub(super) fn decode_created_at(row: &PgRow) -> Result<OffsetDateTime, sqlx::Error> {
    let microseconds: i64 = row.try_get_unchecked("created_at")?;
    POSTGRES_EPOCH
        .checked_add(Duration::microseconds(microseconds))
        .ok_or_else(|| sqlx::Error::ColumnDecode {
            index: "created_at".to_owned(),
            source: "the time is outside of the years -9999 to 9999".into(),
        })
}
