//! Appends events to the log.

use std::collections::HashMap;

use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use crate::db::{DbError, Session};
use crate::event::{AggregateId, AppendedEvent, EventId, Position, Prepared, Version};

/// The version that each aggregate of an append must have; 0 means that the aggregate must not exist. An aggregate that is
/// missing here may have any version.
pub type ExpectedVersions = HashMap<AggregateId, i32>;

/// The result of an append.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All events are stored. They are listed in the order of the request.
    Stored(Vec<AppendedEvent>),
    /// No event is stored: an aggregate has another version than expected, another transaction appended to it first, or an
    /// event id is already stored. The caller must roll back the surrounding transaction, if there is one.
    LostRace,
}

/// Appends all `events` or none, in one statement. An aggregate that is missing in `expected` may have any version.
///
/// # Errors
///
/// Any [`DbError`]. A violated key that a lost race can cause is not an error but [`Outcome::LostRace`].
pub async fn append(
    connection: &mut Session<'_>,
    events: &[Prepared],
    expected: &ExpectedVersions,
) -> Result<Outcome, DbError> {
    let stored = match events {
        [] => return Ok(Outcome::Stored(Vec::new())),
        [event] => {
            append_single(
                connection,
                event,
                expected.get(&event.aggregate_id).copied(),
            )
            .await
        }
        _ => append_batch(connection, events, expected).await,
    };
    match stored {
        Ok(stored) if stored.len() == events.len() => Ok(Outcome::Stored(stored)),
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

async fn append_single(
    connection: &mut Session<'_>,
    event: &Prepared,
    expected: Option<i32>,
) -> Result<Vec<AppendedEvent>, DbError> {
    let statement = match expected {
        Some(0) => include_str!("sql/append_first.sql"),
        _ => include_str!("sql/append_event.sql"),
    };
    let mut query = sqlx::query(statement)
        .bind(event.id.0)
        .bind(event.aggregate_id.0)
        .bind(event.type_id.0)
        .bind(Json(stored_payload(event)?))
        .bind(Json(&event.metadata));
    if expected != Some(0) {
        query = query.bind(expected);
    }
    let row = query.fetch_optional(connection).await?;
    let decode = |row: PgRow| decode_appended(&row, event.id, event.aggregate_id);
    Ok(row.map(decode).transpose()?.into_iter().collect())
}

async fn append_batch(
    connection: &mut Session<'_>,
    events: &[Prepared],
    expected: &ExpectedVersions,
) -> Result<Vec<AppendedEvent>, DbError> {
    let mut counts: HashMap<AggregateId, i32> = HashMap::new();
    let step_of = |event: &Prepared| {
        let count = counts.entry(event.aggregate_id).or_default();
        *count += 1;
        *count
    };
    let step: Vec<i32> = events.iter().map(step_of).collect();
    let aggregates: Vec<AggregateId> = counts.into_keys().collect();
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
        .bind(
            aggregates
                .iter()
                .map(|id| expected.get(id).copied())
                .collect::<Vec<_>>(),
        )
        .fetch_all(connection)
        .await?;
    let mut stored = HashMap::with_capacity(rows.len());
    for row in &rows {
        let key = (
            EventId(row.try_get("id")?),
            AggregateId(row.try_get("aggregate_id")?),
        );
        stored.insert(key, decode_appended(row, key.0, key.1)?);
    }
    Ok(events
        .iter()
        .filter_map(|e| stored.remove(&(e.id, e.aggregate_id)))
        .collect())
}

/// The payload that is stored. A payload with a password that is not hashed yet must never reach the log.
fn stored_payload(event: &Prepared) -> Result<&RawValue, sqlx::Error> {
    let unhashed = || sqlx::Error::Encode("a payload has a password that is not hashed".into());
    event.stored_payload().ok_or_else(unhashed)
}

fn decode_appended(
    row: &PgRow,
    id: EventId,
    aggregate_id: AggregateId,
) -> Result<AppendedEvent, sqlx::Error> {
    let (version, position) = (
        Version(row.try_get("version")?),
        Position(row.try_get("position")?),
    );
    Ok(AppendedEvent {
        id,
        aggregate_id,
        version,
        position,
    })
}
