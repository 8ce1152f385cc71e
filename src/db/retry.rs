//! Retries after a connection turned out to be dead.

use super::{DbError, Pool, error};

/// How many times a request is retried on another connection.
const MAX_RETRIES: u32 = 3;

/// An error that may not occur on another connection.
pub trait Retryable {
    /// Whether the connection broke during the statement. It is unknown whether the statement took effect, so a caller may
    /// retry only what is idempotent: a read, or an append, because events carry their ids.
    fn is_retryable(&self) -> bool;
}

impl Retryable for DbError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => false,
            // 53300: a server without free connections rejects every new one.
            Self::Unavailable(error) => !matches!(
                error::code(error).as_deref(),
                Some("53300" | error::INCOMPLETE_VIEW)
            ),
            _ => false,
        }
    }
}

/// The retries that one request has left. After a restart of Postgres, a fail-over or a thaw, every connection of the pool
/// may be dead, and only the next statement on each of them shows it.
#[derive(Debug)]
pub struct RetryPolicy {
    left: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { left: MAX_RETRIES }
    }
}

impl RetryPolicy {
    /// Whether to retry the request after this error. If so, marks the pool's other connections as suspect.
    pub fn should_retry(&mut self, pool: &Pool, error: &impl Retryable) -> bool {
        if !error.is_retryable() {
            return false;
        }
        pool.mark_suspect();
        let retry = self.left > 0;
        self.left = self.left.saturating_sub(1);
        retry
    }
}
