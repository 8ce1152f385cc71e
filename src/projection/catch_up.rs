//! A catch-up runs passes over the new events, batch by batch, until no event is left or its time is up.

use std::time::{Duration, Instant};

use sqlx::Row;
use tokio::time::timeout;

use super::budget::{BatchSizer, Budget};
use super::claim::{self, ClaimResult};
use super::fold::OnRejectedWrite;
use super::settled::{LogCursor, Snapshot};
use super::{ProjectionError, batch, parked, status};
use crate::db::{self, DbError, Pool, Retryable as _, Transaction};
use crate::view::View;

/// After this many consecutive batches have been aborted (by a deadlock, or because another transaction held a claim for
/// too long), the catch-up ends and reports what it has applied.
const MAX_LOST_BATCHES: u32 = 5;

/// A pass that found no event stores its snapshot only if at least this many transaction ids have been assigned since the
/// settled one. Storing it uses a transaction id itself, so an idle system would otherwise never stop settling.
const MIN_SETTLE_DISTANCE: u64 = 256;

/// How many of the remaining events a catch-up reads at most to count them. It counts after its time is up, so counting
/// must not take long.
const REMAINING_COUNT_LIMIT: i64 = 100_000;
/// How long counting may take if the budget has a moment to abort at.
const REMAINING_COUNT_TIMEOUT: Duration = Duration::from_millis(100);

/// The result of a catch-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CatchUp {
    /// Events folded.
    pub applied: u64,
    /// Events that are not folded yet, without those of parked aggregates. Only the next 100,000 events of the log are
    /// counted.
    pub remaining: u64,
    /// Parked aggregates.
    pub parked: u64,
    /// Whether every event that was visible when the last pass began is folded or belongs to a parked aggregate.
    pub done: bool,
}

/// The result of a pass.
#[derive(Debug, Default)]
struct Pass {
    applied: u64,
    released: usize,
    reached_end: bool,
}

/// Applies new events to one projection: first it retries the parked aggregates that are due, then it runs passes until
/// one of them reaches the end of its snapshot and releases no claim.
///
/// ```no_run
/// use foldlog::Foldlog;
/// use foldlog::projection::{Budget, catch_up};
///
/// # async fn example(foldlog: Foldlog) -> Result<(), foldlog::projection::ProjectionError> {
/// for view in foldlog.views.iter() {
///     let result = catch_up(&foldlog.pool, view, 500, &Budget::default()).await?;
///     println!("{}: {} events folded", view.name(), result.applied);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Any [`ProjectionError`], except for lost races, which the catch-up retries. Batches that were committed before the
/// error stay committed.
pub async fn catch_up(
    pool: &Pool,
    view: &View,
    batch_size: u32,
    budget: &Budget,
) -> Result<CatchUp, ProjectionError> {
    let applied = Box::pin(parked::retry_due(pool, view, budget)).await?;
    let mut result = CatchUp {
        applied,
        ..CatchUp::default()
    };
    let (mut lost, mut on_rejected) = (0, OnRejectedWrite::Abort);
    let mut sizer = BatchSizer::new(batch_size);
    while !budget.is_spent() && lost < MAX_LOST_BATCHES {
        let total = &mut result.applied;
        let pass = run_pass(pool, view, &mut sizer, budget, on_rejected, total);
        // Boxed, because it contains the futures of two batches.
        let Some(passed) = budget.run_until_abort(Box::pin(pass)).await else {
            break;
        };
        match passed {
            Ok(pass) if pass.reached_end && pass.released == 0 => {
                result.done = true;
                break;
            }
            // All remaining events wait for a predecessor whose claim another worker holds. A later catch-up folds them.
            Ok(pass) if pass.reached_end && pass.applied == 0 => break,
            // Not even one event fits into the time that is left.
            Ok(_) if sizer.next_size(budget) == 0 => break,
            // The log's offset was corrected during the pass. The pass restarts, and counts as lost so that this loop is
            // bounded.
            Ok(pass) if !pass.reached_end && pass.applied == 0 => lost += 1,
            Ok(_) => lost = 0,
            // An aborted batch makes the cursor useless, because the abort released claims of events before the cursor.
            Err(ProjectionError::Db(error))
                if error.is_about_rows() && on_rejected == OnRejectedWrite::Abort =>
            {
                on_rejected = OnRejectedWrite::Bisect;
            }
            Err(ProjectionError::Db(error @ (DbError::Contended(_) | DbError::TimedOut(_)))) => {
                lost += 1;
                let name = view.name();
                tracing::warn!(
                    projection = name,
                    attempt = lost,
                    "a batch of the projection {name} was aborted, restarting the pass: {error}"
                );
            }
            Err(error) => {
                if matches!(&error, ProjectionError::Db(error) if error.is_retryable()) {
                    pool.mark_suspect();
                }
                return Err(error);
            }
        }
    }
    if budget.stop.is_cancelled() {
        // The process is shutting down, and counting a backlog would delay its end.
        return Ok(result);
    }
    if !result.done {
        result.remaining = count_remaining(pool, view, budget).await?;
    }
    result.parked = status::count_parked(pool, view).await?;
    Ok(result)
}

/// Counts the events that are not folded yet. When counting takes too long, the answer is 1: at least one event is left,
/// because the catch-up is not done.
async fn count_remaining(
    pool: &Pool,
    view: &View,
    budget: &Budget,
) -> Result<u64, ProjectionError> {
    let measured = status::measure(pool, view, REMAINING_COUNT_LIMIT);
    let measured = match budget.abort_at {
        Some(_) => timeout(REMAINING_COUNT_TIMEOUT, measured)
            .await
            .ok()
            .transpose()?,
        None => Some(measured.await?),
    };
    Ok(measured.and_then(|status| status.lag_events).unwrap_or(1))
}

/// One pass: freezes C, reads with a keyset cursor everything that C sees and the settled snapshot does not, and settles
/// C, or the part of C that it has finished.
///
/// While one batch is folded and written, the next batch is already claimed, in a transaction of its own. The two
/// transactions behave like two workers, with two differences: the second batch reads the view only after the first has
/// committed, and when the first batch aborts, the second aborts too, because the pass restarts.
async fn run_pass(
    pool: &Pool,
    view: &View,
    sizer: &mut BatchSizer,
    budget: &Budget,
    on_rejected: OnRejectedWrite,
    total: &mut u64,
) -> Result<Pass, ProjectionError> {
    let Some(walk) = Walk::freeze(pool, view).await? else {
        return Ok(Pass::default());
    };
    let (mut pass, mut cursor, mut scanned) = (Pass::default(), LogCursor::default(), 0);
    let mut claimed_ahead = None;
    while !budget.is_spent() {
        let started = Instant::now();
        let claimed = match claimed_ahead.take() {
            Some(claimed) => Some(claimed),
            None => match sizer.next_size(budget) {
                0 => break,
                size => Box::pin(walk.claim(pool.begin(), cursor, size)).await?,
            },
        };
        let Some(claimed) = claimed else {
            pass.reached_end = true;
            break;
        };
        let (batch, size) = (claimed.batch, claimed.size);
        scanned += batch.scanned;
        let is_last = batch.scanned < u64::from(size);
        let next_cursor = batch.last.unwrap_or(cursor);
        let applied = Box::pin(async {
            let applied =
                batch::apply(claimed.transaction, view, batch.claimed, on_rejected).await?;
            // Counted immediately after the commit: the budget may abort this pass while it waits for the next batch's claims.
            *total += applied.folded as u64;
            Ok::<_, ProjectionError>(applied)
        });
        let size_ahead = sizer.size_ahead(budget).filter(|_| !is_last);
        let (applied, claimed) = if let Some(size_ahead) = size_ahead {
            let ahead = walk.claim_ahead(pool, next_cursor, size_ahead);
            let (applied, claimed) = tokio::join!(applied, ahead);
            (applied?, claimed)
        } else {
            (applied.await?, Ok(None))
        };
        // The cursor moves only past committed batches.
        cursor = next_cursor;
        sizer.record(size, started.elapsed());
        pass.applied += applied.folded as u64;
        pass.released += applied.released;
        // Checked only here, so that the committed batch counts even when claiming the next one failed.
        claimed_ahead = claimed?;
        if is_last {
            pass.reached_end = true;
            break;
        }
    }
    walk.settle(pool, &pass, cursor, scanned).await?;
    Ok(pass)
}

/// A batch, and the transaction that claimed it.
struct ClaimedBatch {
    transaction: Transaction,
    batch: ClaimResult,
    /// How many events were requested.
    size: u32,
}

/// What a pass reads: the events of `view` that `frozen` sees and `settled` does not.
struct Walk<'a> {
    view: &'a View,
    frozen: Snapshot,
    settled: Snapshot,
}

impl<'a> Walk<'a> {
    /// Reads C and the settled snapshot. C is frozen before the transaction writes anything: otherwise the transaction's own
    /// open id would count as visible once a later transaction has committed. `None` when the log's offset had to be
    /// corrected first.
    async fn freeze(pool: &Pool, view: &'a View) -> Result<Option<Self>, ProjectionError> {
        let mut connection = pool.acquire().await?;
        let row = sqlx::query(include_str!("sql/freeze.sql"))
            .bind(view.name())
            .fetch_one(&mut *connection)
            .await?;
        if row.try_get("behind")? {
            db::heal_log(&mut connection).await?;
            return Ok(None);
        }
        let frozen = row.try_get::<String, _>("frozen")?.parse()?;
        let settled = match row.try_get::<Option<String>, _>("settled")? {
            Some(text) => text.parse()?,
            None => Snapshot::empty(),
        };
        Ok(Some(Self {
            view,
            frozen,
            settled,
        }))
    }

    /// Claims the next batch after `cursor`, in the transaction that `begin` starts; `None` when there are no more events.
    async fn claim(
        &self,
        begin: impl Future<Output = Result<Transaction, DbError>>,
        cursor: LogCursor,
        size: u32,
    ) -> Result<Option<ClaimedBatch>, ProjectionError> {
        let spans = self.frozen.spans_since(&self.settled, cursor);
        if spans.is_empty() {
            return Ok(None);
        }
        let mut transaction = begin.await?;
        let limit = size.into();
        let batch = claim::claim(&mut transaction, self.view, &spans, &self.frozen, limit).await?;
        Ok(Some(ClaimedBatch {
            transaction,
            batch,
            size,
        }))
    }

    /// Claims the next batch if a pooled connection is free. It does not wait for one: this pass may hold the connection
    /// that it would wait for.
    async fn claim_ahead(
        &self,
        pool: &Pool,
        cursor: LogCursor,
        size: u32,
    ) -> Result<Option<ClaimedBatch>, ProjectionError> {
        match pool.begin_at_once().await? {
            Some(transaction) => {
                self.claim(std::future::ready(Ok(transaction)), cursor, size)
                    .await
            }
            None => Ok(None),
        }
    }

    /// Settles C, or the part of it that a pass that stopped at `cursor` has finished, so that the next pass does not read
    /// it again. After a pass that released a claim it settles nothing, so that the next pass reads the released event.
    async fn settle(
        &self,
        pool: &Pool,
        pass: &Pass,
        cursor: LogCursor,
        scanned: u64,
    ) -> Result<(), ProjectionError> {
        if pass.released > 0 {
            return Ok(());
        }
        let finished = if pass.reached_end {
            let is_due = scanned > 0 || self.frozen.distance(&self.settled) >= MIN_SETTLE_DISTANCE;
            is_due.then(|| self.frozen.clone())
        } else {
            self.frozen.truncate_at(&self.settled, cursor)
        };
        if let Some(finished) = finished {
            sqlx::query(include_str!("sql/settle.sql"))
                .bind(self.view.name())
                .bind(finished.to_string())
                .execute(&mut *pool.acquire().await?)
                .await?;
        }
        Ok(())
    }
}
