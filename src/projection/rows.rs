//! Writes view rows, and finds those that the database rejects.

use serde_json::value::RawValue;

use super::ProjectionError;
use super::plan::{DeletedRow, FoldedRow, Plan};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::view::{self, View};

/// What happens when the database rejects a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnRejectedWrite {
    /// The transaction aborts, and the append returns the error to the client.
    Return,
    /// The changes are halved until those are found that the database rejects. Their aggregates are failures; all other
    /// changes are written.
    Bisect,
    /// Like [`Self::Bisect`], but the old rows of all changes are deleted before any new row is written, so that the rows may
    /// exchange unique values in any way.
    Together,
}

/// A change of one row.
#[derive(Clone, Copy, Debug)]
enum Change<'a> {
    Delete(&'a DeletedRow<'a>),
    Upsert(&'a FoldedRow<'a>),
}

impl<'a> Change<'a> {
    /// The events that were folded, at least one.
    const fn events(&self) -> &'a [RecordedEvent] {
        match self {
            Change::Delete(row) => row.events,
            Change::Upsert(row) => row.events,
        }
    }
}

/// A change that the database rejected.
#[derive(Debug)]
pub(super) struct RejectedChange<'a> {
    /// The events that were folded, at least one.
    pub events: &'a [RecordedEvent],
    pub error: DbError,
}

/// Deletes and writes the rows of a plan; returns the changes that the database rejects.
pub(super) async fn write<'a>(
    connection: &mut Session<'_>,
    view: &View,
    plan: &'a Plan<'a>,
    on_rejected: OnRejectedWrite,
) -> Result<Vec<RejectedChange<'a>>, ProjectionError> {
    let deletes = plan.delete.iter().map(Change::Delete);
    let changes: Vec<_> = deletes
        .chain(plan.upsert.iter().map(Change::Upsert))
        .collect();
    match on_rejected {
        OnRejectedWrite::Return => {
            apply(connection, view, &changes).await?;
            Ok(Vec::new())
        }
        OnRejectedWrite::Bisect => bisect(connection, view, &changes).await,
        OnRejectedWrite::Together => write_together(connection, view, changes).await,
    }
}

/// Writes all changes that the database accepts when the old rows of these changes, and only of these, are gone. A rejected change
/// keeps its old row, which may be in the way of another change, so the others are then written anew without it.
async fn write_together<'a>(
    connection: &mut Session<'_>,
    view: &View,
    mut changes: Vec<Change<'a>>,
) -> Result<Vec<RejectedChange<'a>>, ProjectionError> {
    let mut all_rejected = Vec::new();
    loop {
        connection.savepoint().await?;
        let old: Vec<AggregateId> = changes
            .iter()
            .map(|change| change.events()[0].aggregate_id)
            .collect();
        view::delete(connection, view, &old).await?;
        let rejected = bisect(connection, view, &changes).await?;
        if rejected.is_empty() {
            connection.release_savepoint().await?;
            return Ok(all_rejected);
        }
        connection.rollback_to_savepoint().await?;
        let is_rejected = |change: &Change<'_>| {
            let mut rejected = rejected.iter();
            rejected.any(|r| r.events[0].aggregate_id == change.events()[0].aggregate_id)
        };
        changes.retain(|change| !is_rejected(change));
        all_rejected.extend(rejected);
    }
}

async fn bisect<'a>(
    connection: &mut Session<'_>,
    view: &View,
    changes: &[Change<'a>],
) -> Result<Vec<RejectedChange<'a>>, ProjectionError> {
    let (mut rejected, mut parts) = (Vec::new(), vec![changes]);
    while let Some(part) = parts.pop() {
        connection.savepoint().await?;
        let written = async {
            apply(connection, view, part).await?;
            // Reveals now what would fail at the commit, when it is too late to find the row.
            connection.check_deferred_constraints().await
        };
        match written.await {
            Ok(()) => connection.release_savepoint().await?,
            Err(error) if error.is_about_rows() || error.may_be_about_rows() => {
                connection.rollback_to_savepoint().await?;
                if !error.is_about_rows() {
                    // If no row can be written, the rows are not at fault.
                    view::check_writable(connection, view).await?;
                }
                if let [change] = part {
                    let events = change.events();
                    rejected.push(RejectedChange { events, error });
                } else {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rejected)
}

/// Deletes rows, so that others can take their unique values, and then writes rows. If the view has set rules, it deletes the old
/// rows, too: Postgres checks a unique index row by row, but a set rule applies to the state after all rows are written, and
/// one row may release the value that another row takes.
async fn apply(
    connection: &mut Session<'_>,
    view: &View,
    changes: &[Change<'_>],
) -> Result<(), DbError> {
    let replace = !view.projection.set_rules().is_empty() && changes.len() > 1;
    let (mut delete, mut upsert) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Delete(row) => delete.push(row.aggregate_id),
            Change::Upsert(row) => {
                if replace && row.had_row {
                    delete.push(row.aggregate_id);
                }
                upsert.push(as_parts(row));
            }
        }
    }
    view::delete(connection, view, &delete).await?;
    view::upsert(connection, view, &upsert).await
}

/// The rows as the JSON array that the write statement takes.
pub(super) fn json_array(rows: &[FoldedRow<'_>]) -> String {
    view::json_array(&rows.iter().map(as_parts).collect::<Vec<_>>())
}

fn as_parts<'a>(row: &'a FoldedRow<'_>) -> (AggregateId, Version, &'a RawValue) {
    (row.aggregate_id, row.version, &row.row)
}
