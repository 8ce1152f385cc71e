//! Pages of a view as of a time, folded from the events.
//!
//! The cost of a page depends on the aggregates of the page and their events, not on the log: the statement steps from aggregate to
//! aggregate. Aggregates that were deleted, of other domains, or that the filters leave out are read and not shown, so a page has a
//! limit of time and events. At the limit it ends early, with a cursor after the last aggregate that was folded: the pages together
//! are complete in any case.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::{ListQuery, QueryError};
use crate::db::{DbError, Session};
use crate::domain::FoldError;
use crate::event::{AggregateId, Version};
use crate::state::{self, PastBudget, PastState};
use crate::view::{FromServing, PageBuilder, PageCursor, RawRow, View, ViewPage, find_matching};

/// How long a page is read. A request takes 25 s at most, and the last statement may take a while.
const MAX_PAGE_TIME: Duration = Duration::from_secs(8);
/// How many events are read for a page. The first aggregate of a page may have more: it is folded as a whole, because the next page
/// would have to.
const MAX_PAGE_EVENTS: usize = 200_000;
/// How many aggregates are read at once, after the first statement of a page.
const STEP_SIZE: u32 = 100;
/// The same with filters, which leave out most of them.
const FILTERED_STEP_SIZE: u32 = 1000;

/// Reads a page of rows as of a time.
pub(super) async fn list(
    connection: &mut Session<'_>,
    view: &View,
    query: &ListQuery<'_>,
    time: OffsetDateTime,
) -> Result<ViewPage<RawRow>, QueryError> {
    let ListQuery {
        filters,
        after,
        limit,
        ..
    } = *query;
    if !filters.is_empty() {
        // Before anything is read, so that a later rejection is one of a row.
        check_filters(connection, view, filters).await?;
    }
    let deadline = Instant::now() + MAX_PAGE_TIME;
    let (mut page, mut last) = (PageBuilder::new(limit), after.map(PageCursor::id));
    let mut budget = PastBudget {
        // One aggregate more than requested shows whether there is a next page.
        states: u32::from(limit.rows.max(1)) + 1,
        events: MAX_PAGE_EVENTS,
        deadline,
        folds_first: true,
    };
    loop {
        let past = state::load_past_page(connection, view, last, time, budget).await?;
        let (rows, failure) = folded_rows(past.states);
        let matching = matching(connection, view, filters, &rows).await?;
        for row in rows {
            let shown = matching.as_ref().is_none_or(|ids| ids.contains(&row.id));
            if shown && !page.push(row) {
                return Ok(page.cut());
            }
        }
        match failure {
            // The aggregate that cannot be folded is not on this page.
            Some(_) if page.is_full() => return Ok(page.cut()),
            Some(failure) => return Err(QueryError::Unfoldable(failure)),
            None if past.is_end => return Ok(page.end(None)),
            None => {}
        }
        last = past.last;
        budget.events = budget.events.saturating_sub(past.events);
        if past.is_cut || budget.events == 0 || Instant::now() > deadline {
            return Ok(page.end(last));
        }
        budget.folds_first = false;
        budget.states = if filters.is_empty() {
            STEP_SIZE
        } else {
            FILTERED_STEP_SIZE
        };
    }
}

/// The rows of the aggregates that existed, up to the first one that cannot be folded, and why it cannot.
fn folded_rows(states: Vec<(AggregateId, PastState)>) -> (Vec<RawRow>, Option<FoldError>) {
    let mut rows = Vec::with_capacity(states.len());
    for (id, state) in states {
        let version = state.version;
        match state.into_row() {
            Ok(row) => rows.extend(row.map(|row| RawRow::new(id, version, row))),
            Err(failure) => return (rows, Some(failure)),
        }
    }
    (rows, None)
}

/// The ids of the rows that match the filters; `None`: all of them.
pub(super) async fn matching(
    connection: &mut Session<'_>,
    view: &View,
    filters: &[(&str, String)],
    rows: &[RawRow],
) -> Result<Option<HashSet<AggregateId>>, QueryError> {
    if filters.is_empty() {
        return Ok(None);
    }
    let folded: Vec<(AggregateId, Version, &RawValue)> = rows
        .iter()
        .map(|row| (row.id, row.version, row.json()))
        .collect();
    match find_matching(connection, view, filters, &folded).await {
        // The view could not store such a row either: its aggregate is parked.
        Err(DbError::Data { .. }) if !rows.is_empty() => {
            check_filters(connection, view, filters).await?;
            let reason = FoldError::new("a folded row does not fit the columns of its view");
            Err(QueryError::Unfoldable(reason))
        }
        ids => match ids? {
            FromServing::Read(ids) => Ok(Some(ids)),
            FromServing::NoGeneration => Err(QueryError::NotReprojected(view.name())),
        },
    }
}

/// Checks that each value has the type of its column.
pub(super) async fn check_filters(
    connection: &mut Session<'_>,
    view: &View,
    filters: &[(&str, String)],
) -> Result<(), QueryError> {
    match find_matching(connection, view, filters, &[]).await? {
        FromServing::Read(_) => Ok(()),
        FromServing::NoGeneration => Err(QueryError::NotReprojected(view.name())),
    }
}
