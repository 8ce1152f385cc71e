//! The state of an aggregate at a moment in the past, folded from its first event. The view's row is not used: it may come from
//! an older fold, and it says nothing about an earlier moment.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use sqlx::Row;
use time::OffsetDateTime;

use crate::db::{DbError, Session};
use crate::domain::FoldError;
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::store::{self, Moment};
use crate::view::{self, View};

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
    /// The events that an operator has skipped. They have no effect.
    skipped: BTreeSet<Version>,
}

impl PastState {
    /// Whether the fold of its events is the absence of a row.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.version.0 > 0 && self.row.is_none() && self.failure.is_none()
    }

    /// The state before the first event.
    ///
    /// # Errors
    ///
    /// Any [`DbError`].
    pub async fn before_first(
        connection: &mut Session<'_>,
        view: &View,
        id: AggregateId,
    ) -> Result<Self, DbError> {
        let skipped = find_skipped(connection, view, &[id]).await?;
        Ok(Self {
            skipped: skipped.into_iter().map(|(_, version)| version).collect(),
            ..Self::default()
        })
    }

    /// Folds further events over the row, without those that were skipped. Once an event cannot be folded, the row stays at the
    /// event before it.
    pub fn fold(&mut self, view: &View, events: &[RecordedEvent]) {
        let Some(last) = events.last() else { return };
        for events in events.split(|event| self.skipped.contains(&event.version)) {
            if self.failure.is_none() && !events.is_empty() {
                let folded = view.projection.fold(self.row.as_deref(), events);
                self.row = folded.row;
                self.failure = folded.failure;
            }
        }
        self.version = last.version;
        self.created_at = Some(last.created_at);
    }

    /// Whether an operator has skipped the event with this version.
    #[must_use]
    pub fn is_skipped(&self, version: Version) -> bool {
        self.skipped.contains(&version)
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
    let mut state = PastState::before_first(connection, view, id).await?;
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

/// The events that an operator has skipped in the view's projection, of these aggregates.
pub(super) async fn find_skipped(
    connection: &mut Session<'_>,
    view: &View,
    ids: &[AggregateId],
) -> Result<Vec<(AggregateId, Version)>, DbError> {
    let view = &view::resolve(connection, view).await?.view;
    let rows = sqlx::query(include_str!("sql/find_skipped.sql"))
        .bind(view.lock_domain())
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let skipped = rows.iter().map(|row| {
        let id = AggregateId(row.try_get("aggregate_id")?);
        Ok((id, Version(row.try_get("version")?)))
    });
    Ok(skipped.collect::<Result<_, sqlx::Error>>()?)
}
