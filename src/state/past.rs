//! The state of an aggregate at a moment in the past, folded from its first event. The view's row is not used: it may come from
//! an older fold, and it says nothing about an earlier moment.

use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::db::{DbError, Session};
use crate::domain::FoldError;
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::store::{self, Moment};
use crate::view::View;

/// How many events are read at once.
const MAX_PART_EVENTS: u16 = 1000;

/// An aggregate at a moment.
#[derive(Debug, Default)]
pub struct PastState {
    /// The version of its last event; 0 when it had none.
    pub version: Version,
    /// When that event was recorded.
    pub created_at: Option<OffsetDateTime>,
    /// Its row with its secrets; `None` when it did not exist or was deleted.
    pub row: Option<Box<RawValue>>,
    /// Why the event after the row cannot be folded.
    pub failure: Option<FoldError>,
}

impl PastState {
    /// Whether the fold of its events is the absence of a row.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.version.0 > 0 && self.row.is_none() && self.failure.is_none()
    }

    /// Folds further events over the row. Once an event cannot be folded, the row stays at the event before it.
    pub fn fold(&mut self, view: &View, events: &[RecordedEvent]) {
        let Some(last) = events.last() else { return };
        if self.failure.is_none() {
            let folded = view.projection.fold(self.row.as_deref(), events);
            self.row = folded.row;
            self.failure = folded.failure;
        }
        self.version = last.version;
        self.created_at = Some(last.created_at);
    }

    /// As [`Self::fold`], without the events of other domains' types.
    pub(super) fn fold_own(&mut self, view: &View, events: &mut Vec<RecordedEvent>) {
        let types = view.projection.block();
        events.retain(|event| types.contains(&event.type_id.0));
        self.fold(view, events);
    }
}

/// Folds the events of an aggregate up to `moment`, in a bounded amount of memory. Events of other domains' types are left out.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn load_past(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    moment: Moment,
) -> Result<PastState, DbError> {
    let mut state = PastState::default();
    fold_from(connection, view, id, moment, Version(0), &mut state).await?;
    Ok(state)
}

/// Folds the events after the version `after` up to a moment over `state`; returns how many there were.
pub(super) async fn fold_from(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    moment: Moment,
    mut after: Version,
    state: &mut PastState,
) -> Result<usize, DbError> {
    let mut count = 0;
    loop {
        let mut part = store::read_stream(connection, id, after, moment, MAX_PART_EVENTS).await?;
        after = part.events.last().map_or(after, |event| event.version);
        count += part.events.len();
        state.fold_own(view, &mut part.events);
        if !part.has_more {
            return Ok(count);
        }
    }
}
