//! Catch-up: several workers, claims that other transactions hold, and the cost of a pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::db::Session;
use foldlog::event::UntypedEvent;
use foldlog::projection::{self, Budget, ProjectionError};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::db::run;
use crate::support::events::{append, deposited, opened};
use crate::support::locks::{
    Held, also_claim, gate_commits, hold_claim, hold_gate, wait_until_blocked, wait_until_true,
};
use crate::support::workers::{WRITE, account, assert_all_applied, worker};

/// Appends interleaved events of many accounts, 100 per append.
async fn backlog(db: &TestDb, accounts: usize, deposits: usize) {
    let accounts: Vec<Uuid> = (0..accounts).map(|_| Uuid::now_v7()).collect();
    let mut events: Vec<UntypedEvent> = accounts.iter().map(|a| opened(*a)).collect();
    for _ in 0..deposits {
        events.extend(accounts.iter().map(|a| deposited(*a, 1)));
    }
    for chunk in events.chunks(100) {
        append(&db.foldlog, chunk).await;
    }
}

/// Fails when the claim's unique key does not prevent a second fold of an event, or when a worker skips an event after it
/// has waited for that event's claim.
#[tokio::test]
async fn four_workers_claim_each_event_once() {
    let db = TestDb::new().await;
    backlog(&db, 60, 19).await;
    let start = Arc::new(Barrier::new(4));
    let mut workers = JoinSet::new();
    for batch in [7, 20, 33, 50] {
        let (foldlog, start) = (db.foldlog.clone(), start.clone());
        workers.spawn(async move {
            start.wait().await;
            let view = foldlog.view("ledger").unwrap();
            projection::catch_up(&foldlog.pool, view, batch, &Budget::default()).await
        });
    }
    let results = workers.join_all().await;
    let applied: u64 = results.iter().map(|r| r.as_ref().unwrap().applied).sum();
    assert_eq!(applied, 1200, "{results:?}");
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a worker skips a claim that another transaction holds: that transaction may still abort.
#[tokio::test]
async fn a_worker_waits_for_a_claim_held_by_another_transaction() {
    let db = TestDb::new().await;
    account(&db, 4).await;
    gate_commits(&db, "ledger").await;
    let gate = hold_gate(&db).await;
    let mut watch = db.connect().await;
    let dies = worker(&db, "ledger", 2);
    wait_until_blocked(&mut watch, "commit").await;
    let waits = worker(&db, "ledger", 2);
    wait_until_blocked(&mut watch, WRITE).await;

    run(
        &mut watch,
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and wait_event = 'advisory'",
    )
    .await;
    assert!(matches!(dies.await.unwrap(), Err(ProjectionError::Db(_))));
    gate.release().await;
    let caught_up = waits.await.unwrap().unwrap();
    assert_eq!((caught_up.applied, caught_up.done), (5, true));
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the wait for a claim has no limit (the worker never returns), or when the catch-up reports `done` although
/// it did not get the claim.
#[tokio::test]
async fn a_lock_timeout_on_a_claim_loses_no_event() {
    let db = TestDb::new().await;
    let (_, events) = account(&db, 2).await;
    let claim = hold_claim(&db, "ledger", &events[1]).await;
    let foldlog = db.foldlog.clone();
    // The budget expires during the first wait, so that the worker waits only once.
    let budget = Budget {
        until: Some(Instant::now() + Duration::from_secs(3)),
        ..Budget::default()
    };
    let waits = tokio::spawn(async move {
        let view = foldlog.view("ledger").unwrap();
        projection::catch_up(&foldlog.pool, view, 100, &budget).await
    });
    wait_until_blocked(&mut db.connect().await, WRITE).await;
    // Far above `lock_timeout`, and far below `statement_timeout`.
    let caught_up = timeout(Duration::from_secs(40), waits).await.unwrap();
    let caught_up = caught_up.unwrap().unwrap();
    assert_eq!((caught_up.applied, caught_up.done), (1, false));
    claim.release().await;
    assert_eq!(db.catch_up("ledger").await.applied, 2);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a batch that a deadlock aborted is not read again, or is counted.
#[tokio::test]
async fn a_batch_is_read_again_after_a_deadlock_aborts_it() {
    for at_the_write in [true, false] {
        let db = TestDb::new().await;
        let folded = Uuid::now_v7();
        append(&db.foldlog, &[opened(folded)]).await;
        db.catch_up("ledger").await;
        let new = || opened(Uuid::now_v7());
        let events = [new(), new(), new(), deposited(folded, 1), new()];
        for event in &events {
            append(&db.foldlog, std::slice::from_ref(event)).await;
        }
        // A deadlock: the second batch waits for the test, then the test waits for the batch. Only the worker's session
        // checks for deadlocks, so Postgres aborts the worker's transaction.
        let mut other = if at_the_write {
            let row = format!("select from ledger where id = '{folded}' for update");
            Held::open(&db, &row).await
        } else {
            hold_claim(&db, "ledger", &events[3]).await
        };
        run(other.connection(), "set local deadlock_timeout = '1min'").await;
        let worker = worker(&db, "ledger", 2);
        wait_until_blocked(&mut db.connect().await, WRITE).await;
        also_claim(&mut other, "ledger", &events[2]).await;
        other.release().await;

        let caught_up = worker.await.unwrap().unwrap();
        assert_eq!((caught_up.applied, caught_up.done), (5, true));
        assert_all_applied(&db, "ledger").await;
    }
}

/// Fails when a catch-up that ran out of time reports `done`.
#[tokio::test]
async fn an_expired_budget_reports_done_false_and_the_remaining_events() {
    let db = TestDb::new().await;
    account(&db, 4).await;
    let budget = Budget {
        until: Some(Instant::now()),
        ..Budget::default()
    };
    let view = db.foldlog.view("ledger").unwrap();
    let caught_up = projection::catch_up(db.pool(), view, 100, &budget)
        .await
        .unwrap();
    assert_eq!(
        (
            caught_up.applied,
            caught_up.remaining.unwrap(),
            caught_up.done
        ),
        (0, 5, false)
    );
}

/// Fails when an open transaction delays the events of other transactions, as a mark at the oldest running transaction
/// would.
#[tokio::test]
async fn a_long_open_transaction_does_not_delay_catch_up() {
    let db = TestDb::new().await;
    let open = Held::open(&db, "select pg_current_xact_id()").await;
    for round in 0..3 {
        backlog(&db, 50, 1).await;
        let caught_up = db.catch_up("ledger").await;
        assert_eq!((caught_up.applied, caught_up.done), (100, true));
        let again = db.catch_up("ledger").await;
        assert_eq!((again.applied, again.done), (0, true), "round {round}");
    }
    wait_until_true(&db, "select pg_snapshot_xmin(pg_current_snapshot()) < pg_snapshot_xmax((select snapshot from settled where lock_domain = 'ledger'))").await;
    open.release().await;
    assert_all_applied(&db, "ledger").await;
}

/// What the statement that reads the 100 newest events costs.
#[derive(Debug)]
struct Cost {
    rows: i64,
    buffers: i64,
}

/// Measures the read of 100 new events in a log with `claimed` older events, all claimed while one transaction was open.
async fn cost_behind(claimed: usize) -> Cost {
    let db = TestDb::new().await;
    let mut open = Held::open(&db, "select pg_current_xact_id()").await;
    let oldest: String = sqlx::query_scalar("select log_txid()::text")
        .fetch_one(open.connection())
        .await
        .unwrap();
    let mut connection = Session::from(db.connect().await);
    // Many transactions, because each append is one.
    for _ in 0..claimed / 100 {
        run(
            &mut connection,
            "insert into events (id, aggregate_id, version, type_id, payload) \
             select gen_random_uuid(), gen_random_uuid(), 1, 2000, '{\"owner\": \"ada\"}' from generate_series(1, 100)",
        )
        .await;
    }
    run(
        &mut connection,
        "insert into locker select id, aggregate_id, 'ledger' from events",
    )
    .await;
    run(&mut connection, "vacuum analyze").await;
    let end: String = sqlx::query_scalar("select (max(txid::text::bigint) + 1)::text from events")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    backlog(&db, 100, 0).await;
    // What a pass has settled, without the running transactions of other tests' databases, which would add index probes.
    let settled = format!("{oldest}:{end}:{oldest}");
    run(
        &mut connection,
        &format!("insert into settled (lock_domain, snapshot) values ('ledger', '{settled}')"),
    )
    .await;
    let explain = concat!(
        "explain (analyze, buffers, format json) ",
        include_str!("../../src/projection/sql/read.sql")
    )
    .replace("{table}", "ledger")
    .replace("{serves}", "true");
    run(&mut connection, "begin; set local jit = off").await;
    let plan: Value = sqlx::query(AssertSqlSafe(explain))
        .bind("ledger")
        .bind(None::<i16>)
        .bind(None::<String>)
        .bind(2000_i16)
        .bind(3000_i16)
        .bind(2000_i64)
        .bind(false)
        .bind(false)
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get(0);
    run(&mut connection, "rollback").await;
    open.release().await;
    let plan = &plan[0]["Plan"];
    let number = |name: &str| plan[name].as_i64().unwrap();
    Cost {
        rows: rows(plan),
        buffers: number("Shared Hit Blocks") + number("Shared Read Blocks"),
    }
}

/// The number of rows that all nodes of a plan returned or filtered out.
fn rows(plan: &Value) -> i64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let own = number("Actual Loops")
        * (number("Actual Rows")
            + number("Rows Removed by Filter")
            + number("Rows Removed by Index Recheck")
            + number("Rows Removed by Join Filter"));
    let below = plan["Plans"].as_array().into_iter().flatten().map(rows);
    #[expect(clippy::cast_possible_truncation, reason = "a few thousand rows")]
    let own = own as i64;
    own + below.sum::<i64>()
}

/// Fails when a pass reads events that are claimed already, because it searches `locker` for unclaimed events or because
/// its mark is the oldest running transaction.
#[tokio::test]
async fn a_pass_reads_only_events_above_the_settled_snapshot() {
    let small = Box::pin(cost_behind(1_000)).await;
    let large = Box::pin(cost_behind(50_000)).await;
    assert_eq!(small.rows, large.rows, "{small:?} {large:?}");
    // The index on the larger table is one level deeper, which each of the 100 claims descends.
    assert!(large.buffers < small.buffers * 2, "{small:?} {large:?}");
}
