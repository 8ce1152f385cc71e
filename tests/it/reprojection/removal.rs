//! Cancelling a reprojection, and the removal of generations that no code needs.

use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::event::Version;
use foldlog::projection::reproject::{
    ReprojectOptions, ReprojectionState, cancel, list, reproject,
};
use foldlog::projection::{Budget, ProjectionError};
use foldlog::view::{Inline, View};
use tokio::task::JoinSet;

use super::{reproject_to_the_end, some_accounts};
use crate::support::TestDb;
use crate::support::db::{DOMAINS, run};
use crate::support::events::{append, deposited};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::log::Log;
use crate::support::round_trips::RoundTrips;
use crate::support::workers::{assert_all_applied, version_in_view};

/// Cancels until nothing is left.
pub async fn cancel_to_the_end(pool: &Pool, view: &View) {
    while cancel(pool, view, &Budget::default()).await.unwrap() == Some(false) {}
}

/// What is left of the later generations of the ledger.
pub async fn count_left(db: &TestDb) -> i64 {
    db.count(
        "select count(*) from (select lock_domain from locker union all select lock_domain from parked union all \
         select lock_domain from settled union all select lock_domain from slices union all select name from views union all \
         select relname from pg_class) l where lock_domain like 'ledger#%'",
    )
    .await
}

/// Fills a generation of the ledger that does not go live.
pub async fn fill(db: &TestDb) {
    db.run("update ledger set deposits = deposits + 100").await;
    let options = ReprojectOptions {
        max_changes: Some(0),
    };
    let view = db.foldlog.view("ledger").unwrap();
    let reached = reproject(db.pool(), view, 100, options, &Budget::default())
        .await
        .unwrap();
    assert_eq!(reached.state, ReprojectionState::Refused);
}

/// Fails when a cancelled reprojection leaves something behind, or touches the live generation.
#[tokio::test]
async fn a_reprojection_can_be_cancelled_at_every_step() {
    let db = TestDb::new().await;
    some_accounts(&db, 10).await;
    db.catch_up("ledger").await;
    let round_trips = RoundTrips::start(&db.options).await;
    let pool = &Pool::new(round_trips.options(), 4);
    let view = db.foldlog.view("ledger").unwrap();
    assert_eq!(cancel(pool, view, &Budget::default()).await.unwrap(), None);
    let mut requests = 1;
    loop {
        let options = ReprojectOptions {
            max_changes: Some(0),
        };
        db.run("update ledger set deposits = deposits + 100").await;
        let budget = Budget::default();
        let run = reproject(pool, view, 100, options, &budget);
        let reached = round_trips.kill_after(requests, run).await;
        // Killed, too.
        let cancelled = cancel(pool, view, &budget);
        drop(round_trips.kill_after(requests, cancelled).await);
        cancel_to_the_end(pool, view).await;
        db.catch_up("ledger").await;
        let left = "select count(*) from (select lock_domain from locker union all select lock_domain from parked union all \
                    select lock_domain from settled union all select lock_domain from slices) l where lock_domain like 'ledger#%'";
        assert_eq!(db.count(left).await, 0, "after {requests} requests");
        assert_eq!(
            db.count("select count(*) from views where projection = 'ledger'")
                .await,
            1
        );
        assert_eq!(
            db.count("select count(*) from pg_class where relname like 'ledger#%'")
                .await,
            0
        );
        assert_eq!(list(pool, view).await.unwrap().len(), 1);
        if let Some(reached) = reached {
            assert_eq!(reached.unwrap().state, ReprojectionState::Refused);
            break;
        }
        requests += 1;
    }
    assert!(requests > 20, "only {requests} steps");
    assert_eq!(
        db.count("select count(*) from locker where lock_domain = 'ledger'")
            .await,
        25
    );
}

/// Fails when a cancel locks the table before the rows that workers lock first, so that both wait for each other.
#[tokio::test]
async fn a_cancel_does_not_deadlock_with_the_workers() {
    for (locked, blocked) in [
        (
            "select from settled where lock_domain = 'ledger#2' for update",
            "Forgets what is settled",
        ),
        (
            "select from slices where lock_domain = 'ledger#2' for update",
            "Forgets how far a generation is filled",
        ),
    ] {
        let db = Arc::new(TestDb::new().await);
        some_accounts(&db, 5).await;
        db.catch_up("ledger").await;
        fill(&db).await;
        // A worker that has taken a lane or a slice, and then reads and writes.
        let mut worker = Held::open(&db, locked).await;
        let cancelled = {
            let db = db.clone();
            tokio::spawn(async move {
                let view = db.foldlog.view("ledger").unwrap();
                cancel_to_the_end(db.pool(), view).await;
            })
        };
        wait_until_blocked(&mut db.connect().await, blocked).await;
        // If there is a deadlock, the worker fails, and not the cancel, which would try again.
        run(worker.connection(), "set local deadlock_timeout = '1ms'").await;
        run(worker.connection(), "update \"ledger#2\" set deposits = 0").await;
        worker.commit().await;
        cancelled.await.unwrap();
        assert_eq!(count_left(&db).await, 0);
    }
}

/// Fails when a cancel beside reprojections and catch-ups fails, makes them fail with another error, or leaves something behind.
#[tokio::test]
async fn cancels_beside_reprojections_leave_nothing_behind() {
    let db = Arc::new(TestDb::new().await);
    let accounts = some_accounts(&db, 10).await;
    db.catch_up("ledger").await;
    for round in 0..12 {
        // No generation goes live.
        db.run("update ledger set deposits = deposits + 100").await;
        let mut tasks = JoinSet::new();
        for _ in 0..2 {
            let db = db.clone();
            tasks.spawn(async move {
                let options = ReprojectOptions {
                    max_changes: Some(0),
                };
                let view = db.foldlog.view("ledger").unwrap();
                match reproject(db.pool(), view, 100, options, &Budget::default()).await {
                    Ok(_) | Err(ProjectionError::Cancelled("ledger")) => {}
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
        for _ in 0..round {
            append(&db.foldlog, &[deposited(accounts[1], 1)]).await;
        }
        let view = db.foldlog.view("ledger").unwrap();
        cancel_to_the_end(db.pool(), view).await;
        tasks.join_all().await;
        // A reprojection that came after the cancel has begun another generation.
        cancel_to_the_end(db.pool(), view).await;
        assert_eq!(count_left(&db).await, 0, "round {round}");
    }
}

/// Fails when a generation that is cancelled while it is planned leaves slices, or the snapshot that it is filled with.
#[tokio::test]
async fn a_cancel_waits_for_the_plan_of_the_generation() {
    let db = Arc::new(TestDb::new().await);
    some_accounts(&db, 3).await;
    db.catch_up("ledger").await;
    // The reprojection has found its generation, and waits before it commits the slices.
    let gate = Held::open(&db, "select pg_advisory_xact_lock(4712)").await;
    db.run(
        "create function wait() returns trigger language plpgsql set lock_timeout = 0 as $$ begin perform pg_advisory_xact_lock(4712); return null; end $$; \
         create trigger gate after insert on slices execute function wait()",
    )
    .await;
    let planned = {
        let db = db.clone();
        tokio::spawn(async move {
            let (options, budget) = (ReprojectOptions::default(), Budget::default());
            let view = db.foldlog.view("ledger").unwrap();
            reproject(db.pool(), view, 100, options, &budget).await
        })
    };
    wait_until_blocked(
        &mut db.connect().await,
        "Creates the slices of a generation",
    )
    .await;
    let mut cancelled = {
        let db = db.clone();
        tokio::spawn(async move {
            let view = db.foldlog.view("ledger").unwrap();
            cancel_to_the_end(db.pool(), view).await;
        })
    };
    let mut connection = db.connect().await;
    tokio::select! {
        () = wait_until_blocked(&mut connection, "Excludes others from what this transaction does") => {}
        _ = &mut cancelled => panic!("the cancel did not wait for the plan"),
    }
    gate.commit().await;
    cancelled.await.unwrap();
    let ended = planned.await.unwrap();
    assert!(
        matches!(ended, Err(ProjectionError::Cancelled("ledger"))),
        "{ended:?}"
    );
    let left = "select count(*) from (select lock_domain from settled union all select lock_domain from slices) l \
                where lock_domain like 'ledger#%'";
    assert_eq!(db.count(left).await, 0);
}

/// Fails when a reprojection that a build with another definition has left behind can never be removed.
#[tokio::test]
async fn a_reprojection_of_another_build_can_be_cancelled() {
    let db = TestDb::new().await;
    some_accounts(&db, 3).await;
    db.catch_up("ledger").await;
    fill(&db).await;
    // As if the builds that fill and that cancel had different definitions.
    db.run("update views set definition_hash = 'another' where name = 'ledger#2'")
        .await;
    let view = db.foldlog.view("ledger").unwrap();
    let cancelled = cancel(db.pool(), view, &Budget::default()).await;
    assert_eq!(cancelled.unwrap(), Some(true));
    assert_eq!(count_left(&db).await, 0);
}

/// Fails when a cancel removes the generation that the build with another definition waits to fill: `migrate up` has made it.
#[tokio::test]
async fn the_waiting_generation_of_another_build_is_not_cancelled() {
    let db = TestDb::new().await;
    db.run(
        "insert into views (name, definition_hash, definition, fold_hash, state, serves) \
         select 'ledger#2', 'another', definition, 'another', 'filling', false from views where name = 'ledger'",
    )
    .await;
    let view = db.foldlog.view("ledger").unwrap();
    let cancelled = cancel(db.pool(), view, &Budget::default()).await;
    assert_eq!(cancelled.unwrap(), None);
    let waiting = "select count(*) from views where name = 'ledger#2' and state = 'filling'";
    assert_eq!(db.count(waiting).await, 1);
}

/// Fails when an object that depends on the table of a retired generation stops the projection, or when the table then stays for ever.
#[tokio::test]
async fn a_catch_up_continues_when_a_retired_table_cannot_be_dropped() {
    let db = TestDb::new().await;
    let accounts = some_accounts(&db, 3).await;
    reproject_to_the_end(&db.foldlog, "ledger").await;
    db.run("create view report as select count(*) as rows from ledger")
        .await;
    db.run("update views set retired_at = retired_at - interval '2 minutes'")
        .await;
    let log = Log::default();
    let captured = log.capture("warn");
    for version in 2..4 {
        append(&db.foldlog, &[deposited(accounts[0], 1)]).await;
        assert!(db.catch_up("ledger").await.done);
        assert_eq!(
            version_in_view(&db, "ledger", accounts[0]).await,
            Some(Version(version))
        );
        assert_eq!(db.count("select rows from report").await, 0);
    }
    drop(captured);
    let warnings = log.text().matches("cannot be dropped").count();
    assert_eq!(warnings, 1, "{}", log.text());
    db.run("drop view report").await;
    db.run("update views set removal_failed_at = removal_failed_at - interval '2 hours'")
        .await;
    db.catch_up("ledger").await;
    let left = "select count(*) from pg_class where relname = 'ledger'";
    assert_eq!(db.count(left).await, 0);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the removal of a generation comes before the events that wait.
#[tokio::test]
async fn events_are_folded_before_a_generation_is_removed() {
    let db = Arc::new(TestDb::new().await);
    let accounts = some_accounts(&db, 3).await;
    reproject_to_the_end(&db.foldlog, "ledger").await;
    db.run("update views set retired_at = retired_at - interval '2 minutes'")
        .await;
    // More than one quick pass folds.
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), '{}', n, 2001, '{{\"cents\": 1}}' from generate_series(2, 500) n",
        accounts[0]
    ))
    .await;
    let held = Held::open(&db, "select from views where name = 'ledger' for update").await;
    let caught_up = {
        let db = db.clone();
        tokio::spawn(async move { db.catch_up("ledger").await })
    };
    wait_until_blocked(&mut db.connect().await, "Lets no worker begin anything").await;
    let version = version_in_view(&db, "ledger", accounts[0]).await;
    assert_eq!(version, Some(Version(500)));
    held.release().await;
    assert!(caught_up.await.unwrap().done);
}

/// Fails when a removal with little time begins with the first page of the claims again and again, leaves out claims after the table was
/// rewritten, or removes those of another generation.
#[tokio::test]
async fn the_claims_of_a_generation_are_removed_from_one_page_after_the_other() {
    let db = TestDb::new().await;
    let claims = "insert into locker select gen_random_uuid(), gen_random_uuid(), case n % 2 when 0 then 'ledger' else 'ledger#2' end \
                  from generate_series(1, 2000) n";
    db.run(claims).await;
    db.run("insert into views (name, definition, state, serves) values ('ledger#2', '', 'dropped', false)")
        .await;
    let left = "select count(*) from locker where lock_domain = 'ledger#2'";
    let removed = async || {
        db.count("select drop_claims('ledger#2', 1)::int::bigint")
            .await
            == 1
    };
    assert!(!removed().await);
    let after_first = db.count(left).await;
    assert!(after_first < 1000);
    db.run("vacuum full locker").await;
    let mut steps = 0;
    while !removed().await {
        steps += 1;
        assert!(steps < 100);
    }
    assert_eq!(db.count(left).await, 0);
    assert!(steps > 3, "only {steps} steps");
    let others = "select count(*) from locker where lock_domain = 'ledger'";
    assert_eq!(db.count(others).await, 1000);
}

/// Fails when a worker that still knows a dropped generation gives up instead of going on with the live one.
#[tokio::test]
async fn a_catch_up_leaves_a_dropped_generation_for_the_live_one() {
    let db = TestDb::new().await;
    let account = some_accounts(&db, 1).await[0];
    db.catch_up("ledger").await;
    let other = Foldlog::new(Pool::new(db.options.clone(), 4), DOMAINS, Inline::new()).unwrap();
    reproject_to_the_end(&other, "ledger").await;
    // Its table and its rows in other tables are not removed yet.
    db.run("update views set state = 'dropped', serves = false where name = 'ledger'; delete from settled where lock_domain = 'ledger'")
        .await;
    append(&other, &[deposited(account, 1)]).await;
    assert!(db.catch_up("ledger").await.done);
    assert_all_applied(&db, "ledger").await;
}
