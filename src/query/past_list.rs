//! Pages of a view as of a time, folded from the events.
//!
//! The cost of a page depends on the aggregates of the page and their events, not on the log: the statement steps from aggregate to
//! aggregate. Aggregates that were deleted, of other domains, or that the filters leave out are read and not shown, so a page has a
//! limit of time and events. At the limit it ends early, with a cursor after the last aggregate that was looked at: the pages
//! together are complete in any case.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::{ListQuery, QueryError};
use crate::db::{DbError, Session};
use crate::domain::FoldError;
use crate::event::{AggregateId, Version};
use crate::state::{self, PastState};
use crate::view::{
    FromServing, PageCursor, PageLimit, RawRow, View, ViewPage, find_matching, json_string_len,
};

/// How long a page is read. A request takes 25 s at most, and the last statement may take a while.
const MAX_PAGE_TIME: Duration = Duration::from_secs(8);
/// How many events are read for a page.
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
    let started_at = Instant::now();
    let (mut page, mut last) = (PageBuilder::new(limit), after.map(PageCursor::id));
    // One aggregate more than requested shows whether there is a next page.
    let (mut step, mut events) = (u32::from(limit.rows.max(1)) + 1, 0);
    loop {
        let past = state::load_past_page(connection, view, last, time, step).await?;
        let rows = folded_rows(past.states)?;
        let matching = matching(connection, view, filters, &rows).await?;
        for row in rows {
            let shown = matching.as_ref().is_none_or(|ids| ids.contains(&row.id));
            if shown && !page.push(row) {
                return Ok(page.cut());
            }
        }
        if past.is_end {
            return Ok(page.end(None));
        }
        (last, events) = (past.last, events + past.events);
        if started_at.elapsed() > MAX_PAGE_TIME || events > MAX_PAGE_EVENTS {
            return Ok(page.end(last));
        }
        step = if filters.is_empty() {
            STEP_SIZE
        } else {
            FILTERED_STEP_SIZE
        };
    }
}

/// The rows of the aggregates that existed.
fn folded_rows(states: Vec<(AggregateId, PastState)>) -> Result<Vec<RawRow>, QueryError> {
    let mut rows = Vec::with_capacity(states.len());
    for (id, state) in states {
        if let Some(failure) = state.failure {
            return Err(QueryError::Unfoldable(failure));
        }
        rows.extend(state.row.map(|row| RawRow::new(id, state.version, row)));
    }
    Ok(rows)
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

/// A page that is filled row by row, in the order of ids.
pub(super) struct PageBuilder {
    rows: Vec<RawRow>,
    bytes: usize,
    limit: PageLimit,
}

impl PageBuilder {
    pub(super) const fn new(limit: PageLimit) -> Self {
        Self {
            rows: Vec::new(),
            bytes: 0,
            limit,
        }
    }

    /// Adds a row; false if it does not fit.
    pub(super) fn push(&mut self, row: RawRow) -> bool {
        self.bytes += json_string_len(row.json().get());
        let is_full = self.rows.len() >= usize::from(self.limit.rows.max(1));
        if is_full || (self.bytes > self.limit.bytes && !self.rows.is_empty()) {
            return false;
        }
        self.rows.push(row);
        true
    }

    /// The page, after which the next one begins with the first row that did not fit.
    pub(super) fn cut(self) -> ViewPage<RawRow> {
        let last = self.rows.last().map(|row| row.id);
        self.end(last)
    }

    /// The page, after which the next one begins after `last`; `None` on the last page.
    pub(super) fn end(self, last: Option<AggregateId>) -> ViewPage<RawRow> {
        ViewPage {
            rows: self.rows,
            next: last.map(PageCursor::begin_after),
        }
    }
}
