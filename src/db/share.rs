//! The share of a pool that the requests for one key may take together. Requests that wait for a lock each hold a connection: without
//! a limit, the appends to one locked aggregate, or the reads of one locked view, would take all of them, and every other request would
//! fail.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::DbError;

/// How long a request waits for its share. It holds no connection meanwhile.
const SHARE_TIMEOUT: Duration = Duration::from_secs(10);

/// A pool can serve requests for at least this many keys at a time, even if those for all but one of them wait.
const MIN_KEYS_PER_POOL: usize = 4;

/// The shares of a pool that are in use.
#[derive(Debug)]
pub(super) struct Shares {
    /// How many requests may use one key at a time.
    size: usize,
    used: Mutex<HashMap<u128, Arc<Semaphore>>>,
}

impl Shares {
    /// The shares of a pool of so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self {
            size: (connections / MIN_KEYS_PER_POOL).max(1),
            used: Mutex::default(),
        }
    }

    /// The shares of the views that the requests to a pool use: all but a quarter of the connections, because most processes have one view
    /// and spend most of their time on it.
    pub(super) fn leave_quarter(connections: usize) -> Self {
        Self {
            size: connections - connections / MIN_KEYS_PER_POOL,
            used: Mutex::default(),
        }
    }

    /// Waits until each key has a share left. The keys are locked in their own order, so that two requests for the same keys do not
    /// wait for each other.
    pub(super) async fn take(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = u128>,
    ) -> Result<Share, DbError> {
        let mut keys: Vec<u128> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        let deadline = Instant::now() + SHARE_TIMEOUT;
        let mut share = Share {
            shares: Arc::clone(self),
            taken: Vec::with_capacity(keys.len()),
        };
        for key in keys {
            let semaphore = self.semaphore(key);
            share.taken.push((key, None));
            let permit = timeout_at(deadline, semaphore.acquire_owned()).await;
            let Ok(Ok(permit)) = permit else {
                return Err(DbError::TimedOut(sqlx::Error::PoolTimedOut));
            };
            if let Some((_, taken)) = share.taken.last_mut() {
                *taken = Some(permit);
            }
        }
        Ok(share)
    }

    fn semaphore(&self, key: u128) -> Arc<Semaphore> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let semaphore = used
            .entry(key)
            .or_insert_with(|| Arc::new(Semaphore::new(self.size)));
        Arc::clone(semaphore)
    }
}

/// The key of a view.
pub(super) fn key_of(view: &str) -> u128 {
    let mut hasher = DefaultHasher::new();
    view.hash(&mut hasher);
    hasher.finish().into()
}

/// A request's share of a pool. Dropping it gives it back.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    taken: Vec<(u128, Option<OwnedSemaphorePermit>)>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = self
            .shares
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (key, permit) in self.taken.drain(..) {
            drop(permit);
            // The map's own reference is the last one, so no request uses the key or waits for it.
            if used
                .get(&key)
                .is_some_and(|semaphore| Arc::strong_count(semaphore) == 1)
            {
                used.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Fails when one key can take more than its share, when it blocks another key, or when a key that is no longer used is kept.
    #[tokio::test]
    async fn a_key_takes_at_most_its_share() {
        let shares = Arc::new(Shares::new(8));
        let first = shares.take([1, 1, 2]).await.unwrap();
        let second = shares.take([1]).await.unwrap();
        assert!(shares.take([1]).now_or_never().is_none());
        let other = shares.take([2]).await.unwrap();
        drop(second);
        let third = shares.take([1]).await.unwrap();
        drop((first, third, other));
        assert!(shares.used.lock().unwrap().is_empty());
    }

    /// Fails when a pool of one connection has no share to give.
    #[tokio::test]
    async fn every_pool_has_a_share() {
        let shares = Arc::new(Shares::new(1));
        let share = shares.take([7]).await.unwrap();
        assert!(shares.take([7]).now_or_never().is_none());
        drop(share);
        shares.take([7]).await.unwrap();
    }
}
