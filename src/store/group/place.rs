//! The place of an append among those in flight.

use std::future::Future;
use std::pin::pin;

use tokio::time::timeout;

use super::{Groups, QUEUE_TIMEOUT, lock};
use crate::event::{AggregateId, Version};

/// The place of an append or a group in flight. Dropping it lets the next appends go.
#[derive(Debug)]
pub struct Place {
    pub(super) groups: Groups,
    pub(super) aggregates: Vec<AggregateId>,
    /// Whether other appends wait for it.
    pub(super) counted: bool,
}

impl Place {
    /// Waits for an append that the caller sends alone. `stored` is the version that it stored, if it did.
    ///
    /// # Errors
    ///
    /// Those of the append.
    pub async fn send<T, E>(
        self,
        append: impl Future<Output = Result<T, E>>,
        stored: impl FnOnce(&T) -> Option<Version>,
    ) -> Result<T, E> {
        let sent = append.await?;
        if let (Some(version), [aggregate_id]) = (stored(&sent), &self.aggregates[..]) {
            self.groups.answer_overtaken(&[(*aggregate_id, version)]);
        }
        Ok(sent)
    }

    /// Waits for a group that was sent. After [`QUEUE_TIMEOUT`] other appends do not wait for it any more.
    pub(super) async fn watch<T>(&mut self, sent: impl Future<Output = T>) -> T {
        if !self.counted {
            return sent.await;
        }
        let mut sent = pin!(sent);
        if let Ok(done) = timeout(QUEUE_TIMEOUT, &mut sent).await {
            done
        } else {
            self.give_up();
            sent.await
        }
    }

    pub(super) fn give_up(&mut self) {
        if std::mem::take(&mut self.counted) {
            let waiting = lock(&self.groups.queue).give_up(&self.aggregates);
            let waiting = waiting.into_iter();
            self.groups
                .send_alone(waiting.map(|waiting| (waiting.answer, waiting.append.aggregate_id)));
            self.groups.start();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.groups.queue).leave(&self.aggregates, self.counted);
        self.groups.start();
    }
}
