//! Retries after a connection turned out to be dead.

use super::{DbError, Pool};

/// An error that may not occur on another connection.
pub trait Retryable {
    /// How often to repeat the request on another connection. The connection broke during the statement, or is at fault. It is
    /// unknown whether the statement took effect, so a caller may repeat only what is idempotent: a read, or an append, because
    /// events carry their ids.
    fn max_retries(&self) -> u32;

    /// Whether the error may not occur on another connection.
    fn is_retryable(&self) -> bool {
        self.max_retries() > 0
    }
}

impl Retryable for DbError {
    fn max_retries(&self) -> u32 {
        Self::max_retries(self)
    }
}

/// The retries that one request has made. After a restart of Postgres, a fail-over or a thaw, every connection of the pool
/// may be dead, and only the next statement on each of them shows it.
#[derive(Debug, Default)]
pub struct RetryPolicy {
    made: u32,
}

impl RetryPolicy {
    /// Whether to retry the request after this error. If so, marks the pool's other connections as suspect.
    pub fn should_retry(&mut self, pool: &Pool, error: &impl Retryable) -> bool {
        if !error.is_retryable() {
            return false;
        }
        pool.mark_suspect();
        let retry = self.made < error.max_retries();
        self.made = self.made.saturating_add(1);
        retry
    }
}
