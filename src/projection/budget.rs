//! How long a catch-up may run, and how large a batch fits into the time that is left.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// With a deadline, a batch may be at most this many times as large as the previous one.
const MAX_GROWTH_FACTOR: u32 = 128;

/// How long to run. The default has no time limit.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Begin no further batch after this moment.
    pub until: Option<Instant>,
    /// Abort the batch in progress at this moment: it may wait for a claim that another transaction holds, or take longer
    /// than the batches before it. What it has not committed is rolled back.
    pub abort_at: Option<Instant>,
    /// Begin no further batch once this token is cancelled, and do not count the remaining events.
    pub stop: CancellationToken,
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.stop.is_cancelled() || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Runs `work` until [`Self::abort_at`]; `None` when `work` did not finish by then.
    pub(super) async fn run_until_abort<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.abort_at {
            Some(at) => tokio::time::timeout_at(at.into(), work).await.ok(),
            None => Some(work.await),
        }
    }
}

/// Decides how many events fit into the time that is left. A batch that misses the deadline is rolled back, and the same
/// size would miss the deadline again. Therefore, if there is a deadline, the first batch is a single event, and the
/// measured rate of each batch determines the size of the next.
#[derive(Debug)]
pub(super) struct BatchSizer {
    max_size: u32,
    /// The size of the last batch, and the time that it took per event.
    measured: Option<(u32, Duration)>,
}

impl BatchSizer {
    pub(super) const fn new(max_size: u32) -> Self {
        Self {
            max_size,
            measured: None,
        }
    }

    /// How many events to claim next; 0 when not even one event fits into the time that is left.
    pub(super) fn next_size(&self, budget: &Budget) -> u32 {
        let Some(until) = budget.until else {
            return self.max_size;
        };
        let Some((size, per_event)) = self.measured else {
            return 1;
        };
        // Half of the time that is left, because the next batch is claimed while the current one is folded.
        let left = until.saturating_duration_since(Instant::now()) / 2;
        let fitting = left.as_nanos() / per_event.as_nanos().max(1);
        let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
        fitting
            .min(size.saturating_mul(MAX_GROWTH_FACTOR))
            .min(self.max_size)
    }

    pub(super) fn record(&mut self, size: u32, elapsed: Duration) {
        self.measured = Some((size, elapsed / size.max(1)));
    }

    /// How many events to claim while the current batch is folded. `None` when no further batch fits, and, with a deadline,
    /// before the first batch has been measured.
    pub(super) fn size_ahead(&self, budget: &Budget) -> Option<u32> {
        if budget.is_spent() || (budget.until.is_some() && self.measured.is_none()) {
            return None;
        }
        Some(self.next_size(budget)).filter(|size| *size > 0)
    }
}
