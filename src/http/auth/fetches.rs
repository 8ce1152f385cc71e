//! How often the issuer is asked for keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// While there are keys, this many fetches may follow each other at once, and then one in each interval.
pub(super) const MAX_REFRESHES_AT_ONCE: u32 = 10;
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(6);

/// The fetches for missing or outdated keys.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// When the last one began.
    pub(super) last: Option<Instant>,
    /// When all fetches so far would have begun, had each kept the interval. (The generic cell rate algorithm.)
    pub(super) paced_until: Option<Instant>,
}

impl Fetches {
    /// How long to wait until a fetch is allowed.
    pub(super) fn delay(&self) -> Duration {
        let ahead = self.paced_until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        });
        ahead.saturating_sub(REFRESH_INTERVAL * (MAX_REFRESHES_AT_ONCE - 1))
    }

    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        self.last = Some(now);
        self.paced_until = Some(self.paced_until.unwrap_or(now).max(now) + REFRESH_INTERVAL);
    }
}

/// Numbers the fetches, so that a request knows whether one began after it and has completed.
#[derive(Debug, Default)]
pub(super) struct FetchCounter {
    begun: AtomicU64,
    completed: AtomicU64,
}

impl FetchCounter {
    /// The number of the newest fetch.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// The number of a fetch that begins now.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn complete(&self, number: u64) {
        self.completed.fetch_max(number, Ordering::SeqCst);
    }

    /// Whether a fetch has completed that began when `begun` was the number of the newest.
    pub(super) fn has_completed_after(&self, begun: u64) -> bool {
        self.completed.load(Ordering::SeqCst) > begun
    }
}
