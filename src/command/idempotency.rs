//! Idempotent replay: a client that did not receive the answer to its append sends it again, and gets the same answer.

use std::collections::HashMap;

use futures_util::future::try_join_all;

use super::{AppendError, passwords};
use crate::app::Foldlog;
use crate::db::Session;
use crate::event::{AppendedEvent, EventId, Prepared, RecordedEvent};
use crate::store;

/// The answer to the earlier append of these events; `None` when none of them is stored.
///
/// The content of an event is its aggregate, type and payload, compared as the domain reads them. Metadata describes the
/// sending (a trace, a request), so a replay may differ in it.
pub(super) async fn find_replayed(
    foldlog: &Foldlog,
    connection: &mut Session<'_>,
    events: &[Prepared],
) -> Result<Option<Vec<AppendedEvent>>, AppendError> {
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    let mut stored: HashMap<EventId, Vec<RecordedEvent>> = HashMap::new();
    for event in store::find_events(connection, &ids).await? {
        stored.entry(event.id).or_default().push(event);
    }
    if stored.is_empty() {
        return Ok(None);
    }
    let mut answers = Vec::with_capacity(events.len());
    let mut unverified = Vec::new();
    let mut first_stored = None;
    for (index, event) in events.iter().enumerate() {
        let Some(candidates) = stored.remove(&event.id) else {
            continue;
        };
        let reused = || AppendError::IdReused {
            index,
            id: event.id,
        };
        let same = candidates
            .into_iter()
            .find(|candidate| candidate.aggregate_id == event.aggregate_id)
            .ok_or_else(reused)?;
        let pairs = event
            .compare(same.type_id, &same.payload)
            .ok_or_else(reused)?;
        unverified.push((index, pairs));
        first_stored.get_or_insert(index);
        answers.push(AppendedEvent {
            id: same.id,
            aggregate_id: same.aggregate_id,
            version: same.version,
            position: same.position,
            created_at: same.created_at,
        });
    }
    try_join_all(unverified.into_iter().map(async |(index, pairs)| {
        let id = events[index].id;
        if passwords::verify(foldlog, pairs).await? {
            Ok(())
        } else {
            Err(AppendError::IdReused { index, id })
        }
    }))
    .await?;
    match first_stored {
        Some(index) if answers.len() < events.len() => Err(AppendError::PartlyStored {
            index,
            id: events[index].id,
        }),
        _ => Ok(Some(answers)),
    }
}
