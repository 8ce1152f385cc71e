//! Two states of one aggregate, field by field.

use serde::Serialize;
use time::OffsetDateTime;

use super::{QueryError, past};
use crate::app::Foldlog;
use crate::db::RetryPolicy;
use crate::event::{AggregateId, Version};
use crate::state::{self, PastState};
use crate::store::Moment;
use crate::view::{Changes, ShownFields, View, changes};

/// The fields in which two states of an aggregate differ.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// The aggregate.
    pub id: AggregateId,
    /// The first state.
    pub from: PastPoint,
    /// The second state.
    pub to: PastPoint,
    /// The fields that differ, without secrets: the value in the first state and in the second; null where there is no row.
    pub changes: Changes,
}

/// A state of an aggregate, without its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PastPoint {
    /// The version of its last event; 0 before the first one.
    pub version: Version,
    /// When that event was recorded; `None` before the first one.
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    pub created_at: Option<OffsetDateTime>,
    /// Whether the aggregate was deleted.
    pub deleted: bool,
}

impl From<&PastState> for PastPoint {
    fn from(state: &PastState) -> Self {
        Self {
            version: state.version,
            created_at: state.created_at,
            deleted: state.is_deleted(),
        }
    }
}

/// Compares two states of an aggregate, in either direction. Version 0 and a time before the first event are the state in which
/// nothing exists.
///
/// # Errors
///
/// See [`QueryError`].
pub async fn diff(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    from: Moment,
    to: Moment,
) -> Result<Diff, QueryError> {
    let mut retries = RetryPolicy::default();
    loop {
        match Box::pin(try_diff(foldlog, view, id, from, to)).await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            result => return result,
        }
    }
}

async fn try_diff(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    from: Moment,
    to: Moment,
) -> Result<Diff, QueryError> {
    let mut connection = foldlog.pool.acquire().await?;
    // The earlier state is on the way to the later one. Of a version and a time it is unknown which is earlier.
    let is_reversed = match (from, to) {
        (Moment::Newest, _) => true,
        (Moment::Version(from), Moment::Version(to)) => from > to,
        (Moment::Time(from), Moment::Time(to)) => from > to,
        _ => false,
    };
    let (first, second) = if is_reversed { (to, from) } else { (from, to) };
    let mut state = past::load(&mut connection, view, id, first).await?;
    let first = ComparedState::new(view, &state)?;
    let mut failure = None;
    if !includes(second, &state) {
        failure = state.failure;
        state = PastState::before_first(view);
    }
    state::continue_past(&mut connection, view, id, second, &mut state).await?;
    past::check_version(second, state.version)?;
    let second = ComparedState::new(view, &state)?;
    let is_empty = first.point.version == Version(0) && second.point.version == Version(0);
    // Both moments may be before the first event.
    if is_empty && !past::has_events(&mut connection, view, id).await? {
        return Err(QueryError::Unknown);
    }
    if let Some(failure) = failure.or(state.failure) {
        return Err(QueryError::Unfoldable(failure));
    }
    let (from, to) = if is_reversed {
        (second, first)
    } else {
        (first, second)
    };
    Ok(Diff {
        id,
        from: from.point,
        to: to.point,
        changes: changes(&from.fields, &to.fields),
    })
}

/// One of the two states. Of a state that cannot be folded there are no fields.
struct ComparedState {
    point: PastPoint,
    fields: ShownFields,
}

impl ComparedState {
    fn new(view: &View, state: &PastState) -> Result<Self, QueryError> {
        let fields = match &state.failure {
            Some(_) => ShownFields::new(),
            None => past::fields_of(view, state)?,
        };
        let point = PastPoint::from(state);
        Ok(Self { point, fields })
    }
}

/// Whether all events of a state have happened at a moment.
fn includes(moment: Moment, state: &PastState) -> bool {
    match moment {
        Moment::Newest => true,
        Moment::Version(version) => state.version <= version,
        Moment::Time(time) => state.created_at.is_none_or(|at| at <= time),
    }
}
