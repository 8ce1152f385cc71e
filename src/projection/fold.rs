//! Folds claimed events into the view: checks their order, folds them in memory, writes the rows, and releases the claims
//! of events that cannot be folded yet.

use std::collections::{HashMap, HashSet};

use sqlx::Row;

use super::ProjectionError;
use super::plan::{AggregateBatch, Failure, FoldedRow, plan};
use super::read::{ReadEvents, catch_decode_error};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, EventId, RecordedEvent};
use crate::view::{self, View};

/// The result of folding a batch of claimed events.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Events folded and written.
    pub folded: usize,
    /// Events whose claims were released because a predecessor is not claimed yet. A later pass folds them.
    pub released: usize,
    /// Aggregates to park.
    pub failures: Vec<Failure>,
}

/// What happens when the database rejects a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnRejectedWrite {
    /// The transaction aborts, and the worker restarts with [`Self::Bisect`].
    Abort,
    /// The transaction aborts, and the append returns the error to the client.
    Return,
    /// The batch is halved until the rows that the database rejects are found. Their aggregates are failures; all other
    /// rows are written.
    Bisect,
}

/// Folds the events that this transaction has claimed into their view, releases the claims of those that it cannot fold,
/// and returns the reasons.
pub(super) async fn apply(
    connection: &mut Session<'_>,
    view: &View,
    mut claimed: ReadEvents,
    on_rejected: OnRejectedWrite,
) -> Result<Applied, ProjectionError> {
    if claimed.is_empty() {
        return Ok(Applied::default());
    }
    claimed
        .events
        .sort_unstable_by_key(|event| (event.aggregate_id, event.version));
    let batches = load_batches(connection, view, &claimed.events).await?;
    let plan = plan(view.projection, &batches, &claimed.undecodable);
    let missing = find_missing_predecessors(connection, view, &plan.waiting).await?;
    let mut applied = Applied {
        folded: plan.claims.len(),
        released: plan.waiting.iter().map(|events| events.len()).sum(),
        failures: plan.park,
    };
    applied.failures.extend(missing);
    let mut release: Vec<_> = plan
        .release
        .iter()
        .map(|e| (e.id, e.aggregate_id))
        .collect();
    release.extend(
        claimed
            .undecodable
            .iter()
            .map(|e| (e.event_id, e.aggregate_id)),
    );
    // Deletes run first, so that the other rows can take the unique values of the deleted ones.
    view::delete(connection, view, &plan.delete).await?;
    for (rejected, reason) in write(connection, view, &plan.upsert, on_rejected).await? {
        applied
            .failures
            .push(Failure::new(&rejected.events[0], reason));
        applied.folded -= rejected.events.len();
        release.extend(rejected.events.iter().map(|e| (e.id, e.aggregate_id)));
    }
    release_claims(connection, view, &release).await?;
    Ok(applied)
}

/// Loads what the fold has to know about each aggregate in `claimed`, which is ordered by aggregate and version: its view
/// row, and whether the predecessor of its first event is claimed. One statement reads both, after the claims. Otherwise
/// another worker could commit an event in between, and this fold would overwrite that event's effect.
async fn load_batches<'a>(
    connection: &mut Session<'_>,
    view: &View,
    claimed: &'a [RecordedEvent],
) -> Result<Vec<AggregateBatch<'a>>, ProjectionError> {
    let by_aggregate = || claimed.chunk_by(|a, b| a.aggregate_id == b.aggregate_id);
    let firsts = || by_aggregate().map(|events| &events[0]);
    if claimed.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(view.sql.fill(include_str!("sql/load_rows.sql")))
        .bind(firsts().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .bind(firsts().map(|e| e.version.0).collect::<Vec<_>>())
        .bind(view.name())
        .fetch_all(connection)
        .await?;
    let mut read = HashMap::with_capacity(rows.len());
    for row in &rows {
        let predecessor_claimed = row.try_get::<Option<bool>, _>("predecessor_claimed")?;
        let view_row = catch_decode_error(view::decode_row(row))?;
        let id = AggregateId(row.try_get("wanted_id")?);
        read.insert(id, (view_row, predecessor_claimed.unwrap_or(false)));
    }
    let to_batch = |events: &'a [RecordedEvent]| {
        // The events are claimed, so skipping them would lose them.
        let (row, predecessor_claimed) = read
            .remove(&events[0].aggregate_id)
            .ok_or(sqlx::Error::RowNotFound)?;
        Ok(AggregateBatch {
            row,
            predecessor_claimed,
            events,
        })
    };
    by_aggregate().map(to_batch).collect()
}

/// Finds the events whose predecessor is missing from the log for good, which parks their aggregates.
async fn find_missing_predecessors(
    connection: &mut Session<'_>,
    view: &View,
    waiting: &[&[RecordedEvent]],
) -> Result<Vec<Failure>, ProjectionError> {
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let firsts = || waiting.iter().map(|events| &events[0]);
    let types = view.projection.block();
    let rows = sqlx::query(include_str!("sql/find_holes.sql"))
        .bind(firsts().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .bind(firsts().map(|e| e.version.0).collect::<Vec<_>>())
        .bind(types.start)
        .bind(types.end)
        .fetch_all(connection)
        .await?;
    let missing = rows
        .iter()
        .map(|row| row.try_get(0).map(AggregateId))
        .collect::<Result<HashSet<_>, _>>()?;
    let to_failure = |event: &RecordedEvent| {
        let version = event.version.0 - 1;
        Failure::new(
            event,
            format_args!(
                "version {version} of the aggregate is missing from the log or belongs to another domain"
            ),
        )
    };
    Ok(firsts()
        .filter(|event| missing.contains(&event.aggregate_id))
        .map(to_failure)
        .collect())
}

/// Writes the rows; returns those that the database rejects, each with the error.
async fn write<'a>(
    connection: &mut Session<'_>,
    view: &View,
    rows: &'a [FoldedRow<'a>],
    on_rejected: OnRejectedWrite,
) -> Result<Vec<(&'a FoldedRow<'a>, DbError)>, ProjectionError> {
    match on_rejected {
        OnRejectedWrite::Abort => {
            upsert(connection, view, rows).await?;
            return Ok(Vec::new());
        }
        OnRejectedWrite::Return => {
            delete_before_upsert(connection, view, rows).await?;
            upsert(connection, view, rows).await?;
            return Ok(Vec::new());
        }
        OnRejectedWrite::Bisect => {}
    }
    let (mut rejected, mut parts) = (Vec::new(), vec![rows]);
    while let Some(part) = parts.pop() {
        connection.savepoint().await?;
        delete_before_upsert(connection, view, part).await?;
        match upsert(connection, view, part).await {
            Ok(()) => connection.release_savepoint().await?,
            Err(error) if error.is_about_rows() => {
                connection.rollback_to_savepoint().await?;
                if let [row] = part {
                    rejected.push((row, error));
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

/// Deletes the old rows before the upsert, if the view has set rules. Postgres checks a unique index row by row, but a set
/// rule applies to the state after all rows are written: one row may release the value that another row takes.
async fn delete_before_upsert(
    connection: &mut Session<'_>,
    view: &View,
    rows: &[FoldedRow<'_>],
) -> Result<(), DbError> {
    if view.projection.set_rules().is_empty() || rows.len() < 2 {
        return Ok(());
    }
    let existing: Vec<AggregateId> = rows
        .iter()
        .filter(|a| a.had_row)
        .map(|a| a.aggregate_id)
        .collect();
    view::delete(connection, view, &existing).await
}

async fn upsert(
    connection: &mut Session<'_>,
    view: &View,
    rows: &[FoldedRow<'_>],
) -> Result<(), DbError> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.aggregate_id, row.version, &*row.row))
        .collect();
    view::upsert(connection, view, &rows).await
}

/// Releases the claims of events that this transaction has claimed but not folded.
async fn release_claims(
    connection: &mut Session<'_>,
    view: &View,
    events: &[(EventId, AggregateId)],
) -> Result<(), ProjectionError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/release_claims.sql"))
        .bind(view.name())
        .bind(events.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, id)| id.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
