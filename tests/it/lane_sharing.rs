//! How workers share lanes: what they do with lanes in which nothing is new, and with lanes that others hold.

use foldlog::projection::{self, Budget};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;

use crate::support::TestDb;
use crate::support::locks::{Held, wait_until_blocked, wait_until_true};
use crate::support::workers::{account, assert_all_applied};

const SPLIT_LANE: &str = include_str!("../../src/projection/sql/split_lane.sql");

/// Splits a lane of the ledger as a worker does.
async fn split(connection: &mut PgConnection) -> Option<bool> {
    sqlx::query_scalar(AssertSqlSafe(SPLIT_LANE.replace("foldlog.", "")))
        .bind("ledger")
        .bind(Vec::<i16>::new())
        .bind(0_i64)
        .fetch_optional(connection)
        .await
        .unwrap()
}

/// The first and last slots of the lanes, and how often each was written.
async fn lanes(db: &TestDb) -> Vec<(i16, i16, i64)> {
    sqlx::query_as(
        "select first, last, turn from settled where lock_domain = 'ledger' order by first",
    )
    .fetch_all(&mut db.connect().await)
    .await
    .unwrap()
}

/// Fails when workers write lanes in which nothing is new. Each write moves the end of the log's snapshot, so that the lanes of the
/// others seem to be behind, and workers without events write lanes in turn until the last one with events has finished.
#[tokio::test]
async fn a_lane_without_new_events_is_not_written() {
    let db = TestDb::new().await;
    account(&db, 1).await;
    db.catch_up("ledger").await;
    let id = account(&db, 3).await.0;
    let mut connection = db.connect().await;
    for _ in 0..3 {
        assert_eq!(split(&mut connection).await, Some(true));
    }
    let before = lanes(&db).await;
    let lane_of_account = format!(
        "select from settled where uuid_hash('{id}') & 255 between first and last for update"
    );
    let held = Held::open(&db, &lane_of_account).await;
    let foldlog = db.foldlog.clone();
    let worker = tokio::spawn(async move {
        let view = foldlog.view("ledger").unwrap();
        projection::catch_up(&foldlog.pool, view, 100, &Budget::default()).await
    });
    wait_until_blocked(&mut connection, "Splits a lane").await;
    assert_eq!(lanes(&db).await, before);
    held.release().await;
    worker.await.unwrap().unwrap();
    assert!(db.catch_up("ledger").await.done);
    assert_eq!(lanes(&db).await.len(), 1);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when workers that wait for the same lane split it one after the other: one of them would keep half of the events, and the
/// others a quarter, an eighth and so on.
#[tokio::test]
async fn workers_that_wait_for_a_lane_split_it_once() {
    let db = TestDb::new().await;
    account(&db, 2).await;
    db.catch_up("ledger").await;
    account(&db, 2).await;
    let held = Held::open(&db, "select from settled for update").await;
    let mut workers = JoinSet::new();
    for _ in 0..3 {
        let mut connection = db.connect().await;
        workers.spawn(async move { split(&mut connection).await });
    }
    wait_until_true(
        &db,
        "select count(*) = 3 from pg_stat_activity where wait_event_type = 'Lock' \
         and datname = current_database() and query like '%Splits a lane%'",
    )
    .await;
    held.release().await;
    let results = workers.join_all().await;
    let done = results.iter().filter(|split| **split == Some(true)).count();
    assert_eq!(done, 1, "{results:?}");
    let ranges: Vec<_> = lanes(&db)
        .await
        .iter()
        .map(|lane| (lane.0, lane.1))
        .collect();
    assert_eq!(ranges, [(0, 127), (128, 255)]);
}

/// Fails when a worker splits the lanes of a generation that is being removed: nothing takes them, so it would split for ever.
#[tokio::test]
async fn the_lanes_of_a_dropped_generation_are_not_split() {
    let db = TestDb::new().await;
    account(&db, 2).await;
    db.catch_up("ledger").await;
    account(&db, 2).await;
    db.run("update views set state = 'dropped' where name = 'ledger'")
        .await;
    assert_eq!(split(&mut db.connect().await).await, None);
    assert_eq!(lanes(&db).await.len(), 1);
}
