//! Reads events of the log.

use std::fmt::Display;

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{ColumnIndex, Row};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::db::{DbError, Session};
use crate::event::{AggregateId, EventId, Position, RecordedEvent, TypeId, Version, to_event_time};

/// The moment from which Postgres counts the microseconds of a `timestamptz`.
const POSTGRES_EPOCH: OffsetDateTime = datetime!(2000-01-01 0:00 UTC);

/// How much of an aggregate [`read_stream`] holds in memory at most, apart from one event.
const MAX_PART_BYTES: usize = 4 * 1024 * 1024;

/// A moment of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After its newest event.
    Newest,
    /// After the event with this version.
    Version(Version),
    /// After the last event that was recorded at this time or earlier.
    Time(OffsetDateTime),
}

impl From<Version> for Moment {
    fn from(version: Version) -> Self {
        Self::Version(version)
    }
}

impl From<OffsetDateTime> for Moment {
    fn from(time: OffsetDateTime) -> Self {
        Self::Time(time)
    }
}

/// A part of an aggregate's events.
#[derive(Debug)]
pub struct StreamPart {
    /// The events in the order of their versions.
    pub events: Vec<RecordedEvent>,
    /// The versions of the aggregate that an operator has skipped in the projection asked for; unknown without an event.
    pub skipped: Vec<Version>,
    /// Whether there may be more events up to the moment asked for.
    pub has_more: bool,
}

/// Reads the events of an aggregate after the version `after` up to the moment `until`: at most `max_events`, and no more than
/// fit into 4 MiB, but at least one if there is one. `skips_of` names the projection whose skipped events are looked up.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn read_stream(
    connection: &mut Session<'_>,
    id: AggregateId,
    after: Version,
    until: Moment,
    max_events: u16,
    skips_of: Option<&str>,
) -> Result<StreamPart, DbError> {
    let (version, time) = match until {
        Moment::Newest => (None, None),
        Moment::Version(version) => (Some(version.0), None),
        Moment::Time(time) => (None, Some(to_event_time(time))),
    };
    let mut rows = sqlx::query(include_str!("sql/read_stream.sql"))
        .bind(id.0)
        .bind(after.0)
        .bind(version)
        .bind(time)
        .bind(i64::from(max_events))
        .bind(skips_of)
        .fetch(connection);
    let (mut events, mut bytes, mut is_full) = (Vec::new(), 0, false);
    let mut skipped = Vec::new();
    // The result is read to its end even when the part is full: otherwise the next request could not use the connection.
    while let Some(row) = rows.try_next().await? {
        if events.is_empty() {
            skipped = decode_skipped(&row)?;
        }
        bytes += byte_len(&row, "payload")? + byte_len(&row, "metadata")?;
        is_full |= bytes > MAX_PART_BYTES && !events.is_empty();
        if !is_full {
            events.push(decode_event(&row)?);
        }
    }
    let has_more = is_full || events.len() >= usize::from(max_events);
    Ok(StreamPart {
        events,
        skipped,
        has_more,
    })
}

/// Decodes the column `skipped`.
///
/// # Errors
///
/// When the column is missing or has another type.
pub fn decode_skipped(row: &PgRow) -> Result<Vec<Version>, sqlx::Error> {
    let versions: Option<Vec<i32>> = row.try_get("skipped")?;
    Ok(versions.into_iter().flatten().map(Version).collect())
}

/// The length of a value as Postgres sent it, in bytes.
///
/// # Errors
///
/// When the column is missing.
pub fn byte_len(row: &PgRow, column: &str) -> Result<usize, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    Ok(value.as_bytes().map_or(0, <[u8]>::len))
}

/// Calls `visit` with the events that have these ids, of any aggregate; at most two per id. It holds one of them in memory: a small
/// request may name many large events.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn find_events(
    connection: &mut Session<'_>,
    ids: &[EventId],
    mut visit: impl FnMut(RecordedEvent) + Send,
) -> Result<(), DbError> {
    let mut rows = sqlx::query(include_str!("sql/find_events.sql"))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        visit(decode_event(&row)?);
    }
    Ok(())
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
        created_at: decode_time(row, "created_at")?,
        payload,
        metadata,
    })
}

/// Decodes a time. Postgres stores `infinity` and years above 9999, and sqlx panics on them.
///
/// # Errors
///
/// [`sqlx::Error::ColumnDecode`] when the time is outside of the years -9999 to 9999; any other error when the column is missing.
pub fn decode_time(
    row: &PgRow,
    column: impl ColumnIndex<PgRow> + Display + Copy,
) -> Result<OffsetDateTime, sqlx::Error> {
    to_time(row.try_get_unchecked(column)?).ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_string(),
        source: "the time is outside of the years -9999 to 9999".into(),
    })
}

/// As [`decode_time`]; `None` for null, and for what [`decode_time`] refuses, such as `infinity`.
///
/// # Errors
///
/// When the column is missing.
pub fn decode_optional_time(
    row: &PgRow,
    column: impl ColumnIndex<PgRow> + Display + Copy,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    let microseconds: Option<i64> = row.try_get_unchecked(column)?;
    Ok(microseconds.and_then(to_time))
}

fn to_time(microseconds: i64) -> Option<OffsetDateTime> {
    POSTGRES_EPOCH.checked_add(Duration::microseconds(microseconds))
}
