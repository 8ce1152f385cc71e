//! Idempotent replay: a client that did not receive the answer to its append sends it again, and gets the same answer.

use std::collections::HashMap;

use futures_util::future::try_join_all;

use super::{AppendError, passwords};
use crate::app::Foldlog;
use crate::db::Session;
use crate::event::{AppendedEvent, EventId, Prepared, RecordedEvent};
use crate::store;

/// A stored event that has the id and the aggregate of one that was sent.
struct EarlierEvent {
    answer: AppendedEvent,
    /// The passwords that were sent, with the hashes that are stored; `None` if the content is another one.
    passwords: Option<Vec<(String, String)>>,
}

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
    let sent: HashMap<EventId, &Prepared> = events.iter().map(|event| (event.id, event)).collect();
    // For each id that is in use, the answer for the event of the same aggregate, and its passwords if the content is the same.
    let mut stored: HashMap<EventId, Option<EarlierEvent>> = HashMap::new();
    let visit = |event: RecordedEvent| {
        let slot = stored.entry(event.id).or_default();
        let sent = sent.get(&event.id);
        if let Some(sent) = sent.filter(|sent| sent.aggregate_id == event.aggregate_id) {
            *slot = Some(EarlierEvent {
                passwords: sent.compare(event.type_id, &event.payload),
                answer: AppendedEvent {
                    id: event.id,
                    aggregate_id: event.aggregate_id,
                    version: event.version,
                    position: event.position,
                    created_at: event.created_at,
                },
            });
        }
    };
    store::find_events(connection, &ids, visit).await?;
    if stored.is_empty() {
        return Ok(None);
    }
    let mut answers = Vec::with_capacity(events.len());
    let mut unverified = Vec::new();
    let mut first_stored = None;
    for (index, event) in events.iter().enumerate() {
        let Some(found) = stored.remove(&event.id) else {
            continue;
        };
        let reused = || AppendError::IdReused {
            index,
            id: event.id,
        };
        let same = found.ok_or_else(reused)?;
        unverified.push((index, same.passwords.ok_or_else(reused)?));
        first_stored.get_or_insert(index);
        answers.push(same.answer);
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
