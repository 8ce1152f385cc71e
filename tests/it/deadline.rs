//! Catching up against a deadline: as much as fits, none of it lost, none of it walked twice.

use std::time::{Duration, Instant};

use foldlog::projection::{self, Budget, CatchUp};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::events::{append, created, renamed};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::workers::{WRITE, append_in, assert_all_applied};

fn within(time: Duration) -> Budget {
    Budget {
        until: Some(Instant::now() + time),
        ..Budget::default()
    }
}

async fn users(db: &TestDb, count: usize) {
    let events: Vec<_> = (0..count)
        .map(|number| created(Uuid::now_v7(), &format!("user{number}")))
        .collect();
    for chunk in events.chunks(50) {
        append(&db.foldlog, chunk).await;
    }
}

async fn catch_up(db: &TestDb, budget: &Budget) -> CatchUp {
    catch_up_by(db, 2000, budget).await
}

async fn catch_up_by(db: &TestDb, batch: u32, budget: &Budget) -> CatchUp {
    let view = db.foldlog.view("users").unwrap();
    projection::catch_up(db.pool(), view, batch, budget)
        .await
        .unwrap()
}

/// Makes each new row of the view take this long to write.
async fn slow_rows(db: &TestDb, seconds: f64) {
    db.run(&format!(
        "create function slow() returns trigger language plpgsql as \
         $$ begin perform pg_sleep({seconds}); return new; end $$; \
         create trigger slow before insert on users for each row execute function slow()"
    ))
    .await;
}

/// How many events are settled.
const SETTLED: &str = "select count(*) from events e join settled s on s.lock_domain = 'users' \
     and uuid_hash(e.aggregate_id) & 255 between s.first and s.last \
     where (pg_visible_in_snapshot(e.txid, s.snapshot) or (e.txid = s.txid and e.position <= s.position))";

/// How many events are settled and yet not applied: as soon as there is one, it is lost.
fn lost() -> String {
    format!(
        "{SETTLED} and not exists ( \
             select from locker l where l.event_id = e.id and l.lock_domain = 'users')"
    )
}

/// Each row of this view takes 10 ms to write, so the backlog takes some 4 s and the batch that is asked for all of it.
/// Fails when a batch has the requested size although less time is left: the first call would then apply all 400 events.
#[tokio::test]
async fn batch_size_is_limited_by_the_remaining_time() {
    let db = TestDb::new().await;
    users(&db, 400).await;
    slow_rows(&db, 0.01).await;
    let first = catch_up(&db, &within(Duration::from_millis(600))).await;
    assert!(!first.done, "{first:?}");
    assert!((1..400).contains(&first.applied), "{first:?}");
    assert_eq!(first.remaining.unwrap(), 400 - first.applied, "{first:?}");
    let second = catch_up(&db, &within(Duration::from_millis(600))).await;
    assert!(second.applied > 0 && !second.done, "{second:?}");
    let rest = catch_up(&db, &Budget::default()).await;
    assert!(rest.done, "{rest:?}");
    assert_eq!(first.applied + second.applied + rest.applied, 400);
    assert_all_applied(&db, "users").await;
}

/// Fails when a pass that is out of time settles nothing (the next one walks all of it again), or settles an event that
/// it has not come to.
#[tokio::test]
async fn a_pass_at_its_deadline_settles_what_it_applied() {
    let db = TestDb::new().await;
    users(&db, 300).await;
    // The pass stops at a claim that another transaction holds, while an earlier transaction is still open.
    let late = created(Uuid::now_v7(), "late");
    let mut open = Held::open(&db, "select log_txid()").await;
    users(&db, 300).await;
    slow_rows(&db, 0.005).await;
    let stopped = catch_up(&db, &within(Duration::from_millis(1500))).await;
    assert!(
        !stopped.done && (100..600).contains(&stopped.applied),
        "{stopped:?}"
    );
    // Whatever is visible in the settled snapshot is applied, and that is nearly all that was.
    assert_eq!(db.count(&lost()).await, 0);
    let settled = db.count(SETTLED).await;
    assert!(
        u64::try_from(settled).unwrap() + 50 >= stopped.applied,
        "{settled} of {stopped:?}"
    );
    // What the open transaction appends comes late, below all that is settled, and is found.
    append_in(open.connection(), &[late]).await;
    open.commit().await;
    db.run("drop trigger slow on users").await;
    let rest = catch_up(&db, &Budget::default()).await;
    assert!(rest.done, "{rest:?}");
    assert_eq!(stopped.applied + rest.applied, 601);
    assert_all_applied(&db, "users").await;
}

/// Version 2 has an older transaction than version 1, so a batch finds it first; then the time is up. Fails when the batch
/// settles version 2 without folding it: no later batch would look at it.
#[tokio::test]
async fn an_inverted_version_at_the_deadline_is_not_lost() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    let mut older = Held::open(&db, "select log_txid()").await;
    users(&db, 1).await;
    append(&db.foldlog, &[created(user, "ada")]).await;
    append_in(older.connection(), &[renamed(user, "bob")]).await;
    older.commit().await;
    slow_rows(&db, 1.0).await;
    let stopped = catch_up_by(&db, 1, &within(Duration::from_millis(500))).await;
    assert!(!stopped.done && stopped.applied == 1, "{stopped:?}");
    assert_eq!(db.count(&lost()).await, 0);
    assert!(catch_up(&db, &Budget::default()).await.done);
    assert_all_applied(&db, "users").await;
}

/// Fails when a wait for a claim in other hands outlasts the deadline (its own bound is 5 s), or when what was waited for
/// is taken for applied.
#[tokio::test]
async fn waiting_for_a_claim_ends_at_the_deadline_and_loses_no_event() {
    let db = TestDb::new().await;
    users(&db, 100).await;
    let held = Held::open(
        &db,
        "insert into locker select id, aggregate_id, 'users' from events order by position offset 90",
    )
    .await;
    let foldlog = db.foldlog.clone();
    let mut worker = tokio::spawn(async move {
        let view = foldlog.view("users").unwrap();
        let budget = Budget {
            abort_at: Some(Instant::now() + Duration::from_secs(1)),
            ..within(Duration::from_millis(800))
        };
        projection::catch_up(&foldlog.pool, view, 20, &budget).await
    });
    wait_until_blocked(&mut db.connect().await, WRITE).await;
    let ended = timeout(Duration::from_secs(4), &mut worker).await;
    let ended = ended.expect("it waits on").unwrap().unwrap();
    assert!(!ended.done && ended.applied <= 90, "{ended:?}");
    held.release().await;
    assert!(catch_up(&db, &Budget::default()).await.done);
    assert_all_applied(&db, "users").await;
}

/// Another transaction holds the second of two parked aggregates. Fails when the wait for it outlasts the deadline, or when the
/// work on the first is rolled back with it.
#[tokio::test]
async fn a_retry_stopped_by_its_deadline_reports_what_it_applied() {
    let db = TestDb::new().await;
    db.run("alter table users add constraint no_eve check (username <> 'eve')")
        .await;
    for _ in 0..2 {
        append(&db.foldlog, &[created(Uuid::now_v7(), "eve")]).await;
    }
    assert_eq!(catch_up(&db, &Budget::default()).await.parked.unwrap(), 2);
    db.run("alter table users drop constraint no_eve").await;
    let last = "select from parked order by next_try desc, aggregate_id desc limit 1 for update";
    let held = Held::open(&db, last).await;
    let budget = Budget {
        abort_at: Some(Instant::now() + Duration::from_secs(1)),
        ..within(Duration::from_millis(800))
    };
    let view = db.foldlog.view("users").unwrap();
    let retry = projection::retry(db.pool(), view, &budget);
    let retried = timeout(Duration::from_secs(4), retry).await;
    let retried = retried.expect("it waits on").unwrap();
    assert_eq!((retried.unparked, retried.applied), (1, 1), "{retried:?}");
    held.release().await;
    let rest = projection::retry(db.pool(), view, &Budget::default()).await;
    assert_eq!(rest.unwrap().unparked, 1);
    assert_all_applied(&db, "users").await;
}
