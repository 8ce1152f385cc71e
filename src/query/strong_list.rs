//! Pages of a view with the events that are not projected yet folded over them.
//!
//! # Why a page has every event that was committed before the request
//!
//! Three statements, each with a snapshot of its own, in this order: (1) which aggregates have events that the view has not folded,
//! (2) the page as projected, (3) the states of those aggregates that fall into the page, folded with their newest events. Let E be
//! an event that was committed before (1).
//!
//! - E was folded when (1) looked. A row never goes back, so (2) reads a row, or its absence, that includes E.
//! - E was not folded when (1) looked. Then (1) returned its aggregate, and (3) reads a state that includes E. It replaces what (2)
//!   read of this aggregate, be it a row, or its absence because the row is not there yet or does not match the filters as projected.
//!
//! In the opposite order, a catch-up between the statements would hide E: not folded when the page is read, folded when the search
//! for unfolded events looks. (test: `a_strong_list_shows_every_event_that_was_committed_before_it`)
//!
//! The page covers the ids after its cursor up to its last projected row, or all of them if the page is the last one. It ends earlier
//! where (1) did not look for further parked aggregates. An aggregate behind the last row of the page belongs to another page, so a
//! parked one cannot fail a page that it is not on. (2) reads as many rows more as (3) may remove, so that the page is full.

use std::collections::{BTreeMap, HashSet};

use super::list::read_projected;
use super::past_list::{check_filters, matching};
use super::{ListQuery, QueryError};
use crate::db::Session;
use crate::domain::FoldError;
use crate::event::{AggregateId, Version};
use crate::state;
use crate::view::{self, PageBuilder, PageCursor, PageLimit, RawRow, View, ViewPage};

/// Reads a page of rows that includes every event that was committed before.
pub(super) async fn list(
    connection: &mut Session<'_>,
    view: &View,
    query: &ListQuery<'_>,
) -> Result<ViewPage<RawRow>, QueryError> {
    let ListQuery {
        filters,
        after,
        limit,
        ..
    } = *query;
    if !filters.is_empty() {
        // Otherwise Postgres reads the values only if there is a row to compare.
        check_filters(connection, view, filters).await?;
    }
    let generation = view.current();
    let first = after.map(PageCursor::id);
    let mut unfolded = state::find_unfolded(connection, &generation, first).await?;
    if !unfolded.is_complete {
        let resolved = view::resolve(connection, view).await?;
        if resolved.view.lock_domain() == generation.lock_domain() {
            return Err(QueryError::TooFarBehind);
        }
        // The claims of a generation that was removed are gone, so everything seemed to be unfolded.
        return Box::pin(list(connection, view, query)).await;
    }
    let removed = u16::try_from(unfolded.aggregates.len()).unwrap_or(u16::MAX);
    let enough = PageLimit {
        rows: limit.rows.max(1).saturating_add(removed),
        ..limit
    };
    let projected = read_projected(connection, view, filters, after, enough).await?;
    if view.current().lock_domain() != generation.lock_domain() {
        // Another generation serves the readers now, and what it has not folded was not looked for.
        return Box::pin(list(connection, view, query)).await;
    }
    let ends = [projected.next.map(PageCursor::id), unfolded.end];
    let last = ends.into_iter().flatten().min();
    let is_on_page = |id: &AggregateId| last.is_none_or(|last| *id <= last);
    let rows = projected.rows.into_iter().filter(|row| is_on_page(&row.id));
    let mut rows: BTreeMap<AggregateId, Slot> = rows.map(|row| (row.id, Ok(row))).collect();
    unfolded.aggregates.retain(is_on_page);
    if !unfolded.aggregates.is_empty() {
        let states = fold_states(connection, view, &unfolded.aggregates).await?;
        replace(connection, view, filters, &mut rows, states).await?;
    }
    let mut page = PageBuilder::new(limit);
    for slot in rows.into_values() {
        let is_cut = match slot {
            Ok(row) => !page.push(row),
            Err(failure) if !page.is_full() => return Err(QueryError::Unfoldable(failure)),
            // The aggregate that cannot be folded is not on this page.
            Err(_) => true,
        };
        if is_cut {
            return Ok(page.cut());
        }
    }
    Ok(page.end(last))
}

/// The row of an aggregate, or why its newest events cannot be folded.
type Slot = Result<RawRow, FoldError>;

/// An aggregate with all its events.
struct TailState {
    id: AggregateId,
    version: Version,
    /// `None`: it has no row.
    slot: Option<Slot>,
}

async fn fold_states(
    connection: &mut Session<'_>,
    view: &View,
    ids: &[AggregateId],
) -> Result<Vec<TailState>, QueryError> {
    let types = view.projection.block();
    let mut folded = Vec::with_capacity(ids.len());
    for (id, mut state) in state::load_folded(connection, view, ids).await? {
        state.tail.retain(|event| types.contains(&event.type_id.0));
        let version = state.version();
        let result = view.projection.fold(state.row_json(), &state.tail);
        let slot = match (result.failure, result.row) {
            (Some(failure), _) => Some(Err(failure)),
            (None, row) => row.map(|row| Ok(RawRow::new(id, version, row))),
        };
        folded.push(TailState { id, version, slot });
    }
    Ok(folded)
}

/// Puts the folded states in the place of the rows as projected.
async fn replace(
    connection: &mut Session<'_>,
    view: &View,
    filters: &[(&str, String)],
    rows: &mut BTreeMap<AggregateId, Slot>,
    states: Vec<TailState>,
) -> Result<(), QueryError> {
    let mut folded = Vec::with_capacity(states.len());
    for TailState { id, version, slot } in states {
        // The states are read after the rows, so a newer row means that a retry or a rebuild of the view came in between.
        if let Some(Ok(stored)) = rows.get(&id)
            && stored.version > version
        {
            continue;
        }
        match slot {
            Some(Ok(row)) => {
                rows.remove(&id);
                folded.push(row);
            }
            // It fails the page that it is on, whether it would match the filters or not.
            Some(failure) => {
                rows.insert(id, failure);
            }
            None => {
                rows.remove(&id);
            }
        }
    }
    let matching: Option<HashSet<AggregateId>> =
        matching(connection, view, filters, &folded).await?;
    let shown = |row: &RawRow| matching.as_ref().is_none_or(|ids| ids.contains(&row.id));
    let shown = folded.into_iter().filter(shown);
    rows.extend(shown.map(|row| (row.id, Ok(row))));
    Ok(())
}
