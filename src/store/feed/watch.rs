//! Waiting for the next event of the feed.
//!
//! Requests that wait hold no connection. One of them at a time asks Postgres for the end of the feed, at growing intervals, and
//! tells the others; when it is answered or its client has gone, another one goes on with the same schedule. So an idle process asks
//! twice per second, however many readers come and go, no task outlives its request, and a process without a waiting reader asks
//! nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::time::sleep_until;

use super::{FeedPlace, read_feed_end};
use crate::db::{DbError, Pool};

/// The pause before the first question after a change.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(40);
/// The longest pause between two questions.
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What the readers that wait in a process share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FeedWatch {
    end: watch::Sender<FeedPlace>,
    /// Held by the reader that asks.
    schedule: Arc<Mutex<Schedule>>,
}

/// When to ask. It outlives the reader that asks: with many readers, each may ask for a shorter time than a pause takes.
#[derive(Debug)]
struct Schedule {
    next_at: Instant,
    /// The pause after the next question.
    interval: Duration,
}

impl Schedule {
    fn restart(&mut self, now: Instant) {
        self.next_at = now + MIN_POLL_INTERVAL;
        self.interval = MIN_POLL_INTERVAL * 2;
    }

    fn advance(&mut self, now: Instant) {
        self.next_at = now + self.interval;
        self.interval = (self.interval * 2).min(MAX_POLL_INTERVAL);
    }
}

impl Default for FeedWatch {
    fn default() -> Self {
        Self {
            end: watch::Sender::new(FeedPlace::default()),
            schedule: Arc::new(Mutex::new(Schedule {
                next_at: Instant::now(),
                interval: MIN_POLL_INTERVAL,
            })),
        }
    }
}

impl FeedWatch {
    /// Waits until the feed has an event after `seen`, and returns the place of its newest event; `None` at the deadline.
    ///
    /// # Errors
    ///
    /// Any [`DbError`], if this reader is the one that asks.
    pub async fn wait(
        &self,
        pool: &Pool,
        seen: FeedPlace,
        deadline: Instant,
    ) -> Result<Option<FeedPlace>, DbError> {
        let mut changes = self.end.subscribe();
        let mut schedule = tokio::select! {
            biased;
            // The sender lives as long as `self`.
            newer = changes.wait_for(|end| *end > seen) => return Ok(newer.ok().map(|end| *end)),
            () = sleep_until(deadline.into()) => return Ok(None),
            schedule = self.schedule.lock() => schedule,
        };
        loop {
            // A statement is never given up at the deadline, because that would cost its connection.
            sleep_until(deadline.min(schedule.next_at).into()).await;
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            // Before the question, so that the next reader does not ask at once when this one fails or goes away.
            schedule.advance(now);
            let end = read_feed_end(&mut *pool.acquire().await?).await?;
            let end = end.unwrap_or_default();
            if self.end.send_replace(end) != end {
                schedule.restart(now);
            }
            if end > seen {
                return Ok(Some(end));
            }
        }
    }
}
