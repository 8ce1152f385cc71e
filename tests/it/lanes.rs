//! Lanes: workers split a backlog, progress within a large transaction, and lanes that were damaged by hand.

use std::time::{Duration, Instant};

use foldlog::projection::{self, Budget};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::reprojection::reproject_to_the_end;
use crate::support::TestDb;
use crate::support::db::run;
use crate::support::events::{append, deposited, opened};
use crate::support::workers::{account, assert_all_applied};

/// Inserts accounts in one transaction, each with one event.
async fn accounts_in_one_transaction(db: &TestDb, count: u32) {
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), gen_random_uuid(), 1, 2000, '{{\"owner\": \"ada\"}}' \
         from generate_series(1, {count})"
    ))
    .await;
}

/// Splits the lane of a projection as a worker does.
async fn split(db: &TestDb, projection: &str) {
    let split: Option<bool> = sqlx::query_scalar(AssertSqlSafe(
        include_str!("../../src/projection/sql/split_lane.sql").replace("foldlog.", ""),
    ))
    .bind(projection)
    .bind(Vec::<i16>::new())
    .bind(0_i64)
    .fetch_optional(&mut db.connect().await)
    .await
    .unwrap();
    assert_eq!(split, Some(true));
}

async fn lanes(db: &TestDb) -> Vec<(i16, i16, String, Option<String>, i64)> {
    sqlx::query_as(
        "select first, last, snapshot::text, txid::text, position from settled order by first",
    )
    .fetch_all(&mut db.connect().await)
    .await
    .unwrap()
}

/// Fails when an invocation walks again what earlier ones have claimed within the same transaction, until none of them gets to
/// new events before its deadline.
#[tokio::test]
async fn a_large_transaction_is_folded_by_short_invocations() {
    let db = TestDb::new().await;
    accounts_in_one_transaction(&db, 20_000).await;
    let view = db.foldlog.view("ledger").unwrap();
    let mut applied = 0;
    loop {
        let budget = Budget {
            until: Some(Instant::now() + Duration::from_millis(300)),
            ..Budget::default()
        };
        let caught_up = projection::catch_up(db.pool(), view, 500, &budget)
            .await
            .unwrap();
        applied += caught_up.applied;
        if caught_up.done {
            break;
        }
        assert!(caught_up.applied > 0, "{caught_up:?} after {applied}");
    }
    assert_eq!(applied, 20_000);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a half of a split lane states more than the lane did, or when workers forget to merge.
#[tokio::test]
async fn both_halves_of_a_split_lane_continue_where_the_lane_was() {
    let db = TestDb::new().await;
    accounts_in_one_transaction(&db, 2_000).await;
    let view = db.foldlog.view("ledger").unwrap();
    // With a deadline the first batch is one event, so the lane stops within the transaction.
    let budget = Budget {
        until: Some(Instant::now() + Duration::from_millis(20)),
        ..Budget::default()
    };
    projection::catch_up(db.pool(), view, 7, &budget)
        .await
        .unwrap();
    db.run("delete from settled where first > 0; update settled set last = 255")
        .await;
    let before = lanes(&db).await;
    split(&db, "ledger").await;
    let after = lanes(&db).await;
    assert_eq!(after.len(), 2);
    for (half, range) in after.iter().zip([(0, 127), (128, 255)]) {
        assert_eq!((half.0, half.1), range);
        assert_eq!(
            (&half.2, &half.3, half.4),
            (&before[0].2, &before[0].3, before[0].4)
        );
    }
    assert!(db.catch_up("ledger").await.done);
    assert_eq!(lanes(&db).await.len(), 1);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when workers that share one transaction's events fold one twice or leave one out, or when they leave their lanes split.
#[tokio::test]
async fn four_workers_share_one_transaction() {
    let db = TestDb::new().await;
    accounts_in_one_transaction(&db, 6_000).await;
    let mut workers = JoinSet::new();
    for batch in [100, 150, 200, 250] {
        let foldlog = db.foldlog.clone();
        workers.spawn(async move {
            let view = foldlog.view("ledger").unwrap();
            projection::catch_up(&foldlog.pool, view, batch, &Budget::default()).await
        });
    }
    let results = workers.join_all().await;
    let applied: u64 = results.iter().map(|r| r.as_ref().unwrap().applied).sum();
    assert_eq!(applied, 6_000, "{results:?}");
    db.catch_up("ledger").await;
    assert_eq!(lanes(&db).await.len(), 1);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when lanes that do not cover every aggregate once are kept: the events of the others would never be read.
#[tokio::test]
async fn damaged_lanes_are_repaired() {
    let damages = [
        "delete from settled where first = 0",
        "delete from settled where first = 128",
        "delete from settled",
        "update settled set last = 200 where first = 128",
        // A cluster that hashes ids differently.
        "update log set slots = slots + 1",
    ];
    let generations = ["ledger", "ledger#2"];
    let cases = generations.map(|generation| damages.map(|damage| (generation, damage)));
    for (generation, damage) in cases.into_iter().flatten() {
        let db = TestDb::new().await;
        account(&db, 2).await;
        db.catch_up("ledger").await;
        if generation == "ledger#2" {
            reproject_to_the_end(&db.foldlog, "ledger").await;
            db.run("delete from settled where lock_domain = 'ledger'")
                .await;
        }
        for _ in 0..20 {
            append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
        }
        split(&db, generation).await;
        db.run(damage).await;
        let caught_up = db.catch_up("ledger").await;
        assert_eq!(
            (caught_up.applied, caught_up.done),
            (20, true),
            "{generation}: {damage}"
        );
        assert_eq!(lanes(&db).await.len(), 1, "{generation}: {damage}");
        assert_all_applied(&db, "ledger").await;
    }
}

/// Fails when a batch is bounded by its number of events only: 40 events of 1 MiB would be one batch.
#[tokio::test]
async fn a_batch_is_bounded_by_bytes() {
    let db = TestDb::new().await;
    let mut connection = db.connect().await;
    run(
        &mut connection,
        "insert into events (id, aggregate_id, version, type_id, payload, metadata) \
         select gen_random_uuid(), gen_random_uuid(), 1, 2000, '{\"owner\": \"ada\"}', \
             jsonb_build_object('text', repeat('x', 1048576)) \
         from generate_series(1, 40)",
    )
    .await;
    let caught_up = db.catch_up("ledger").await;
    assert_eq!((caught_up.applied, caught_up.done), (40, true));
    // Each batch of a lane, each split and each merge is a turn.
    assert!(db.count("select max(turn) from settled").await > 3);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the events of an aggregate with many events are folded in more than one order, or by two workers at once.
#[tokio::test]
async fn a_hot_aggregate_is_folded_in_order_by_many_workers() {
    let db = TestDb::new().await;
    let hot = Uuid::now_v7();
    append(&db.foldlog, &[opened(hot)]).await;
    for _ in 0..10 {
        let mut events: Vec<_> = (0..60).map(|_| deposited(hot, 1)).collect();
        events.extend((0..20).map(|_| opened(Uuid::now_v7())));
        append(&db.foldlog, &events).await;
    }
    let mut workers = JoinSet::new();
    for batch in [20, 30, 40] {
        let foldlog = db.foldlog.clone();
        workers.spawn(async move {
            let view = foldlog.view("ledger").unwrap();
            projection::catch_up(&foldlog.pool, view, batch, &Budget::default()).await
        });
    }
    let results = workers.join_all().await;
    let applied: u64 = results.iter().map(|r| r.as_ref().unwrap().applied).sum();
    assert_eq!(applied, 801, "{results:?}");
    assert_all_applied(&db, "ledger").await;
}
