//! A worker: reads, folds and writes batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::ProjectionError;
use super::batch::BatchOutcome;
use super::budget::{BatchSizer, Budget, MAX_BATCH_DURATION};
use super::catch_up::MAX_LOST_BATCHES;
use super::lane::{self, Split, Wanted};
use super::quick_session::QuickSession;
use super::read::{self, GenerationState, Request};
use crate::db::{self, DbError, Pool, Transaction};
use crate::view::View;

/// A quick pass reads at most this many events. If there are more, the catch-up works in bulk.
pub(super) const MAX_QUICK_EVENTS: u32 = 128;

/// What a catch-up does after a quick pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: every event that the pass saw is folded or belongs to a parked aggregate.
    Done,
    /// There is more than a quick pass can do, or another worker was first.
    #[default]
    Bulk,
    /// Not even one event fits into the time that is left.
    OutOfTime,
    /// Nothing: another generation serves this process now.
    Replaced,
}

/// The result of a quick pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QuickPass {
    pub next: Next,
    /// What the pass has read about the generation.
    pub generation: Option<GenerationState>,
    /// Whether a parked aggregate is due for a retry.
    pub retry_due: bool,
    /// The parked aggregates, if they were counted.
    pub parked: Option<u64>,
}

/// The result of a step of bulk work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BulkStep {
    /// There may be more to do.
    Continue,
    /// No lane has new events, or the time is up.
    Finished,
}

/// A worker of one projection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct LaneWorker<'a> {
    pool: &'a Pool,
    pub(super) view: &'a View,
    budget: &'a Budget,
    pub(super) sizer: BatchSizer,
    /// Events folded, together with the other worker of the catch-up.
    applied: &'a AtomicU64,
    /// Whether batches are read with the claims of their events, because one of them contained a claimed event.
    pub(super) reads_claims: bool,
    /// Whether rows are written so that rejected ones are found, because the database has rejected one.
    pub(super) bisects: bool,
    /// How many batches in a row were lost.
    pub(super) lost: u32,
    /// How many batches it has written.
    pub(super) batches: u64,
    pub(super) has_parked: bool,
    /// Whether it works only while the generation serves readers of this process, and not on one that is being filled.
    only_serving: bool,
}

impl<'a> LaneWorker<'a> {
    pub(super) const fn new(
        pool: &'a Pool,
        view: &'a View,
        budget: &'a Budget,
        sizer: BatchSizer,
        applied: &'a AtomicU64,
        only_serving: bool,
    ) -> Self {
        Self {
            pool,
            view,
            budget,
            sizer,
            applied,
            reads_claims: false,
            bisects: false,
            lost: 0,
            batches: 0,
            has_parked: false,
            only_serving,
        }
    }

    /// A worker that shares the work of this one.
    pub(super) fn second(&self) -> Self {
        Self {
            sizer: self.sizer.clone(),
            batches: 0,
            ..*self
        }
    }

    /// Continues alone after both have worked in bulk. The rejected rows are parked, so that a quick pass can write again.
    pub(super) fn take_over(&mut self, second: &Self) {
        self.has_parked |= second.has_parked;
        if second.is_slow() {
            self.sizer = second.sizer.clone();
        }
        self.batches += second.batches;
        self.bisects = false;
    }

    /// Whether it has not lost too many batches in a row.
    pub(super) const fn may_continue(&self) -> bool {
        self.lost < MAX_LOST_BATCHES
    }

    /// Whether even a single event takes too long for bulk work.
    pub(super) fn is_slow(&self) -> bool {
        self.sizer.is_slow()
    }

    /// Whether not even one event fits into the time that is left.
    pub(super) fn is_out_of_time(&self) -> bool {
        self.sizer.next_size(self.budget) == 0
    }

    /// How many batches it has written.
    pub(super) const fn batches(&self) -> u64 {
        self.batches
    }

    /// Whether it has parked an aggregate.
    pub(super) const fn has_parked(&self) -> bool {
        self.has_parked
    }

    /// Reads and writes one batch of the lane furthest behind, without a transaction around the two statements
    /// on a direct connection.
    pub(super) async fn quick_pass(
        &mut self,
        count_parked: bool,
    ) -> Result<QuickPass, ProjectionError> {
        let mut session = QuickSession::open(self.pool).await?;
        let mut pass = QuickPass::default();
        let mut has_inserted = false;
        // Finding rejected rows takes several statements.
        while self.may_continue() && !self.bisects {
            let size = self.sizer.next_size(self.budget).min(MAX_QUICK_EVENTS);
            if size == 0 {
                pass.next = Next::OutOfTime;
                break;
            }
            let started = Instant::now();
            let request = Request {
                lane: None,
                frozen: None,
                size,
                claims: self.reads_claims,
                count_parked: count_parked && pass.parked.is_none(),
            };
            let Some(batch) = read::read(session.get(), self.view, request).await? else {
                self.lost += 1;
                // It has a lane now unless it is dropped. Then another one serves this process, or none does.
                if has_inserted && self.only_serving {
                    pass.next = Next::Replaced;
                    break;
                }
                has_inserted = true;
                session = session.insert_lane(self.pool, self.view).await?;
                continue;
            };
            pass.generation = Some(batch.generation);
            if self.only_serving && !batch.generation.serves {
                pass.next = Next::Replaced;
                break;
            }
            pass.retry_due |= batch.retry_due;
            pass.parked = pass.parked.or(batch.parked);
            // Folds that take long are not done in bulk.
            let lanes = batch.lanes;
            let unseen = (!batch.seen_lately).then_some(batch.lane.first);
            if lanes > 1 && !self.is_slow() {
                break;
            }
            match Box::pin(self.apply(session.get(), batch, started)).await {
                Ok(BatchOutcome::ReadAgain) => continue,
                Ok(BatchOutcome::Written {
                    folded,
                    reached_end,
                }) => {
                    match session.finish().await {
                        Ok(()) => self.count(folded),
                        Err(error) => {
                            self.handle(error.into())?;
                            return Ok(pass);
                        }
                    }
                    if reached_end && lanes == 1 {
                        pass.next = Next::Done;
                    }
                    return Ok(pass);
                }
                Ok(BatchOutcome::Empty) if lanes == 1 => {
                    pass.next = Next::Done;
                    // A write of the lane would have said the same, so a pass that folds needs no further statement.
                    if let Some(first) = unseen {
                        lane::touch(session.get(), self.view, first).await?;
                    }
                }
                Ok(BatchOutcome::Empty | BatchOutcome::Lost) => {}
                Ok(BatchOutcome::Outdated) => db::heal_log(session.get()).await?,
                Err(error) => self.handle(error)?,
            }
            break;
        }
        session.finish().await?;
        Ok(pass)
    }

    /// Like [`Self::bulk`], but does nothing if all connections of the pool are in use.
    pub(super) async fn bulk_if_connection_is_free(&mut self) -> Result<(), ProjectionError> {
        match self.pool.begin_at_once().await? {
            Some(transaction) => self.bulk_from(Some(transaction)).await,
            None => Ok(()),
        }
    }

    /// Takes lanes and applies their events, batch by batch, until no lane has new events or the time is up.
    pub(super) async fn bulk(&mut self) -> Result<(), ProjectionError> {
        self.bulk_from(None).await
    }

    /// Like [`Self::bulk`], with the transaction of the first batch if it has begun.
    async fn bulk_from(&mut self, mut begun: Option<Transaction>) -> Result<(), ProjectionError> {
        let mut finished = Vec::new();
        while !self.budget.is_spent() && self.may_continue() {
            let started = Instant::now();
            match Box::pin(self.step(&mut finished, begun.take())).await {
                Ok(BulkStep::Continue) => {}
                Ok(BulkStep::Finished) => break,
                // Postgres has ended the transaction while the fold ran. A quick pass folds the event.
                Err(ProjectionError::Db(DbError::Unavailable(_)))
                    if started.elapsed() > MAX_BATCH_DURATION && !self.is_slow() =>
                {
                    self.lost += 1;
                    self.sizer.record(1, started.elapsed());
                    break;
                }
                Err(error) => self.handle(error)?,
            }
        }
        Ok(())
    }

    /// Applies one batch of one lane, in a transaction that locks the lane. `finished` are the lanes that have no new events.
    async fn step(
        &mut self,
        finished: &mut Vec<i16>,
        begun: Option<Transaction>,
    ) -> Result<BulkStep, ProjectionError> {
        let started = Instant::now();
        let size = self.sizer.next_size(self.budget);
        if size == 0 {
            return Ok(BulkStep::Finished);
        }
        let mut transaction = match begun {
            Some(transaction) => transaction,
            None => self.pool.begin().await?,
        };
        let wanted = Wanted::Unsettled { except: finished };
        let Some((first, frozen)) = lane::take(&mut transaction, self.view, wanted).await? else {
            transaction.rollback().await?;
            let split = lane::split(self.pool, self.view, finished, size).await?;
            return Ok(match split {
                Split::Done | Split::LookAgain => BulkStep::Continue,
                Split::NoLane => BulkStep::Finished,
            });
        };
        let request = Request {
            lane: Some(first),
            frozen: Some(frozen),
            size,
            claims: self.reads_claims,
            count_parked: false,
        };
        let Some(batch) = read::read(&mut transaction, self.view, request).await? else {
            // The lanes were repaired, or their rows were deleted by hand.
            transaction.commit().await?;
            self.lost += 1;
            return Ok(BulkStep::Continue);
        };
        match Box::pin(self.apply(&mut transaction, batch, started)).await? {
            BatchOutcome::Written {
                folded,
                reached_end,
            } => {
                transaction.commit().await?;
                self.count(folded);
                if reached_end {
                    finished.push(first);
                }
            }
            BatchOutcome::Empty => {
                transaction.rollback().await?;
                finished.push(first);
            }
            BatchOutcome::Lost | BatchOutcome::ReadAgain => transaction.rollback().await?,
            BatchOutcome::Outdated => {
                transaction.rollback().await?;
                db::heal_log(&mut *self.pool.acquire().await?).await?;
            }
        }
        Ok(BulkStep::Continue)
    }

    fn count(&self, folded: u64) {
        self.applied.fetch_add(folded, Ordering::Relaxed);
    }

    /// Decides whether the catch-up continues after an error. Errors that it cannot continue after are returned.
    fn handle(&mut self, error: ProjectionError) -> Result<(), ProjectionError> {
        match error {
            ProjectionError::Db(error)
                if (error.is_about_rows() || error.may_be_about_rows()) && !self.bisects =>
            {
                self.bisects = true;
                Ok(())
            }
            ProjectionError::Db(error @ (DbError::Contended(_) | DbError::TimedOut(_))) => {
                self.lost += 1;
                let name = self.view.name();
                tracing::warn!(
                    projection = name,
                    attempt = self.lost,
                    "a batch of the projection {name} was aborted and is read again: {error}"
                );
                Ok(())
            }
            error => Err(error),
        }
    }
}
