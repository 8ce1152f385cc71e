//! Races with an exact outcome: held locks stop an append where it hurts.

use foldlog::command;
use foldlog::domains::users::UserEvent;
use foldlog::event::{ExpectedVersion, UntypedEvent};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::events::{append, deposited, event, opened};
use crate::support::locks::{Held, hold_gate, wait_until_blocked, wait_until_true};
use crate::support::{TestDb, created, renamed};

/// Makes every event that says `wait` in its metadata stop right before it is inserted, while the test holds lock 1.
const GATE: &str = "create function wait_at_gate() returns trigger language plpgsql as \
    $$ begin if new.metadata ? 'wait' then perform pg_advisory_xact_lock_shared(1); end if; return new; end $$; \
    create trigger gate before insert on events for each row execute function wait_at_gate()";

fn waiting(mut event: UntypedEvent) -> UntypedEvent {
    event.metadata.insert("wait", true).unwrap();
    event
}

/// Waits until so many statements wait for a lock in this database.
async fn until_so_many_wait(db: &TestDb, count: i32) {
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    wait_until_true(db, &format!("select ({waiting}) = {count}")).await;
}

// Fails when a deadlock is an error to the client. Each array has stored its first event when the gate opens, and then
// waits for the other's: Postgres aborts one of them.
#[tokio::test]
async fn arrays_in_opposite_order_deadlock_and_are_tried_again() {
    let db = TestDb::new().await;
    db.run(GATE).await;
    let (p, q) = (Uuid::now_v7(), Uuid::now_v7());
    append(&db.foldlog, &[opened(p), opened(q)]).await;
    let gate = hold_gate(&db).await;
    let mut appends = JoinSet::new();
    for (waiters, (first, second)) in [(1, (p, q)), (2, (q, p))] {
        let events = [deposited(first, 1), waiting(deposited(second, 1))];
        let foldlog = db.foldlog.clone();
        appends.spawn(async move { append(&foldlog, &events).await });
        until_so_many_wait(&db, waiters).await;
    }
    gate.release().await;
    let answers = appends.join_all().await;
    assert!(answers.iter().all(|answer| !answer.duplicate));
    let deadlocks = "select count(*) from events where version between 2 and 3";
    assert_eq!(db.count(deadlocks).await, 4);
}

/// Fails when appends to one aggregate read it while they wait for their turn: each of them would lose a race against every other one, and
/// more than a hundred of them would be refused.
#[tokio::test]
async fn more_appends_to_one_aggregate_than_attempts_are_all_stored() {
    const COUNT: usize = 150;
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    let mut appends = JoinSet::new();
    for n in 0..COUNT {
        let (foldlog, event) = (db.foldlog.clone(), renamed(user, &format!("{n}")));
        appends.spawn(async move {
            command::execute(&foldlog, &[event], ExpectedVersion::Any, None).await
        });
    }
    let answers = appends.join_all().await;
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(stored, COUNT, "{:?}", answers.iter().find(|a| a.is_err()));
}

// Fails when the retries run out, or when arrays that touch the same aggregates interleave their versions.
#[tokio::test]
async fn many_arrays_over_the_same_aggregates_all_come_through() {
    let db = TestDb::new().await;
    let (p, q) = (Uuid::now_v7(), Uuid::now_v7());
    append(&db.foldlog, &[opened(p), opened(q)]).await;
    let mut appends = JoinSet::new();
    for writer in 0..16 {
        let (first, second) = if writer % 2 == 0 { (p, q) } else { (q, p) };
        let events = [
            deposited(first, 1),
            deposited(second, 1),
            deposited(first, 1),
        ];
        let foldlog = db.foldlog.clone();
        appends.spawn(async move { append(&foldlog, &events).await });
    }
    for answer in appends.join_all().await {
        assert_eq!(answer.events[2].version.0, answer.events[0].version.0 + 1);
    }
    for aggregate in [p, q] {
        let whole = format!(
            "select count(*) from events where aggregate_id = '{aggregate}' having max(version) = count(*)"
        );
        assert_eq!(db.count(&whole).await, 25);
    }
}

// Fails when a lost race is tried again without asking the rules again: the rename was judged before the deletion that
// it lost against was committed.
#[tokio::test]
async fn a_lost_race_is_judged_anew() {
    let db = TestDb::new().await;
    db.run(GATE).await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    let gate = hold_gate(&db).await;
    let (foldlog, rename) = (db.foldlog.clone(), waiting(renamed(user, "b")));
    let late = tokio::spawn(async move {
        command::execute(&foldlog, &[rename], ExpectedVersion::Any, None).await
    });
    wait_until_blocked(&mut db.connect().await, "insert into \"public\".events").await;
    append(&db.foldlog, &[event(user, UserEvent::Deleted { id: None })]).await;
    gate.release().await;
    let refused = late.await.unwrap().unwrap_err();
    assert!(
        matches!(
            &refused,
            command::AppendError::Rejected {
                error: foldlog::domain::RejectedError::Deleted,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(db.count("select count(*) from events").await, 2);
}

// Fails when a resend that overtakes its first send is a conflict: the key makes it wait, then it is looked up.
#[tokio::test]
async fn a_resend_that_meets_its_first_send_waits_and_is_answered_alike() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    let rename = renamed(user, "b");
    let insert = format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         values ('{}', '{user}', 2, 1002, '{{\"username\": \"b\"}}')",
        rename.id
    );
    let first = Held::open(&db, &insert).await;
    let foldlog = db.foldlog.clone();
    let second = tokio::spawn(async move { append(&foldlog, &[rename]).await });
    wait_until_blocked(&mut db.connect().await, "insert into \"public\".events").await;
    first.commit().await;
    let answer = second.await.unwrap();
    assert!(answer.duplicate);
    assert_eq!(answer.events[0].version.0, 2);
}
