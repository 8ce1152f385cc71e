//! Lanes that change between a read and a write, splits and merges: replays of the model's mutations of lanes.

use uuid::Uuid;

use super::stepwise::{
    Header, id_in_half, lanes, lock_lanes, lone_worker, refuse_settling_less, split, take,
};
use crate::support::TestDb;
use crate::support::db::run;
use crate::support::events::{append, created, opened};
use crate::support::locks::{Held, hold_claim, wait_until_blocked};
use crate::support::workers::{WRITE, append_in, assert_all_applied};

async fn append_account(db: &TestDb) {
    append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
}

/// Fails when a worker overwrites a lane that another worker has written since it was read, or when a write does not make the lane
/// another one than it was.
#[tokio::test]
async fn a_write_has_no_effect_after_another_write_of_the_lane() {
    let db = TestDb::new().await;
    append_account(&db).await;
    db.catch_up("ledger").await;
    let mut connection = db.connect().await;
    for events in [1, 0] {
        let stale = Header::read(&mut connection, None).await;
        if events == 1 {
            append_account(&db).await;
            assert_eq!(db.catch_up("ledger").await.applied, 1);
        } else {
            let fresh = Header::read(&mut connection, None).await;
            assert!(fresh.settle_all(&mut connection).await);
        }
        let before = lanes(&db).await;
        assert!(!stale.settle_all(&mut connection).await);
        assert_eq!(lanes(&db).await, before);
    }
    append_account(&db).await;
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a write compares the lane as its own snapshot sees it, before it has waited for the other worker.
#[tokio::test]
async fn a_write_that_waits_for_the_lane_compares_its_newest_turn() {
    let db = TestDb::new().await;
    append_account(&db).await;
    db.catch_up("ledger").await;
    let mut connection = db.connect().await;
    let stale = Header::read(&mut connection, None).await;
    append_account(&db).await;
    let mut other = Held::open(&db, "select log_txid()").await;
    let fresh = Header::read(other.connection(), None).await;
    assert!(fresh.settle_all(other.connection()).await);
    let write = tokio::spawn(async move { stale.settle_all(&mut connection).await });
    wait_until_blocked(&mut db.connect().await, WRITE).await;
    other.commit().await;
    assert!(!write.await.unwrap());
    assert_eq!(lanes(&db).await[0].1.0, fresh.frozen());
}

/// Fails when a lane can be mistaken for one that had the same slots before a split and a merge.
#[tokio::test]
async fn a_write_has_no_effect_after_a_split_and_a_merge() {
    let db = TestDb::new().await;
    append_account(&db).await;
    db.catch_up("ledger").await;
    let mut connection = db.connect().await;
    // An event of another domain is left for both halves, but the batches write nothing: only the split and the merge do.
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let whole = Header::read(&mut connection, Some(0)).await;
    assert!(split(&mut connection).await);
    let lower = Header::read(&mut connection, Some(0)).await;
    let upper = Header::read(&mut connection, Some(128)).await;
    assert!(!whole.settle_all(&mut connection).await);
    assert_eq!(db.catch_up("ledger").await.applied, 0);
    let merged = lanes(&db).await;
    assert_eq!(merged[0].0, (0, 255));
    for stale in [whole, lower, upper] {
        assert!(!stale.settle_all(&mut connection).await, "{stale:?}");
    }
    assert_eq!(lanes(&db).await, merged);
}

/// Fails when a batch that was read before a dump was restored is written after it: the log may lack its events. The lane is in the dump
/// as the worker has read it.
#[tokio::test]
async fn a_write_has_no_effect_on_a_lane_from_a_restored_dump() {
    let db = TestDb::new().await;
    append_account(&db).await;
    db.catch_up("ledger").await;
    append_account(&db).await;
    let mut connection = db.connect().await;
    let stale = Header::read(&mut connection, None).await;
    db.run("create temp table dump as table settled; delete from settled; insert into settled table dump")
        .await;
    let restored = lanes(&db).await;
    assert!(!stale.settle_all(&mut connection).await);
    assert_eq!(lanes(&db).await, restored);
    let fresh = Header::read(&mut connection, None).await;
    assert!(fresh.settle_all(&mut connection).await);
}

/// Fails when a split reads a lane that a worker is about to change, or gives a half another state than the whole has: a later
/// one loses events, an earlier one is walked again.
#[tokio::test]
async fn a_split_waits_for_the_batch_of_the_worker_that_holds_the_lane() {
    let db = TestDb::new().await;
    append_account(&db).await;
    db.catch_up("ledger").await;
    let mut batch = Held::open(&db, "select log_txid()").await;
    assert_eq!(take(batch.connection()).await, Some(0));
    let header = Header::read(batch.connection(), Some(0)).await;
    assert!(header.settle_all(batch.connection()).await);
    append_account(&db).await;
    let mut connection = db.connect().await;
    let splitting = tokio::spawn(async move { split(&mut connection).await });
    wait_until_blocked(&mut db.connect().await, "Splits a lane").await;
    batch.commit().await;
    assert!(splitting.await.unwrap());
    let settled = (header.frozen(), None, 0);
    let halves = vec![((0, 127), settled.clone()), ((128, 255), settled)];
    assert_eq!(lanes(&db).await, halves);
    assert_eq!(db.catch_up("ledger").await.applied, 1);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a merge takes a lane that a worker holds, or leaves a lane free while it merges: it then replaces what the worker
/// settles by what it has read before.
#[tokio::test]
async fn a_merge_leaves_lanes_alone_that_a_worker_holds() {
    let db = TestDb::new().await;
    append_account(&db).await;
    db.catch_up("ledger").await;
    append_account(&db).await;
    assert!(split(&mut db.connect().await).await);
    refuse_settling_less(&db).await;

    let begin = "select log_txid()";
    let mut worker = Held::open(&db, begin).await;
    assert_eq!(take(worker.connection()).await, Some(0));
    let mut merging = Held::open(&db, begin).await;
    assert_eq!(lock_lanes(merging.connection()).await, [128]);
    worker.commit().await;
    merging.commit().await;

    let mut merging = Held::open(&db, begin).await;
    assert_eq!(lock_lanes(merging.connection()).await, [0, 128]);
    let mut worker = Held::open(&db, begin).await;
    assert_eq!(take(worker.connection()).await, None);
    worker.release().await;
    merging.release().await;
}

/// Two lanes are finished one after the other, and in between a transaction commits late, with an event of the first lane. Fails
/// when the merged lane has settled what only one of them has settled.
#[tokio::test]
async fn a_merge_settles_only_what_all_lanes_have_settled() {
    let db = TestDb::new().await;
    append_account(&db).await;
    db.catch_up("ledger").await;
    let mut late = Held::open(&db, "select log_txid()").await;
    let in_lower = opened(id_in_half(&db, false).await);
    append(&db.foldlog, std::slice::from_ref(&in_lower)).await;
    append(&db.foldlog, &[opened(id_in_half(&db, true).await)]).await;
    append_in(late.connection(), &[opened(id_in_half(&db, false).await)]).await;
    assert!(split(&mut db.connect().await).await);

    // The worker stops at its write of the first lane, and again before it takes the second one.
    let mut watch = db.connect().await;
    let claim = hold_claim(&db, "ledger", &in_lower).await;
    let worker = lone_worker(&db, 100);
    wait_until_blocked(&mut watch, WRITE).await;
    let mut between = db.connect().await;
    let stop = "lock table settled in access exclusive mode";
    let stopping = tokio::spawn(async move {
        run(&mut between, "begin").await;
        run(&mut between, stop).await;
        between
    });
    wait_until_blocked(&mut watch, stop).await;
    claim.release().await;
    let mut between = stopping.await.unwrap();
    late.commit().await;
    run(&mut between, "commit").await;

    assert_eq!(worker.await.unwrap().unwrap().applied, 3);
    assert_eq!(lanes(&db).await[0].0, (0, 255));
    assert_all_applied(&db, "ledger").await;
}
