//! Pages of a view.

use super::QueryError;
use crate::app::Foldlog;
use crate::db::{DbError, RetryPolicy};
use crate::view::{self, FromServing, PageCursor, PageLimit, RawRow, View, ViewPage, ViewRow};

/// Reads a page of rows as projected so far, without their secrets. `filters` name columns of
/// [`View::filter_columns`].
///
/// # Errors
///
/// [`DbError::Data`] when a filter's value does not have the type of its column; otherwise see [`QueryError`].
pub async fn list(
    foldlog: &Foldlog,
    view: &View,
    filters: &[(&str, String)],
    after: Option<PageCursor>,
    limit: impl Into<PageLimit>,
) -> Result<ViewPage, QueryError> {
    let page = list_rows(foldlog, view, filters, after, limit.into()).await?;
    let rows: Result<Vec<ViewRow>, DbError> = page.rows.iter().map(|row| row.show(view)).collect();
    Ok(ViewPage {
        rows: rows?,
        next: page.next,
    })
}

/// Reads a page of rows, with their secrets.
pub(crate) async fn list_rows(
    foldlog: &Foldlog,
    view: &View,
    filters: &[(&str, String)],
    after: Option<PageCursor>,
    limit: PageLimit,
) -> Result<ViewPage<RawRow>, QueryError> {
    let mut retries = RetryPolicy::default();
    loop {
        match try_list(foldlog, view, filters, after, limit).await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            Ok(FromServing::Read(page)) => return Ok(page),
            Ok(FromServing::NoGeneration) => return Err(QueryError::NotReprojected(view.name())),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn try_list(
    foldlog: &Foldlog,
    view: &View,
    filters: &[(&str, String)],
    after: Option<PageCursor>,
    limit: PageLimit,
) -> Result<FromServing<ViewPage<RawRow>>, DbError> {
    let mut connection = foldlog.pool.acquire().await?;
    view::list(&mut connection, view, filters, after, limit).await
}
