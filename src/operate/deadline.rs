//! How much time a verb has.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout_at;

use super::{OperateError, Report};
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

    /// Until when to record an answer that is known `now`. One that is known in time leaves time to respond by
    /// [`Self::respond_by`]; one that is known only then, because the verb has not ended, gets half of the time after it.
    pub(super) fn record_by(self, now: Instant) -> Instant {
        let last_step = self.respond_by.saturating_duration_since(self.abort_at);
        (self.abort_at + last_step / 2).max(now + last_step / 3)
    }

    /// The result of `run`, in a task of its own; an error if it panics or has not ended by [`Self::respond_by`].
    pub(super) async fn finish(
        self,
        run: impl Future<Output = Result<Report, OperateError>> + Send + 'static,
    ) -> Result<Report, OperateError> {
        match tokio::spawn(timeout_at(self.respond_by.into(), run)).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(OperateError::OutOfTime),
            // The panic handler has written the message and the place to standard error.
            Err(_) => Err(OperateError::Panicked),
        }
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

    /// Fails when the error of a verb that has not ended is not recorded, or delays the response until the caller has given up.
    #[test]
    fn an_answer_is_recorded_even_at_the_last_moment() {
        let (now, limit) = (Instant::now(), Duration::from_secs(20));
        let deadline = Deadline::from_remaining(Some(limit), now);
        let in_time = deadline.record_by(now);
        assert!(deadline.abort_at < in_time && in_time < deadline.respond_by);
        let late = deadline.record_by(deadline.respond_by);
        assert!(deadline.respond_by < late && late < now + limit);
    }

    /// Fails when a verb that panics, or one that does not end, ends the task that records its answer.
    #[tokio::test]
    async fn a_verb_that_panics_or_does_not_end_has_an_error_as_its_result() {
        let mut deadline = Deadline::from_now(Duration::from_mins(1));
        let panics = deadline.finish(async { panic!("a bug") }).await;
        assert!(matches!(panics, Err(OperateError::Panicked)));
        deadline.respond_by = Instant::now();
        let endless = deadline.finish(std::future::pending()).await;
        assert!(matches!(endless, Err(OperateError::OutOfTime)));
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
