//! The feed in process.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::app::Foldlog;
use crate::domain::Domain;
use crate::query::{self, FeedCursor, FeedDirection, FeedPage, FeedRequest, QueryError};
use crate::view::PageLimit;

impl Foldlog {
    /// Reads the events of all domains in log order, from the first one on. Await the builder that it returns.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use foldlog::Foldlog;
    /// use foldlog::query::FeedCursor;
    ///
    /// # async fn example(foldlog: Foldlog) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut cursor = FeedCursor::BEGINNING;
    /// loop {
    ///     let page = foldlog.feed().starting_after(cursor).limit(1000).wait(Duration::from_secs(20)).await?;
    ///     for event in &page.events {
    ///         println!("{} of {}", event.type_id, event.aggregate_id);
    ///     }
    ///     cursor = page.next.unwrap_or(cursor);
    /// }
    /// # }
    /// ```
    pub fn feed(&self) -> Feed<'_> {
        Feed {
            foldlog: self,
            wait: Duration::ZERO,
            request: FeedRequest {
                direction: FeedDirection::Forward(FeedCursor::BEGINNING),
                domain: None,
                types: None,
                limit: PageLimit::from(PageLimit::DEFAULT_ROWS),
                wait_until: None,
            },
        }
    }
}

/// A read of the feed that is sent when it is awaited. Made by [`Foldlog::feed`].
#[must_use = "a read does nothing until it is awaited"]
#[derive(Debug)]
pub struct Feed<'a> {
    foldlog: &'a Foldlog,
    wait: Duration,
    request: FeedRequest,
}

impl Feed<'_> {
    /// Begins after the event at this cursor.
    pub const fn starting_after(mut self, cursor: FeedCursor) -> Self {
        self.request.direction = FeedDirection::Forward(cursor);
        self
    }

    /// Reads the newest events first, from the one before this cursor on; from the newest of all if there is none.
    pub const fn newest_first(mut self, cursor: Option<FeedCursor>) -> Self {
        self.request.direction = FeedDirection::Backward(cursor);
        self
    }

    /// Reads only events of the domain `D`. If it is not part of the [`Foldlog`], the read fails with [`QueryError::NotServed`].
    pub fn domain<D: Domain>(mut self) -> Self {
        self.request.domain = Some(D::NAME);
        self
    }

    /// Reads only events of these types, by their names.
    pub fn types<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.request.types = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Reads at most this many events; 100 by default, and 0 counts as 1.
    pub fn limit(mut self, limit: u16) -> Self {
        self.request.limit = limit.into();
        self
    }

    /// Waits for an event if there is none yet. No connection is in use meanwhile.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl<'a> IntoFuture for Feed<'a> {
    type Output = Result<FeedPage, QueryError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            foldlog,
            wait,
            mut request,
        } = self;
        Box::pin(async move {
            request.wait_until = Instant::now().checked_add(wait);
            query::feed(foldlog, &request).await
        })
    }
}
