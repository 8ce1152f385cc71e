//! Two states of one aggregate, field by field.

use serde::Serialize;
use time::OffsetDateTime;

use super::{QueryError, past};
use crate::app::Foldlog;
use crate::db::RetryPolicy;
use crate::event::{AggregateId, Version};
use crate::state::PastState;
use crate::store::Moment;
use crate::view::{Changes, View, changes, shown_fields};

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
    let before = past::load(&mut connection, view, id, from).await?;
    let after = past::load(&mut connection, view, id, to).await?;
    if before.version == Version(0) && after.version == Version(0) {
        // Both moments may be before the first event.
        let newest = past::load(&mut connection, view, id, Moment::Newest).await?;
        if newest.version == Version(0) {
            return Err(QueryError::Unknown);
        }
    }
    let points = [&before, &after].map(PastPoint::from);
    let [before, after] = [before, after].map(|state| match state.failure {
        Some(failure) => Err(QueryError::Unfoldable(failure)),
        None => shown_fields(view, state.row.as_deref()).map_err(QueryError::Unfoldable),
    });
    let [from, to] = points;
    Ok(Diff {
        id,
        from,
        to,
        changes: changes(&before?, &after?),
    })
}
