//! Reads the log as a feed: all events in log order `(txid, position)`, the same order for every reader.
//!
//! # Why a reader misses nothing and sees nothing twice
//!
//! 1. An event is shown only when no transaction that could still commit an event has its id or a lower one: `feed_horizon()`
//!    in `migrations/…_feed_horizon.up.sql` is the end of what is shown. What is shown therefore never gets a new event in its
//!    midst, and a transaction that commits late is shown late. (test: `a_late_commit_delays_the_feed_and_is_not_skipped`)
//! 2. A cursor is the place of an event of the log, never a place between events: a dump has all events, but not the transaction
//!    counter. In another cluster the log's offset rises above its newest event, so every new event has a higher place than every
//!    cursor. (test: `a_cursor_continues_on_a_dump_restored_into_a_new_cluster`)
//! 3. A log that was restored from an older dump has lost events that a reader may have seen, and reuses their places. A cursor
//!    names its event, so such a cursor is refused. (test: `a_cursor_of_lost_events_is_refused`)

mod cursor;
mod watch;

use std::ops::Range;

use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::cursor::{FeedCursor, FeedPlace};
pub use self::watch::FeedWatch;
use super::stream::{decode_optional_time, decode_time};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, EventId, Metadata, Position, RecordedEvent, TypeId, Version};

/// One statement looks at this many events at most, however few of them have the types asked for.
const MAX_LOOKED_AT: i64 = 10_000;

/// In which direction to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedStart {
    /// Forward, from the event after this cursor.
    After(FeedCursor),
    /// Backward, from the event before this cursor; `None` is the newest end.
    Before(Option<FeedCursor>),
}

/// What to read.
#[derive(Clone, Debug)]
pub struct FeedSelection {
    /// Where to begin.
    pub start: FeedStart,
    /// Only events of types in this range.
    pub block: Range<i16>,
    /// Only events of these types.
    pub types: Option<Vec<TypeId>>,
    /// The most events.
    pub max_events: u16,
}

/// An event of the feed. Its metadata is kept as the text that Postgres sent, because nothing reads it: the metadata of `event`
/// is empty.
#[derive(Debug)]
pub struct FeedEntry {
    /// The place of the event.
    pub cursor: FeedCursor,
    /// The event without its metadata.
    pub event: RecordedEvent,
    /// The metadata of the event.
    pub metadata: Box<RawValue>,
}

/// How far a statement has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedExtent {
    /// The last event that was looked at, if the page is not full and it looked at any.
    pub end: Option<FeedCursor>,
    /// Whether there may be more events after [`Self::end`].
    pub has_more: bool,
    /// The newest event of the feed, if the feed was read backward.
    pub newest: Option<FeedCursor>,
    /// What waits behind a transaction that is still open.
    pub waiting: Option<FeedWaiting>,
}

/// Committed events that the feed does not show yet, because a transaction is open that began before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FeedWaiting {
    /// When the first of these events was recorded.
    #[serde(serialize_with = "crate::event::time::serialize")]
    pub since: OffsetDateTime,
    /// How many there are; at most 1000 are counted.
    pub events: u64,
}

/// Why the feed could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The log has no event at the cursor. It was restored from an older dump, or the cursor comes from another log.
    #[error(
        "the log has no event at this cursor: the log was restored from an older state, or the cursor comes from another log"
    )]
    UnknownCursor,
    /// A replica has not received the event at the cursor yet.
    #[error("this replica has not received the event at the cursor yet")]
    ReplicaBehind,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for FeedError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Reads a part of the feed. `add` gets the events in order, and returns false for the first one that the caller has no room for;
/// it gets none after that.
///
/// # Errors
///
/// See [`FeedError`].
pub async fn read_feed(
    connection: &mut Session<'_>,
    selection: &FeedSelection,
    mut add: impl FnMut(FeedEntry) -> bool,
) -> Result<FeedExtent, FeedError> {
    let (sql, columns, cursor) = match selection.start {
        FeedStart::After(cursor) => (include_str!("sql/read_feed.sql"), &FORWARD, Some(cursor)),
        FeedStart::Before(cursor) => (include_str!("sql/read_feed_back.sql"), &BACKWARD, cursor),
    };
    let is_backward = matches!(selection.start, FeedStart::Before(_));
    let types = selection.types.as_ref();
    let place = cursor.map(FeedCursor::place);
    let mut rows = sqlx::query(sql)
        .bind(place.map(|place| place.txid.to_string()))
        .bind(place.map_or(0, |place| place.position))
        .bind(selection.block.start)
        .bind(selection.block.end)
        .bind(types.map(|types| types.iter().map(|type_id| type_id.0).collect::<Vec<_>>()))
        .bind(i64::from(selection.max_events))
        .bind(MAX_LOOKED_AT)
        .fetch(connection);
    let (mut extent, mut previous, mut is_full) = (FeedExtent::default(), place, false);
    // The result is read to its end even when the page is full: otherwise the next request could not use the connection.
    while let Some(row) = rows.try_next().await? {
        if let Some(found) = decode_cursor(&row, columns.event)? {
            let is_next = previous.is_none_or(|previous| (found.place() < previous) == is_backward);
            if !is_next {
                let reason = "the events of the feed are not in its order";
                return Err(sqlx::Error::Protocol(reason.to_owned()).into());
            }
            previous = Some(found.place());
            is_full = is_full || !add(decode_entry(&row, found, columns.event)?);
        } else {
            check_cursor(&row, columns, cursor)?;
            extent = decode_extent(&row, columns)?;
        }
    }
    Ok(extent)
}

/// The newest event that the feed shows; `None` while the feed is empty.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn read_feed_end(connection: &mut Session<'_>) -> Result<Option<FeedPlace>, DbError> {
    let row = sqlx::query(include_str!("sql/feed_end.sql"))
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| decode_place(&row, 0)).transpose()?.flatten())
}

/// Where the columns of a statement are. A page has up to a thousand rows, and a search by name takes as long as the decoding.
struct Columns {
    cursor_id: usize,
    is_standby: usize,
    is_cut: usize,
    end: usize,
    newest: Option<usize>,
    hidden: usize,
    event: usize,
}

const FORWARD: Columns = Columns {
    cursor_id: 0,
    is_standby: 1,
    is_cut: 2,
    end: 3,
    newest: None,
    hidden: 6,
    event: 8,
};

const BACKWARD: Columns = Columns {
    newest: Some(6),
    hidden: 9,
    event: 11,
    ..FORWARD
};

/// Refuses a cursor whose event is not in the log.
fn check_cursor(
    row: &PgRow,
    columns: &Columns,
    cursor: Option<FeedCursor>,
) -> Result<(), FeedError> {
    let Some(cursor) = cursor.filter(|cursor| !cursor.is_beginning()) else {
        return Ok(());
    };
    let id: Option<Uuid> = row.try_get(columns.cursor_id)?;
    match id {
        Some(id) if cursor.is_at(EventId(id)) => Ok(()),
        None if row.try_get(columns.is_standby)? => Err(FeedError::ReplicaBehind),
        _ => Err(FeedError::UnknownCursor),
    }
}

fn decode_extent(row: &PgRow, columns: &Columns) -> Result<FeedExtent, sqlx::Error> {
    let newest = columns.newest.map(|at| decode_cursor(row, at));
    let has_more: bool = row.try_get(columns.is_cut)?;
    let events: i64 = row.try_get(columns.hidden)?;
    let since = decode_optional_time(row, columns.hidden + 1)?;
    Ok(FeedExtent {
        end: decode_cursor(row, columns.end)?,
        has_more,
        newest: newest.transpose()?.flatten(),
        waiting: since.map(|since| FeedWaiting {
            since,
            events: events.unsigned_abs(),
        }),
    })
}

/// Decodes the columns txid, position and id; `None` if they are null.
fn decode_cursor(row: &PgRow, at: usize) -> Result<Option<FeedCursor>, sqlx::Error> {
    let Some(place) = decode_place(row, at)? else {
        return Ok(None);
    };
    let id = EventId(row.try_get(at + 2)?);
    Ok(Some(FeedCursor::new(place, id)))
}

fn decode_place(row: &PgRow, at: usize) -> Result<Option<FeedPlace>, sqlx::Error> {
    let Some(txid) = row.try_get::<Option<&str>, _>(at)? else {
        return Ok(None);
    };
    let txid = txid
        .parse()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let position = row.try_get(at + 1)?;
    Ok(Some(FeedPlace { txid, position }))
}

fn decode_entry(row: &PgRow, cursor: FeedCursor, at: usize) -> Result<FeedEntry, sqlx::Error> {
    let (Json(payload), Json(metadata)) = (row.try_get(at + 7)?, row.try_get(at + 8)?);
    Ok(FeedEntry {
        cursor,
        event: RecordedEvent {
            id: EventId(row.try_get(at + 2)?),
            aggregate_id: AggregateId(row.try_get(at + 3)?),
            version: Version(row.try_get(at + 4)?),
            type_id: TypeId(row.try_get(at + 5)?),
            position: Position(cursor.place().position),
            created_at: decode_time(row, at + 6)?,
            payload,
            metadata: Metadata::default(),
        },
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    // Fails when a time that RFC 3339 does not have makes a page of the feed unwritable, or a time keeps its offset.
    #[test]
    fn since_is_written_like_every_other_time() {
        for (since, written) in [
            (
                datetime!(2026-11-26 8:00:00.5 +02:00),
                "2026-11-26T06:00:00.5Z",
            ),
            (datetime!(-0044-03-15 12:00 UTC), "0001-01-01T00:00:00Z"),
        ] {
            let waiting = FeedWaiting { since, events: 1 };
            let json = serde_json::to_value(waiting).unwrap();
            assert_eq!(json["since"], written);
        }
    }
}
