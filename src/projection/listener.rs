//! The long-lived worker: the same catch-up, woken by a doorbell.
//!
//! # Why no append is overslept
//!
//! The bell rings only while a listener sleeps, which is: while it holds key K exclusively. (A NOTIFY in every append
//! would take a database-wide lock until each commit is flushed; see `migrations/…_doorbell.up.sql`.)
//!
//! 1. LISTEN is committed before K is asked for, on the same connection. (test: `a_notify_wakes_a_sleeping_listener`)
//! 2. An append that finds K free holds it shared until its commit is visible. So when the listener gets K, every append
//!    that saw nobody asleep is committed, and the last look, taken *after* K, sees it. (test:
//!    `an_append_that_sent_no_notify_is_found_by_the_last_poll_before_sleep`)
//! 3. Every later append finds K taken and rings; the bell is delivered to a session that is idle and listens. K is
//!    therefore a session lock: inside a transaction nothing would be delivered. Bells that came before the last look
//!    are dropped before it, never after: theirs are committed, so it sees them. (test:
//!    `a_burst_of_notifications_wakes_a_listener_once`)
//! 4. A lost connection takes K and LISTEN along, and all of it starts over, from a new connection and a catch-up; the
//!    connection is never replaced underneath. (test: `a_listener_loses_no_event_when_every_connection_is_cut`)
//! 5. A listener that does not get K, because an append runs long or another listener sleeps, polls. It tries, and does
//!    not queue: an append that finds somebody queued for K would ring too. (tests:
//!    `a_long_append_transaction_keeps_the_listener_polling`, `only_one_of_two_listeners_sleeps_and_the_other_takes_over`)
//! 6. A projection that is still at work when K is asked for keeps the listener awake: its look began before K. (test:
//!    `a_blocked_projection_does_not_block_the_others`)
//!
//! A timer looks all the same: a bell that is lost costs time, never data.

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
use crate::db::{self, DbError, Login, Pool};
use crate::view::View;

/// The bell's channel.
pub const CHANNEL: &str = "events:created";

/// The first pause between looks that find nothing; each further one is twice as long, up to [`POLL`].
const LINGER: Duration = Duration::from_millis(1);
/// So many pauses, and the listener asks for the key. A bell is dear only where thousands ring in a second, and there the
/// next look finds something; where events come seldom, the bell is quicker than any polling.
const QUIET: u32 = 2;
/// The longest pause between looks of a listener that is awake: somebody else has the key, or something waits.
const POLL: Duration = Duration::from_millis(250);
/// How long a look waits for its projections. One that needs longer goes on beside the next looks of the others.
const PATIENCE: Duration = Duration::from_millis(250);
/// The shortest and the longest wait before a lost connection is made again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A connection that does not answer a statement without work in this time is dead.
const DEAD: Duration = Duration::from_secs(5);

/// What a listener needs.
#[derive(Clone, Debug)]
pub struct Listener {
    /// For its own connection: direct, not through a transaction-mode pooler.
    pub login: Arc<dyn Login>,
    /// For the catch-up.
    pub pool: Pool,
    /// The projections it folds.
    pub views: Arc<[View]>,
    /// Events a batch.
    pub batch_size: u32,
    /// Ends it, after the batch it is at.
    pub stop: CancellationToken,
}

impl Listener {
    /// A sleeper looks up after this time, bell or no bell, and asks its connection whether it lives.
    pub const WAKE_INTERVAL: Duration = Duration::from_secs(30);

    /// Listens until it is stopped, through lost connections and restarts of Postgres.
    pub async fn run(self) {
        let mut looks = Looks::default();
        let mut wait = BACK_OFF.0;
        while !self.stop.is_cancelled() {
            let Err(error) = self.session(&mut looks, &mut wait).await else {
                continue;
            };
            // Whatever is at work may wait on a dead connection. Nothing of its batch is kept, so nothing is lost.
            looks.running.shutdown().await;
            looks.busy.clear();
            tracing::warn!(
                duration_ms = wait.as_millis(),
                "the listener starts over in {wait:?}: {}",
                cause(&error)
            );
            self.pause(wait).await;
            wait = (wait * 2).min(BACK_OFF.1);
        }
        while looks.running.join_next().await.is_some() {}
        tracing::info!("the listener has stopped");
    }

    /// One connection's life; ends well when the listener is stopped.
    async fn session(&self, looks: &mut Looks, wait: &mut Duration) -> Result<(), ProjectionError> {
        let single = db::log_in(&*self.login, "foldlog listener", async |options| {
            let single = PgPoolOptions::new().max_connections(1);
            single.acquire_timeout(DEAD).connect_with(options).await
        });
        let single = single.await?;
        let mut bell = PgListener::connect_with(&single).await?;
        // The connection is never replaced underneath: K would be gone, and nobody would know.
        bell.eager_reconnect(false);
        let ended = self.listen(&mut bell, looks, wait).await;
        drop(bell);
        // Takes K along now, instead of when the server notices.
        let _ = timeout(DEAD, single.close()).await;
        ended
    }

    async fn listen(
        &self,
        bell: &mut PgListener,
        looks: &mut Looks,
        wait: &mut Duration,
    ) -> Result<(), ProjectionError> {
        alive(bell.listen(CHANNEL)).await?;
        tracing::info!("the listener is connected");
        let mut quiet = 0;
        while !self.stop.is_cancelled() {
            let found = looks.look(self).await?;
            if found == Found::Events {
                quiet = 0;
                continue;
            }
            if quiet >= QUIET {
                if found == Found::Later {
                    // Something is at work, perhaps on a connection as dead as this one.
                    ping(bell).await?;
                } else if take_key(bell).await? {
                    self.sleep(bell, looks).await?;
                    // Appends need not ring from here on, so K goes back while the first look is under way.
                    let (given_back, found) = tokio::join!(give_key_back(bell), looks.look(self));
                    given_back?;
                    found?;
                    quiet = 0;
                }
                *wait = BACK_OFF.0;
            }
            self.pause((LINGER * 2_u32.pow(quiet.min(8))).min(POLL))
                .await;
            quiet += 1;
        }
        Ok(())
    }

    /// With K taken: looks once more, then waits for the bell or the end. On a timer it looks without getting up.
    async fn sleep(&self, bell: &mut PgListener, looks: &mut Looks) -> Result<(), ProjectionError> {
        // What rang until now is committed, so the last look sees it; thousands may have rung before it was heard.
        while bell.next_buffered().is_some() {}
        // The last look. Whatever it missed is not committed yet, and will ring.
        while looks.look(self).await? == Found::Nothing && !self.stop.is_cancelled() {
            tokio::select! {
                rung = bell.try_recv() => return match rung? {
                    Some(_) => Ok(()),
                    None => Err(lost(io::ErrorKind::ConnectionAborted)),
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

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Everything that was visible is applied or parked.
    Nothing,
    /// Something waits, or a projection is still at work: no time to sleep.
    Later,
    /// There was something to apply; there may be more by now.
    Events,
}

/// The catch-ups under way, at most one a projection, each at its own pace.
#[derive(Default)]
struct Looks {
    running: JoinSet<Result<CatchUp, ProjectionError>>,
    /// Which projection each task is at.
    busy: HashMap<Id, usize>,
    /// What the projections that cannot go on said last.
    failing: BTreeMap<usize, String>,
}

impl Looks {
    /// Starts a catch-up of each projection that is at rest, and waits for those, but not for ever.
    async fn look(&mut self, listener: &Listener) -> Result<Found, ProjectionError> {
        let mut found = Found::Nothing;
        while let Some(ended) = self.running.try_join_next_with_id() {
            found = found.max(self.ended(listener, ended)?);
        }
        let resting: Vec<_> = (0..listener.views.len())
            .filter(|index| !self.busy.values().any(|busy| busy == index))
            .collect();
        let mut started: Vec<Id> = Vec::with_capacity(resting.len());
        for index in resting {
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
                .running
                .spawn(async move { catch_up(&pool, &views[index], batch_size, &budget).await })
                .id();
            self.busy.insert(task, index);
            started.push(task);
        }
        let patience = sleep(PATIENCE);
        tokio::pin!(patience);
        while !started.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id() => {
                    found = found.max(self.ended(listener, ended)?);
                    started.retain(|task| self.busy.contains_key(task));
                }
                () = &mut patience => break,
            }
        }
        Ok(if self.busy.is_empty() {
            found
        } else {
            found.max(Found::Later)
        })
    }

    fn ended(
        &mut self,
        listener: &Listener,
        ended: Result<(Id, Result<CatchUp, ProjectionError>), JoinError>,
    ) -> Result<Found, ProjectionError> {
        let task = ended.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        let Some(index) = self.busy.remove(&task) else {
            return Ok(Found::Nothing);
        };
        let name = listener.views[index].name();
        let error = match ended {
            Ok((_, Ok(caught_up))) => {
                if self.failing.remove(&index).is_some() {
                    tracing::info!(projection = name, "the projection {name} goes on");
                }
                return Ok(match caught_up {
                    CatchUp { applied: 1.., .. } => Found::Events,
                    CatchUp { done: false, .. } => Found::Later,
                    _ => Found::Nothing,
                });
            }
            // Without Postgres none can go on; this session is over.
            Ok((_, Err(error @ ProjectionError::Db(DbError::Unavailable(_))))) => {
                return Err(error);
            }
            Ok((_, Err(error))) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        // One projection that cannot go on does not hold up the others, nor does it fill the log: it is tried again at
        // each look.
        if self.failing.get(&index) != Some(&error) {
            tracing::error!(
                projection = name,
                "the projection {name} cannot go on: {error}"
            );
            self.failing.insert(index, error);
        }
        Ok(Found::Nothing)
    }
}

/// Takes K, or does not get it: an append under way holds it shared, or another listener sleeps.
async fn take_key(bell: &mut PgListener) -> Result<bool, ProjectionError> {
    let taken = sqlx::query_scalar(include_str!("sql/take_key.sql")).fetch_one(bell);
    alive(taken).await
}

async fn give_key_back(bell: &mut PgListener) -> Result<(), ProjectionError> {
    alive(sqlx::query(include_str!("sql/give_key_back.sql")).execute(bell)).await?;
    Ok(())
}

/// Asks the connection whether it lives. Bells that ring meanwhile are kept.
async fn ping(bell: &mut PgListener) -> Result<(), ProjectionError> {
    alive(async { bell.acquire().await?.ping().await }).await
}

/// A connection that is half open never answers; its end would be noticed after a quarter of an hour.
async fn alive<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, ProjectionError> {
    match timeout(DEAD, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(lost(io::ErrorKind::TimedOut)),
    }
}

fn lost(kind: io::ErrorKind) -> ProjectionError {
    sqlx::Error::Io(kind.into()).into()
}

/// The error with what the network said, which is safe to log.
fn cause(error: &ProjectionError) -> String {
    match error {
        ProjectionError::Db(DbError::Unavailable(source)) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
