//! Folds a batch that a worker has read, and writes it.

use std::collections::HashMap;
use std::time::Instant;

use super::ProjectionError;
use super::chain::{self, Completed};
use super::lane::{self, Wanted};
use super::plan::{AggregateBatch, Before, Failure, Plan, plan};
use super::read::{self, ReadBatch, Request};
use super::worker::{LaneWorker, MAX_QUICK_EVENTS};
use super::write::{self, WriteResult};
use crate::db::{Session, Transaction};
use crate::event::{AggregateId, RecordedEvent};
use crate::telemetry::millis;

/// A pass that looked at no event settles its snapshot only if at least this many transaction ids have been assigned since
/// the settled one. Settling uses a transaction id itself, so an idle system would otherwise never stop settling.
const MIN_SETTLE_DISTANCE: u64 = 256;

/// Rows that a batch writes come to at most this many bytes, unless a single event alone exceeds it.
const MAX_ROW_BYTES: usize = 32 << 20;

/// A generation goes live if at most this many batches of a quick pass are left, because appends wait meanwhile.
const MAX_DRAINED_BATCHES: u32 = 8;

/// The result of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchOutcome {
    /// It is written. It reached the end of C, or there are more events.
    Written { folded: u64, reached_end: bool },
    /// There was nothing to write.
    Empty,
    /// Another transaction was first.
    Lost,
    /// C is older than what the lane has settled: another worker was first, or the log was restored from another cluster.
    Outdated,
    /// It has to be read again: with fewer events, or with the claims of its events.
    ReadAgain,
}

impl LaneWorker<'_> {
    /// Applies what is left, in a transaction that keeps the lock of the lane until it ends. False if it is more than a few batches, or
    /// if other workers share the lanes.
    pub(super) async fn drain(
        &mut self,
        transaction: &mut Transaction,
    ) -> Result<bool, ProjectionError> {
        for _ in 0..MAX_DRAINED_BATCHES {
            let taken = lane::take(transaction, self.view, Wanted::Any).await?;
            let Some((first, frozen)) = taken else {
                return Ok(false);
            };
            let request = Request {
                lane: Some(first),
                frozen: Some(frozen),
                size: MAX_QUICK_EVENTS,
                claims: self.reads_claims,
                count_parked: false,
            };
            let batch = match read::read(transaction, self.view, request).await? {
                Some(batch) if batch.lanes == 1 => batch,
                _ => return Ok(false),
            };
            match Box::pin(self.apply(transaction, batch, Instant::now())).await? {
                BatchOutcome::Empty
                | BatchOutcome::Written {
                    reached_end: true, ..
                } => return Ok(true),
                BatchOutcome::Written { .. } | BatchOutcome::ReadAgain => {}
                BatchOutcome::Lost | BatchOutcome::Outdated => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Folds a batch and writes it.
    #[tracing::instrument(name = "batch", skip_all, fields(projection = self.view.name(), batch.events = batch.events.events.len()))]
    pub(super) async fn apply(
        &mut self,
        connection: &mut Session<'_>,
        mut batch: ReadBatch,
        started: Instant,
    ) -> Result<BatchOutcome, ProjectionError> {
        if batch.is_outdated() {
            self.lost += 1;
            return Ok(BatchOutcome::Outdated);
        }
        if !self.reads_claims && batch.has_applied_events() {
            self.reads_claims = true;
            return Ok(BatchOutcome::ReadAgain);
        }
        let (lane, frozen) = (&batch.lane.settled, &batch.frozen);
        let is_near = frozen.distance(&lane.snapshot) < MIN_SETTLE_DISTANCE;
        if batch.is_empty() && is_near {
            return Ok(BatchOutcome::Empty);
        }
        if batch.is_cut {
            self.sizer.limit(batch.size);
        }
        let is_whole = match chain::complete(connection, self.view, &mut batch).await? {
            Completed::Whole => true,
            Completed::Part => false,
            Completed::TooLarge { events } => {
                self.sizer.limit(events);
                return Ok(BatchOutcome::ReadAgain);
            }
        };
        let before = std::mem::take(&mut batch.before);
        let plan = self.plan(&batch, before);
        if !plan.park.is_empty() && !self.reads_claims {
            // An event may be claimed without a row that shows it, and then it must not park its aggregate.
            self.reads_claims = true;
            return Ok(BatchOutcome::ReadAgain);
        }
        let bytes: usize = plan.upsert.iter().map(|row| row.row.get().len()).sum();
        if bytes > MAX_ROW_BYTES && batch.size > 1 {
            self.sizer.limit(batch.size / 2);
            return Ok(BatchOutcome::ReadAgain);
        }
        let settled = if is_whole {
            batch.lane.settled.advance(&batch.frozen, batch.stop)
        } else {
            batch.lane.settled.clone()
        };
        let decided = (&batch, &plan, &settled);
        let written = if self.bisects {
            write::write_accepted(connection, self.view, decided).await?
        } else {
            write::write(connection, self.view, decided).await?
        };
        let WriteResult::Written { folded, parked } = written else {
            self.lost += 1;
            // A row does not show that a claimed event has deleted it.
            self.reads_claims = true;
            return Ok(BatchOutcome::Lost);
        };
        self.lost = 0;
        self.batches += u64::from(batch.found > 0);
        self.has_parked |= parked > 0;
        self.sizer.record(batch.found, started.elapsed());
        if folded > 0 {
            tracing::info!(
                duration_ms = millis(started.elapsed()),
                "folded {folded} events into the projection {}",
                self.view.name()
            );
        }
        Ok(BatchOutcome::Written {
            folded: folded as u64,
            reached_end: is_whole && batch.stop.is_none(),
        })
    }

    /// Folds the events of a batch in memory. An event whose predecessor is not in the log parks its aggregate.
    fn plan<'b>(&self, batch: &'b ReadBatch, mut before: HashMap<AggregateId, Before>) -> Plan<'b> {
        let by_aggregate = |a: &RecordedEvent, b: &RecordedEvent| a.aggregate_id == b.aggregate_id;
        let batches: Vec<_> = batch
            .events
            .events
            .chunk_by(by_aggregate)
            .filter_map(|events| {
                let before = before.remove(&events[0].aggregate_id)?;
                Some(AggregateBatch { before, events })
            })
            .collect();
        let mut plan = plan(self.view.projection, &batches, &batch.events.undecodable);
        let waiting = plan.waiting.iter();
        plan.park
            .extend(waiting.map(|events| Failure::missing_predecessor(&events[0])));
        plan
    }
}
