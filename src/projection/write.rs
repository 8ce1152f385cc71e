//! Writes a batch: the second of its two statements. It does everything or nothing.

use std::collections::HashSet;

use super::failure_class::FailureClass;
use super::lane::Lane;
use super::plan::{Failure, Plan};
use super::read::ReadBatch;
use super::rows::{self, OnRejectedWrite};
use super::settled::Settled;
use super::{ProjectionError, parked};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, RecordedEvent};
use crate::view::View;

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteResult {
    /// The batch is written.
    Written {
        /// How many events were folded.
        folded: usize,
        /// How many aggregates were parked.
        parked: usize,
    },
    /// Another transaction was first: it has changed the lane, unparked an aggregate, or claimed one of the events. Nothing is
    /// written, and the batch must be read again.
    Lost,
}

/// What the statement writes.
struct Changes<'a> {
    claims: Vec<&'a RecordedEvent>,
    park: &'a [Failure],
    delete: Vec<AggregateId>,
    rows: String,
}

/// Writes what `plan` decided about `batch`, after which the lane has settled `settled`.
///
/// # Errors
///
/// [`DbError::Conflict`] or [`DbError::Data`] when the database rejects a row; [`write_accepted`] finds the row.
pub(super) async fn write(
    connection: &mut Session<'_>,
    view: &View,
    (batch, plan, settled): (&ReadBatch, &Plan<'_>, &Settled),
) -> Result<WriteResult, ProjectionError> {
    let changes = Changes {
        claims: plan.claims.clone(),
        park: &plan.park,
        delete: plan.delete.iter().map(|row| row.aggregate_id).collect(),
        rows: rows::json_array(&plan.upsert),
    };
    execute(connection, view, batch, &changes, settled).await
}

/// Like [`write()`], but parks the aggregates whose rows the database rejects. It writes the rows in a statement of their own,
/// which it halves until it finds the rejected ones. The transaction of `connection` holds the
/// lock of the lane.
pub(super) async fn write_accepted(
    connection: &mut Session<'_>,
    view: &View,
    (batch, plan, settled): (&ReadBatch, &Plan<'_>, &Settled),
) -> Result<WriteResult, ProjectionError> {
    let rejected = rows::write(connection, view, plan, OnRejectedWrite::Bisect).await?;
    let ids: HashSet<AggregateId> = rejected
        .iter()
        .map(|change| change.events[0].aggregate_id)
        .collect();
    let is_accepted = |event: &&&RecordedEvent| !ids.contains(&event.aggregate_id);
    let failures = rejected
        .iter()
        .map(|change| Failure::new(&change.events[0], FailureClass::Write, &change.error));
    let park: Vec<Failure> = plan
        .park
        .iter()
        .filter(|failure| !ids.contains(&failure.aggregate_id))
        .cloned()
        .chain(failures)
        .collect();
    let changes = Changes {
        claims: plan.claims.iter().filter(is_accepted).copied().collect(),
        park: &park,
        delete: Vec::new(),
        rows: rows::json_array(&[]),
    };
    execute(connection, view, batch, &changes, settled).await
}

async fn execute(
    connection: &mut Session<'_>,
    view: &View,
    batch: &ReadBatch,
    changes: &Changes<'_>,
    settled: &Settled,
) -> Result<WriteResult, ProjectionError> {
    let Lane {
        first, last, turn, ..
    } = batch.lane;
    let mut claims = changes.claims.clone();
    // All batches claim in the same order, so two of them do not deadlock.
    claims.sort_unstable_by_key(|event| event.position);
    let park = changes.park;
    let begun = settled.begun;
    let (before, snapshot_text) = (batch.lane.settled.begun, &batch.lane.snapshot_text);
    let turn = sqlx::query_scalar::<_, Option<i64>>(view.sql.fill(include_str!("sql/write.sql")))
        .bind(view.lock_domain())
        .bind(first)
        .bind(last)
        .bind(turn)
        .bind(batch.passed_over.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(settled.snapshot.to_string())
        .bind(begun.map(|begun| begun.txid.to_string()))
        .bind(begun.map_or(0, |begun| begun.position))
        .bind(claims.iter().map(|e| e.id.0).collect::<Vec<_>>())
        .bind(claims.iter().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .bind(park.iter().map(|f| f.aggregate_id.0).collect::<Vec<_>>())
        .bind(park.iter().map(|f| f.event_id.0).collect::<Vec<_>>())
        .bind(park.iter().map(|f| f.version.0).collect::<Vec<_>>())
        .bind(park.iter().map(|f| f.reason.as_str()).collect::<Vec<_>>())
        .bind(changes.delete.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(&changes.rows)
        .bind(snapshot_text)
        .bind(before.map(|begun| begun.txid.to_string()))
        .bind(before.map_or(0, |begun| begun.position))
        .bind(park.iter().map(|f| f.class.name()).collect::<Vec<_>>())
        .bind(&batch.lane.writer)
        .fetch_one(connection)
        .await;
    match turn.map_err(DbError::from) {
        Ok(Some(_)) => {
            parked::log_parked(view, park);
            Ok(WriteResult::Written {
                folded: claims.len(),
                parked: park.len(),
            })
        }
        Ok(None) => Ok(WriteResult::Lost),
        Err(DbError::Conflict { constraint, .. }) if constraint == "locker_pkey" => {
            Ok(WriteResult::Lost)
        }
        Err(error) => Err(error.into()),
    }
}
