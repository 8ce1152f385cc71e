//! The long-lived worker: the same catch-up, woken by a doorbell.
//!
//! # Why no append is overslept
//!
//! The bell rings only while a listener sleeps, which is: while it holds key K exclusively. (A NOTIFY in every append
//! would take a database-wide lock until each commit is flushed; see `migrations/…_doorbell.up.sql`.)
//!
//! 1. LISTEN is committed before K is asked for, on the same connection. (test: `the_bell_wakes_a_sleeping_listener`)
//! 2. An append that finds K free holds it shared until its commit is visible. So when the listener gets K, every append
//!    that saw nobody asleep is committed, and the last look, taken *after* K, sees it. (test:
//!    `an_append_that_saw_nobody_asleep_is_not_overslept`)
//! 3. Every later append finds K taken and rings; the bell is delivered to a session that is idle and listens. K is
//!    therefore a session lock: inside a transaction nothing would be delivered.
//! 4. A lost connection takes K and LISTEN along, and all of it starts over, from a new connection and a catch-up; the
//!    connection is never replaced underneath. (test: `cutting_every_connection_costs_time_not_events`)
//! 5. A listener that does not get K, because an append runs long or another listener sleeps, polls.
//!
//! A timer looks all the same: a bell that is lost costs time, never data.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::catch_up::Budget;
use super::{Error, catch_up_all};
use crate::db::DbError;
use crate::view::View;

/// The bell's channel.
pub const CHANNEL: &str = "events:created";

/// Waiting for the next event: quickly at first, because events come in bursts, then asleep.
const LINGER: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
];
/// Between looks while somebody else has the key.
const POLL: Duration = Duration::from_millis(250);
/// A sleeper looks up after this time, bell or no bell.
const LOOK_UP: Duration = Duration::from_secs(30);
/// The shortest and the longest wait before a lost connection is made again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A connection that does not answer its own lock statement in this time is dead.
const DEAD: Duration = Duration::from_secs(5);

/// What a listener needs.
#[derive(Clone, Debug)]
pub struct Listener {
    /// For its own connection: direct, not through a transaction-mode pooler.
    pub options: PgConnectOptions,
    /// For the catch-up.
    pub pool: PgPool,
    /// The projections it folds.
    pub views: Arc<[View]>,
    /// Events a batch.
    pub batch_size: u32,
    /// Ends it, after the batch it is at.
    pub stop: CancellationToken,
}

impl Listener {
    /// Listens until it is stopped, through lost connections and restarts of Postgres.
    pub async fn run(self) {
        let mut wait = BACK_OFF.0;
        while !self.stop.is_cancelled() {
            match self.session(&mut wait).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(
                        lag.ms = wait.as_millis(),
                        "the listener starts over in {wait:?}: {error}"
                    );
                    self.pause(wait).await;
                    wait = (wait * 2).min(BACK_OFF.1);
                }
            }
        }
        tracing::info!("the listener has stopped");
    }

    /// One connection's life.
    async fn session(&self, wait: &mut Duration) -> Result<(), Error> {
        let single = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(DEAD);
        let single = single
            .connect_with(self.options.clone().application_name("foldlog listener"))
            .await?;
        let mut bell = PgListener::connect_with(&single).await?;
        bell.eager_reconnect(false);
        bell.listen(CHANNEL).await?;
        sqlx::query(include_str!("sql/set_lock_timeout.sql"))
            .execute(&mut bell)
            .await?;
        self.work().await?;
        *wait = BACK_OFF.0;
        tracing::info!("the listener is connected and caught up");
        while !self.stop.is_cancelled() {
            self.linger().await?;
            if !take_key(&mut bell).await? {
                self.pause(POLL).await;
                continue;
            }
            // The last look. Whatever it missed is not committed yet, and will ring.
            if !self.work().await? {
                self.sleep(&mut bell).await?;
            }
            // Appends need not ring from here on, so the key goes back while the first look is under way.
            let (given_back, looked) = tokio::join!(give_key_back(&mut bell), self.work());
            given_back?;
            looked?;
        }
        Ok(())
    }

    /// Looks again and again, a little later each time, until nothing comes any more.
    async fn linger(&self) -> Result<(), Error> {
        let mut quiet = LINGER.iter();
        while !self.stop.is_cancelled() {
            if self.work().await? {
                quiet = LINGER.iter();
                continue;
            }
            let Some(delay) = quiet.next() else { break };
            self.pause(*delay).await;
        }
        Ok(())
    }

    /// Catches up; whether there was anything to do.
    async fn work(&self) -> Result<bool, Error> {
        let budget = Budget {
            until: None,
            stop: self.stop.clone(),
        };
        let mut worked = false;
        for (name, result) in catch_up_all(&self.pool, &self.views, self.batch_size, &budget).await
        {
            match result {
                Ok(caught_up) => worked |= caught_up.applied > 0,
                // Without Postgres none can go on; this session is over.
                Err(Error::Db(error @ DbError::Unavailable(_))) => return Err(error.into()),
                // One projection that cannot go on does not hold up the others.
                Err(error) => tracing::error!(
                    projection = name,
                    "the projection {name} cannot go on: {error}"
                ),
            }
        }
        Ok(worked)
    }

    /// Waits for the bell, the timer or the end.
    async fn sleep(&self, bell: &mut PgListener) -> Result<(), Error> {
        tokio::select! {
            rung = bell.try_recv() => match rung? {
                Some(_) => Ok(()),
                None => Err(Error::Db(DbError::Unavailable(sqlx::Error::WorkerCrashed))),
            },
            () = sleep(LOOK_UP) => Ok(()),
            () = self.stop.cancelled() => Ok(()),
        }
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = sleep(duration) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// Takes K, or does not get it within the session's `lock_timeout`.
async fn take_key(bell: &mut PgListener) -> Result<bool, Error> {
    let taken = timeout(
        DEAD,
        sqlx::query(include_str!("sql/take_key.sql")).execute(bell),
    )
    .await;
    match taken
        .map_err(|_| sqlx::Error::PoolTimedOut)?
        .map_err(DbError::from)
    {
        Ok(_) => Ok(true),
        Err(DbError::TimedOut(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn give_key_back(bell: &mut PgListener) -> Result<(), Error> {
    let given = timeout(
        DEAD,
        sqlx::query(include_str!("sql/give_key_back.sql")).execute(bell),
    )
    .await;
    given.map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(())
}
