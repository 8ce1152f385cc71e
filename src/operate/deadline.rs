//! How much time a verb has.

use std::time::{Duration, Instant, SystemTime};

use crate::projection::Budget;

/// The longest timeout that Lambda allows.
const MAX_LAMBDA_TIMEOUT: Duration = Duration::from_mins(15);
/// How much the clocks of this process and of Lambda may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(1);
/// The time limit if the deadline is implausible: `cargo lambda watch` always sends the same small number.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);

/// When work stops, in three steps. The time between them grows with the time that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Start no batch after this; then measure what remains.
    pub stop_at: Instant,
    /// Abort the batch or the measurement in progress.
    pub abort_at: Instant,
    /// Respond with what is known, so that the response arrives before the caller gives up.
    pub respond_by: Instant,
}

impl Deadline {
    /// So much time from now on.
    #[must_use]
    pub fn from_now(remaining: Duration) -> Self {
        Self::from_remaining(Some(remaining), Instant::now())
    }

    /// From the deadline of Lambda's Runtime API, in milliseconds since 1970.
    #[must_use]
    pub fn from_epoch_ms(epoch_ms: u64) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let remaining = Duration::from_millis(epoch_ms).checked_sub(now.unwrap_or_default());
        Self::from_remaining(remaining, Instant::now())
    }

    fn from_remaining(remaining: Option<Duration>, now: Instant) -> Self {
        let plausible = remaining.filter(|remaining| {
            !remaining.is_zero() && *remaining <= MAX_LAMBDA_TIMEOUT + MAX_CLOCK_SKEW
        });
        let remaining = plausible.unwrap_or(DEFAULT_TIMEOUT);
        let margin = (remaining / 10).clamp(Duration::from_millis(500), Duration::from_secs(5));
        let before_end = |margin: Duration| now + remaining.saturating_sub(margin);
        Self {
            stop_at: before_end(margin),
            abort_at: before_end(margin / 2),
            respond_by: before_end(margin / 5),
        }
    }

    /// Record what was done until this moment, which leaves time to respond.
    pub(super) fn record_by(self) -> Instant {
        self.abort_at + (self.respond_by - self.abort_at) / 2
    }

    pub(crate) fn budget(self) -> Budget {
        Budget {
            until: Some(self.stop_at),
            abort_at: Some(self.abort_at),
            ..Budget::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time_to_work(left: Option<Duration>) -> Duration {
        let now = Instant::now();
        let deadline = Deadline::from_remaining(left, now);
        assert!(deadline.stop_at <= deadline.abort_at && deadline.abort_at <= deadline.respond_by);
        deadline.stop_at - now
    }

    #[test]
    fn work_stops_a_margin_before_the_deadline() {
        for (left, worked) in [
            (100, 0),
            (2_000, 1_500),
            (10_000, 9_000),
            (600_000, 595_000),
        ] {
            let worked = Duration::from_millis(worked);
            assert_eq!(time_to_work(Some(Duration::from_millis(left))), worked);
        }
    }

    #[test]
    fn an_implausible_deadline_is_replaced_by_the_default_timeout() {
        for left in [None, Some(Duration::ZERO), Some(Duration::from_hours(1))] {
            assert_eq!(time_to_work(left), Duration::from_secs(55));
        }
        let watch = Deadline::from_epoch_ms(600_000);
        assert!(watch.stop_at > Instant::now() + Duration::from_secs(50));
    }
}
