//! Verify and repair.

use foldlog::projection::Budget;
use foldlog::projection::verify::{VerifyOptions, last, list, verify};

use super::{reproject_to_the_end, some_accounts};
use crate::support::TestDb;
use crate::support::accounts::make_foldable;
use crate::support::db::run;
use crate::support::events::{append, deposited};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::workers::{account, assert_all_applied};

/// Fails when verify misses a difference, finds one where there is none, or changes anything; and when repair leaves one, or folds an
/// aggregate anew that was right.
#[expect(clippy::too_many_lines, reason = "one scenario, told in order")]
#[tokio::test]
async fn repair_folds_exactly_the_aggregates_that_differ() {
    for generation in ["ledger", "ledger#2"] {
        let db = TestDb::new().await;
        let accounts = some_accounts(&db, 30).await;
        let (parked, _) = account(&db, 1).await;
        append(&db.foldlog, &[deposited(parked, 13)]).await;
        db.catch_up("ledger").await;
        if generation == "ledger#2" {
            reproject_to_the_end(&db.foldlog, "ledger").await;
        }
        // Being behind does not count as a difference.
        append(&db.foldlog, &[deposited(accounts[1], 1)]).await;
        let (pool, view) = (db.pool(), db.foldlog.view("ledger").unwrap());
        let budget = Budget::default();
        let clean = verify(pool, view, VerifyOptions::default(), &budget)
            .await
            .unwrap();
        assert_eq!(
            (clean.aggregates, clean.differ, clean.complete),
            (31, 0, true),
            "{clean:?}"
        );
        assert_eq!(last(pool, view).await.unwrap().unwrap().differ, 0);

        let table = format!("\"{generation}\"");
        let id = |index: usize| accounts[index];
        db.run(&format!(
            "update {table} set deposits = 99 where id = '{}'",
            id(2)
        ))
        .await;
        db.run(&format!("delete from {table} where id = '{}'", id(3)))
            .await;
        db.run(&format!(
            "insert into {table} values (gen_random_uuid(), 1, 0, 1)"
        ))
        .await;
        let claims = format!("from locker where lock_domain = '{generation}' and aggregate_id =");
        let event = |index: usize, version: i32| {
            format!(
                "(select id from events where aggregate_id = '{}' and version = {version})",
                id(index)
            )
        };
        db.run(&format!(
            "delete {claims} '{}' and event_id = {}",
            id(6),
            event(6, 2)
        ))
        .await;
        // Claimed, and not in the row.
        db.run(&format!("insert into locker select id, aggregate_id, '{generation}' from events where aggregate_id = '{}' and version = 3", id(1))).await;
        db.run(&format!(
            "insert into locker values (gen_random_uuid(), '{}', '{generation}')",
            id(8)
        ))
        .await;
        db.run(&format!(
            "update {table} set version = version + 1 where id = '{}'",
            id(7)
        ))
        .await;

        let rows = format!(
            "select md5(string_agg(t::text, '' order by t.id))::text as state from {table} t"
        );
        let state = || async {
            sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(rows.clone()))
                .fetch_one(&mut db.connect().await)
                .await
                .unwrap()
        };
        let before = state().await;
        let found = verify(pool, view, VerifyOptions::default(), &budget)
            .await
            .unwrap();
        assert_eq!(
            (found.differ, found.orphan_claims, found.complete),
            (6, 1, true),
            "{found:#?}"
        );
        assert_eq!(state().await, before, "verify changes nothing");
        assert_eq!(found.differences.len(), 6);
        let of_second = found.differences.iter().find(|d| d.id.0 == id(2)).unwrap();
        let json = serde_json::to_value(of_second).unwrap();
        assert_eq!(json["changes"], serde_json::json!({"deposits": [99, 2]}));
        let listed = list(pool, view, None, 100.into()).await.unwrap();
        assert!(
            listed
                .differences
                .iter()
                .any(|d| d.id.0 == id(2) && d.field == "deposits" && d.new == 2)
        );

        let untouched = format!(
            "select xmin::text::bigint from {table} where id = '{}'",
            id(10)
        );
        let xmin = db.count(&untouched).await;
        let repaired = verify(pool, view, VerifyOptions::repair(), &budget)
            .await
            .unwrap();
        assert_eq!(
            (repaired.differ, repaired.repaired),
            (6, 6),
            "{repaired:#?}"
        );
        let again = verify(pool, view, VerifyOptions::default(), &budget)
            .await
            .unwrap();
        assert_eq!((again.differ, again.orphan_claims), (0, 0), "{again:#?}");
        assert_eq!(db.count(&untouched).await, xmin);
        make_foldable(parked);
        foldlog::projection::retry(pool, view, &budget)
            .await
            .unwrap();
        db.catch_up("ledger").await;
        assert_all_applied(&db, "ledger").await;
    }
}

/// Fails when an aggregate with more events than a page is checked in part.
#[tokio::test]
async fn an_aggregate_larger_than_a_page_is_verified() {
    let db = TestDb::new().await;
    let (large, _) = account(&db, 0).await;
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), '{large}', n, 2001, '{{\"cents\": 1}}' from generate_series(2, 25000) n"
    ))
    .await;
    some_accounts(&db, 3).await;
    reproject_to_the_end(&db.foldlog, "ledger").await;
    assert_all_applied(&db, "ledger").await;
    let (pool, view) = (db.pool(), db.foldlog.view("ledger").unwrap());
    let clean = verify(pool, view, VerifyOptions::default(), &Budget::default())
        .await
        .unwrap();
    assert_eq!(
        (clean.aggregates, clean.differ, clean.complete),
        (4, 0, true)
    );
    db.run("update \"ledger#2\" set deposits = deposits + 1 where version = 25000")
        .await;
    let found = verify(pool, view, VerifyOptions::repair(), &Budget::default())
        .await
        .unwrap();
    assert_eq!((found.differ, found.repaired), (1, 1));
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a repair keeps the class of the failure before: the text of a rejected row would be shown like that of a fold.
#[tokio::test]
async fn a_repair_that_parks_an_aggregate_records_the_class_of_the_failure() {
    let db = TestDb::new().await;
    let (rich, _) = account(&db, 1).await;
    db.catch_up("accounts").await;
    append(&db.foldlog, &[deposited(rich, 2_000_000)]).await;
    db.catch_up("accounts").await;
    db.run("update parked set class = 'fold'; update accounts set balance_cents = 7")
        .await;
    let (pool, view) = (db.pool(), db.foldlog.view("accounts").unwrap());
    let found = verify(pool, view, VerifyOptions::repair(), &Budget::default())
        .await
        .unwrap();
    assert_eq!((found.differ, found.repaired), (1, 0));
    let parked = "select count(*) from parked where lock_domain = 'accounts' and class = 'write'";
    assert_eq!(db.count(parked).await, 1);
}

/// Fails when one row that the table rejects makes the whole verification fail, or when it is not reported.
#[tokio::test]
async fn a_row_that_the_table_rejects_is_a_difference() {
    let db = TestDb::new().await;
    let (rich, _) = account(&db, 0).await;
    append(&db.foldlog, &[deposited(rich, 40_000)]).await;
    account(&db, 3).await;
    db.catch_up("accounts").await;
    db.run("update accounts set balance_cents = 7; alter table accounts alter balance_cents type smallint")
        .await;
    let (pool, view) = (db.pool(), db.foldlog.view("accounts").unwrap());
    let found = verify(pool, view, VerifyOptions::default(), &Budget::default())
        .await
        .unwrap();
    assert_eq!((found.differ, found.complete), (2, true));
    let of_rich = found.differences.iter().find(|d| d.id.0 == rich).unwrap();
    let problem = of_rich.problem.as_deref();
    assert_eq!(
        problem,
        Some("the table rejects the row that the events give")
    );
}

/// Fails when a repair and a reprojection that goes live wait for each other: both need the lock of the projection and its lanes.
#[tokio::test]
async fn a_repair_locks_in_the_order_of_a_reprojection_that_goes_live() {
    let db = std::sync::Arc::new(TestDb::new().await);
    some_accounts(&db, 3).await;
    db.catch_up("ledger").await;
    db.run("update ledger set deposits = 99").await;
    let mut swap = Held::open(
        &db,
        "select pg_advisory_xact_lock(generation_key('ledger'))",
    )
    .await;
    let repaired = {
        let db = db.clone();
        tokio::spawn(async move {
            let view = db.foldlog.view("ledger").unwrap();
            verify(db.pool(), view, VerifyOptions::repair(), &Budget::default()).await
        })
    };
    wait_until_blocked(&mut db.connect().await, "Waits for the inline folds").await;
    let lanes = "select first from settled where lock_domain = 'ledger' for update nowait";
    run(swap.connection(), lanes).await;
    swap.commit().await;
    assert_eq!(repaired.await.unwrap().unwrap().repaired, 3);
}

/// Fails when a verification that shall end goes on with all repairs of its page.
#[tokio::test]
async fn a_verification_that_is_stopped_ends_after_the_repair_in_progress() {
    let db = std::sync::Arc::new(TestDb::new().await);
    some_accounts(&db, 3).await;
    db.catch_up("ledger").await;
    db.run("update ledger set deposits = 99").await;
    let held = Held::open(
        &db,
        "select pg_advisory_xact_lock(generation_key('ledger'))",
    )
    .await;
    let budget = Budget::default();
    let verified = {
        let (db, budget) = (db.clone(), budget.clone());
        tokio::spawn(async move {
            let view = db.foldlog.view("ledger").unwrap();
            verify(db.pool(), view, VerifyOptions::repair(), &budget).await
        })
    };
    wait_until_blocked(&mut db.connect().await, "Waits for the inline folds").await;
    budget.stop.cancel();
    held.release().await;
    let verified = verified.await.unwrap().unwrap();
    assert_eq!((verified.repaired, verified.complete), (1, false));
}

/// Fails when a verification with repairs is shared by two sessions: each repair excludes every other one, and the second session would
/// only hold a connection. The second of two sessions reads the second range before the first one has ended the first range.
#[tokio::test]
async fn a_verification_with_repairs_uses_one_session() {
    let db = std::sync::Arc::new(TestDb::new().await);
    // Two ranges of about 12,000 events. Their boundary comes from a sample, so no test depends on where it is exactly.
    for statement in [
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), gen_random_uuid(), 1, 2000, '{\"owner\": \"ada\"}' from generate_series(1, 24000)",
        "insert into locker select id, aggregate_id, 'ledger' from events",
        "insert into ledger select aggregate_id, 1, 0, 1 from events",
    ] {
        db.run(statement).await;
    }
    let spoil = |number: usize| {
        format!(
            "update ledger set deposits = 99 where id = (select id from ledger order by id offset {number} limit 1)"
        )
    };
    // On the second page of the first range.
    db.run(&spoil(10_500)).await;
    let held = Held::open(
        &db,
        "select pg_advisory_xact_lock(generation_key('ledger'))",
    )
    .await;
    let verified = {
        let db = db.clone();
        tokio::spawn(async move {
            let view = db.foldlog.view("ledger").unwrap();
            verify(db.pool(), view, VerifyOptions::repair(), &Budget::default()).await
        })
    };
    wait_until_blocked(&mut db.connect().await, "Waits for the inline folds").await;
    // On the first page of the second range.
    db.run(&spoil(20_000)).await;
    held.release().await;
    let verified = verified.await.unwrap().unwrap();
    assert_eq!(
        (verified.aggregates, verified.repaired, verified.complete),
        (24_000, 2, true)
    );
}

/// Fails when a sample of the log that takes too long ends the verification: it only decides how the work is shared.
#[tokio::test]
async fn a_verification_needs_no_sample_of_the_log() {
    let db = std::sync::Arc::new(TestDb::new().await);
    some_accounts(&db, 5).await;
    db.catch_up("ledger").await;
    let lock = "lock table events in access exclusive mode";
    let first = Held::open(&db, lock).await;
    let verified = {
        let db = db.clone();
        tokio::spawn(async move {
            let view = db.foldlog.view("ledger").unwrap();
            verify(
                db.pool(),
                view,
                VerifyOptions::default(),
                &Budget::default(),
            )
            .await
        })
    };
    let mut watch = db.connect().await;
    wait_until_blocked(&mut watch, "How many pages the log has").await;
    // Postgres grants locks in the order in which they were requested: this one after the size was read, and before the sample.
    let second = {
        let db = db.clone();
        tokio::spawn(async move { Held::open(&db, lock).await })
    };
    wait_until_blocked(&mut watch, lock).await;
    first.release().await;
    let second = second.await.unwrap();
    let sample = "Cuts the aggregates into ranges";
    wait_until_blocked(&mut watch, sample).await;
    let cancelled = format!(
        "with waiting as materialized (select pid from pg_stat_activity where query like '%{sample}%' and wait_event_type = 'Lock') \
         select count(*) from waiting where pg_cancel_backend(pid)"
    );
    assert_eq!(db.count(&cancelled).await, 1);
    second.release().await;
    let verified = verified.await.unwrap().unwrap();
    assert_eq!((verified.differ, verified.complete), (0, true));
    assert!(verified.aggregates > 0);
}
