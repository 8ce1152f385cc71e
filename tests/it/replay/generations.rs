//! Fills, swaps and removals of generations: replays of the model's mutations of reprojections.

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::projection::reproject::{
    ReprojectOptions, Reprojection, ReprojectionState, reproject,
};
use foldlog::projection::{self, Budget, ProjectionError};
use foldlog::view::Inline;
use sqlx::AssertSqlSafe;
use tokio::task::JoinHandle;

use crate::reprojection::removal::{cancel_to_the_end, count_left, fill};
use crate::reprojection::{reproject_to_the_end, some_accounts};
use crate::support::TestDb;
use crate::support::accounts::make_foldable;
use crate::support::db::{DOMAINS, run};
use crate::support::events::{append, deposited};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::round_trips::RoundTrips;
use crate::support::workers::{LOCK_PARKED, account, assert_all_applied};

/// Starts a reprojection of the ledger.
fn start(foldlog: &Foldlog) -> JoinHandle<Result<Reprojection, ProjectionError>> {
    let foldlog = foldlog.clone();
    tokio::spawn(async move {
        let view = foldlog.view("ledger").unwrap();
        let options = ReprojectOptions::default();
        reproject(&foldlog.pool, view, 100, options, &Budget::default()).await
    })
}

/// Begins a reprojection of the ledger, and kills it when it has cut the aggregates into slices.
async fn plan(db: &TestDb) {
    let round_trips = RoundTrips::start(&db.options).await;
    let (view, budget) = (db.foldlog.view("ledger").unwrap(), Budget::default());
    let mut requests = 0;
    while db.count("select count(*) from slices").await == 0 {
        requests += 1;
        let pool = Pool::new(round_trips.options(), 4);
        let run = reproject(&pool, view, 100, ReprojectOptions::default(), &budget);
        drop(round_trips.kill_after(requests, run).await);
    }
    let finished = "select count(*) from slices where is_finished";
    assert_eq!(db.count(finished).await, 0);
}

/// Runs the statement that creates the lane of a filled generation; returns whether it did.
async fn settle(db: &TestDb) -> bool {
    let text = include_str!("../../../src/projection/reproject/sql/settle_generation.sql");
    sqlx::query_scalar(AssertSqlSafe(text.replace("foldlog.", "")))
        .bind("ledger#2")
        .fetch_one(&mut db.connect().await)
        .await
        .unwrap()
}

/// Asserts that the first generation of the ledger is the live one, and that the second has no lane.
async fn assert_not_replaced(db: &TestDb) {
    let live = "select count(*) from views where name = 'ledger' and state = 'live' and serves";
    assert_eq!(db.count(live).await, 1);
    let lanes = "select count(*) from settled where lock_domain = 'ledger#2'";
    assert_eq!(db.count(lanes).await, 0, "lanes of the generation");
}

/// A worker that does not end holds the only slice. Fails when another one fills this slice as well, or takes the generation for filled,
/// or when the statement that settles C, or that goes live, relies on what was read before: a dump that is restored meanwhile changes it.
#[tokio::test]
async fn a_generation_is_not_filled_while_a_worker_holds_a_slice() {
    let db = TestDb::new().await;
    some_accounts(&db, 6).await;
    db.catch_up("ledger").await;
    plan(&db).await;
    let slices = "select from slices where lock_domain = 'ledger#2' for update";
    let held = Held::open(&db, slices).await;
    let mut watch = db.connect().await;
    let reached = tokio::select! {
        reached = start(&db.foldlog) => reached.unwrap().unwrap(),
        () = wait_until_blocked(&mut watch, "") => panic!("the reprojection waits for the slice"),
    };
    assert_eq!(reached.state, ReprojectionState::Filling);
    assert_eq!((reached.slices_done, reached.events), (0, 0));
    assert!(!settle(&db).await);
    let go_live = "select go_live('ledger#2')::int::bigint";
    assert_eq!(db.count(go_live).await, 0);
    assert_not_replaced(&db).await;
    held.release().await;
    assert_eq!(
        reproject_to_the_end(&db.foldlog, "ledger").await.generation,
        2
    );
    assert_all_applied(&db, "ledger").await;
}

/// The generation is cancelled after a reprojection has created it, and before the reprojection has planned it. Fails when the slices and
/// C of a generation that is gone are stored, or when the next generation has the same name: then workers of the first would go on with it.
#[tokio::test]
async fn a_generation_that_was_cancelled_is_not_planned() {
    let db = TestDb::new().await;
    some_accounts(&db, 3).await;
    db.catch_up("ledger").await;
    let only = Pool::new(db.options.clone(), 1);
    let other = Foldlog::new(only, DOMAINS, Inline::new()).unwrap();
    let definitions =
        "select pg_advisory_xact_lock(hashtextextended('foldlog view definitions', 0))";
    let gate = Held::open(&db, definitions).await;
    let begun = start(&other);
    wait_until_blocked(&mut db.connect().await, "Finds or creates the generation").await;
    // The reprojection waits for its only connection after it has created the generation: this was first.
    let mut next = Box::pin(other.pool.acquire());
    tokio::select! {
        biased;
        _ = &mut next => panic!("the pool has another connection"),
        () = std::future::ready(()) => {}
    }
    gate.commit().await;
    let connection = next.await.unwrap();
    assert!(count_left(&db).await > 0);
    cancel_to_the_end(db.pool(), db.foldlog.view("ledger").unwrap()).await;
    drop(connection);
    let ended = begun.await.unwrap();
    assert!(
        matches!(ended, Err(ProjectionError::Cancelled(_))),
        "{ended:?}"
    );
    assert_eq!(count_left(&db).await, 0);
    assert_eq!(
        reproject_to_the_end(&db.foldlog, "ledger").await.generation,
        3
    );
}

/// A worker has locked the lane of the live generation for its batch. Fails when another generation goes live meanwhile: the worker
/// could apply an event to the live one that this one does not have.
#[tokio::test]
async fn a_generation_does_not_go_live_during_a_batch_of_the_live_one() {
    let db = TestDb::new().await;
    let accounts = some_accounts(&db, 3).await;
    db.catch_up("ledger").await;
    append(&db.foldlog, &[deposited(accounts[1], 1)]).await;
    let lane = "select from settled where lock_domain = 'ledger' for update";
    let batch = Held::open(&db, lane).await;
    let mut reprojected = start(&db.foldlog);
    let mut watch = db.connect().await;
    tokio::select! {
        ended = &mut reprojected => panic!("it did not wait: {ended:?}"),
        () = wait_until_blocked(&mut watch, "Locks the lanes of the generations") => {}
    }
    batch.release().await;
    reprojected.await.unwrap().unwrap();
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a retry folds events into the live generation while another one goes live that has none of them.
#[tokio::test]
async fn a_retry_waits_for_a_generation_that_goes_live() {
    let db = TestDb::new().await;
    let (poisoned, _) = account(&db, 1).await;
    append(&db.foldlog, &[deposited(poisoned, 13)]).await;
    db.catch_up("ledger").await;
    make_foldable(poisoned);
    let swap = Held::open(
        &db,
        "select pg_advisory_xact_lock(generation_key('ledger'))",
    )
    .await;
    let foldlog = db.foldlog.clone();
    let mut retried = tokio::spawn(async move {
        let view = foldlog.view("ledger").unwrap();
        projection::retry(&foldlog.pool, view, &Budget::default()).await
    });
    let mut watch = db.connect().await;
    tokio::select! {
        ended = &mut retried => panic!("it did not wait: {ended:?}"),
        () = wait_until_blocked(&mut watch, LOCK_PARKED) => {}
    }
    swap.release().await;
    assert_eq!(retried.await.unwrap().unwrap().unparked, 1);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a removal does not mark the generation before it deletes anything, or deletes claims before it has waited for the workers
/// that hold a slice, a lane or a parked row: the claims that they add stay for ever.
#[tokio::test]
async fn a_removal_deletes_claims_after_it_has_waited_for_the_workers() {
    for (table, blocked) in [
        ("slices", "Forgets how far a generation is filled"),
        ("settled", "Forgets what is settled for a generation"),
        (
            "parked",
            "Forgets the parked aggregates of a generation whose",
        ),
    ] {
        let db = TestDb::new().await;
        let (poisoned, _) = account(&db, 1).await;
        append(&db.foldlog, &[deposited(poisoned, 13)]).await;
        db.catch_up("ledger").await;
        fill(&db).await;
        let locked = format!("select from {table} where lock_domain = 'ledger#2' for update");
        let mut worker = Held::open(&db, &locked).await;
        let foldlog = db.foldlog.clone();
        let cancelled = tokio::spawn(async move {
            cancel_to_the_end(&foldlog.pool, foldlog.view("ledger").unwrap()).await;
        });
        wait_until_blocked(&mut db.connect().await, blocked).await;
        let marked = "select count(*) from views where name = 'ledger#2' and state = 'dropped'";
        assert_eq!(db.count(marked).await, 1, "before {table} are deleted");
        run(
            worker.connection(),
            "insert into locker values (gen_random_uuid(), gen_random_uuid(), 'ledger#2')",
        )
        .await;
        worker.commit().await;
        cancelled.await.unwrap();
        assert_eq!(count_left(&db).await, 0, "{table}");
    }
}

/// Fails when a generation that is cancelled is settled or goes live because its state was compared earlier, or when one that has gone
/// live meanwhile is removed.
#[tokio::test]
async fn each_transaction_compares_the_state_of_its_generation() {
    let db = TestDb::new().await;
    some_accounts(&db, 3).await;
    db.catch_up("ledger").await;
    plan(&db).await;
    db.run("update slices set is_finished = true").await;
    let result = async |call: &str| db.count(&format!("select {call}::int::bigint")).await == 1;
    assert!(result("abandon_generation('ledger#2')").await);
    assert!(!settle(&db).await);
    db.run("update views set filled_at = now() where name = 'ledger#2'")
        .await;
    assert!(!result("go_live('ledger#2')").await);
    assert!(!result("abandon_generation('ledger')").await);
    assert_not_replaced(&db).await;
}

/// A worker knew a generation as live. Then a dump is restored in which this one is still being filled, or is being removed. Fails when the
/// worker creates a lane for it: what the lane settles is not filled, and a removal has deleted the lanes already.
#[tokio::test]
async fn a_worker_creates_no_lane_for_a_generation_that_is_being_filled_or_removed() {
    for state in ["filling", "dropped"] {
        let db = TestDb::new().await;
        let accounts = some_accounts(&db, 3).await;
        db.catch_up("ledger").await;
        reproject_to_the_end(&db.foldlog, "ledger").await;
        db.run(&format!(
            "update views set state = '{state}', serves = false, filled_at = null where name = 'ledger#2'; \
             update views set state = 'live', serves = true, retired_at = null where name = 'ledger'; \
             delete from settled where lock_domain = 'ledger#2'"
        ))
        .await;
        db.run(
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'a lane of %', new.lock_domain; end $$; \
             create trigger refuse before insert on settled for each row when (new.lock_domain = 'ledger#2') execute function refuse()",
        )
        .await;
        append(&db.foldlog, &[deposited(accounts[1], 1)]).await;
        assert!(db.catch_up("ledger").await.done);
        assert_not_replaced(&db).await;
        assert_all_applied(&db, "ledger").await;
    }
}
