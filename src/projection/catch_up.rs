//! A catch-up folds new events, batch by batch, until no event is left or its time is up.
//!
//! A batch is two statements: `read` and `write`. Without a backlog, a catch-up is one *quick pass*: the two
//! statements without a transaction around them. It locks nothing while it folds, and only one of several concurrent quick
//! passes can write. With a backlog, or after it lost a batch, it works in *bulk*: each batch is a transaction that locks its
//! lane first, so that other workers take other lanes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::budget::{BatchSizer, Budget};
use super::worker::{LaneWorker, Next};
use super::{ProjectionError, generation, lane, parked, status};
use crate::db::{Pool, Retryable as _};
use crate::view::{self, Serving, View};

/// After this many consecutive batches have been lost to other transactions, the catch-up ends and reports what it has
/// applied.
pub(super) const MAX_LOST_BATCHES: u32 = 5;

/// After this many consecutive rounds of bulk work without a written batch, the catch-up ends: other workers hold the lanes.
const MAX_IDLE_ROUNDS: u32 = 10;

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
    /// counted. `None`: the time did not suffice to count them.
    pub remaining: Option<u64>,
    /// Parked aggregates. At most 100,000 are counted. `None`: the time did not suffice to count them.
    pub parked: Option<u64>,
    /// Whether every event that was visible when the last pass began is folded or belongs to a parked aggregate.
    pub done: bool,
}

/// Applies new events to one projection, and retries the parked aggregates that are due.
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
    let applied = AtomicU64::new(0);
    let mut generation = view.current();
    let ended = loop {
        let run = Run {
            pool,
            view: &generation,
            batch_size,
            budget,
            applied: &applied,
            only_serving: true,
        };
        // Boxed, because it contains the futures of two batches.
        let ended = budget.run_until_abort(Box::pin(run.to_the_end())).await;
        match &ended {
            Some(Ok(ended)) if ended.is_replaced => {}
            Some(Err(ProjectionError::Db(error))) if Serving::may_be_dropped(error) => {}
            _ => break ended,
        }
        let before = generation.lock_domain().to_owned();
        let resolved = view::resolve(&mut *pool.acquire().await?, view).await?;
        if !resolved.exists {
            // The generation of this build has not been filled yet, or is gone.
            return Ok(CatchUp::default());
        }
        generation = resolved.view;
        if generation.lock_domain() == before {
            break ended;
        }
    };
    let view = &generation;
    let ended = match ended {
        Some(Err(ProjectionError::Db(error))) if error.is_retryable() => {
            pool.mark_suspect();
            return Err(error.into());
        }
        Some(ended) => ended?,
        None => Ended::default(),
    };
    let mut result = CatchUp {
        applied: applied.into_inner(),
        done: ended.done,
        ..CatchUp::default()
    };
    if budget.stop.is_cancelled() {
        // The process is shutting down, and counting a backlog would delay its end.
        return Ok(result);
    }
    result.parked = ended.parked;
    if result.done {
        result.remaining = Some(0);
    }
    if result.remaining.is_none() || result.parked.is_none() {
        let measured = match budget.abort_at {
            Some(_) => {
                let deadline = Instant::now() + REMAINING_COUNT_TIMEOUT;
                status::measure_until(pool, view, REMAINING_COUNT_LIMIT, deadline).await?
            }
            None => status::measure(pool, view, REMAINING_COUNT_LIMIT).await?,
        };
        result.remaining = result.remaining.or(measured.lag_events);
        result.parked = result.parked.or(measured.parked);
    }
    Ok(result)
}

/// Applies new events to a generation that is filled, but does not serve readers yet.
pub(super) async fn catch_up_generation(
    pool: &Pool,
    generation: &View,
    batch_size: u32,
    budget: &Budget,
) -> Result<bool, ProjectionError> {
    let applied = AtomicU64::new(0);
    let run = Run {
        pool,
        view: generation,
        batch_size,
        budget,
        applied: &applied,
        only_serving: false,
    };
    Ok(Box::pin(run.to_the_end()).await?.done)
}

/// How a catch-up ended.
#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    done: bool,
    /// Whether another generation serves this process now.
    is_replaced: bool,
    /// The parked aggregates, if they are known.
    parked: Option<u64>,
}

/// One catch-up.
struct Run<'a> {
    pool: &'a Pool,
    view: &'a View,
    batch_size: u32,
    budget: &'a Budget,
    applied: &'a AtomicU64,
    /// Whether to stop once another generation serves this process.
    only_serving: bool,
}

impl<'a> Run<'a> {
    fn worker(&self) -> LaneWorker<'a> {
        LaneWorker::new(
            self.pool,
            self.view,
            self.budget,
            BatchSizer::new(self.batch_size),
            self.applied,
            self.only_serving,
        )
    }

    async fn to_the_end(&self) -> Result<Ended, ProjectionError> {
        let mut worker = self.worker();
        let mut ended = Ended::default();
        let (mut is_first, mut idle_rounds) = (true, 0);
        let mut has_garbage = false;
        while !self.budget.is_spent() && worker.may_continue() {
            let written = worker.batches();
            let pass = Box::pin(worker.quick_pass(is_first)).await?;
            if is_first {
                ended.parked = pass.parked;
                if let Some(state) = pass.generation {
                    has_garbage = state.has_garbage;
                    generation::touch(self.pool, self.view, state).await?;
                }
                if pass.retry_due {
                    let retried =
                        Box::pin(parked::retry_due(self.pool, self.view, self.budget)).await?;
                    self.applied.fetch_add(retried, Ordering::Relaxed);
                    ended.parked = None;
                }
                is_first = false;
            }
            match pass.next {
                Next::Done => {
                    ended.done = true;
                    break;
                }
                Next::OutOfTime => break,
                Next::Replaced => {
                    ended.is_replaced = true;
                    break;
                }
                // An event that takes that long is folded in a quick pass.
                Next::Bulk if worker.is_slow() && worker.batches() > written => {}
                Next::Bulk => {
                    Box::pin(self.bulk(&mut worker)).await?;
                    idle_rounds = if worker.batches() > written {
                        0
                    } else {
                        idle_rounds + 1
                    };
                    if idle_rounds == MAX_IDLE_ROUNDS {
                        break;
                    }
                }
            }
        }
        if worker.has_parked() {
            ended.parked = None;
        }
        // Events come first: to remove the claims of a generation may take long.
        if has_garbage && ended.done {
            Box::pin(generation::tidy_up(self.pool, self.view, self.budget)).await?;
        }
        Ok(ended)
    }

    /// Works in bulk until no lane has new events, with a second worker if a pooled connection is free: while one waits for
    /// Postgres, the other folds.
    async fn bulk(&self, worker: &mut LaneWorker<'a>) -> Result<(), ProjectionError> {
        let mut second_worker = worker.second();
        let (first, second) = tokio::join!(
            Box::pin(worker.bulk()),
            Box::pin(second_worker.bulk_if_connection_is_free())
        );
        worker.take_over(&second_worker);
        first.and(second)?;
        if self.budget.is_spent() || worker.is_out_of_time() {
            // Each lane keeps its own progress. What is common to all lanes may be less.
            return Ok(());
        }
        lane::merge(self.pool, self.view).await
    }
}
