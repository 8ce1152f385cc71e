//! How long a catch-up may run, and how large a batch fits into the time that is left.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// With a deadline, a batch may be at most this many times as large as the previous one.
const MAX_GROWTH_FACTOR: u32 = 128;

/// How long a batch should take. While it folds, a batch of bulk work holds a transaction open, and the server ends a
/// transaction that is idle for 10 s.
pub(super) const MAX_BATCH_DURATION: Duration = Duration::from_secs(2);

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

/// Decides how many events a batch reads: what the measured rate allows in [`MAX_BATCH_DURATION`] and in the time that is left,
/// and what fits into memory.
///
/// A batch that misses the deadline is rolled back, and the same size would miss the deadline again. Therefore, if there is a
/// deadline, the first batch is a single event, and the measured rate of each batch determines the size of the next.
#[derive(Clone, Debug)]
pub(super) struct BatchSizer {
    max_size: u32,
    /// The size that fits into memory.
    fitting: u32,
    /// The size of the last batch, and the time that it took per event.
    measured: Option<(u32, Duration)>,
}

impl BatchSizer {
    pub(super) const fn new(max_size: u32) -> Self {
        Self {
            max_size,
            fitting: max_size,
            measured: None,
        }
    }

    /// How many events to read next; 0 when not even one event fits into the time that is left.
    pub(super) fn next_size(&self, budget: &Budget) -> u32 {
        let Some((size, per_event)) = self.measured else {
            return if budget.until.is_some() {
                1
            } else {
                self.fitting
            };
        };
        let events_in = |time: Duration| {
            let events = time.as_nanos() / per_event.as_nanos().max(1);
            u32::try_from(events).unwrap_or(u32::MAX)
        };
        let usual = events_in(MAX_BATCH_DURATION).clamp(1, self.fitting);
        let Some(until) = budget.until else {
            return usual;
        };
        // Half of the time that is left, because two workers share the processor.
        let left = until.saturating_duration_since(Instant::now()) / 2;
        events_in(left)
            .min(size.saturating_mul(MAX_GROWTH_FACTOR))
            .min(usual)
    }

    /// Whether even a single event takes longer than a batch should. Such an event is folded without an open transaction, which
    /// the server would end.
    pub(super) fn is_slow(&self) -> bool {
        self.measured
            .is_some_and(|(_, per_event)| per_event > MAX_BATCH_DURATION)
    }

    /// Learns from a written batch of `events` events.
    pub(super) fn record(&mut self, events: u32, elapsed: Duration) {
        self.fitting = self.fitting.saturating_mul(2).min(self.max_size);
        if events > 0 {
            self.measured = Some((events, elapsed / events));
        }
    }

    /// Learns that only this many events fit into memory.
    pub(super) fn limit(&mut self, events: u32) {
        self.fitting = events.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a slow fold keeps the size of its batches: Postgres ends a transaction that is idle for 10 s, and with it the
    /// batch, again and again.
    #[test]
    fn the_measured_rate_bounds_a_batch_without_a_deadline() {
        let (budget, mut sizer) = (Budget::default(), BatchSizer::new(2000));
        assert_eq!(sizer.next_size(&budget), 2000);
        sizer.record(100, Duration::from_secs(2));
        assert_eq!((sizer.next_size(&budget), sizer.is_slow()), (100, false));
        // A fold of 12 s: one event per batch, and no transaction around it.
        sizer.record(1, Duration::from_secs(12));
        assert_eq!((sizer.next_size(&budget), sizer.is_slow()), (1, true));
        sizer.record(1, Duration::from_millis(1));
        assert_eq!((sizer.next_size(&budget), sizer.is_slow()), (2000, false));
    }

    /// Fails when batches that are too large for memory are read again with the same size, or never grow again.
    #[test]
    fn a_batch_that_does_not_fit_into_memory_makes_the_next_ones_smaller() {
        let (budget, mut sizer) = (Budget::default(), BatchSizer::new(100));
        sizer.limit(0);
        assert_eq!(sizer.next_size(&budget), 1);
        let growth: Vec<u32> = (0..8)
            .map(|_| {
                sizer.record(0, Duration::ZERO);
                sizer.next_size(&budget)
            })
            .collect();
        assert_eq!(growth, [2, 4, 8, 16, 32, 64, 100, 100]);
    }
}
