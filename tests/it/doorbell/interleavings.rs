//! Replays of the interleavings that the mutations of the doorbell's model need.

use sqlx::Connection;
use uuid::Uuid;

use super::harness::{
    NotificationCounter, RunningListener, count_rows, insert, is_asleep, wait_until,
};
use crate::support::db::run;
use crate::support::locks::{Held, hold_gate, wait_until_blocked};
use crate::support::{TestDb, created};

/// The listener has K and its last poll has taken its snapshot when an append commits: the poll does not see the event, so the
/// notification must wake the listener. Fails when LISTEN is committed after K is taken, and when the listener drops
/// notifications that arrive after the last poll has begun.
#[tokio::test]
async fn an_append_during_the_last_poll_wakes_the_listener() {
    let db = TestDb::new().await;
    // A read stops at the gate, after its snapshot is taken, but only while a listener holds K.
    db.run(
        "create or replace function log_snapshot() returns pg_snapshot language plpgsql stable as $$ \
         begin \
             if exists ( \
                 select from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and granted \
                 and database = (select oid from pg_database where datname = current_database()) \
                 and (classid::bigint << 32) | objid::bigint = doorbell_key() \
             ) then \
                 perform pg_advisory_xact_lock_shared(1); \
             end if; \
             return pg_current_snapshot(); \
         end $$",
    )
    .await;
    for count in 1..=3 {
        let gate = hold_gate(&db).await;
        let listener = RunningListener::start(&db);
        // The poll waits a quarter of a second for its catch-ups. If that passes before the append, the listener is awake again
        // and the round shows nothing.
        wait_until_blocked(&mut db.connect().await, "Reads the next batch").await;
        insert(&mut db.connect().await, &created(Uuid::now_v7(), "ada")).await;
        gate.release().await;
        wait_until("it sees the event", async || {
            count_rows(&db, "users").await == count
        })
        .await;
        wait_until("it sleeps", async || is_asleep(&db).await).await;
        listener.stop().await;
    }
}

/// Fails when an append releases K at the end of its statement, or before other sessions see its commit.
#[tokio::test]
async fn an_append_holds_k_until_its_commit_is_visible() {
    let db = TestDb::new().await;
    let (mut appender, mut listener) = (db.connect().await, db.connect().await);
    for count in 1..=20 {
        let mut open = appender.begin().await.unwrap();
        insert(&mut open, &created(Uuid::now_v7(), "ada")).await;
        let wait = "select pg_advisory_lock(doorbell_key())";
        let waiting = tokio::spawn(async move {
            run(&mut listener, wait).await;
            let seen: i64 = sqlx::query_scalar("select count(*) from events")
                .fetch_one(&mut listener)
                .await
                .unwrap();
            (listener, seen)
        });
        wait_until_blocked(&mut db.connect().await, wait).await;
        open.commit().await.unwrap();
        let (back, seen) = waiting.await.unwrap();
        listener = back;
        assert_eq!(seen, count);
        run(&mut listener, "select pg_advisory_unlock(doorbell_key())").await;
    }
}

/// Fails when an append notifies before its commit: a listener that wakes then sees no event, and sleeps again.
#[tokio::test]
async fn a_notification_arrives_only_after_the_commit() {
    let db = TestDb::new().await;
    let mut counter = NotificationCounter::open(&db).await;
    let asleep = Held::open(&db, "select pg_advisory_xact_lock(doorbell_key())").await;
    let mut appender = db.connect().await;
    let mut open = appender.begin().await.unwrap();
    insert(&mut open, &created(Uuid::now_v7(), "ada")).await;
    assert_eq!(counter.count_new().await, 0, "it is not committed");
    open.commit().await.unwrap();
    assert_eq!(counter.count_new().await, 1, "it is committed");

    let mut open = appender.begin().await.unwrap();
    insert(&mut open, &created(Uuid::now_v7(), "bob")).await;
    open.rollback().await.unwrap();
    assert_eq!(counter.count_new().await, 0, "it is rolled back");
    asleep.release().await;
}
