//! Workers that are killed at every step. Each worker is a child process (the `listener` binary). A lock blocks it at one
//! statement, and the test kills it there with SIGKILL.

use std::process::Stdio;

use foldlog::domains::users::UserEvent;
use sqlx::ConnectOptions;
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::support::events::{append, event};
use crate::support::locks::{Held, gate_commits, wait_until_blocked, wait_until_true};
use crate::support::workers::{LOCK_PARKED, READ, WRITE, assert_all_applied};
use crate::support::{TestDb, created, renamed};

/// Starts a listener in a separate process, which is killed when the handle is dropped.
fn listener(db: &TestDb, batch: u32) -> Child {
    Command::new(env!("CARGO_BIN_EXE_listener"))
        .env("DATABASE_URL", db.options.to_url_lossy().as_str())
        .env("BATCH_SIZE", batch.to_string())
        .env("RUST_LOG", "off")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A database whose sessions end as soon as their client is gone, even while a statement waits for a lock.
async fn database() -> TestDb {
    let db = TestDb::new().await;
    let name = db.options.get_database().unwrap();
    db.run(&format!(
        "alter database {name} set client_connection_check_interval = '50ms'"
    ))
    .await;
    db
}

/// Kills the process and waits until the server has ended its sessions and so rolled back its transaction.
async fn kill(db: &TestDb, mut child: Child) {
    child.kill().await.unwrap();
    wait_until_true(
        db,
        "select not exists (select from pg_stat_activity where datname = current_database() \
         and application_name like 'foldlog%')",
    )
    .await;
}

/// Appends users that are created, renamed and deleted, and one whose second event the view rejects until
/// [`remove_constraint`].
async fn backlog(db: &TestDb, users: usize) {
    db.run("alter table users add constraint users_worse_check check (username <> 'worse')")
        .await;
    let bad = Uuid::now_v7();
    append(&db.foldlog, &[created(bad, "bad"), renamed(bad, "worse")]).await;
    for index in 0..users {
        let user = Uuid::now_v7();
        append(&db.foldlog, &[created(user, "ada"), renamed(user, "bob")]).await;
        if index % 3 == 0 {
            let deleted = event(user, UserEvent::Deleted { id: Some(user) });
            append(&db.foldlog, &[deleted]).await;
        }
    }
    // From here on every session named `foldlog` belongs to a child process.
    db.pool().close();
}

/// Removes the cause of the failure and makes the retry due.
async fn remove_constraint(db: &TestDb) {
    db.run(
        "alter table users drop constraint users_worse_check; update parked set next_try = now()",
    )
    .await;
}

/// Counts the events that wait for a worker.
const WAITING: &str = "select count(*) from events e where not exists (select from locker l \
     where l.event_id = e.id and l.aggregate_id = e.aggregate_id and l.lock_domain = 'users') \
     and not exists (select from parked p where p.aggregate_id = e.aggregate_id and p.lock_domain = 'users')";

/// Waits until no event waits for a worker and this many aggregates are parked.
async fn until_done(db: &TestDb, parked: u32) {
    let parked = format!("(select count(*) from parked) = {parked}");
    wait_until_true(db, &format!("select ({WAITING}) = 0 and {parked}")).await;
}

/// Kills a worker where `lock` blocks it in `statement`. Another worker must then finish all work.
async fn killed_at(db: &TestDb, (lock, statement): (&str, &str), parked: u32) {
    let held = Held::open(db, lock).await;
    let victim = listener(db, 8);
    wait_until_blocked(&mut db.connect().await, statement).await;
    kill(db, victim).await;
    held.release().await;

    let rescuer = listener(db, 8);
    until_done(db, parked).await;
    kill(db, rescuer).await;
    db.assert_views_equal_a_fold_from_scratch().await;
}

/// Fails when a claim and its view row do not commit together: after a kill in between, the event is lost or folded twice.
#[tokio::test]
async fn a_worker_killed_by_sigkill_at_any_step_loses_no_event() {
    let steps = [
        // The check of the log's offset when a connection is opened.
        (
            "lock table settled in access exclusive mode",
            "Whether the log was restored from",
        ),
        ("lock table locker in share mode", WRITE),
        // In the middle of the rows of the claim.
        (
            "insert into locker (event_id, aggregate_id, lock_domain) \
             select id, aggregate_id, 'users' from events order by txid, position offset 3 limit 1",
            WRITE,
        ),
        ("lock table users in access exclusive mode", READ),
        ("lock table users in share mode", WRITE),
        ("lock table parked in share mode", WRITE),
        (
            "select pg_advisory_xact_lock(1)",
            "set constraints all immediate",
        ),
        ("lock table settled in share mode", "Creates the lane"),
    ];
    for step in steps {
        let db = database().await;
        backlog(&db, 6).await;
        gate_commits(&db, "users").await;
        killed_at(&db, step, 1).await;
    }
}

/// Fails when a retry claims and unparks in separate transactions.
#[tokio::test]
async fn a_retry_killed_by_sigkill_at_any_step_loses_no_event() {
    let steps = [
        ("select from parked for update", LOCK_PARKED),
        ("lock table locker in share mode", "Claims given events"),
        (
            "lock table users in share mode",
            "insert into \"public\".\"users\"",
        ),
        (
            "lock table parked in share mode",
            "The aggregate has caught up",
        ),
        (
            "select pg_advisory_xact_lock(1)",
            "set constraints all immediate",
        ),
    ];
    for step in steps {
        let db = database().await;
        backlog(&db, 1).await;
        gate_commits(&db, "users").await;
        let first = listener(&db, 8);
        until_done(&db, 1).await;
        kill(&db, first).await;
        remove_constraint(&db).await;
        killed_at(&db, step, 0).await;
        assert_all_applied(&db, "users").await;
    }
}

/// Fails when a killed worker leaves a claim or a row behind, at whatever statement SIGKILL ends it.
#[tokio::test]
async fn four_workers_killed_repeatedly_claim_each_event_once() {
    let db = database().await;
    backlog(&db, 400).await;
    let mut workers: Vec<Child> = (0..4).map(|_| listener(&db, 11)).collect();
    let mut victim = 0;
    loop {
        let before = db.count(WAITING).await;
        if before == 0 {
            break;
        }
        wait_until_true(
            &db,
            &format!("select ({WAITING}) <= greatest({before} - 60, 0)"),
        )
        .await;
        workers[victim].kill().await.unwrap();
        workers[victim] = listener(&db, 11);
        victim = (victim + 1) % workers.len();
    }
    until_done(&db, 1).await;
    remove_constraint(&db).await;
    workers.push(listener(&db, 11));
    until_done(&db, 0).await;
    for worker in workers {
        drop(worker);
    }
    assert_all_applied(&db, "users").await;
}
