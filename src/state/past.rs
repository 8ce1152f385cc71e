//! The state of an aggregate at a moment in the past, folded from its first event. The view's row is not used: it may come from
//! an older fold, and it says nothing about an earlier moment.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::db::{DbError, Session};
use crate::domain::{AnyFold, FoldError};
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::store::{self, Moment};
use crate::view::View;

/// How many events are read at once.
const MAX_PART_EVENTS: u16 = 1000;

/// An aggregate at a moment.
pub struct PastState {
    /// The version of its last event; 0 when it had none.
    pub version: Version,
    /// When that event was recorded.
    pub created_at: Option<OffsetDateTime>,
    /// Why an event cannot be folded. What follows it is not folded either.
    pub failure: Option<FoldError>,
    fold: Box<dyn AnyFold>,
}

/// An event of an aggregate's past.
#[derive(Debug)]
pub struct AggregateEvent {
    /// The event.
    pub event: RecordedEvent,
    /// Whether an operator has skipped it in the view's projection, so that it has no effect.
    pub is_skipped: bool,
}

impl PastState {
    /// The state before the first event.
    #[must_use]
    pub fn before_first(view: &View) -> Self {
        Self {
            version: Version(0),
            created_at: None,
            failure: None,
            fold: view.projection.begin_fold(),
        }
    }

    /// Folds the next event. One that was skipped, or that follows one that cannot be folded, only counts.
    pub fn step(&mut self, AggregateEvent { event, is_skipped }: &AggregateEvent) {
        self.version = event.version;
        self.created_at = Some(event.created_at);
        if !is_skipped && self.failure.is_none() {
            self.failure = self.fold.step(event).err();
        }
    }

    /// Whether there is a row.
    #[must_use]
    pub fn has_row(&self) -> bool {
        self.failure.is_none() && self.fold.has_row()
    }

    /// Whether the fold of its events is the absence of a row.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.version > Version(0) && self.failure.is_none() && !self.fold.has_row()
    }

    /// Its row with its secrets; `None` when it did not exist or was deleted.
    ///
    /// # Errors
    ///
    /// [`Self::failure`], or when the row does not serialize.
    pub fn into_row(self) -> Result<Option<Box<RawValue>>, FoldError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => self.fold.row(),
        }
    }

    /// The columns of its row as clients see them, without secrets.
    ///
    /// # Errors
    ///
    /// When the row does not serialize.
    pub fn show(&self, view: &View) -> Result<Option<Box<RawValue>>, FoldError> {
        self.fold.show(&view.secret_names)
    }
}

impl fmt::Debug for PastState {
    /// The row contains secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastState")
            .field("version", &self.version)
            .field("created_at", &self.created_at)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
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
    let mut state = PastState::before_first(view);
    continue_past(connection, view, id, moment, &mut state).await?;
    Ok(state)
}

/// Folds the events after a state up to a later moment.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn continue_past(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    moment: Moment,
    state: &mut PastState,
) -> Result<(), DbError> {
    let after = state.version;
    let mut step = |event: AggregateEvent| {
        state.step(&event);
        ControlFlow::Continue(())
    };
    visit_past(connection, view, id, (after, moment), &mut step).await
}

/// Calls `visit` with the events of the view's types after a version up to a moment, until it breaks. It holds a bounded number of
/// them in memory.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn visit_past(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    (mut after, until): (Version, Moment),
    visit: &mut (dyn FnMut(AggregateEvent) -> ControlFlow<()> + Send),
) -> Result<(), DbError> {
    if until == Moment::Version(Version(0)) {
        return Ok(());
    }
    let types = view.projection.block();
    loop {
        let part = store::read_stream(
            connection,
            id,
            after,
            until,
            MAX_PART_EVENTS,
            Some(view.name()),
        )
        .await?;
        after = part.events.last().map_or(after, |event| event.version);
        let skipped: BTreeSet<Version> = part.skipped.into_iter().collect();
        for event in part.events {
            if !types.contains(&event.type_id.0) {
                continue;
            }
            let is_skipped = skipped.contains(&event.version);
            if visit(AggregateEvent { event, is_skipped }).is_break() {
                return Ok(());
            }
        }
        if !part.has_more {
            return Ok(());
        }
    }
}
