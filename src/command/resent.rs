//! Resent events: a client that did not hear the answer sends again, and is answered as the first time.

use std::collections::HashMap;

use serde_json::Value;

use super::{Error, ids, seal};
use crate::db::Session;
use crate::engine::Engine;
use crate::event::{AppendedEvent, EventId, NewEvent, RecordedEvent};
use crate::store;

/// What became of these events when they were sent before; `None` when none of them was.
///
/// Content is the aggregate, the type and the payload. Metadata is about the sending (a trace, a request), so a resend
/// may differ in it.
pub(super) async fn find(
    engine: &Engine,
    connection: &mut Session<'_>,
    events: &[NewEvent<Value>],
) -> Result<Option<Vec<AppendedEvent>>, Error> {
    let mut stored: HashMap<EventId, Vec<RecordedEvent>> = HashMap::new();
    for event in store::find_events(connection, &ids(events)).await? {
        stored.entry(event.id).or_default().push(event);
    }
    if stored.is_empty() {
        return Ok(None);
    }
    let mut answers = Vec::with_capacity(events.len());
    let mut missing = false;
    for (index, event) in events.iter().enumerate() {
        let Some(with_id) = stored.remove(&event.id) else {
            missing = true;
            continue;
        };
        let reused = || Error::IdReused {
            index,
            id: event.id,
        };
        let same = with_id
            .into_iter()
            .find(|e| e.aggregate_id == event.aggregate_id)
            .ok_or_else(reused)?;
        let payload = serde_json::from_str(same.payload.get()).map_err(|_| reused())?;
        if same.type_id != event.type_id || !seal::same_content(engine, event, payload).await? {
            return Err(reused());
        }
        answers.push(AppendedEvent {
            id: same.id,
            aggregate_id: same.aggregate_id,
            version: same.version,
            position: same.position,
        });
    }
    match answers.first() {
        Some(one) if missing => {
            let index = events
                .iter()
                .position(|event| event.id == one.id)
                .unwrap_or_default();
            Err(Error::PartlyResent { index, id: one.id })
        }
        _ => Ok(Some(answers)),
    }
}
