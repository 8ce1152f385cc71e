//! Appends events to the log.

use std::collections::HashMap;

use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::RowOrigin;
use super::stream::decode_time;
use crate::db::{DbError, Session};
use crate::event::{
    AggregateId, AppendedEvent, EventId, Metadata, Position, Prepared, RecordedEvent, TypeId,
    Version,
};

/// Where each aggregate of an append must be. An aggregate that is missing here may be anywhere.
pub type ExpectedHeads = HashMap<AggregateId, ExpectedHead>;

/// Where an aggregate must be for an append to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedHead {
    /// Its version; 0 means that it must not exist.
    pub version: Version,
    /// The event at this version, if the caller knows more than its version.
    pub last: Option<LastEvent>,
}

/// One event of one log. After a restore, an aggregate may reach the same version again with another event, and a client
/// may send an event again with the same id; it is appended at another time then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEvent {
    /// Its id.
    pub id: EventId,
    /// When it was appended.
    pub created_at: OffsetDateTime,
}

impl From<&AppendedEvent> for LastEvent {
    fn from(event: &AppendedEvent) -> Self {
        Self {
            id: event.id,
            created_at: event.created_at,
        }
    }
}

impl From<Version> for ExpectedHead {
    fn from(version: Version) -> Self {
        Self {
            version,
            last: None,
        }
    }
}

/// The result of an append.
#[derive(Debug)]
pub enum Outcome {
    /// All events are stored. They are listed in the order of the request.
    Stored(Vec<StoredEvent>),
    /// No event is stored: an aggregate has another version than expected, another transaction appended to it first, or an
    /// event id is already stored. The caller must roll back the surrounding transaction, if there is one.
    LostRace,
}

/// An event that was just stored.
#[derive(Debug)]
pub struct StoredEvent {
    /// Its id, aggregate, version, position and time.
    pub appended: AppendedEvent,
    /// Its payload as the log holds it, if the append asked for it.
    pub payload: Option<Box<RawValue>>,
    /// Where its row was written, if that row was known before; see [`KnownRow`](super::KnownRow).
    pub origin: Option<RowOrigin>,
}

impl StoredEvent {
    /// The event as a read of the log returns it, without metadata; `None` when the append did not ask for the payload.
    #[must_use]
    pub fn into_recorded(self, type_id: TypeId) -> Option<RecordedEvent> {
        let AppendedEvent {
            id,
            aggregate_id,
            version,
            position,
            created_at,
        } = self.appended;
        Some(RecordedEvent {
            id,
            aggregate_id,
            type_id,
            version,
            position,
            created_at,
            payload: self.payload?,
            metadata: Metadata::default(),
        })
    }
}

/// Appends all `events` or none, in one statement. With `return_payloads` the answer has the payloads as the log holds them.
///
/// # Errors
///
/// Any [`DbError`]. A violated key that a lost race can cause is not an error but [`Outcome::LostRace`].
pub async fn append(
    connection: &mut Session<'_>,
    events: &[Prepared],
    expected: &ExpectedHeads,
    return_payloads: bool,
) -> Result<Outcome, DbError> {
    match events {
        [] => Ok(Outcome::Stored(Vec::new())),
        [event] => {
            let expected = expected.get(&event.aggregate_id).copied();
            append_single(connection, event, expected, return_payloads).await
        }
        _ => {
            let stored = append_batch(connection, events, expected, return_payloads).await;
            outcome(stored, events.len())
        }
    }
}

/// Keeps the appends of the open transaction from waking a listener.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn silence_doorbell(connection: &mut Session<'_>) -> Result<(), DbError> {
    sqlx::query(include_str!("sql/silence_doorbell.sql"))
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Appends one event.
///
/// # Errors
///
/// See [`append`].
pub(super) async fn append_single(
    connection: &mut Session<'_>,
    event: &Prepared,
    expected: Option<ExpectedHead>,
    return_payload: bool,
) -> Result<Outcome, DbError> {
    let is_first = expected.is_some_and(|expected| expected.version == Version(0));
    let statement = if is_first {
        include_str!("sql/append_first.sql")
    } else {
        include_str!("sql/append_event.sql")
    };
    let mut query = sqlx::query(statement)
        .bind(event.id.0)
        .bind(event.aggregate_id.0)
        .bind(event.type_id.0)
        .bind(Json(stored_payload(event)?))
        .bind(Json(&event.metadata));
    if !is_first {
        let last = expected.and_then(|expected| expected.last);
        query = query
            .bind(expected.map(|expected| expected.version.0))
            .bind(last.map(|last| last.id.0))
            .bind(last.map(|last| last.created_at));
    }
    let row = query.bind(return_payload).fetch_optional(connection).await;
    let decode = |row: PgRow| decode_stored(&row, event.id, event.aggregate_id);
    let stored = row.and_then(|row| row.map(decode).transpose());
    outcome(
        stored
            .map(|stored| stored.into_iter().collect())
            .map_err(DbError::from),
        1,
    )
}

async fn append_batch(
    connection: &mut Session<'_>,
    events: &[Prepared],
    expected: &ExpectedHeads,
    return_payloads: bool,
) -> Result<Vec<StoredEvent>, DbError> {
    let mut counts: HashMap<AggregateId, i32> = HashMap::new();
    let step_of = |event: &Prepared| {
        let count = counts.entry(event.aggregate_id).or_default();
        *count += 1;
        *count
    };
    let step: Vec<i32> = events.iter().map(step_of).collect();
    let aggregates: Vec<AggregateId> = counts.into_keys().collect();
    let heads: Vec<Option<ExpectedHead>> = aggregates
        .iter()
        .map(|id| expected.get(id).copied())
        .collect();
    let payloads: Vec<Json<&RawValue>> = events
        .iter()
        .map(|event| stored_payload(event).map(Json))
        .collect::<Result<_, _>>()?;
    let rows = sqlx::query(include_str!("sql/append_events.sql"))
        .bind(events.iter().map(|e| e.id.0).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.type_id.0).collect::<Vec<_>>())
        .bind(payloads)
        .bind(events.iter().map(|e| Json(&e.metadata)).collect::<Vec<_>>())
        .bind(step)
        .bind(aggregates.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(versions(&heads))
        .bind(last_ids(&heads))
        .bind(last_times(&heads))
        .bind(return_payloads)
        .fetch_all(connection)
        .await?;
    let mut stored = HashMap::with_capacity(rows.len());
    for row in &rows {
        let key = (
            EventId(row.try_get("id")?),
            AggregateId(row.try_get("aggregate_id")?),
        );
        stored.insert(key, decode_stored(row, key.0, key.1)?);
    }
    Ok(events
        .iter()
        .filter_map(|e| stored.remove(&(e.id, e.aggregate_id)))
        .collect())
}

/// The expected versions, as a bind.
pub(super) fn versions(heads: &[Option<ExpectedHead>]) -> Vec<Option<i32>> {
    let version = |head: &Option<ExpectedHead>| head.map(|head| head.version.0);
    heads.iter().map(version).collect()
}

/// The ids of the expected events, as a bind.
pub(super) fn last_ids(heads: &[Option<ExpectedHead>]) -> Vec<Option<uuid::Uuid>> {
    let id = |head: &Option<ExpectedHead>| Some(head.as_ref()?.last?.id.0);
    heads.iter().map(id).collect()
}

/// When the expected events were appended, as a bind.
pub(super) fn last_times(heads: &[Option<ExpectedHead>]) -> Vec<Option<OffsetDateTime>> {
    let time = |head: &Option<ExpectedHead>| Some(head.as_ref()?.last?.created_at);
    heads.iter().map(time).collect()
}

/// What the answer to a statement that should store `wanted` events says.
fn outcome(stored: Result<Vec<StoredEvent>, DbError>, wanted: usize) -> Result<Outcome, DbError> {
    match stored {
        Ok(stored) if stored.len() == wanted => Ok(Outcome::Stored(stored)),
        Ok(_) => Ok(Outcome::LostRace),
        Err(DbError::Conflict { constraint, .. })
            if matches!(
                constraint.as_str(),
                "events_pkey" | "events_aggregate_id_version_key"
            ) =>
        {
            Ok(Outcome::LostRace)
        }
        Err(error) => Err(error),
    }
}

/// The payload that is stored. A payload with a password that is not hashed yet must never reach the log.
pub(super) fn stored_payload(event: &Prepared) -> Result<&RawValue, sqlx::Error> {
    let unhashed = || sqlx::Error::Encode("a payload has a password that is not hashed".into());
    event.stored_payload().ok_or_else(unhashed)
}

/// Decodes what an append statement returns about an event.
pub(super) fn decode_stored(
    row: &PgRow,
    id: EventId,
    aggregate_id: AggregateId,
) -> Result<StoredEvent, sqlx::Error> {
    let payload: Option<Json<Box<RawValue>>> = row.try_get("payload")?;
    Ok(StoredEvent {
        appended: AppendedEvent {
            id,
            aggregate_id,
            version: Version(row.try_get("version")?),
            position: Position(row.try_get("position")?),
            created_at: decode_time(row, "created_at")?,
        },
        payload: payload.map(|Json(payload)| payload),
        origin: None,
    })
}
