//! Parked aggregates: a parked aggregate does not delay the others, and continues in order once the cause is fixed.

use std::time::{Duration, Instant};

use foldlog::projection::{self, Budget, ProjectionError, RetryReport};
use sqlx::AssertSqlSafe;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::accounts::make_foldable;
use crate::support::db::run;
use crate::support::events::{append, deposited, opened};
use crate::support::locks::{Held, hold_claim, wait_until_blocked, wait_until_true};
use crate::support::workers::{
    LOCK_PARKED, WRITE, assert_all_applied, insert, version_in_view, worker,
};
use foldlog::event::Version;

/// Creates an account that is parked at the last of these deposits and has `later` more deposits after it.
async fn parked(db: &TestDb, deposits: &[i64], later: usize) -> Uuid {
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account)]).await;
    for cents in deposits {
        append(&db.foldlog, &[deposited(account, *cents)]).await;
    }
    for _ in 0..later {
        append(&db.foldlog, &[deposited(account, 1)]).await;
    }
    db.catch_up("ledger").await;
    assert_eq!(
        db.count("select count(*) from parked where lock_domain = 'ledger'")
            .await,
        1
    );
    account
}

async fn retry(db: &TestDb, projection: &str) -> RetryReport {
    let view = db.foldlog.view(projection).unwrap();
    projection::retry(db.pool(), view, &Budget::default())
        .await
        .unwrap()
}

/// Retries the parked aggregates of the ledger in a separate task.
fn retry_beside(db: &TestDb) -> JoinHandle<Result<RetryReport, ProjectionError>> {
    let foldlog = db.foldlog.clone();
    tokio::spawn(async move {
        let view = foldlog.view("ledger").unwrap();
        projection::retry(&foldlog.pool, view, &Budget::default()).await
    })
}

async fn text(db: &TestDb, sql: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(&mut db.connect().await)
        .await
        .unwrap()
}

/// Fails when one event that cannot be folded ends the batch or the pass, or when later events of its aggregate are folded
/// before it.
#[tokio::test]
async fn one_poison_event_parks_its_aggregate_and_a_thousand_others_go_on() {
    for cents in [13, 1313] {
        let db = TestDb::new().await;
        let (bad, good): (Uuid, Vec<Uuid>) =
            (Uuid::now_v7(), (0..1000).map(|_| Uuid::now_v7()).collect());
        for half in good.chunks(500) {
            append(
                &db.foldlog,
                &half.iter().map(|a| opened(*a)).collect::<Vec<_>>(),
            )
            .await;
            let first = db.count("select count(*) from events").await == 500;
            let bads = [
                opened(bad),
                deposited(bad, 1),
                deposited(bad, cents),
                deposited(bad, 2),
            ];
            append(&db.foldlog, if first { &bads[..2] } else { &bads[2..] }).await;
        }
        append(
            &db.foldlog,
            &good.iter().map(|a| deposited(*a, 5)).collect::<Vec<_>>(),
        )
        .await;

        let caught_up = worker(&db, "ledger", 5000).await.unwrap().unwrap();
        assert_eq!(
            (caught_up.applied, caught_up.parked.unwrap(), caught_up.done),
            (2002, 1, true)
        );
        assert_eq!(version_in_view(&db, "ledger", bad).await, Some(Version(2)));
        let reason = text(&db, "select error from parked").await;
        assert_eq!(
            reason,
            if cents == 13 {
                "a deposit of 13 cents cannot be folded"
            } else {
                "the fold panicked"
            }
        );
        // Another projection of the same events is not affected.
        assert_eq!(db.catch_up("accounts").await.applied, 2004);

        // Later events of the parked aggregate wait.
        append(&db.foldlog, &[deposited(bad, 3)]).await;
        let caught_up = db.catch_up("ledger").await;
        assert_eq!(
            (caught_up.applied, caught_up.parked.unwrap(), caught_up.done),
            (0, 1, true)
        );

        make_foldable(bad);
        assert_eq!(
            retry(&db, "ledger").await,
            RetryReport {
                unparked: 1,
                failed: 0,
                applied: 3
            }
        );
        assert_all_applied(&db, "ledger").await;
    }
}

/// Fails when a row that the database rejects aborts the whole batch for good, or parks other aggregates of the batch.
#[tokio::test]
async fn a_rejected_upsert_is_bisected_to_the_aggregates_that_cause_it() {
    let db = TestDb::new().await;
    let accounts: Vec<Uuid> = (0..200).map(|_| Uuid::now_v7()).collect();
    let rich = [accounts[0], accounts[77], accounts[199]];
    append(
        &db.foldlog,
        &accounts.iter().map(|a| opened(*a)).collect::<Vec<_>>(),
    )
    .await;
    let cents = |a: &Uuid| if rich.contains(a) { 2_000_000 } else { 2 };
    append(
        &db.foldlog,
        &accounts
            .iter()
            .map(|a| deposited(*a, cents(a)))
            .collect::<Vec<_>>(),
    )
    .await;

    let caught_up = worker(&db, "accounts", 1000).await.unwrap().unwrap();
    assert_eq!((caught_up.parked.unwrap(), caught_up.done), (3, true));
    // A batch may end between the two events of an account.
    assert!((394..400).contains(&caught_up.applied), "{caught_up:?}");
    let reasons = text(&db, "select string_agg(distinct error, '; ') from parked").await;
    assert_eq!(reasons, "constraint accounts_rich_check rejected a row");

    db.run("alter table accounts drop constraint accounts_rich_check")
        .await;
    let retried = retry(&db, "accounts").await;
    assert_eq!(
        (retried.unparked, retried.applied),
        (3, 400 - caught_up.applied)
    );
    assert_all_applied(&db, "accounts").await;
}

/// Fails when a catch-up does not retry an aggregate that is due, or retries one that is not.
#[tokio::test]
async fn catch_up_retries_parked_aggregates_that_are_due() {
    let db = TestDb::new().await;
    let bad = parked(&db, &[1, 13], 2).await;
    make_foldable(bad);
    assert_eq!(db.catch_up("ledger").await.applied, 0, "not due");

    db.run("update parked set next_try = now() - interval '1 second'")
        .await;
    let caught_up = db.catch_up("ledger").await;
    assert_eq!(
        (caught_up.applied, caught_up.parked.unwrap(), caught_up.done),
        (3, 0, true)
    );
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a failed retry is not counted, does not postpone the next one, or changes the version at which the aggregate
/// is parked.
#[tokio::test]
async fn a_failed_retry_backs_off_exponentially_up_to_an_hour() {
    let db = TestDb::new().await;
    let bad = parked(&db, &[1, 13], 2).await;
    let waits =
        "select (extract(epoch from next_try - statement_timestamp()) * 1000)::bigint from parked";
    let mut before = db.count(waits).await;
    for attempts in 2..6 {
        let retried = retry(&db, "ledger").await;
        assert_eq!(
            (retried.unparked, retried.failed, retried.applied),
            (0, 1, 0)
        );
        assert_eq!(
            db.count("select attempts::bigint from parked").await,
            attempts
        );
        assert_eq!(db.count("select version::bigint from parked").await, 3);
        let wait = db.count(waits).await;
        assert!(wait > before, "{wait} {before}");
        before = wait;
    }
    db.run("update parked set attempts = 1000").await;
    retry(&db, "ledger").await;
    assert!(db.count(waits).await <= 3_600_000, "an hour at most");
    assert_eq!(version_in_view(&db, "ledger", bad).await, Some(Version(2)));
}

/// Fails when a retry that stops at a second poison event rolls back what it folded before that, or unparks the aggregate.
#[tokio::test]
async fn a_retry_keeps_what_it_folded_before_a_second_failure() {
    let db = TestDb::new().await;
    let bad = Uuid::now_v7();
    let mut foreign = db.connect().await;
    let mut nonsense = deposited(bad, 1);
    nonsense.payload =
        serde_json::value::to_raw_value(&serde_json::json!({ "cents": "many" })).unwrap();
    append(
        &db.foldlog,
        &[opened(bad), deposited(bad, 13), deposited(bad, 1)],
    )
    .await;
    insert(&mut foreign, &nonsense, 4, None).await;
    insert(&mut foreign, &deposited(bad, 1), 5, None).await;
    db.catch_up("ledger").await;
    make_foldable(bad);

    let retried = retry(&db, "ledger").await;
    assert_eq!(
        (retried.unparked, retried.failed, retried.applied),
        (0, 1, 2)
    );
    assert_eq!(db.count("select version::bigint from parked").await, 4);
    assert_eq!(version_in_view(&db, "ledger", bad).await, Some(Version(3)));
}

/// Fails when an event after a missing version is folded, waits forever without a reason in `parked`, or is skipped when
/// the missing version is inserted.
#[tokio::test]
async fn a_missing_version_parks_the_aggregate_and_names_the_version() {
    let db = TestDb::new().await;
    let (holed, other) = (Uuid::now_v7(), Uuid::now_v7());
    let mut foreign = db.connect().await;
    insert(&mut foreign, &opened(holed), 1, None).await;
    insert(&mut foreign, &deposited(holed, 5), 4, None).await;
    append(&db.foldlog, &[opened(other)]).await;

    let caught_up = db.catch_up("ledger").await;
    assert_eq!(
        (caught_up.applied, caught_up.parked.unwrap(), caught_up.done),
        (2, 1, true)
    );
    let reason = text(&db, "select error from parked").await;
    assert_eq!(
        reason,
        "version 3 of the aggregate is missing from the log or belongs to another domain"
    );
    assert_eq!(retry(&db, "ledger").await.failed, 1);

    insert(&mut foreign, &deposited(holed, 3), 3, None).await;
    assert_eq!(
        retry(&db, "ledger").await.failed,
        1,
        "version 2 is still missing"
    );
    let reason = text(&db, "select error from parked").await;
    assert_eq!(
        reason,
        "version 2 of the aggregate is missing from the log or belongs to another domain"
    );
    insert(&mut foreign, &deposited(holed, 2), 2, None).await;
    assert_eq!(retry(&db, "ledger").await.unparked, 1);
    assert_eq!(db.catch_up("ledger").await.parked.unwrap(), 0);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a pass does not share-lock the parked rows it relies on: then neither the pass nor the retry folds an event
/// that is appended while the retry unparks the aggregate.
#[tokio::test]
async fn a_pass_waits_for_a_retry_that_locks_the_parked_row() {
    let db = TestDb::new().await;
    let bad = parked(&db, &[1, 13], 0).await;
    make_foldable(bad);
    let mut watch = db.connect().await;

    // A retry that has read the chain and is blocked where it writes the row.
    let row = Held::open(
        &db,
        &format!("select from ledger where id = '{bad}' for update"),
    )
    .await;
    let retries = retry_beside(&db);
    wait_until_blocked(&mut watch, "insert into \"public\".\"ledger\"").await;
    // The other account gives the pass an event to fold, so that it settles its snapshot.
    append(&db.foldlog, &[deposited(bad, 7), opened(Uuid::now_v7())]).await;
    let pass = worker(&db, "ledger", 100);
    wait_until_blocked(&mut watch, WRITE).await;
    row.release().await;

    assert_eq!(retries.await.unwrap().unwrap().unparked, 1);
    pass.await.unwrap().unwrap();
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// The opposite order: fails when a retry begins while a pass relies on the parked row, or reads the chain before it has
/// locked the row: the chain then lacks the events that the pass skips in the meantime.
#[tokio::test]
async fn a_retry_waits_for_passes_that_share_lock_the_parked_row() {
    let db = TestDb::new().await;
    let bad = parked(&db, &[1, 13], 0).await;
    make_foldable(bad);
    let mut watch = db.connect().await;
    let other = opened(Uuid::now_v7());
    append(&db.foldlog, &[deposited(bad, 7), other.clone()]).await;

    // A pass that has skipped the parked aggregate's event and is blocked where it claims the other account's.
    let claim = hold_claim(&db, "ledger", &other).await;
    let pass = worker(&db, "ledger", 100);
    wait_until_blocked(&mut watch, WRITE).await;
    let retries = retry_beside(&db);
    wait_until_blocked(&mut watch, LOCK_PARKED).await;
    // A second pass, which skips a second event.
    append(&db.foldlog, &[deposited(bad, 8), opened(Uuid::now_v7())]).await;
    let later = worker(&db, "ledger", 100);
    wait_until_true(
        &db,
        "select count(*) = 2 from pg_stat_activity where wait_event_type = 'Lock' \
         and datname = current_database() and query like '%Writes a folded batch%'",
    )
    .await;
    claim.release().await;

    assert_eq!(pass.await.unwrap().unwrap().applied, 1);
    assert_eq!(later.await.unwrap().unwrap().applied, 1);
    assert_eq!(retries.await.unwrap().unwrap().applied, 3);
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a retry unparks the aggregate after the first chunk of a long chain: passes have already settled the rest.
#[tokio::test]
async fn a_retry_folds_the_whole_chain_before_it_unparks() {
    let db = TestDb::new().await;
    let bad = parked(&db, &[13], 0).await;
    for _ in 0..3 {
        append(
            &db.foldlog,
            &[(); 900]
                .iter()
                .map(|()| deposited(bad, 1))
                .collect::<Vec<_>>(),
        )
        .await;
    }
    assert!(db.catch_up("ledger").await.done);
    make_foldable(bad);
    let retried = retry(&db, "ledger").await;
    assert_eq!((retried.unparked, retried.applied), (1, 2701));
    assert_eq!(db.catch_up("ledger").await.applied, 0);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an exception in a trigger of the view's table stops the projection instead of parking the aggregate.
#[tokio::test]
async fn a_row_rejected_by_a_view_trigger_parks_its_aggregate() {
    let db = TestDb::new().await;
    db.run(
        "create function no_seven() returns trigger language plpgsql as $$
         begin
             if new.balance_cents = 7 then raise exception 'not seven'; end if;
             return new;
         end $$;
         create trigger no_seven before insert or update on accounts for each row execute function no_seven()",
    )
    .await;
    let (refused, other) = (Uuid::now_v7(), Uuid::now_v7());
    for event in [
        opened(refused),
        opened(other),
        deposited(refused, 7),
        deposited(other, 1),
    ] {
        append(&db.foldlog, &[event]).await;
    }
    let caught_up = db.catch_up("accounts").await;
    assert_eq!(
        (caught_up.applied, caught_up.parked.unwrap(), caught_up.done),
        (2, 1, true)
    );
}

/// Fails when an event whose columns foldlog cannot decode stops the projection, is skipped, or fails the retries of other
/// aggregates. Postgres stores times and numbers that have no counterpart in Rust.
#[tokio::test]
async fn an_event_with_an_infinite_created_at_parks_only_its_aggregate() {
    let db = TestDb::new().await;
    let mut foreign = db.connect().await;
    // An earlier build had no such check.
    run(
        &mut foreign,
        "alter table events drop constraint events_created_at_check",
    )
    .await;
    let mut undecodable = Vec::new();
    for created_at in ["infinity", "-infinity", "20000-01-01T00:00:00Z"] {
        let bad = Uuid::now_v7();
        insert(&mut foreign, &opened(bad), 1, None).await;
        sqlx::query(
            "insert into events (id, aggregate_id, version, type_id, payload, created_at) \
             values ($1, $2, 2, $3, $4, $5::text::timestamptz)",
        )
        .bind(Uuid::now_v7())
        .bind(bad)
        .bind(deposited(bad, 5).type_id.0)
        .bind(&deposited(bad, 5).payload)
        .bind(created_at)
        .execute(&mut foreign)
        .await
        .unwrap();
        insert(&mut foreign, &deposited(bad, 5), 3, None).await;
        undecodable.push(bad);
    }
    let large = Uuid::now_v7();
    append(&db.foldlog, &[opened(large)]).await;
    let metadata = "insert into events (id, aggregate_id, version, type_id, payload, metadata) \
                    select gen_random_uuid(), aggregate_id, 2, 2001, '{\"cents\": 5}', '{\"score\": 1e400}' \
                    from events where aggregate_id = $1";
    sqlx::query(metadata)
        .bind(large)
        .execute(&mut foreign)
        .await
        .unwrap();

    let caught_up = db.catch_up("ledger").await;
    assert_eq!(
        (caught_up.applied, caught_up.parked.unwrap(), caught_up.done),
        (5, 3, true)
    );
    assert_eq!(
        version_in_view(&db, "ledger", large).await,
        Some(Version(2))
    );
    for bad in &undecodable {
        assert_eq!(version_in_view(&db, "ledger", *bad).await, Some(Version(1)));
    }
    assert_eq!(
        text(&db, "select string_agg(distinct error, ', ') from parked").await,
        "the value in the column created_at cannot be decoded"
    );

    let retried = retry(&db, "ledger").await;
    assert_eq!(
        (retried.unparked, retried.failed, retried.applied),
        (0, 3, 0)
    );
    assert_eq!(db.count("select count(*) from locker").await, 5);
}

/// Fails when a deferred constraint, which Postgres checks at the commit, aborts the batch again and again instead of parking the
/// aggregate that violates it.
#[tokio::test]
async fn a_deferred_constraint_parks_the_aggregate_that_violates_it() {
    for (batch, others) in [(100, 2), (3, 20), (100, 300)] {
        let db = TestDb::new().await;
        db.run(
            "create table owners (name text primary key); insert into owners values ('ada'); \
             alter table accounts add column owner_name text generated always as \
                 (case when balance_cents = 7 then 'eve' else 'ada' end) stored; \
             alter table accounts add constraint accounts_owner_name_fkey foreign key (owner_name) \
                 references owners deferrable initially deferred",
        )
        .await;
        let bad = Uuid::now_v7();
        append(&db.foldlog, &[opened(bad), deposited(bad, 7)]).await;
        for _ in 0..others {
            append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
        }
        let caught_up = worker(&db, "accounts", batch).await.unwrap().unwrap();
        assert_eq!((caught_up.parked.unwrap(), caught_up.done), (1, true));
        assert!(caught_up.applied >= others, "{caught_up:?}");
        db.run("insert into owners values ('eve')").await;
        assert_eq!(retry(&db, "accounts").await.unparked, 1);
        db.run("alter table accounts drop column owner_name").await;
        assert_all_applied(&db, "accounts").await;
    }
}

/// Fails when a retry loses what it has folded at its deadline, or folds a long chain in one transaction, which passes would wait
/// for.
#[tokio::test]
async fn a_retry_of_a_long_chain_keeps_its_progress() {
    let db = TestDb::new().await;
    let bad = parked(&db, &[13], 0).await;
    for _ in 0..3 {
        let deposits: Vec<_> = (0..900).map(|_| deposited(bad, 1)).collect();
        append(&db.foldlog, &deposits).await;
    }
    db.catch_up("ledger").await;
    make_foldable(bad);
    let view = db.foldlog.view("ledger").unwrap();
    let mut applied = Vec::new();
    loop {
        // The time is up after the first chunk.
        let budget = Budget {
            until: Some(Instant::now() + Duration::from_millis(1)),
            ..Budget::default()
        };
        let retried = projection::retry(db.pool(), view, &budget).await.unwrap();
        applied.push(retried.applied);
        if retried.unparked > 0 {
            break;
        }
    }
    assert!(applied.len() > 2, "{applied:?}");
    assert_eq!(applied.iter().sum::<u64>(), 2701);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when each aggregate is retried alone only: two rows that exchange a unique value then stay parked for ever.
#[tokio::test]
async fn rows_that_exchange_a_unique_value_are_retried_together() {
    let db = TestDb::new().await;
    db.run("create unique index accounts_balance_cents_key on accounts (balance_cents)")
        .await;
    let accounts: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for (account, cents) in accounts.iter().zip([100, 200, 300]) {
        append(&db.foldlog, &[opened(*account), deposited(*account, cents)]).await;
    }
    assert!(worker(&db, "accounts", 100).await.unwrap().unwrap().done);
    // A ring: 100 → 200 → 300 → 100, one event per batch.
    append(
        &db.foldlog,
        &[
            deposited(accounts[0], 100),
            deposited(accounts[1], 100),
            deposited(accounts[2], -200),
        ],
    )
    .await;
    let caught_up = worker(&db, "accounts", 1).await.unwrap().unwrap();
    assert!(caught_up.parked.unwrap() >= 2, "{caught_up:?}");
    retry(&db, "accounts").await;
    assert_eq!(db.count("select count(*) from parked").await, 0);
    assert_all_applied(&db, "accounts").await;
}
