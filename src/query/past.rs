//! The row of one aggregate at a moment in the past, and the walk over its events that history and blame share.

use serde_json::value::RawValue;

use super::QueryError;
use crate::app::Foldlog;
use crate::db::{DbError, Session};
use crate::domain::FoldError;
use crate::event::{AggregateId, Version};
use crate::state::{self, AggregateEvent, PastState};
use crate::store::{self, Moment};
use crate::view::{Changes, RawRow, ShownFields, View, changes};

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
    let version = state.version;
    let row = state.into_row().map_err(QueryError::Unfoldable)?;
    Ok(RawRow::new(id, version, row.ok_or(QueryError::Deleted)?))
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
    check_version(moment, state.version)?;
    Ok(state)
}

/// Checks that an aggregate has the version asked for, if it has an event.
pub(super) fn check_version(moment: Moment, newest: Version) -> Result<(), QueryError> {
    match moment {
        Moment::Version(version) if newest < version && newest > Version(0) => {
            Err(QueryError::NoVersion { newest })
        }
        _ => Ok(()),
    }
}

/// Why an aggregate had no event of the view's domain at a moment.
pub(super) async fn explain_absence(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    moment: Moment,
) -> Result<QueryError, DbError> {
    let is_time = matches!(moment, Moment::Time(_));
    Ok(if is_time && has_events(connection, view, id).await? {
        QueryError::NotYetCreated
    } else {
        QueryError::Unknown
    })
}

/// Whether an aggregate is of the view's domain: its first event is.
pub(super) async fn has_events(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
) -> Result<bool, DbError> {
    let first = store::read_stream(connection, id, Version(0), Moment::Newest, 1, None).await?;
    let types = view.projection.block();
    Ok(first
        .events
        .iter()
        .any(|event| types.contains(&event.type_id.0)))
}

/// An aggregate's state, folded event by event, and the fields that each event changes.
pub(super) struct Walk<'a> {
    view: &'a View,
    state: PastState,
    /// The fields as JSON, to notice quickly that an event has changed none.
    shown: Option<Box<RawValue>>,
    fields: ShownFields,
    /// Whether an event was passed since the fields were taken.
    is_stale: bool,
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
    /// Starts before the first event.
    pub(super) fn new(view: &'a View) -> Self {
        Self {
            view,
            state: PastState::before_first(view),
            shown: None,
            fields: ShownFields::new(),
            is_stale: false,
        }
    }

    /// Folds the next event without looking for what it changes.
    pub(super) fn pass(&mut self, event: &AggregateEvent) {
        self.state.step(event);
        self.is_stale = true;
    }

    /// Folds the next event.
    pub(super) fn step(&mut self, event: &AggregateEvent) -> FoldStep {
        if self.is_stale && self.state.failure.is_none() {
            self.is_stale = false;
            self.take_fields();
        }
        let (existed, waits) = (self.state.has_row(), self.state.failure.is_some());
        self.state.step(event);
        if event.is_skipped {
            return FoldStep::Skipped;
        }
        if waits {
            return FoldStep::Waits;
        }
        let changes = self.take_fields();
        if self.state.failure.is_some() {
            return FoldStep::Failed;
        }
        match (existed, self.state.has_row()) {
            (false, true) => FoldStep::Created(changes),
            (true, false) => FoldStep::Removed(changes),
            _ => FoldStep::Changed(changes),
        }
    }

    /// Takes the fields of the state, and returns those that differ from the ones before.
    fn take_fields(&mut self) -> Changes {
        if self.state.failure.is_some() {
            return Changes::new();
        }
        let shown = match self.state.show(self.view) {
            Ok(shown) => shown,
            Err(failure) => {
                self.state.failure = Some(failure);
                return Changes::new();
            }
        };
        if shown.as_ref().map(|json| json.get()) == self.shown.as_ref().map(|json| json.get()) {
            return Changes::new();
        }
        match parse_fields(shown.as_deref()) {
            Ok(fields) => {
                let changes = changes(&self.fields, &fields);
                (self.shown, self.fields) = (shown, fields);
                changes
            }
            Err(failure) => {
                self.state.failure = Some(failure);
                Changes::new()
            }
        }
    }

    /// The fields after the last event.
    pub(super) const fn fields(&self) -> &ShownFields {
        &self.fields
    }

    /// The fields after the last event, and its state.
    pub(super) fn end(self) -> (ShownFields, PastState) {
        (self.fields, self.state)
    }
}

/// The fields of a state's row as clients see them; none if there is no row.
///
/// # Errors
///
/// [`QueryError::Unfoldable`]
pub(super) fn fields_of(view: &View, state: &PastState) -> Result<ShownFields, QueryError> {
    let shown = state.show(view).map_err(QueryError::Unfoldable)?;
    parse_fields(shown.as_deref()).map_err(QueryError::Unfoldable)
}

fn parse_fields(shown: Option<&RawValue>) -> Result<ShownFields, FoldError> {
    let fields = shown.map(|json| serde_json::from_str(json.get()));
    let fields = fields.transpose().map_err(FoldError::new)?;
    Ok(fields.unwrap_or_default())
}
