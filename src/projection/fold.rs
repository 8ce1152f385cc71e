//! Folds claimed events into the view: checks their order, folds them in memory, writes the rows, and releases the claims
//! of events that cannot be folded yet.

use std::collections::{HashMap, HashSet};

use sqlx::Row;

use super::failure_class::FailureClass;
use super::plan::{AggregateBatch, Failure, plan};
use super::read::decode_before;
use super::read_events::ReadEvents;
use super::rows::OnRejectedWrite;
use super::{ProjectionError, claim, rows};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, RecordedEvent};
use crate::view::View;

/// The result of folding a batch of claimed events.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Events folded and written.
    pub folded: usize,
    /// Events whose claims were released because a predecessor is not claimed yet. A later pass folds them.
    pub released: usize,
    /// The aggregates of these events.
    pub waiting: HashSet<AggregateId>,
    /// Aggregates to park.
    pub failures: Vec<Failure>,
    /// Whether the database rejected a row because of another row.
    pub has_conflict: bool,
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
        waiting: plan.waiting.iter().map(|e| e[0].aggregate_id).collect(),
        failures: plan.park.iter().cloned().chain(missing).collect(),
        has_conflict: false,
    };
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
    for rejected in rows::write(connection, view, &plan, on_rejected).await? {
        let events = rejected.events;
        applied.has_conflict |= matches!(rejected.error, DbError::Conflict { .. });
        applied.failures.push(Failure::new(
            &events[0],
            FailureClass::Write,
            rejected.error,
        ));
        applied.folded -= events.len();
        release.extend(events.iter().map(|e| (e.id, e.aggregate_id)));
    }
    claim::release(connection, view, &release).await?;
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
        .bind(view.lock_domain())
        .fetch_all(connection)
        .await?;
    let mut read = HashMap::with_capacity(rows.len());
    for row in &rows {
        read.insert(AggregateId(row.try_get("wanted_id")?), decode_before(row)?);
    }
    let to_batch = |events: &'a [RecordedEvent]| {
        // The events are claimed, so skipping them would lose them.
        let before = read
            .remove(&events[0].aggregate_id)
            .ok_or(sqlx::Error::RowNotFound)?;
        Ok(AggregateBatch { before, events })
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
    Ok(firsts()
        .filter(|event| missing.contains(&event.aggregate_id))
        .map(Failure::missing_predecessor)
        .collect())
}
