//! Queries: rows and pages of views, and the past of one aggregate. A read of one row can fold events that are not projected yet
//! on top, or fold all events up to a moment.

mod activity;
mod blame;
mod diff;
mod explain;
mod feed;
mod history;
mod list;
mod past;
mod past_list;
mod strong_list;

pub use self::activity::{Activity, activity};
pub use self::blame::{Blamed, BlamedField, Setter, blame};
pub use self::diff::{Diff, PastPoint, diff};
pub use self::explain::{
    ExplainedEvent, Explanation, ParkedEvent, RowState, WaitReason, Waiting, explain,
};
pub use self::feed::{FeedCursor, FeedDirection, FeedPage, FeedRequest, FeedWaiting, feed};
pub(crate) use self::history::{Entry, json_bytes, read_history};
pub use self::history::{
    HistoryCursor, HistoryEvent, HistoryPage, HistoryQuery, Order, UnknownChanges, history,
};
pub(crate) use self::list::list_rows;
pub use self::list::{ListMoment, ListQuery, list};
use crate::app::{Foldlog, NotServedError};
use crate::db::{DbError, RetryPolicy, Retryable, Session};
use crate::domain::FoldError;
use crate::event::{AggregateId, Version};
use crate::state;
use crate::store::FeedError;
pub use crate::store::Moment;
use crate::view::{self, FromServing, RawRow, View, ViewRow};

/// How fresh a row must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// As projected so far.
    #[default]
    Eventual,
    /// Includes every committed event, projected or not.
    Strong,
    /// Includes at least the events up to this version.
    AtLeast(Version),
}

/// Which state of a row to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// The present, as fresh as this.
    Live(Consistency),
    /// A moment in the past. The state is folded from the events.
    Past(Moment),
}

impl From<Consistency> for ReadAt {
    fn from(consistency: Consistency) -> Self {
        Self::Live(consistency)
    }
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The aggregate has no event.
    #[error("there is no aggregate with this id")]
    Unknown,
    /// The aggregate exists, but its first event is not projected yet.
    #[error("the aggregate is not projected yet")]
    NotYetProjected,
    /// The fold of the aggregate has ended.
    #[error("the aggregate is deleted")]
    Deleted,
    /// The aggregate has fewer events than the version that the caller asked for.
    #[error("the aggregate has no such version; its newest version is {newest}")]
    NoVersion {
        /// Its newest version.
        newest: Version,
    },
    /// The first event of the aggregate is later than the time that the caller asked for.
    #[error("the aggregate did not exist at this time")]
    NotYetCreated,
    /// The aggregate does not have the minimum version that the caller asked for.
    #[error("the aggregate is at version {actual}, below min_version")]
    Behind {
        /// Its newest version.
        actual: Version,
    },
    /// Events that are not projected yet cannot be folded.
    #[error("events that are not projected yet cannot be folded")]
    Unfoldable(#[source] FoldError),
    /// The domain is not part of this [`Foldlog`].
    #[error(transparent)]
    NotServed(NotServedError),
    /// The view does not filter by this column.
    #[error("the view does not filter by `{0}`")]
    UnknownFilter(String),
    /// The row has no field of this name that clients see.
    #[error("the row has no field `{name}`; its fields are: {fields}")]
    UnknownField {
        /// The name.
        name: String,
        /// The names of the row's fields.
        fields: String,
    },
    /// A page of a history cannot begin after a cursor of the other order.
    #[error("the parameter after must be the `next` of a page in the same order")]
    CursorOrder,
    /// More events are not projected yet than a page can include.
    #[error("the projection is too far behind to include the events that are not projected yet")]
    TooFarBehind,
    /// The domain has no event type of this name.
    #[error("`{0}` is not an event type of the domains that are read")]
    UnknownType(String),
    /// The log has no event at the cursor of the feed. It was restored from an older dump, or the cursor comes from another log.
    #[error(
        "the log has no event at this cursor: the log was restored from an older state, or the cursor comes from another log"
    )]
    UnknownCursor,
    /// The database is a replica that has not received the event at the cursor of the feed yet.
    #[error("this replica has not received the event at the cursor yet")]
    ReplicaBehind,
    /// No generation of the view was created from this process's definition of it, so there are no rows to list. Single rows are
    /// folded from the events.
    #[error("the view {0} has no live generation with this build's definition; reproject it")]
    NotReprojected(&'static str),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Retryable for QueryError {
    fn max_retries(&self) -> u32 {
        match self {
            Self::Db(error) => Retryable::max_retries(error),
            _ => 0,
        }
    }
}

impl From<FeedError> for QueryError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Db(error) => Self::Db(error),
            FeedError::UnknownCursor => Self::UnknownCursor,
            FeedError::ReplicaBehind => Self::ReplicaBehind,
        }
    }
}

/// Reads one aggregate's row, without its secrets.
///
/// # Errors
///
/// See [`QueryError`].
pub async fn get(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    at: impl Into<ReadAt> + Send,
) -> Result<ViewRow, QueryError> {
    let row = get_row(foldlog, view, id, at.into()).await?;
    Ok(row.show(view)?)
}

/// Reads one aggregate's row, with its secrets.
pub(crate) async fn get_row(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    at: ReadAt,
) -> Result<RawRow, QueryError> {
    let mut retries = RetryPolicy::default();
    loop {
        let result = match at {
            ReadAt::Live(consistency) => try_get(foldlog, view, id, consistency).await,
            ReadAt::Past(moment) => past::try_get_past(foldlog, view, id, moment).await,
        };
        match result {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            result => return result,
        }
    }
}

async fn try_get(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    consistency: Consistency,
) -> Result<RawRow, QueryError> {
    let _share = foldlog.pool.share_of_views([view.name()]).await?;
    let mut connection = foldlog.pool.acquire().await?;
    if consistency != Consistency::Strong
        && let FromServing::Read(Some(row)) = view::get(&mut connection, view, id).await?
        && !matches!(consistency, Consistency::AtLeast(version) if row.version < version)
    {
        return Ok(row);
    }
    fold_on_top(&mut connection, view, id, consistency).await
}

/// Folds the events that are not projected yet over the row.
async fn fold_on_top(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    consistency: Consistency,
) -> Result<RawRow, QueryError> {
    let mut states = state::load_folded(connection, view, &[id]).await?;
    let mut state = states.remove(&id).unwrap_or_default();
    let types = view.projection.block();
    state.tail.retain(|event| types.contains(&event.type_id.0));
    // Without a generation to read, the events are all there is.
    let projected = state.is_projected || !state.has_generation;
    let version = state.version();
    let is_foreign = state.folded == Version(0) && state.tail.is_empty();
    if is_foreign || version == Version(0) {
        return Err(QueryError::Unknown);
    }
    let folded = view.projection.fold(state.row_json(), &state.tail);
    if let Some(failure) = folded.failure {
        return Err(QueryError::Unfoldable(failure));
    }
    let Some(row) = folded.row else {
        return Err(QueryError::Deleted);
    };
    match consistency {
        Consistency::AtLeast(wanted) if version < wanted => {
            Err(QueryError::Behind { actual: version })
        }
        Consistency::Eventual if !projected => Err(QueryError::NotYetProjected),
        _ => Ok(RawRow::new(id, version, row)),
    }
}
