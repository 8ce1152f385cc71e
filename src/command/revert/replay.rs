//! Recognizes a revert that was done before.

use super::target::{differing, keep_fields, load_row, load_target};
use super::{MARK_KEY, Mark, Revert, RevertError, Reverted, id_of};
use crate::command::{AppendError, MAX_EVENTS, outcome};
use crate::db::Session;
use crate::event::{AppendedEvent, RecordedEvent, Version};
use crate::store::{self, Moment};
use crate::view::View;

/// The answer to an earlier request with the same id and content.
pub(super) async fn find_replayed(
    connection: &mut Session<'_>,
    view: &View,
    revert: &Revert,
    mark: &Mark,
) -> Result<Option<Reverted>, RevertError> {
    let mut found = Vec::new();
    store::find_events(connection, &[revert.id], |event| found.push(event)).await?;
    if found.is_empty() {
        return Ok(None);
    }
    let is_same = |event: &RecordedEvent| {
        let stored = event.metadata.get(MARK_KEY);
        let stored = stored.and_then(|json| serde_json::from_str::<Mark>(json.get()).ok());
        stored.as_ref() == Some(mark)
    };
    let first = found
        .into_iter()
        .find(|event| event.aggregate_id == revert.aggregate_id && is_same(event))
        .ok_or(AppendError::IdReused {
            index: 0,
            id: revert.id,
        })?;
    let before = Version(first.version.0 - 1);
    let limit = u16::try_from(MAX_EVENTS).unwrap_or(u16::MAX);
    // The events of one append have consecutive versions.
    let id = revert.aggregate_id;
    let part = store::read_stream(connection, id, before, Moment::Newest, limit, None).await?;
    let events = part.events.into_iter().enumerate();
    let own = events.take_while(|(index, event)| event.id == id_of(revert.id, *index));
    let appended = own.map(|(_, event)| AppendedEvent {
        id: event.id,
        aggregate_id: event.aggregate_id,
        version: event.version,
        position: event.position,
        created_at: event.created_at,
    });
    let events: Vec<AppendedEvent> = appended.collect();
    let last = events.last().map_or(before, |event| event.version);
    let start = load_row(connection, view, id, before).await?;
    let end = load_row(connection, view, id, last).await?;
    let target = load_target(connection, view, revert, last).await?;
    let target = keep_fields(view, target, start.as_deref(), &revert.except)?;
    let mut outcome = outcome::fold(view, id, (last, end.as_deref()), &[])?;
    outcome.changes = outcome::changes(view, start.as_deref(), end.as_deref())?;
    let not_restored = differing(end.as_deref(), &target)?;
    Ok(Some(Reverted {
        events,
        duplicate: true,
        outcome,
        not_restored,
    }))
}
