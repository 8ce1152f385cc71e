//! The listener: a long-running worker that runs the same catch-up, woken by NOTIFY (the doorbell).
//!
//! # Why the listener misses no append
//!
//! An append sends NOTIFY only while a listener sleeps, that is, while a listener holds the advisory lock K exclusively. (A
//! NOTIFY in every append would take a database-wide lock that is held until each commit is flushed; see
//! `migrations/…_doorbell.up.sql`.)
//!
//! 1. The listener commits LISTEN before it requests K, on the same connection. (test:
//!    `a_notify_wakes_a_sleeping_listener`)
//! 2. An append that finds K free holds K shared until its commit is visible. So when the listener gets K, every append
//!    that sent no NOTIFY has committed, and the last poll, which begins *after* the listener has K, sees its events.
//!    (test: `an_append_that_sent_no_notify_is_found_by_the_last_poll_before_sleep`)
//! 3. Every later append finds K taken and sends NOTIFY. Postgres delivers a notification to a session only while the
//!    session is outside a transaction; K is therefore a session lock. The listener drops the notifications that arrived
//!    before the last poll, but none that arrive later: the appends that sent the dropped ones have committed, so the last
//!    poll sees their events. (test: `a_burst_of_notifications_wakes_a_listener_once`)
//! 4. A lost connection releases K and ends LISTEN, and the listener starts from the beginning: with a new connection and
//!    a catch-up. sqlx must not reconnect on its own. (test: `a_listener_loses_no_event_when_every_connection_is_cut`)
//! 5. A listener that does not get K, because an append runs long or another listener sleeps, polls. It tries to take K and
//!    does not wait for it: an append that finds a waiter for K would send NOTIFY, too. (tests:
//!    `a_long_append_transaction_keeps_the_listener_polling`,
//!    `only_one_of_two_listeners_sleeps_and_the_other_takes_over`)
//! 6. A catch-up that is still running when the listener requests K keeps the listener awake, because it may have frozen
//!    its snapshot before the listener got K. (test: `a_blocked_projection_does_not_block_the_others`)
//!
//! A sleeping listener also polls on a timer: a lost notification only delays events. `tests/model` mutates each of these rules. A
//! projection that fails is retried on a timer of its own, because the notification of an event that it could not fold is gone. (test:
//! `a_projection_that_failed_is_retried_without_a_notification`)

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Acquire, Connection};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::ProjectionError;
use super::polls::{CatchUps, PollOutcome};
use super::reproject::warn_of_changed_folds;
use crate::db::{self, DbError, Login, Pool, Schema};
use crate::telemetry::millis;
use crate::view::View;

/// The channel on which appends send NOTIFY.
pub const CHANNEL: &str = "events:created";

/// The first pause after a poll that finds no events. Each further pause is twice as long, up to [`MAX_POLL_INTERVAL`].
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// The longest pause between polls of a listener that is awake, because another session holds K or a projection is still
/// behind.
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// After this many polls in a row without events, the listener requests K in order to sleep. NOTIFY is expensive only at
/// thousands per second, and at that rate polling finds events anyway; at low rates NOTIFY is faster than polling.
const MAX_IDLE_POLLS: u32 = 2;
/// The shortest wait before the listener reconnects. Each further wait is twice as long.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// The longest wait before the listener reconnects.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(10);
/// A connection that does not respond to a trivial statement within this time counts as lost.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A long-running worker that keeps several projections up to date.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Credentials for the listener's own connection. It must reach Postgres directly, not through a transaction-mode
    /// pooler.
    pub login: Arc<dyn Login>,
    /// Connections for the catch-ups.
    pub pool: Pool,
    /// The views of the projections that it keeps up to date.
    pub views: Arc<[View]>,
    /// The maximum number of events in a batch.
    pub batch_size: u32,
    /// Stops the listener after the batch in progress.
    pub stop: CancellationToken,
}

impl Listener {
    /// A sleeping listener polls at this interval even without a notification, and checks its connection.
    pub const WAKE_INTERVAL: Duration = Duration::from_secs(30);

    /// Runs until [`Self::stop`] is cancelled. Lost connections and restarts of Postgres do not end it.
    pub async fn run(self) {
        let mut catch_ups = CatchUps::default();
        let mut delay = MIN_RECONNECT_DELAY;
        while !self.stop.is_cancelled() {
            let Err(error) = self.run_session(&mut catch_ups, &mut delay).await else {
                continue;
            };
            // The running catch-ups may wait on dead connections. Their batches are rolled back, so no event is lost.
            catch_ups.abort().await;
            tracing::warn!(
                duration_ms = millis(delay),
                "the listener lost its session and reconnects in {delay:?}: {}",
                error_with_source(&error)
            );
            self.pause(delay).await;
            delay = (delay * 2).min(MAX_RECONNECT_DELAY);
        }
        catch_ups.finish().await;
        tracing::info!("the listener has stopped");
    }

    /// Uses one connection until the listener is stopped. A lost connection is an error.
    async fn run_session(
        &self,
        catch_ups: &mut CatchUps,
        delay: &mut Duration,
    ) -> Result<(), ProjectionError> {
        let pool = db::log_in(&*self.login, "foldlog listener", async |options| {
            let pool = PgPoolOptions::new().max_connections(1);
            pool.acquire_timeout(RESPONSE_TIMEOUT)
                .connect_with(options)
                .await
        });
        let pool = pool.await?;
        let mut bell = PgListener::connect_with(&pool).await?;
        // sqlx must not reconnect on its own: a new connection would not hold K, and the listener would not notice.
        bell.eager_reconnect(false);
        let ended = self.listen(&mut bell, catch_ups, delay).await;
        drop(bell);
        // Closing the connection releases K now, and not only when the server detects that the session has ended.
        let _ = timeout(RESPONSE_TIMEOUT, pool.close()).await;
        ended
    }

    async fn listen(
        &self,
        bell: &mut PgListener,
        catch_ups: &mut CatchUps,
        delay: &mut Duration,
    ) -> Result<(), ProjectionError> {
        with_timeout(bell.listen(CHANNEL)).await?;
        tracing::info!("the listener is connected");
        if let Err(error) = warn_of_changed_folds(&self.pool, &self.views).await {
            tracing::warn!("the folds were not compared with those that wrote the rows: {error}");
        }
        let mut idle_polls = 0;
        while !self.stop.is_cancelled() {
            let outcome = catch_ups.poll(self).await?;
            if outcome == PollOutcome::Applied {
                idle_polls = 0;
                continue;
            }
            if idle_polls >= MAX_IDLE_POLLS {
                if outcome == PollOutcome::Pending {
                    // A catch-up is behind or still running. Its connection may be dead, and then this one may be, too.
                    ping(bell).await?;
                } else if try_lock_key(bell, self.pool.schema()).await? {
                    self.sleep(bell, catch_ups).await?;
                    // Appends need not send NOTIFY from here on, so K is released while the first poll is running.
                    let unlock = unlock_key(bell, self.pool.schema());
                    let (unlocked, polled) = tokio::join!(unlock, catch_ups.poll(self));
                    unlocked.and(polled)?;
                    idle_polls = 0;
                }
                *delay = MIN_RECONNECT_DELAY;
            }
            self.pause((MIN_POLL_INTERVAL * 2_u32.pow(idle_polls.min(8))).min(MAX_POLL_INTERVAL))
                .await;
            idle_polls += 1;
        }
        Ok(())
    }

    /// Polls a last time with K held, then waits for a notification or the stop signal. On the timer, or when a projection that failed
    /// is due, it polls and keeps K.
    async fn sleep(
        &self,
        bell: &mut PgListener,
        catch_ups: &mut CatchUps,
    ) -> Result<(), ProjectionError> {
        // The appends that sent these notifications (perhaps thousands) have committed, so the last poll sees their events.
        while bell.next_buffered().is_some() {}
        // The last poll. An append that it does not see has not committed yet and will send NOTIFY.
        while catch_ups.poll(self).await? == PollOutcome::Idle && !self.stop.is_cancelled() {
            tokio::select! {
                notification = bell.try_recv() => return match notification? {
                    Some(_) => Ok(()),
                    None => Err(connection_error(io::ErrorKind::ConnectionAborted)),
                },
                () = self.stop.cancelled() => {}
                () = sleep(catch_ups.next_retry(Self::WAKE_INTERVAL)) => ping(bell).await?,
            }
        }
        Ok(())
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = sleep(duration) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// Tries to take K. It is not available while an append holds it shared or another listener sleeps.
async fn try_lock_key(bell: &mut PgListener, schema: &Schema) -> Result<bool, ProjectionError> {
    let sql = schema.qualify(include_str!("sql/try_lock_key.sql"));
    with_timeout(sqlx::query_scalar(sql).fetch_one(bell)).await
}

/// Releases K.
async fn unlock_key(bell: &mut PgListener, schema: &Schema) -> Result<(), ProjectionError> {
    let sql = schema.qualify(include_str!("sql/unlock_key.sql"));
    with_timeout(sqlx::query(sql).execute(bell)).await.map(drop)
}

/// Checks that the connection still responds. Notifications that arrive meanwhile are kept.
async fn ping(bell: &mut PgListener) -> Result<(), ProjectionError> {
    with_timeout(async { bell.acquire().await?.ping().await }).await
}

/// Limits the wait for a response. A half-open connection never responds, and TCP would report it only after about 15
/// minutes.
async fn with_timeout<T>(
    response: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, ProjectionError> {
    match timeout(RESPONSE_TIMEOUT, response).await {
        Ok(response) => Ok(response?),
        Err(_) => Err(connection_error(io::ErrorKind::TimedOut)),
    }
}

fn connection_error(kind: io::ErrorKind) -> ProjectionError {
    sqlx::Error::Io(kind.into()).into()
}

/// The error and, if Postgres is unreachable, the network error behind it, which contains no secrets.
fn error_with_source(error: &ProjectionError) -> String {
    match error {
        ProjectionError::Db(DbError::Unavailable(source)) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
