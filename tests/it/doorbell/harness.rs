//! A listener that runs beside the test, and what the test can observe of it: which session holds K, its last statement,
//! and the rows it folded. Each observation uses a new connection, because some tests terminate all existing ones.

use std::time::Duration;

use std::sync::Arc;

use foldlog::db::Pool;
use foldlog::event::UntypedEvent;
use foldlog::projection::{CHANNEL, Listener};
use sqlx::postgres::{PgConnectOptions, PgListener};
use sqlx::{PgConnection, Row};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::TestDb;
use crate::support::poll::poll;

/// How long a test waits for a condition. It is shorter than [`Listener::WAKE_INTERVAL`], so that the timer never makes a
/// test pass.
pub(super) const POLL_TIMEOUT: Duration = Duration::from_secs(20);

/// A running listener.
pub(super) struct RunningListener {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningListener {
    /// Starts a listener that uses the test's pool.
    pub(super) fn start(db: &TestDb) -> Self {
        Self::start_with(db, db.options.clone(), db.pool().clone())
    }

    /// Starts a listener with a pool of its own, as another process has.
    pub(super) fn start_with_own_pool(db: &TestDb) -> Self {
        let pool = Pool::new(db.options.clone(), 10);
        Self::start_with(db, db.options.clone(), pool)
    }

    /// Starts a listener that uses these connections.
    pub(super) fn start_with(db: &TestDb, options: PgConnectOptions, pool: Pool) -> Self {
        let stop = CancellationToken::new();
        let listener = Listener {
            login: Arc::new(options),
            pool,
            views: db.foldlog.views.clone(),
            batch_size: 100,
            stop: stop.clone(),
        };
        Self {
            stop,
            task: tokio::spawn(listener.run()),
        }
    }

    /// Signals the listener to stop.
    pub(super) fn signal_stop(&self) {
        self.stop.cancel();
    }

    /// Signals the listener to stop, and waits until it has stopped.
    pub(super) async fn stop(self) {
        self.signal_stop();
        let ended = timeout(POLL_TIMEOUT, self.task).await;
        ended.unwrap().unwrap();
    }

    /// Aborts the listener as if its process had been killed.
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Another session that listens on the channel, to count notifications.
pub(super) struct NotificationCounter {
    listener: PgListener,
    marker: PgConnection,
}

impl NotificationCounter {
    pub(super) async fn open(db: &TestDb) -> Self {
        let mut listener = PgListener::connect_with(
            &sqlx::PgPool::connect_with(db.options.clone())
                .await
                .unwrap(),
        )
        .await
        .unwrap();
        listener.listen(CHANNEL).await.unwrap();
        Self {
            listener,
            marker: db.connect().await,
        }
    }

    /// Counts the notifications since the last call. They arrive in the order of commits, so a marker ends the count.
    pub(super) async fn count_new(&mut self) -> u32 {
        sqlx::query("select pg_notify($1, 'marker')")
            .bind(CHANNEL)
            .execute(&mut self.marker)
            .await
            .unwrap();
        let mut rings = 0;
        while self.listener.recv().await.unwrap().payload() != "marker" {
            rings += 1;
        }
        rings
    }
}

/// Polls until the condition holds; panics after [`POLL_TIMEOUT`].
pub(super) async fn wait_until(what: &str, condition: impl AsyncFnMut() -> bool) {
    let held = poll(POLL_TIMEOUT, condition).await;
    assert!(held, "timed out waiting until {what}");
}

/// The process id of the session that holds K exclusively.
pub(super) async fn sleeping_pid(db: &TestDb) -> Option<i32> {
    sqlx::query_scalar(
        "select pid from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and granted \
         and database = (select oid from pg_database where datname = current_database()) \
         and (classid::bigint << 32) | objid::bigint = 28832958956466023",
    )
    .fetch_optional(&mut db.connect().await)
    .await
    .unwrap()
}

/// Whether a listener holds K exclusively.
pub(super) async fn is_asleep(db: &TestDb) -> bool {
    sleeping_pid(db).await.is_some()
}

/// Counts the connected listeners.
pub(super) async fn count_listeners(db: &TestDb) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity \
         where datname = current_database() and application_name = 'foldlog listener'",
    )
    .fetch_one(&mut db.connect().await)
    .await
    .unwrap()
}

/// Waits until a listener that is awake has requested K this many more times without getting it.
pub(super) async fn wait_until_key_requested(db: &TestDb, times: usize) {
    let mut tries = std::collections::BTreeSet::new();
    wait_until("it asks for K", async || {
        let answers = sqlx::query(
            "select pid, query_start::text from pg_stat_activity where datname = current_database() \
             and application_name = 'foldlog listener' and state = 'idle' and query like '%pg_try_advisory_lock%' \
             and pid not in (select pid from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock')",
        )
        .fetch_all(&mut db.connect().await)
        .await
        .unwrap();
        tries.extend(
            answers
                .iter()
                .map(|row| (row.get::<i32, _>(0), row.get::<String, _>(1))),
        );
        tries.len() >= times
    })
    .await;
}

/// Counts the rows of a view.
pub(super) async fn count_rows(db: &TestDb, view: &str) -> i64 {
    db.count(&format!("select count(*) from {view}")).await
}

/// Inserts an aggregate's first event as an append does, in a transaction that stays open.
pub(super) async fn insert(connection: &mut PgConnection, event: &UntypedEvent) {
    sqlx::query(
        "insert into events (id, aggregate_id, version, type_id, payload) values ($1, $2, 1, $3, $4)",
    )
    .bind(event.id.0)
    .bind(event.aggregate_id.0)
    .bind(event.type_id.0)
    .bind(&event.payload)
    .execute(connection)
    .await
    .unwrap();
}
