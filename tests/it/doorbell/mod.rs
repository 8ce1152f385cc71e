//! The doorbell: the listener misses no append, and an append sends NOTIFY only while a listener sleeps. The head of
//! `src/projection/listener.rs` has the argument.

mod failures;
mod harness;
mod interleavings;
mod refusals;

use foldlog::projection::Listener;
use sqlx::Connection;
use uuid::Uuid;

use self::harness::{
    NotificationCounter, POLL_TIMEOUT, RunningListener, count_listeners, count_rows, insert,
    is_asleep, sleeping_pid, wait_until, wait_until_key_requested,
};
use crate::support::chaos::Chaos;
use crate::support::events::append;
use crate::support::locks::wait_until_blocked;
use crate::support::{TestDb, created};

/// Fails without LISTEN, and without the trigger that sends NOTIFY: the timer fires later than the test waits.
#[tokio::test]
async fn a_notify_wakes_a_sleeping_listener() {
    assert!(POLL_TIMEOUT < Listener::WAKE_INTERVAL);
    let db = TestDb::new().await;
    let listener = RunningListener::start(&db);
    for count in 1..=3 {
        wait_until("it sleeps", async || is_asleep(&db).await).await;
        append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
        wait_until("it is woken", async || {
            count_rows(&db, "users").await == count
        })
        .await;
    }
    listener.stop().await;
}

/// The race: an append finds no sleeping listener, the listener goes to sleep, and the append commits. The listener cannot
/// take K while the append is open. If the append commits between a poll and the moment when the listener takes K, the last
/// poll sees its event. Fails without the last poll, and when the trigger does not hold K until the end of its transaction.
#[tokio::test]
async fn an_append_that_sent_no_notify_is_found_by_the_last_poll_before_sleep() {
    let db = TestDb::new().await;
    for count in 1..=3 {
        let (mut appender, mut holder) = (db.connect().await, db.connect().await);
        let mut open = appender.begin().await.unwrap();
        insert(&mut open, &created(Uuid::now_v7(), "ada")).await;
        let listener = RunningListener::start(&db);
        // From here on the listener requests K after each poll.
        wait_until_key_requested(&db, 2).await;
        assert!(!is_asleep(&db).await, "it sleeps beside an open append");
        // The next poll reads without seeing the append, and then waits for this lock.
        let mut gate = holder.begin().await.unwrap();
        sqlx::query("lock table locker in exclusive mode")
            .execute(&mut *gate)
            .await
            .unwrap();
        // An event that the poll sees, so that it has something to write.
        insert(&mut db.connect().await, &created(Uuid::now_v7(), "bob")).await;
        wait_until_blocked(&mut db.connect().await, "Writes a folded batch").await;
        open.commit().await.unwrap();
        gate.commit().await.unwrap();
        wait_until("it sees the event", async || {
            count_rows(&db, "users").await == 2 * count
        })
        .await;
        wait_until("it sleeps", async || is_asleep(&db).await).await;
        listener.stop().await;
    }
}

/// Fails when every append sends NOTIFY, which costs most of the append throughput.
#[tokio::test]
async fn an_append_sends_notify_only_while_a_listener_sleeps() {
    let db = TestDb::new().await;
    let mut counter = NotificationCounter::open(&db).await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "absent")]).await;
    assert_eq!(counter.count_new().await, 0, "no listener is connected");

    let mut appender = db.connect().await;
    let mut open = appender.begin().await.unwrap();
    insert(&mut open, &created(Uuid::now_v7(), "long")).await;
    let listener = RunningListener::start(&db);
    wait_until_key_requested(&db, 2).await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "awake")]).await;
    assert_eq!(counter.count_new().await, 0, "it is awake");
    open.commit().await.unwrap();

    wait_until("it sleeps", async || is_asleep(&db).await).await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "asleep")]).await;
    assert_eq!(counter.count_new().await, 1, "it sleeps");
    listener.stop().await;
}

/// Fails when the listener wakes for each notification of a burst: it would then take and release K three hundred times.
#[tokio::test]
async fn a_burst_of_notifications_wakes_a_listener_once() {
    let db = TestDb::new().await;
    let bell = Chaos::start(&db.options).await;
    let listener = RunningListener::start_with(&db, bell.options(), db.pool().clone());
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    let before = bell.statements();
    let mut ringer = db.connect().await;
    for _ in 0..300 {
        sqlx::query("notify \"events:created\"")
            .execute(&mut ringer)
            .await
            .unwrap();
    }
    let mut calm = 0;
    wait_until("it sleeps for good", async || {
        calm = if is_asleep(&db).await { calm + 1 } else { 0 };
        calm == 20
    })
    .await;
    let answered = bell.statements() - before;
    // Two statements each time, and the burst may arrive in several parts.
    assert!(answered < 100, "{answered} statements about K");
    listener.stop().await;
}

/// Fails when a sleeping listener polls: an idle system must not send statements.
#[tokio::test]
async fn a_sleeping_listener_sends_no_statements() {
    let db = TestDb::new().await;
    let network = Chaos::start(&db.options).await;
    let pool = foldlog::db::Pool::new(network.options(), 10);
    let listener = RunningListener::start_with(&db, network.options(), pool);
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    let (mut asked, mut calm) = (0, 0);
    // At least one second.
    wait_until("nothing is asked for a while", async || {
        let before = std::mem::replace(&mut asked, network.statements());
        calm = if before == asked { calm + 1 } else { 0 };
        calm == 200
    })
    .await;
    assert!(is_asleep(&db).await);
    listener.stop().await;
}

/// Fails when the second listener sleeps, too: then appends send no NOTIFY once the first has released K. Also fails when a
/// listener that is gone keeps K.
#[tokio::test]
async fn only_one_of_two_listeners_sleeps_and_the_other_takes_over() {
    let db = TestDb::new().await;
    let first = RunningListener::start_with_own_pool(&db);
    wait_until("the first sleeps", async || is_asleep(&db).await).await;
    let second = RunningListener::start_with_own_pool(&db);
    wait_until("both are there", async || count_listeners(&db).await == 2).await;
    wait_until_key_requested(&db, 2).await;
    let pid = sleeping_pid(&db).await.unwrap();

    for _ in 0..20 {
        append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    }
    wait_until("both have looked", async || {
        count_rows(&db, "users").await == 20
    })
    .await;
    let claims = "select count(*) from locker where lock_domain = 'users'";
    assert_eq!(db.count(claims).await, 20);

    wait_until("one sleeps", async || is_asleep(&db).await).await;
    // Either listener may be the one that sleeps now.
    let first_sleeps = sleeping_pid(&db).await == Some(pid);
    let (sleeps, polls) = if first_sleeps {
        (first, second)
    } else {
        (second, first)
    };
    let gone = sleeping_pid(&db).await.unwrap();
    sleeps.kill().await;
    wait_until("the other takes over", async || {
        sleeping_pid(&db).await.is_some_and(|pid| pid != gone)
    })
    .await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    wait_until("it is woken", async || count_rows(&db, "users").await == 21).await;
    db.assert_views_equal_a_fold_from_scratch().await;
    polls.stop().await;
}

/// Fails when the listener waits for K instead of polling: a long append transaction holds K shared all the time.
#[tokio::test]
async fn a_long_append_transaction_keeps_the_listener_polling() {
    let db = TestDb::new().await;
    let mut appender = db.connect().await;
    let mut open = appender.begin().await.unwrap();
    insert(&mut open, &created(Uuid::now_v7(), "long")).await;
    let listener = RunningListener::start(&db);
    for count in 1..=3 {
        wait_until_key_requested(&db, 2).await;
        append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
        wait_until("it polls", async || count_rows(&db, "users").await == count).await;
    }
    open.commit().await.unwrap();
    wait_until("the long one is seen", async || {
        count_rows(&db, "users").await == 4
    })
    .await;
    wait_until("it sleeps", async || is_asleep(&db).await).await;
    listener.stop().await;
}
