//! Whether a connection can be used further, and for how long a statement may keep its caller waiting.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use sqlx::Error;
use tokio::time::{Sleep, sleep, timeout};
use tracing::Span;

use super::sqlstate::{self, OnConnection};

/// How long a statement may take, on the client's side. Postgres itself ends it some seconds earlier; if that does not arrive, the
/// connection is half open, or the server is frozen.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(35);

/// What a pool knows about its connections: when it last learned something about all of them.
#[derive(Debug, Default)]
pub(super) struct Suspicions {
    /// Connections that were last used before are pinged before their next use.
    ping: Mutex<Option<Instant>>,
    /// Connections that were opened before are replaced.
    replace: Mutex<Option<Instant>>,
    /// How often Postgres refused the plan of a statement that another connection had prepared; see [`Health::plan_number`].
    refused_plans: AtomicU32,
}

impl Suspicions {
    /// One connection was found dead.
    pub(super) fn ping_all(&self) {
        *self.ping.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The same as with a connection that was opened at this moment is wrong with every connection, unless that is known already.
    fn replace_all(&self, opened: Instant) {
        let mut replace = self.replace.lock().unwrap_or_else(PoisonError::into_inner);
        if replace.is_none_or(|last| opened > last) {
            *replace = Some(Instant::now());
        }
    }

    /// Whether to ping a connection that was last used at this moment.
    pub(super) fn is_suspect(&self, used: Instant) -> bool {
        let since = *self.ping.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| used <= since)
    }

    /// Whether to replace a connection that was opened at this moment.
    fn is_replaced(&self, opened: Instant) -> bool {
        let since = *self.replace.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| opened <= since)
    }
}

/// What the errors of a connection say about it.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Whether the last error says that the connection is at fault.
    is_broken: bool,
    /// Whether a statement runs, or still may because its caller gave it up.
    is_busy: bool,
    /// The limit of each statement; `None` on a connection of the caller's.
    time_limit: Option<Duration>,
    pool: Option<InPool>,
}

/// A connection's place in a pool.
#[derive(Debug)]
struct InPool {
    /// When the connection began to be opened.
    opened: Instant,
    /// How many plans had been refused by then.
    refused_plans: u32,
    suspicions: Arc<Suspicions>,
}

impl Health {
    /// The health of a connection of a pool that is going to be opened.
    pub(super) fn in_pool(suspicions: Arc<Suspicions>) -> Self {
        let opened = Instant::now();
        let refused_plans = suspicions.refused_plans.load(Ordering::Relaxed);
        Self {
            time_limit: Some(STATEMENT_TIMEOUT),
            pool: Some(InPool {
                opened,
                refused_plans,
                suspicions,
            }),
            ..Self::default()
        }
    }

    /// Whether the connection can be used again.
    pub(super) fn is_good(&self) -> bool {
        let is_replaced = |pool: &InPool| pool.suspicions.is_replaced(pool.opened);
        !self.is_broken && !self.is_busy && !self.pool.as_ref().is_some_and(is_replaced)
    }

    /// A number for the texts of the statements that this connection prepares behind a pooler that tracks names. A server
    /// connection of the pooler keeps a plan longer than any client that named it, and shares it with each client that sends the
    /// same text. Postgres refuses such a plan for ever once a rebuilt view has another type of column; a new connection needs
    /// another text.
    pub(super) fn plan_number(&self) -> u32 {
        self.pool.as_ref().map_or(0, |pool| pool.refused_plans)
    }

    /// Whether a statement runs, or still may because its caller gave it up.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Suspects the pool's other connections if the caller of the running statement has given it up: the connection may be
    /// silent, and then the others may be, too. Without this, each of them would keep another caller waiting.
    pub(super) fn suspect_others_if_busy(&self) {
        if let (true, Some(pool)) = (self.is_busy, &self.pool) {
            pool.suspicions.ping_all();
        }
    }

    /// Waits for an answer of the server within the time limit.
    pub(super) async fn watch<T>(
        &mut self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.is_busy = true;
        let answer = match self.time_limit {
            Some(limit) => timeout(limit, answer)
                .await
                .unwrap_or_else(|_| Err(timed_out())),
            None => answer.await,
        };
        self.is_busy = false;
        answer.inspect_err(|error| self.record(error))
    }

    /// Watches the rows of a statement; its time limit includes the time that the caller takes between them.
    pub(super) fn watch_rows<'e, T: 'e>(
        &'e mut self,
        rows: BoxStream<'e, Result<T, Error>>,
        span: Span,
    ) -> BoxStream<'e, Result<T, Error>> {
        let (started, health) = (Instant::now(), self);
        health.is_busy = true;
        WatchedRows {
            rows,
            span,
            health,
            started,
            limit: None,
        }
        .boxed()
    }

    fn record(&mut self, error: &Error) {
        if let Some(pool) = &self.pool
            && sqlstate::code(error).as_deref() == Some("0A000")
        {
            let refused = &pool.suspicions.refused_plans;
            refused.fetch_max(pool.refused_plans.wrapping_add(1), Ordering::Relaxed);
        }
        match sqlstate::on_connection(error) {
            OnConnection::Keep => return,
            OnConnection::Close => {}
            OnConnection::CloseAll => {
                if let Some(pool) = &self.pool {
                    pool.suspicions.replace_all(pool.opened);
                }
            }
        }
        self.is_broken = true;
    }
}

/// What a statement that is not answered in time returns.
pub(super) fn timed_out() -> Error {
    Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// The rows of a statement.
struct WatchedRows<'e, T> {
    rows: BoxStream<'e, Result<T, Error>>,
    span: Span,
    health: &'e mut Health,
    started: Instant,
    /// Exists from the first wait on.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<T> Stream for WatchedRows<'_, T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let _entered = this.span.enter();
        if let Poll::Ready(row) = this.rows.poll_next_unpin(context) {
            match &row {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    this.health.is_busy = false;
                    this.health.record(error);
                }
                None => this.health.is_busy = false,
            }
            return Poll::Ready(row);
        }
        let Some(time_limit) = this.health.time_limit else {
            return Poll::Pending;
        };
        let left = || sleep(time_limit.saturating_sub(this.started.elapsed()));
        let limit = this.limit.get_or_insert_with(|| Box::pin(left()));
        if limit.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let error = timed_out();
        this.health.record(&error);
        Poll::Ready(Some(Err(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::stream;

    use super::*;

    fn limited() -> Health {
        Health {
            time_limit: Some(Duration::from_millis(1)),
            ..Health::in_pool(Arc::default())
        }
    }

    /// Fails when a statement on a half-open connection waits for ever, or when its connection is used again.
    #[tokio::test]
    async fn a_statement_without_an_answer_ends_at_its_limit() {
        let mut health = limited();
        let answer = health.watch(pending::<Result<(), Error>>()).await;
        assert!(matches!(answer, Err(Error::Io(_))), "{answer:?}");
        assert!(!health.is_good());

        let mut health = limited();
        let rows = stream::iter([Ok(1)]).chain(stream::pending()).boxed();
        let mut rows = health.watch_rows(rows, Span::none());
        assert!(matches!(rows.next().await, Some(Ok(1))));
        assert!(matches!(rows.next().await, Some(Err(Error::Io(_)))));
        drop(rows);
        assert!(!health.is_good());
    }

    /// Fails when a connection whose statement was given up serves another request.
    #[tokio::test]
    async fn a_statement_that_was_given_up_makes_the_connection_unusable() {
        let mut health = limited();
        drop(health.watch_rows(stream::pending::<Result<(), Error>>().boxed(), Span::none()));
        assert!(health.is_busy() && !health.is_good());

        let mut health = limited();
        let rows: Vec<_> = health
            .watch_rows(stream::iter([Ok(1)]).boxed(), Span::none())
            .collect()
            .await;
        assert_eq!(rows.len(), 1);
        assert!(health.is_good());
    }

    /// Fails when an error about all connections spares one that was opened before it, or strikes one that was opened later.
    #[test]
    fn an_error_about_all_connections_replaces_those_that_are_open() {
        let suspicions = Arc::new(Suspicions::default());
        let (mut first, second) = (
            Health::in_pool(Arc::clone(&suspicions)),
            Health::in_pool(Arc::clone(&suspicions)),
        );
        assert!(first.is_good() && second.is_good());
        if let Some(pool) = &first.pool {
            suspicions.replace_all(pool.opened);
        }
        assert!(!first.is_good() && !second.is_good());
        first.record(&Error::Protocol(String::new()));
        let third = Health::in_pool(suspicions);
        assert!(third.is_good());
    }
}
