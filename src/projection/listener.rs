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
//! A sleeping listener also polls on a timer: a lost notification only delays events. `tests/model` mutates each of these rules.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Acquire, Connection};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::catch_up::CatchUp;
use super::{ProjectionError, catch_up};
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
/// How long a poll waits for its catch-ups. A catch-up that takes longer continues in the background, while the other
/// projections are polled again.
const CATCH_UP_WAIT_TIMEOUT: Duration = Duration::from_millis(250);
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
            catch_ups.tasks.shutdown().await;
            catch_ups.running.clear();
            tracing::warn!(
                duration_ms = millis(delay),
                "the listener lost its session and reconnects in {delay:?}: {}",
                error_with_source(&error)
            );
            self.pause(delay).await;
            delay = (delay * 2).min(MAX_RECONNECT_DELAY);
        }
        while catch_ups.tasks.join_next().await.is_some() {}
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

    /// Polls a last time with K held, then waits for a notification or the stop signal. On the timer it polls and keeps K.
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
                () = sleep(Self::WAKE_INTERVAL) => ping(bell).await?,
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

/// The outcome of a poll of all projections. The greatest outcome of any projection decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PollOutcome {
    /// Every visible event is folded or belongs to a parked aggregate.
    Idle,
    /// A projection is behind or its catch-up is still running, so the listener must not sleep.
    Pending,
    /// Events were folded, and more may have arrived since.
    Applied,
}

/// The running catch-ups: at most one per projection, and none waits for another.
#[derive(Default)]
struct CatchUps {
    tasks: JoinSet<Result<CatchUp, ProjectionError>>,
    /// The index of the projection that each task catches up.
    running: HashMap<Id, usize>,
    /// The last error of each projection that fails.
    failing: BTreeMap<usize, String>,
}

impl CatchUps {
    /// Starts a catch-up of each projection that has none running, and waits for them up to [`CATCH_UP_WAIT_TIMEOUT`].
    async fn poll(&mut self, listener: &Listener) -> Result<PollOutcome, ProjectionError> {
        let mut outcome = PollOutcome::Idle;
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            outcome = outcome.max(self.handle_ended(listener, ended)?);
        }
        let idle: Vec<_> = (0..listener.views.len())
            .filter(|index| !self.running.values().any(|running| running == index))
            .collect();
        let mut started: Vec<Id> = Vec::with_capacity(idle.len());
        for index in idle {
            let Listener {
                pool,
                views,
                batch_size,
                stop,
                ..
            } = listener.clone();
            let budget = Budget {
                stop,
                ..Budget::default()
            };
            let task = self
                .tasks
                .spawn(async move { catch_up(&pool, &views[index], batch_size, &budget).await })
                .id();
            self.running.insert(task, index);
            started.push(task);
        }
        let wait_timeout = sleep(CATCH_UP_WAIT_TIMEOUT);
        tokio::pin!(wait_timeout);
        while !started.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => {
                    outcome = outcome.max(self.handle_ended(listener, ended)?);
                    started.retain(|task| self.running.contains_key(task));
                }
                () = &mut wait_timeout => break,
            }
        }
        Ok(if self.running.is_empty() {
            outcome
        } else {
            outcome.max(PollOutcome::Pending)
        })
    }

    /// Turns the result of a catch-up into an outcome and logs failures. An error that ends the session is returned.
    fn handle_ended(
        &mut self,
        listener: &Listener,
        ended: Result<(Id, Result<CatchUp, ProjectionError>), JoinError>,
    ) -> Result<PollOutcome, ProjectionError> {
        let task = ended.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        let Some(index) = self.running.remove(&task) else {
            return Ok(PollOutcome::Idle);
        };
        let name = listener.views[index].name();
        let error = match ended {
            Ok((_, Ok(caught_up))) => {
                if self.failing.remove(&index).is_some() {
                    tracing::info!(projection = name, "the projection {name} has recovered");
                }
                return Ok(match caught_up {
                    CatchUp { applied: 1.., .. } => PollOutcome::Applied,
                    CatchUp { done: false, .. } => PollOutcome::Pending,
                    _ => PollOutcome::Idle,
                });
            }
            // Without Postgres no projection can continue, so the session ends.
            Ok((_, Err(error @ ProjectionError::Db(DbError::Unavailable(_))))) => {
                return Err(error);
            }
            Ok((_, Err(error))) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        // A failing projection does not block the others. It is retried at each poll, and the same error is logged only
        // once.
        if self.failing.get(&index) != Some(&error) {
            tracing::error!(
                projection = name,
                "the projection {name} fails and is retried at each poll: {error}"
            );
            self.failing.insert(index, error);
        }
        Ok(PollOutcome::Idle)
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
