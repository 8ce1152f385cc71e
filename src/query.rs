//! Queries: rows and pages of views; with the events that a view lacks folded on top where the caller asks for it.
//! Knows nothing of HTTP.

use crate::db::{DbError, RetryPolicy, Retryable, Session};
use crate::domain::FoldError;
use crate::engine::Engine;
use crate::event::{AggregateId, Version};
use crate::state;
use crate::view::{self, PageCursor, View, ViewPage, ViewRow};

/// How fresh a row must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// As projected so far.
    #[default]
    Eventual,
    /// With everything that is committed, projected or not.
    Strong,
    /// At least at this version.
    AtLeast(Version),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No event of this aggregate is recorded.
    #[error("there is no aggregate with this id")]
    Unknown,
    /// It exists, but the view has not come to it yet.
    #[error("the aggregate is not projected yet; ask with ?consistency=strong, or again later")]
    NotYetProjected,
    /// It has ended.
    #[error("the aggregate is deleted")]
    Deleted,
    /// The caller has seen, or expects, a version that is not recorded here.
    #[error("the aggregate is at version {actual}, below min_version")]
    Behind {
        /// Its newest version.
        actual: Version,
    },
    /// Events that the view lacks cannot be folded.
    #[error("events that are not projected yet cannot be folded")]
    Unfoldable(#[source] FoldError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_retryable())
    }
}

/// One aggregate's row.
///
/// # Errors
///
/// See [`Error`].
pub async fn get(
    engine: &Engine,
    view: &View,
    id: AggregateId,
    consistency: Consistency,
) -> Result<ViewRow, Error> {
    let mut retries = RetryPolicy::default();
    loop {
        match get_once(engine, view, id, consistency).await {
            Err(error) if retries.should_retry(&engine.pool, &error) => {}
            result => return result,
        }
    }
}

/// A page of rows, as projected so far. `filters` are values of public columns.
///
/// # Errors
///
/// [`DbError::Data`] when a filter's value is none of its column's type; see [`Error`].
pub async fn list(
    engine: &Engine,
    view: &View,
    filters: &[(&str, String)],
    after: Option<PageCursor>,
    limit: u16,
) -> Result<ViewPage, Error> {
    let mut retries = RetryPolicy::default();
    loop {
        match list_once(engine, view, filters, after, limit).await {
            Err(error) if retries.should_retry(&engine.pool, &error) => {}
            result => return Ok(result?),
        }
    }
}

async fn get_once(
    engine: &Engine,
    view: &View,
    id: AggregateId,
    consistency: Consistency,
) -> Result<ViewRow, Error> {
    let mut connection = engine.pool.acquire().await?;
    if consistency != Consistency::Strong
        && let Some(row) = view::get(&mut connection, view, id).await?
        && !matches!(consistency, Consistency::AtLeast(version) if row.version < version)
    {
        return Ok(row);
    }
    fold_on_top(&mut connection, view, id, consistency).await
}

async fn list_once(
    engine: &Engine,
    view: &View,
    filters: &[(&str, String)],
    after: Option<PageCursor>,
    limit: u16,
) -> Result<ViewPage, DbError> {
    view::list(
        &mut *engine.pool.acquire().await?,
        view,
        filters,
        after,
        limit,
    )
    .await
}

/// The row with the events that it lacks; or why there is none.
async fn fold_on_top(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    consistency: Consistency,
) -> Result<ViewRow, Error> {
    let mut states = state::load(connection, view, &[id]).await?;
    let mut state = states.remove(&id).unwrap_or_default();
    let types = view.projection.block();
    state.tail.retain(|event| types.contains(&event.type_id.0));
    let (version, projected) = (state.version(), state.row.is_some());
    if version == Version(0) {
        return Err(Error::Unknown);
    }
    let folded = view.projection.fold(state.row_json(), &state.tail);
    if let Some(failure) = folded.failure {
        return Err(Error::Unfoldable(failure));
    }
    let Some(row) = folded.row else {
        return Err(Error::Deleted);
    };
    match consistency {
        Consistency::AtLeast(wanted) if version < wanted => Err(Error::Behind { actual: version }),
        Consistency::Eventual if !projected => Err(Error::NotYetProjected),
        _ => Ok(ViewRow::new(view, id, version, &row)?),
    }
}
