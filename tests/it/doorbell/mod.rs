//! The doorbell: no append is overslept, and the bell rings only while somebody sleeps. See the argument at the head of
//! `src/projection/listener.rs`.

mod failures;
mod harness;

use foldlog::projection::Listener;
use sqlx::Connection;
use uuid::Uuid;

use self::harness::{
    Ear, Listening, POLL_TIMEOUT, asleep, connected, insert, rows, sleeper, until_tried, wait_until,
};
use crate::support::chaos::Chaos;
use crate::support::events::append;
use crate::support::locks::wait_until_blocked;
use crate::support::{TestDb, created};

/// Fails without LISTEN, and without the trigger that rings: the timer comes later than the test waits.
#[tokio::test]
async fn a_notify_wakes_a_sleeping_listener() {
    assert!(POLL_TIMEOUT < Listener::WAKE_INTERVAL);
    let db = TestDb::new().await;
    let listening = Listening::start(&db);
    for count in 1..=3 {
        wait_until("it sleeps", async || asleep(&db).await).await;
        append(&db.engine, &[created(Uuid::now_v7(), "ada")]).await;
        wait_until("it is woken", async || rows(&db, "users").await == count).await;
    }
    listening.stop().await;
}

/// "The append saw nobody asleep, the listener sleeps, the append commits": K is not to be had while the append is open,
/// and when it commits between the look that comes before K and K, the look that comes after K sees it. Fails without
/// the last look, and when the trigger does not hold K until the end of its transaction.
#[tokio::test]
async fn an_append_that_sent_no_notify_is_found_by_the_last_poll_before_sleep() {
    let db = TestDb::new().await;
    for count in 1..=3 {
        let (mut appender, mut holder) = (db.connect().await, db.connect().await);
        let mut open = appender.begin().await.unwrap();
        insert(&mut open, &created(Uuid::now_v7(), "ada")).await;
        let listening = Listening::start(&db);
        // From here on it asks for K after each look.
        until_tried(&db, 2).await;
        assert!(!asleep(&db).await, "it sleeps beside an open append");
        // The next look freezes its snapshot, without the append, and then waits here.
        let mut gate = holder.begin().await.unwrap();
        sqlx::query("lock table locker in exclusive mode")
            .execute(&mut *gate)
            .await
            .unwrap();
        wait_until_blocked(&mut db.connect().await, "Takes the next events").await;
        open.commit().await.unwrap();
        gate.commit().await.unwrap();
        wait_until("it sees the event", async || {
            rows(&db, "users").await == count
        })
        .await;
        wait_until("it sleeps", async || asleep(&db).await).await;
        listening.stop().await;
    }
}

/// Fails when the bell rings in every append, which costs most of the append throughput.
#[tokio::test]
async fn an_append_sends_notify_only_while_a_listener_sleeps() {
    let db = TestDb::new().await;
    let mut ear = Ear::open(&db).await;
    append(&db.engine, &[created(Uuid::now_v7(), "absent")]).await;
    assert_eq!(ear.rings().await, 0, "nobody is there");

    let mut appender = db.connect().await;
    let mut open = appender.begin().await.unwrap();
    insert(&mut open, &created(Uuid::now_v7(), "long")).await;
    let listening = Listening::start(&db);
    until_tried(&db, 2).await;
    append(&db.engine, &[created(Uuid::now_v7(), "awake")]).await;
    assert_eq!(ear.rings().await, 0, "it is awake");
    open.commit().await.unwrap();

    wait_until("it sleeps", async || asleep(&db).await).await;
    append(&db.engine, &[created(Uuid::now_v7(), "asleep")]).await;
    assert_eq!(ear.rings().await, 1, "it sleeps");
    listening.stop().await;
}

/// Fails when each bell of a burst is answered: a listener that is woken by three hundred takes K and gives it back
/// three hundred times.
#[tokio::test]
async fn a_burst_of_notifications_wakes_a_listener_once() {
    let db = TestDb::new().await;
    let bell = Chaos::start(&db.options).await;
    let listening = Listening::start_with(&db, bell.options(), db.pool().clone());
    wait_until("it sleeps", async || asleep(&db).await).await;
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
        calm = if asleep(&db).await { calm + 1 } else { 0 };
        calm == 20
    })
    .await;
    let answered = bell.statements() - before;
    // Two statements each time, and a burst may take a few times to come in.
    assert!(answered < 100, "{answered} statements about K");
    listening.stop().await;
}

/// Fails when a sleeper polls: an idle system is to be idle.
#[tokio::test]
async fn a_sleeping_listener_sends_no_statements() {
    let db = TestDb::new().await;
    let network = Chaos::start(&db.options).await;
    let pool = foldlog::db::Pool::new(network.options(), 10);
    let listening = Listening::start_with(&db, network.options(), pool);
    wait_until("it sleeps", async || asleep(&db).await).await;
    let (mut asked, mut calm) = (0, 0);
    // A second at least.
    wait_until("nothing is asked for a while", async || {
        let before = std::mem::replace(&mut asked, network.statements());
        calm = if before == asked { calm + 1 } else { 0 };
        calm == 200
    })
    .await;
    assert!(asleep(&db).await);
    listening.stop().await;
}

/// Fails when the second listener sleeps too: then nobody looks after the first has got up and let K go. And when a
/// sleeper that is gone keeps K.
#[tokio::test]
async fn only_one_of_two_listeners_sleeps_and_the_other_takes_over() {
    let db = TestDb::new().await;
    let first = Listening::with_its_own_pool(&db);
    wait_until("the first sleeps", async || asleep(&db).await).await;
    let second = Listening::with_its_own_pool(&db);
    wait_until("both are there", async || connected(&db).await == 2).await;
    until_tried(&db, 2).await;
    let pid = sleeper(&db).await.unwrap();

    for _ in 0..20 {
        append(&db.engine, &[created(Uuid::now_v7(), "ada")]).await;
    }
    wait_until("both have looked", async || rows(&db, "users").await == 20).await;
    let claims = "select count(*) from locker where lock_domain = 'users'";
    assert_eq!(db.count(claims).await, 20);

    wait_until("one sleeps", async || asleep(&db).await).await;
    // Whichever it is by now.
    let first_sleeps = sleeper(&db).await == Some(pid);
    let (sleeps, polls) = if first_sleeps {
        (first, second)
    } else {
        (second, first)
    };
    let gone = sleeper(&db).await.unwrap();
    sleeps.kill().await;
    wait_until("the other takes over", async || {
        sleeper(&db).await.is_some_and(|pid| pid != gone)
    })
    .await;
    append(&db.engine, &[created(Uuid::now_v7(), "ada")]).await;
    wait_until("it is woken", async || rows(&db, "users").await == 21).await;
    db.assert_views_equal_a_fold_from_scratch().await;
    polls.stop().await;
}

/// Fails when the listener waits for K instead of polling: an append that runs long holds K shared all the time.
#[tokio::test]
async fn a_long_append_transaction_keeps_the_listener_polling() {
    let db = TestDb::new().await;
    let mut appender = db.connect().await;
    let mut open = appender.begin().await.unwrap();
    insert(&mut open, &created(Uuid::now_v7(), "long")).await;
    let listening = Listening::start(&db);
    for count in 1..=3 {
        until_tried(&db, 2).await;
        append(&db.engine, &[created(Uuid::now_v7(), "ada")]).await;
        wait_until("it polls", async || rows(&db, "users").await == count).await;
    }
    open.commit().await.unwrap();
    wait_until("the long one is seen", async || {
        rows(&db, "users").await == 4
    })
    .await;
    wait_until("it sleeps", async || asleep(&db).await).await;
    listening.stop().await;
}
