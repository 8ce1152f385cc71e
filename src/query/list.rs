//! Pages of a view.

use time::OffsetDateTime;

use super::{QueryError, past_list, strong_list};
use crate::app::Foldlog;
use crate::db::{RetryPolicy, Session};
use crate::view::{self, FromServing, PageCursor, PageLimit, RawRow, View, ViewPage};

/// Which state of the aggregates a list has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListMoment {
    /// As projected so far.
    #[default]
    Projected,
    /// With every event that was committed before the request, projected or not.
    Newest,
    /// As of a time, folded from the events. A page may have fewer rows than its limit and still a next one.
    Past(OffsetDateTime),
}

/// Which rows to read.
#[derive(Clone, Debug)]
pub struct ListQuery<'a> {
    /// Only rows whose columns equal these values. The names are those of [`View::filter_columns`].
    pub filters: &'a [(&'a str, String)],
    /// The start of the page.
    pub after: Option<PageCursor>,
    /// How large the page may be.
    pub limit: PageLimit,
    /// Which state of the aggregates.
    pub moment: ListMoment,
}

/// Reads a page of rows, without their secrets.
///
/// # Errors
///
/// [`DbError::Data`](crate::db::DbError::Data) when a filter's value does not have the type of its column;
/// [`QueryError::TooFarBehind`] when too many events are not projected for the newest state; [`QueryError::Unfoldable`] when events
/// of an aggregate on the page cannot be folded; otherwise see [`QueryError`].
pub async fn list(
    foldlog: &Foldlog,
    view: &View,
    query: &ListQuery<'_>,
) -> Result<ViewPage, QueryError> {
    let page = list_rows(foldlog, view, query).await?;
    Ok(page.show(view)?)
}

/// Reads a page of rows, with their secrets.
pub(crate) async fn list_rows(
    foldlog: &Foldlog,
    view: &View,
    query: &ListQuery<'_>,
) -> Result<ViewPage<RawRow>, QueryError> {
    let mut retries = RetryPolicy::default();
    loop {
        match try_list(foldlog, view, query).await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            result => return result,
        }
    }
}

async fn try_list(
    foldlog: &Foldlog,
    view: &View,
    query: &ListQuery<'_>,
) -> Result<ViewPage<RawRow>, QueryError> {
    let _share = foldlog.pool.share_of_views([view.name()]).await?;
    let mut connection = foldlog.pool.acquire().await?;
    match query.moment {
        ListMoment::Projected => {
            let ListQuery {
                filters,
                after,
                limit,
                ..
            } = query;
            read_projected(&mut connection, view, filters, *after, *limit).await
        }
        // Boxed, because the futures are large.
        ListMoment::Newest => Box::pin(strong_list::list(&mut connection, view, query)).await,
        ListMoment::Past(time) => {
            Box::pin(past_list::list(&mut connection, view, query, time)).await
        }
    }
}

/// Reads a page as projected so far.
pub(super) async fn read_projected(
    connection: &mut Session<'_>,
    view: &View,
    filters: &[(&str, String)],
    after: Option<PageCursor>,
    limit: PageLimit,
) -> Result<ViewPage<RawRow>, QueryError> {
    match view::list(connection, view, filters, after, limit).await? {
        FromServing::Read(page) => Ok(page),
        FromServing::NoGeneration => Err(QueryError::NotReprojected(view.name())),
    }
}
