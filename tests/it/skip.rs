//! Skips: an event that can never be folded counts as applied, without an effect.

use std::sync::Arc;

use foldlog::event::{AggregateId, EventId, Version};
use foldlog::projection::reproject::{ReprojectOptions, ReprojectionState, reproject};
use foldlog::projection::verify::{VerifyOptions, verify};
use foldlog::projection::{self, Budget, SkipError, SkipReport};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::reprojection::reproject_to_the_end;
use crate::support::TestDb;
use crate::support::accounts::{make_foldable, make_unfoldable};
use crate::support::events::{append, deposited, opened};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::workers::version_in_view;

/// Appends these deposits to a new account, and catches up the ledger.
async fn account(db: &TestDb, deposits: &[i64]) -> Uuid {
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account)]).await;
    for cents in deposits {
        append(&db.foldlog, &[deposited(account, *cents)]).await;
    }
    db.catch_up("ledger").await;
    account
}

/// The event of an account at this version.
async fn event_at(db: &TestDb, account: Uuid, version: i32) -> EventId {
    let sql =
        format!("select id from events where aggregate_id = '{account}' and version = {version}");
    let id = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(&mut db.connect().await)
        .await
        .unwrap();
    EventId(id)
}

async fn skip(db: &TestDb, event: EventId) -> Result<SkipReport, SkipError> {
    let view = db.foldlog.view("ledger").unwrap();
    let by = (Some("ada"), "a deposit that was a mistake");
    projection::skip(db.pool(), view, (event, None), by, &Budget::default()).await
}

async fn deposits(db: &TestDb, account: Uuid) -> i64 {
    db.count(&format!(
        "select deposits from ledger where id = '{account}'"
    ))
    .await
}

async fn assert_all_claimed(db: &TestDb) {
    let unclaimed = "select count(*) from events e where not exists (select from locker l where l.event_id = e.id \
                     and l.aggregate_id = e.aggregate_id and l.lock_domain = 'ledger')";
    assert_eq!(db.count(unclaimed).await, 0);
    assert_eq!(db.count("select count(*) from parked").await, 0);
}

// Fails when a skipped event has an effect, when the events after it are not folded, or when the skip is not recorded.
#[tokio::test]
async fn a_skipped_event_has_no_effect_and_the_later_ones_are_folded() {
    let db = TestDb::new().await;
    let account = account(&db, &[1, 13, 2, 3]).await;
    let event = event_at(&db, account, 3).await;
    let report = skip(&db, event).await.unwrap();
    let expected = SkipReport {
        event_id: event,
        aggregate_id: AggregateId(account),
        version: Version(3),
        applied: 2,
        unparked: true,
    };
    assert_eq!(report, expected);
    assert_eq!(deposits(&db, account).await, 3);
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(5))
    );
    assert_all_claimed(&db).await;
    let recorded = format!(
        "select count(*) from skipped where projection = 'ledger' and aggregate_id = '{account}' and event_id = '{event}' \
         and version = 3 and actor = 'ada' and reason like 'a deposit%' and error like '%13 cents%'"
    );
    assert_eq!(db.count(&recorded).await, 1);
    append(&db.foldlog, &[deposited(account, 1)]).await;
    db.catch_up("ledger").await;
    assert_eq!(deposits(&db, account).await, 4);
}

// Fails when a skip of several events in a row loses its place, or the aggregate stays parked after the last one.
#[tokio::test]
async fn each_event_that_cannot_be_folded_is_skipped_by_itself() {
    let db = TestDb::new().await;
    let account = account(&db, &[13, 1, 13, 13]).await;
    let first = skip(&db, event_at(&db, account, 2).await).await.unwrap();
    assert_eq!((first.applied, first.unparked), (1, false));
    let second = skip(&db, event_at(&db, account, 4).await).await.unwrap();
    assert_eq!((second.applied, second.unparked), (0, false));
    let last = skip(&db, event_at(&db, account, 5).await).await.unwrap();
    assert_eq!((last.applied, last.unparked), (0, true));
    assert_eq!(db.count("select count(*) from parked").await, 0);
    assert_eq!(deposits(&db, account).await, 1);
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(5))
    );
}

// Fails when the first event of an aggregate cannot be skipped, or its later events then wait for ever: there is no row yet.
#[tokio::test]
async fn the_first_event_of_an_aggregate_can_be_skipped() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    // Deposits without an account: only SQL stores them.
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), '{account}', v, 2001, jsonb_build_object('cents', case v when 1 then 13 else v end) \
         from generate_series(1, 3) v"
    ))
    .await;
    db.catch_up("ledger").await;
    let report = skip(&db, event_at(&db, account, 1).await).await.unwrap();
    assert_eq!((report.applied, report.unparked), (2, true));
    assert_eq!(deposits(&db, account).await, 2);
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(3))
    );
}

// Fails when any other event can be skipped: one that is folded, one that waits, one that does not exist, or one behind a gap.
#[tokio::test]
async fn only_the_event_that_parks_an_aggregate_can_be_skipped() {
    let db = TestDb::new().await;
    let account = account(&db, &[1, 13, 2]).await;
    for version in [1, 2, 4] {
        let error = skip(&db, event_at(&db, account, version).await).await;
        assert!(matches!(error, Err(SkipError::NotParked(_))), "{error:?}");
    }
    let error = skip(&db, EventId(Uuid::now_v7())).await;
    assert!(matches!(error, Err(SkipError::NotParked(_))), "{error:?}");
    let behind_gap = Uuid::now_v7();
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), '{behind_gap}', v, 2001, '{{\"cents\": 1}}' from unnest(array[2, 3]) v"
    ))
    .await;
    db.catch_up("ledger").await;
    let error = skip(&db, event_at(&db, behind_gap, 2).await).await;
    assert!(matches!(error, Err(SkipError::NotNext(_))), "{error:?}");
    assert_eq!(db.count("select count(*) from skipped").await, 0);
    assert_eq!(
        db.count("select count(*) from parked where lock_domain = 'ledger'")
            .await,
        2
    );
    skip(&db, event_at(&db, account, 3).await).await.unwrap();
    let again = skip(&db, event_at(&db, account, 3).await).await;
    assert!(matches!(again, Err(SkipError::NotParked(_))), "{again:?}");
}

// Fails when a skip does not wait for a retry that holds the parked row: both would write the row.
#[tokio::test]
async fn a_skip_waits_for_a_retry_that_locks_the_parked_row() {
    let db = Arc::new(TestDb::new().await);
    let account = account(&db, &[1, 13, 2]).await;
    let event = event_at(&db, account, 3).await;
    let lock = format!(
        "select from parked where lock_domain = 'ledger' and aggregate_id = '{account}' for update"
    );
    let held = Held::open(&db, &lock).await;
    let beside = {
        let db = Arc::clone(&db);
        tokio::spawn(async move { skip(&db, event).await })
    };
    wait_until_blocked(
        &mut db.connect().await,
        "Takes the aggregates that are parked",
    )
    .await;
    held.release().await;
    assert!(beside.await.unwrap().unwrap().unparked);
    assert_eq!(deposits(&db, account).await, 2);
}

// Fails when skips, retries and passes at the same time fold an event twice, lose one, or skip one twice.
#[tokio::test]
async fn skips_beside_retries_and_passes_lose_nothing() {
    let db = Arc::new(TestDb::new().await);
    let mut accounts = Vec::new();
    for _ in 0..6 {
        accounts.push(account(&db, &[1, 13, 2]).await);
    }
    let mut tasks = JoinSet::new();
    for account in accounts.clone() {
        for _ in 0..2 {
            let db = Arc::clone(&db);
            tasks.spawn(async move {
                let event = event_at(&db, account, 3).await;
                append(&db.foldlog, &[deposited(account, 4)]).await;
                match skip(&db, event).await {
                    Ok(_) | Err(SkipError::NotParked(_) | SkipError::NotNext(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                db.catch_up("ledger").await;
                let view = db.foldlog.view("ledger").unwrap();
                projection::retry(db.pool(), view, &Budget::default())
                    .await
                    .unwrap();
            });
        }
    }
    tasks.join_all().await;
    db.catch_up("ledger").await;
    for account in accounts {
        assert_eq!(deposits(&db, account).await, 4);
        assert_eq!(
            version_in_view(&db, "ledger", account).await,
            Some(Version(6))
        );
    }
    assert_eq!(db.count("select count(*) from skipped").await, 6);
    assert_all_claimed(&db).await;
}

// Fails when a reprojection or a repair folds a skipped event, even one that can be folded by now, or parks its aggregate again.
#[tokio::test]
async fn a_skip_holds_for_later_generations_and_repairs() {
    let db = TestDb::new().await;
    let first = account(&db, &[1, 13, 2]).await;
    let last = account(&db, &[1, 13]).await;
    skip(&db, event_at(&db, first, 3).await).await.unwrap();
    skip(&db, event_at(&db, last, 3).await).await.unwrap();
    let assert_skipped = async |generation: &str| {
        assert_eq!(db.count("select count(*) from parked").await, 0);
        for (account, expected) in [(first, (2, 4)), (last, (1, 3))] {
            let deposits = format!("select deposits from \"{generation}\" where id = '{account}'");
            assert_eq!(db.count(&deposits).await, expected.0);
            let version = version_in_view(&db, "ledger", account).await;
            assert_eq!(version, Some(Version(expected.1)));
        }
        let view = db.foldlog.view("ledger").unwrap();
        let verified = verify(
            db.pool(),
            view,
            VerifyOptions::default(),
            &Budget::default(),
        )
        .await;
        assert_eq!(verified.unwrap().differ, 0);
    };
    assert_skipped("ledger").await;
    for generation in 2..4 {
        let reached = reproject_to_the_end(&db.foldlog, "ledger").await;
        assert_eq!(reached.generation, generation);
        assert_skipped(&format!("ledger#{generation}")).await;
        // The next generation could fold it.
        make_foldable(first);
    }
    db.run("update \"ledger#3\" set deposits = 99").await;
    let view = db.foldlog.view("ledger").unwrap();
    let repaired = verify(db.pool(), view, VerifyOptions::repair(), &Budget::default()).await;
    assert_eq!(repaired.unwrap().repaired, 2);
    assert_skipped("ledger#3").await;
}

// Fails when an event that the live generation has applied, and that the new fold cannot fold, prevents going live for ever.
#[tokio::test]
async fn an_event_can_be_skipped_in_a_generation_that_is_filled() {
    let db = TestDb::new().await;
    let account = account(&db, &[1]).await;
    make_foldable(account);
    append(&db.foldlog, &[deposited(account, 13)]).await;
    append(&db.foldlog, &[deposited(account, 1)]).await;
    db.catch_up("ledger").await;
    make_unfoldable(account);
    let view = db.foldlog.view("ledger").unwrap();
    let reproject = async || {
        let (options, budget) = (ReprojectOptions::default(), Budget::default());
        let reached = reproject(db.pool(), view, 100, options, &budget).await;
        reached.unwrap()
    };
    let refused = reproject().await;
    assert_eq!(refused.state, ReprojectionState::Refused);
    let skipped = skip(&db, refused.behind.unwrap().event_id).await.unwrap();
    assert_eq!((skipped.applied, skipped.unparked), (1, true));
    assert_eq!(reproject().await.state, ReprojectionState::Live);
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(4))
    );
}
