//! How much time an invocation has.

use std::time::{Duration, Instant, SystemTime};

use crate::projection::Budget;

/// The longest that Lambda runs anything.
const LONGEST: Duration = Duration::from_mins(15);
/// How long to work when the deadline says nothing: `cargo lambda watch` sends the same small number each time.
const UNKNOWN: Duration = Duration::from_mins(1);

/// An invocation's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    /// Begin nothing after this.
    pub until: Instant,
    /// Give up what is under way; what is left is for counting.
    pub give_up: Instant,
    /// Answer with what there is; what is left is for the answer to arrive.
    pub answer: Instant,
}

impl Deadline {
    /// From the moment that the Runtime API names, in milliseconds since 1970.
    pub(super) fn at(epoch_ms: u64) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let left = Duration::from_millis(epoch_ms).checked_sub(now.unwrap_or_default());
        Self::after(left, Instant::now())
    }

    fn after(left: Option<Duration>, now: Instant) -> Self {
        // A clock may be a little off; one that is off by more is no clock.
        let known =
            left.filter(|left| !left.is_zero() && *left <= LONGEST + Duration::from_mins(1));
        let left = known.unwrap_or(UNKNOWN);
        let margin = (left / 10).clamp(Duration::from_millis(500), Duration::from_secs(5));
        let before = |margin: Duration| now + left.saturating_sub(margin);
        Self {
            until: before(margin),
            give_up: before(margin / 2),
            answer: before(margin / 5),
        }
    }

    pub(super) fn budget(self) -> Budget {
        Budget {
            until: Some(self.until),
            abort_at: Some(self.give_up),
            ..Budget::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(left: Option<Duration>) -> Duration {
        let now = Instant::now();
        let deadline = Deadline::after(left, now);
        assert!(deadline.until <= deadline.give_up && deadline.give_up <= deadline.answer);
        deadline.until - now
    }

    #[test]
    fn a_margin_is_left_before_the_deadline() {
        for (left, worked) in [
            (100, 0),
            (2_000, 1_500),
            (10_000, 9_000),
            (600_000, 595_000),
        ] {
            let worked = Duration::from_millis(worked);
            assert_eq!(until(Some(Duration::from_millis(left))), worked);
        }
    }

    #[test]
    fn a_deadline_that_cannot_be_is_unknown() {
        for left in [None, Some(Duration::ZERO), Some(Duration::from_hours(1))] {
            assert_eq!(until(left), Duration::from_secs(55));
        }
        let watch = Deadline::at(600_000);
        assert!(watch.until > Instant::now() + Duration::from_secs(50));
    }
}
