//! How much time there is, and how much work fits into it.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// A batch may be so many times as large as the one before it, where there is a time limit.
const GROWTH: u32 = 128;

/// Until when to work.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Stop between batches after this moment.
    pub until: Option<Instant>,
    /// Give up what is under way at this moment: somebody else is at a claim, or a batch took longer than those before
    /// it. What was not committed is not kept.
    pub abort_at: Option<Instant>,
    /// Stop between batches once this is cancelled; what remains is not counted then.
    pub stop: CancellationToken,
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.stop.is_cancelled() || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// What `work` gives, or nothing when it is to be given up first.
    pub(super) async fn run_until_abort<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.abort_at {
            Some(at) => tokio::time::timeout_at(at.into(), work).await.ok(),
            None => Some(work.await),
        }
    }
}

/// How large a batch fits into the time that is left. A batch that overruns is lost with all that it did, and would be
/// again the next time; so with a time limit the first one is a single event, and each further one as large as
/// the one before it says.
#[derive(Debug)]
pub(super) struct Pace {
    largest: u32,
    /// The last batch's size, and how long one of its events took.
    measured: Option<(u32, Duration)>,
}

impl Pace {
    pub(super) const fn new(largest: u32) -> Self {
        Self {
            largest,
            measured: None,
        }
    }

    /// How many events to take next; 0 when not even one fits.
    pub(super) fn size(&self, budget: &Budget) -> u32 {
        let Some(until) = budget.until else {
            return self.largest;
        };
        let Some((size, each)) = self.measured else {
            return 1;
        };
        // Half of it: the next batch is claimed while one is folded.
        let left = until.saturating_duration_since(Instant::now()) / 2;
        let fit = left.as_nanos() / each.as_nanos().max(1);
        let fit = u32::try_from(fit).unwrap_or(u32::MAX);
        fit.min(size.saturating_mul(GROWTH)).min(self.largest)
    }

    pub(super) fn measure(&mut self, size: u32, took: Duration) {
        self.measured = Some((size, took / size.max(1)));
    }

    pub(super) const fn is_measured(&self) -> bool {
        self.measured.is_some()
    }
}
