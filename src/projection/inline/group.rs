//! Appends that are folded inline by the statement that appends them, alone or in a group.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::backlog::{Backlog, read_backlog};
use super::{FoldedFor, fold_backlog, fold_inline, fold_into_live};
use crate::db::Session;
use crate::event::{AggregateId, TypeId, Version};
use crate::projection::ProjectionError;
use crate::projection::plan::Before;
use crate::projection::read_events::catch_decode_error;
use crate::store::{self, GroupedAppend, StoredGroup};
use crate::view::{self, View};

/// Appends a group, and folds its events into the view.
///
/// The statement that appends also returns the view rows. A row at the version below the new event contains all events before it, so
/// the new event is all that is left to fold. A parked aggregate is passed over. If another one is behind, a further statement reads the
/// backlog of all.
///
/// The statement reads the rows before it inserts and before it has the lock of the generation. If another transaction changes a row after
/// that, it has claimed an event of the aggregate or counted a repair; then `write_inline.sql` writes nothing, and the fold starts over.
///
/// # Errors
///
/// Those of [`store::append_group`] and [`fold_inline`].
pub async fn append_and_fold(
    connection: &mut Session<'_>,
    view: &View,
    group: &[GroupedAppend],
    folded_for: FoldedFor,
) -> Result<StoredGroup, ProjectionError> {
    let view = &view.current();
    if !view.serving().exists || folded_for == FoldedFor::Pieces {
        let stored = store::append_group(connection, group, folded_for.lock_wait()).await?;
        fold_stored(connection, view, group, &stored, folded_for).await?;
        return Ok(stored);
    }
    let sql = view.sql.fill(include_str!("sql/append_and_read.sql"));
    let rows = store::bind_group(sqlx::query(sql), group, folded_for.lock_wait())
        .bind(view.name())
        .bind(view.lock_domain())
        .fetch_all(&mut *connection)
        .await?;
    let stored = store::decode_group(&rows, group)?;
    let aggregates = aggregates_of(view, group, &stored);
    if aggregates.is_empty() {
        return Ok(stored);
    }
    let backlog = match decode_backlog(view, &rows)? {
        Some(backlog) => backlog,
        None => read_backlog(connection, view, &aggregates, folded_for).await?,
    };
    if !fold_backlog(connection, view, &aggregates, backlog, folded_for).await? {
        fold_into_live(connection, view, &aggregates, folded_for).await?;
    }
    Ok(stored)
}

/// Folds the stored events of a group into a view. If none is stored, it reads nothing: a lost race is not judged by the state of the view.
///
/// # Errors
///
/// Those of [`fold_inline`].
pub async fn fold_stored(
    connection: &mut Session<'_>,
    view: &View,
    group: &[GroupedAppend],
    stored: &StoredGroup,
    folded_for: FoldedFor,
) -> Result<(), ProjectionError> {
    let aggregates = aggregates_of(view, group, stored);
    if aggregates.is_empty() {
        return Ok(());
    }
    fold_inline(connection, view, &aggregates, folded_for).await
}

/// The aggregates of the stored events that the view is folded from.
fn aggregates_of(view: &View, group: &[GroupedAppend], stored: &StoredGroup) -> Vec<AggregateId> {
    let block = view.projection.block();
    let appends = group.iter().filter(|append| {
        block.contains(&append.type_id.0) && stored.contains_key(&append.aggregate_id)
    });
    appends.map(|append| append.aggregate_id).collect()
}

/// The backlog, if it is the appended events and nothing else. That of a parked aggregate is left to its retry.
fn decode_backlog(view: &View, rows: &[PgRow]) -> Result<Option<Backlog>, sqlx::Error> {
    let block = view.projection.block();
    let mut backlog = Backlog::default();
    for row in rows {
        if !block.contains(&TypeId(row.try_get("type_id")?).0) {
            continue;
        }
        let version = Version(row.try_get("version")?);
        let viewed: Option<i32> = row.try_get("viewed_version")?;
        if viewed.unwrap_or(0) != version.0 - 1 {
            if row.try_get::<Option<bool>, _>("is_parked")? == Some(true) {
                continue;
            }
            return Ok(None);
        }
        backlog.repairs = row.try_get::<Option<i64>, _>("repairs")?.unwrap_or(0);
        let aggregate_id = AggregateId(row.try_get("aggregate_id")?);
        let before = Before {
            row: catch_decode_error(view::decode_row(row))?,
            // The aggregate has a row, or the event is its first.
            predecessor_claimed: false,
        };
        backlog.before.insert(aggregate_id, before);
        backlog.events.push(row)?;
    }
    backlog.events.sort();
    Ok(Some(backlog))
}
