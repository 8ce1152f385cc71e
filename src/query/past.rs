//! The row of one aggregate at a moment in the past, and the walk over its events that history, diff and blame share.

use std::ops::ControlFlow;

use super::QueryError;
use crate::app::Foldlog;
use crate::db::{DbError, Session};
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::state::{self, PastState};
use crate::store::{self, Moment};
use crate::view::{Changes, RawRow, ShownFields, View, changes, shown_fields};

/// How many events are read at once.
const MAX_PART_EVENTS: u16 = 1000;

/// Reads one aggregate's row at a moment, with its secrets. It is folded from the events, so a view that is behind or that an older
/// build has written makes no difference.
pub(super) async fn try_get_past(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    moment: Moment,
) -> Result<RawRow, QueryError> {
    let mut connection = foldlog.pool.acquire().await?;
    let state = load(&mut connection, view, id, moment).await?;
    if state.version == Version(0) {
        return Err(explain_absence(&mut connection, view, id, moment).await?);
    }
    if let Some(failure) = state.failure {
        return Err(QueryError::Unfoldable(failure));
    }
    let row = state.row.ok_or(QueryError::Deleted)?;
    Ok(RawRow::new(id, state.version, row))
}

/// Folds the events of an aggregate up to a moment; none if it had no event then.
///
/// # Errors
///
/// [`QueryError::NoVersion`] when it has some events, and fewer than the version asked for.
pub(super) async fn load(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    moment: Moment,
) -> Result<PastState, QueryError> {
    let state = Box::pin(state::load_past(connection, view, id, moment)).await?;
    match moment {
        Moment::Version(version) if state.version < version && state.version > Version(0) => {
            Err(QueryError::NoVersion {
                newest: state.version,
            })
        }
        _ => Ok(state),
    }
}

/// Why an aggregate had no event of the view's domain at a moment.
pub(super) async fn explain_absence(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    moment: Moment,
) -> Result<QueryError, DbError> {
    if let Moment::Time(_) = moment {
        let first = store::read_stream(connection, id, Version(0), Moment::Newest, 1).await?;
        if first.events.iter().any(|event| is_own(view, event)) {
            return Ok(QueryError::NotYetCreated);
        }
    }
    Ok(QueryError::Unknown)
}

/// Whether an event is of a type that the view folds.
pub(super) fn is_own(view: &View, event: &RecordedEvent) -> bool {
    view.projection.block().contains(&event.type_id.0)
}

/// Calls `visit` with the events of the view's types after the version `after` up to a moment, until it breaks.
pub(super) async fn visit_events(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    after: Version,
    until: Moment,
    visit: &mut (dyn FnMut(RecordedEvent) -> ControlFlow<()> + Send),
) -> Result<(), DbError> {
    let mut after = after;
    loop {
        let part = store::read_stream(connection, id, after, until, MAX_PART_EVENTS).await?;
        after = part.events.last().map_or(after, |event| event.version);
        for event in part.events {
            if is_own(view, &event) && visit(event).is_break() {
                return Ok(());
            }
        }
        if !part.has_more {
            return Ok(());
        }
    }
}

/// An aggregate's state, folded event by event, and the fields that each event changes.
pub(super) struct Walk<'a> {
    view: &'a View,
    state: PastState,
    fields: ShownFields,
}

/// What one event did.
pub(super) enum FoldStep {
    /// It made the row: all fields count as changed.
    Created(Changes),
    /// It changed these fields, or none.
    Changed(Changes),
    /// It removed the row.
    Removed(Changes),
    /// An operator has skipped it.
    Skipped,
    /// It cannot be folded.
    Failed,
    /// An event before it cannot be folded.
    Waits,
}

impl<'a> Walk<'a> {
    /// Starts after the events that `state` includes.
    pub(super) fn new(view: &'a View, state: PastState) -> Result<Self, QueryError> {
        let fields = shown_fields(view, state.row.as_deref()).map_err(QueryError::Unfoldable)?;
        Ok(Self {
            view,
            state,
            fields,
        })
    }

    /// Folds the next event.
    pub(super) fn step(&mut self, event: &RecordedEvent) -> FoldStep {
        let (existed, waits) = (self.state.row.is_some(), self.state.failure.is_some());
        self.state.fold(self.view, std::slice::from_ref(event));
        if self.state.is_skipped(event.version) {
            return FoldStep::Skipped;
        }
        if waits {
            return FoldStep::Waits;
        }
        if self.state.failure.is_some() {
            return FoldStep::Failed;
        }
        let row = self.state.row.as_deref();
        let fields = match shown_fields(self.view, row) {
            Ok(fields) => fields,
            Err(failure) => {
                self.state.failure = Some(failure);
                return FoldStep::Failed;
            }
        };
        let changes = changes(&self.fields, &fields);
        self.fields = fields;
        match (existed, self.state.row.is_some()) {
            (false, true) => FoldStep::Created(changes),
            (true, false) => FoldStep::Removed(changes),
            _ => FoldStep::Changed(changes),
        }
    }

    /// The fields after the last event.
    pub(super) const fn fields(&self) -> &ShownFields {
        &self.fields
    }

    /// The state after the last event.
    pub(super) fn into_state(self) -> PastState {
        self.state
    }
}
