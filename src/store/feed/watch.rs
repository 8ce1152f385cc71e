//! Waiting for the next event of the feed.
//!
//! Requests that wait hold no connection. One of them at a time asks Postgres for the end of the feed, at growing intervals, and
//! tells the others; when it is answered or its client has gone, another one goes on. So an idle process asks twice per second,
//! however many readers wait, no task outlives its request, and a process without a waiting reader asks nothing.

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
    poll: Arc<Mutex<()>>,
}

impl Default for FeedWatch {
    fn default() -> Self {
        Self {
            end: watch::Sender::new(FeedPlace::default()),
            poll: Arc::default(),
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
        let asking = tokio::select! {
            biased;
            // The sender lives as long as `self`.
            newer = changes.wait_for(|end| *end > seen) => return Ok(newer.ok().map(|end| *end)),
            () = sleep_until(deadline.into()) => return Ok(None),
            asking = self.poll.lock() => asking,
        };
        let mut interval = MIN_POLL_INTERVAL;
        loop {
            // A statement is never given up at the deadline, because that would cost its connection.
            sleep_until(deadline.min(Instant::now() + interval).into()).await;
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let end = read_feed_end(&mut *pool.acquire().await?).await?;
            let end = end.unwrap_or_default();
            if self.end.send_replace(end) != end {
                interval = MIN_POLL_INTERVAL;
            }
            if end > seen {
                drop(asking);
                return Ok(Some(end));
            }
            interval = (interval * 2).min(MAX_POLL_INTERVAL);
        }
    }
}
