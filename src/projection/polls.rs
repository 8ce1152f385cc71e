//! The catch-ups of a listener. A projection that fails is retried after a pause, and does not keep the others from being polled.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use super::budget::Budget;
use super::catch_up::CatchUp;
use super::listener::Listener;
use super::{ProjectionError, catch_up};
use crate::db::DbError;

/// How long a poll waits for its catch-ups. A catch-up that takes longer continues in the background, while the other
/// projections are polled again.
const CATCH_UP_WAIT_TIMEOUT: Duration = Duration::from_millis(250);
/// The pause before a projection that failed is retried. Each further pause is twice as long, up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The longest pause before a projection that failed is retried.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The outcome of a poll of all projections. The greatest outcome of any projection decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PollOutcome {
    /// Every visible event is folded, belongs to a parked aggregate, or waits for the retry of a projection that failed.
    Idle,
    /// A projection is behind or its catch-up is still running, so the listener must not sleep.
    Pending,
    /// Events were folded, and more may have arrived since.
    Applied,
}

/// The running catch-ups: at most one per projection, and none waits for another.
#[derive(Default)]
pub(super) struct CatchUps {
    tasks: JoinSet<Result<CatchUp, ProjectionError>>,
    /// The index of the projection that each task catches up.
    running: HashMap<Id, usize>,
    /// The projections that fail.
    failing: BTreeMap<usize, Failing>,
}

/// A projection that fails.
struct Failing {
    /// The last error, which is logged once.
    error: String,
    /// The pause before the next retry.
    delay: Duration,
    /// When that is.
    retry_at: Instant,
}

impl CatchUps {
    /// Starts a catch-up of each projection that has none running and no retry to wait for, and waits for them up to
    /// [`CATCH_UP_WAIT_TIMEOUT`].
    pub(super) async fn poll(
        &mut self,
        listener: &Listener,
    ) -> Result<PollOutcome, ProjectionError> {
        let mut outcome = PollOutcome::Idle;
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            outcome = outcome.max(self.handle_ended(listener, ended)?);
        }
        let now = Instant::now();
        let idle: Vec<_> = (0..listener.views.len())
            .filter(|index| !self.running.values().any(|running| running == index))
            .filter(|index| self.failing.get(index).is_none_or(|f| f.retry_at <= now))
            .collect();
        let mut started: Vec<Id> = Vec::with_capacity(idle.len());
        for index in idle {
            let Listener {
                pool,
                views,
                batch_size,
                stop,
                ..
            } = listener.clone();
            let budget = Budget {
                stop,
                ..Budget::default()
            };
            let task = self
                .tasks
                .spawn(async move { catch_up(&pool, &views[index], batch_size, &budget).await })
                .id();
            self.running.insert(task, index);
            started.push(task);
        }
        let wait_timeout = sleep(CATCH_UP_WAIT_TIMEOUT);
        tokio::pin!(wait_timeout);
        while !started.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => {
                    outcome = outcome.max(self.handle_ended(listener, ended)?);
                    started.retain(|task| self.running.contains_key(task));
                }
                () = &mut wait_timeout => break,
            }
        }
        Ok(if self.running.is_empty() {
            outcome
        } else {
            outcome.max(PollOutcome::Pending)
        })
    }

    /// How long until a projection that failed is due, at most `longest`.
    pub(super) fn next_retry(&self, longest: Duration) -> Duration {
        let due = self.failing.values().map(|failing| failing.retry_at).min();
        due.map_or(longest, |due| {
            due.saturating_duration_since(Instant::now()).min(longest)
        })
    }

    /// Aborts the running catch-ups. Their batches are rolled back.
    pub(super) async fn abort(&mut self) {
        self.tasks.shutdown().await;
        self.running.clear();
    }

    /// Waits until the running catch-ups have ended.
    pub(super) async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Turns the result of a catch-up into an outcome and logs failures. An error that ends the session is returned.
    fn handle_ended(
        &mut self,
        listener: &Listener,
        ended: Result<(Id, Result<CatchUp, ProjectionError>), JoinError>,
    ) -> Result<PollOutcome, ProjectionError> {
        let task = ended.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        let Some(index) = self.running.remove(&task) else {
            return Ok(PollOutcome::Idle);
        };
        let name = listener.views[index].name();
        let error = match ended {
            Ok((_, Ok(caught_up))) => {
                if self.failing.remove(&index).is_some() {
                    tracing::info!(projection = name, "the projection {name} has recovered");
                }
                return Ok(match caught_up {
                    CatchUp { applied: 1.., .. } => PollOutcome::Applied,
                    CatchUp { done: false, .. } => PollOutcome::Pending,
                    _ => PollOutcome::Idle,
                });
            }
            // Without Postgres no projection can continue, so the session ends.
            Ok((_, Err(error @ ProjectionError::Db(DbError::Unavailable(_))))) => {
                return Err(error);
            }
            Ok((_, Err(error))) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        self.fail(index, name, error);
        Ok(PollOutcome::Idle)
    }

    /// Postpones the next catch-up of a projection. The same error is logged only once.
    fn fail(&mut self, index: usize, name: &str, error: String) {
        let before = self.failing.remove(&index);
        let delay = before.as_ref().map_or(MIN_RETRY_DELAY, |before| {
            (before.delay * 2).min(MAX_RETRY_DELAY)
        });
        if before.is_none_or(|before| before.error != error) {
            tracing::error!(
                projection = name,
                "the projection {name} fails and is retried, after pauses of {MAX_RETRY_DELAY:?} at most: {error}"
            );
        }
        let retry_at = Instant::now() + delay;
        let failing = Failing {
            error,
            delay,
            retry_at,
        };
        self.failing.insert(index, failing);
    }
}
