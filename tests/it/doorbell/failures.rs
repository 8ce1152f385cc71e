//! Failures around a listener: lost connections, a failing projection, a blocked projection, and shutdown.

use std::io;
use std::sync::{Arc, Mutex};

use foldlog::domain::Domain;
use sqlx::Connection;
use uuid::Uuid;

use super::harness::{RunningListener, count_listeners, count_rows, is_asleep, wait_until};
use crate::support::accounts::Accounts;
use crate::support::chaos::Chaos;
use crate::support::events::{append, opened};
use crate::support::locks::wait_until_blocked;
use crate::support::{TestDb, created};

/// Fails when the listener reconnects without K, without LISTEN, or without a catch-up of the events that arrived
/// meanwhile; and when a lost connection ends the listener.
#[tokio::test]
async fn a_listener_loses_no_event_when_every_connection_is_cut() {
    let db = TestDb::new().await;
    let mut network = Chaos::start(&db.options).await;
    let pool = foldlog::db::Pool::new(network.options(), 10);
    let listener = RunningListener::start_with(&db, network.options(), pool);
    let one_more = async |count: i64| {
        append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
        wait_until("it is folded", async || {
            count_rows(&db, "users").await == count
        })
        .await;
    };
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    one_more(1).await;

    wait_until("it sleeps", async || is_asleep(&db).await).await;
    network.refuse().await;
    wait_until("K is gone", async || !is_asleep(&db).await).await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "meanwhile")]).await;
    network.restore().await;
    wait_until("it catches up", async || {
        count_rows(&db, "users").await == 2
    })
    .await;
    wait_until("it sleeps again", async || is_asleep(&db).await).await;
    one_more(3).await;

    wait_until("it sleeps", async || is_asleep(&db).await).await;
    // One transaction both appends and terminates every other session.
    let mut killer = db.connect().await;
    let mut both = killer.begin().await.unwrap();
    super::harness::insert(&mut both, &created(Uuid::now_v7(), "meanwhile")).await;
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&mut *both)
    .await
    .unwrap();
    both.commit().await.unwrap();
    wait_until("it catches up", async || {
        db.count("select count(*) from users").await == 4
    })
    .await;
    wait_until("it sleeps again", async || is_asleep(&db).await).await;
    one_more(5).await;
    db.assert_views_equal_a_fold_from_scratch().await;
    listener.stop().await;
}

/// Fails when the shutdown aborts a batch or does not wait for it, when the listener begins another batch, or when K or a
/// connection is not released.
#[tokio::test]
async fn a_stopped_listener_finishes_its_batch_and_releases_its_lock() {
    let db = TestDb::new().await;
    let users: Vec<_> = (0..250).map(|_| created(Uuid::now_v7(), "ada")).collect();
    append(&db.foldlog, &users).await;
    let mut holder = db.connect().await;
    let mut gate = holder.begin().await.unwrap();
    sqlx::query("lock table users in share mode")
        .execute(&mut *gate)
        .await
        .unwrap();
    let listener = RunningListener::start(&db);
    wait_until_blocked(&mut db.connect().await, "Writes a folded batch").await;
    listener.signal_stop();
    // The listener releases K and its connection immediately, and finishes the batch.
    wait_until("it lets go", async || count_listeners(&db).await == 0).await;
    gate.commit().await.unwrap();
    listener.stop().await;
    assert_eq!(
        count_rows(&db, "users").await,
        100,
        "one batch of a hundred"
    );
    db.assert_views_equal_a_fold_from_scratch().await;

    let again = RunningListener::start(&db);
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    assert_eq!(count_rows(&db, "users").await, 250);
    again.stop().await;
    assert!(!is_asleep(&db).await, "K was not released");
}

/// Fails when one projection's error stops the others, when it is not logged, and when it is logged at each poll.
#[tokio::test]
async fn a_failing_projection_is_logged_once_and_does_not_block_the_others() {
    let log = Log::start();
    let db = TestDb::new().await;
    db.run("drop table accounts").await;
    let listener = RunningListener::start(&db);
    for count in 1..=3 {
        wait_until("it sleeps", async || is_asleep(&db).await).await;
        append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
        wait_until("the others go on", async || {
            count_rows(&db, "ledger").await == count
        })
        .await;
    }
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    assert_eq!(log.count("the projection accounts fails"), 1);

    db.run(Accounts::VIEW).await;
    append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
    wait_until("it recovers", async || {
        count_rows(&db, "accounts").await == 4
    })
    .await;
    wait_until("it says so", async || {
        log.count("the projection accounts has recovered") == 1
    })
    .await;
    db.assert_views_equal_a_fold_from_scratch().await;
    listener.stop().await;
}

/// Fails when the events of a projection that failed wait for the next notification, or when a listener with such a projection does
/// not sleep.
#[tokio::test]
async fn a_projection_that_failed_is_retried_without_a_notification() {
    let log = Log::start();
    let db = TestDb::new().await;
    db.run("drop table accounts").await;
    append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
    let listener = RunningListener::start(&db);
    wait_until("it fails", async || {
        log.count("the projection accounts fails") == 1
    })
    .await;
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    db.run(Accounts::VIEW).await;
    wait_until("it recovers", async || {
        count_rows(&db, "accounts").await == 1
    })
    .await;
    db.assert_views_equal_a_fold_from_scratch().await;
    listener.stop().await;
}

/// Fails when a listener starts without a word about a view whose fold has changed, or warns of one whose fold has not.
#[tokio::test]
async fn a_listener_warns_of_a_changed_fold() {
    let log = Log::start();
    let db = TestDb::new().await;
    db.run("update views set fold_hash = 'another' where name = 'ledger'")
        .await;
    let listener = RunningListener::start(&db);
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    assert_eq!(
        log.count("the fold of the projection ledger has changed"),
        1
    );
    assert_eq!(log.count("has changed since its rows were written"), 1);
    listener.stop().await;
}

/// Fails when a poll waits for the slowest projection.
#[tokio::test]
async fn a_blocked_projection_does_not_block_the_others() {
    let db = TestDb::new().await;
    let listener = RunningListener::start(&db);
    let mut holder = db.connect().await;
    let mut gate = holder.begin().await.unwrap();
    sqlx::query("lock table ledger in share mode")
        .execute(&mut *gate)
        .await
        .unwrap();
    append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
    wait_until_blocked(&mut db.connect().await, "Writes a folded batch").await;
    for count in 2..=4 {
        append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
        wait_until("the other goes on", async || {
            count_rows(&db, "accounts").await == count
        })
        .await;
    }
    // Its catch-up began before the listener got K, so it may not see an append that sent no NOTIFY. This loop takes at
    // least 250 ms.
    let mut seen = 0;
    wait_until("it stays awake", async || {
        assert!(
            !is_asleep(&db).await,
            "it sleeps while a projection is at work"
        );
        seen += 1;
        seen == 50
    })
    .await;
    gate.commit().await.unwrap();
    wait_until("it goes on too", async || {
        count_rows(&db, "ledger").await == 4
    })
    .await;
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    db.assert_views_equal_a_fold_from_scratch().await;
    listener.stop().await;
}

/// The log lines of this test's thread.
struct Log {
    text: Text,
    _until_dropped: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        let text = Text::default();
        let writer = text.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            text,
            _until_dropped: tracing::subscriber::set_default(lines),
        }
    }

    fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.text.0.lock().unwrap())
            .matches(text)
            .count()
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
