//! A verification that several invocations share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::db::{Pool, Role};
use foldlog::projection::verify::{Verification, VerifyOptions, last, verify};
use foldlog::projection::{Budget, ProjectionError};

use super::reproject_to_the_end;
use crate::support::TestDb;
use crate::support::bouncer::Bouncer;
use crate::support::events::{append, opened};
use crate::support::locks::{Held, wait_until_blocked, wait_until_true};
use crate::support::round_trips::RoundTrips;
use crate::support::workers::assert_all_applied;

/// A budget that is spent: an invocation counts one page of 100 events, or one part of the claims.
fn no_time() -> Budget {
    Budget {
        until: Some(Instant::now()),
        ..Budget::default()
    }
}

/// Appends accounts of one event each, and folds them as `ledger`.
async fn accounts(db: &TestDb, count: usize) {
    let opened: Vec<_> = (0..count).map(|_| opened(uuid::Uuid::now_v7())).collect();
    append(&db.foldlog, &opened).await;
    db.catch_up("ledger").await;
}

/// Makes the row at this place, counted from 0, differ.
async fn spoil(db: &TestDb, table: &str, place: usize) {
    db.run(&format!(
        "update \"{table}\" set deposits = 99 where id = (select id from \"{table}\" order by id offset {place} limit 1)"
    ))
    .await;
}

async fn invoke(db: &TestDb, options: VerifyOptions, budget: &Budget) -> Verification {
    let view = db.foldlog.view("ledger").unwrap();
    verify(db.pool(), view, options, budget).await.unwrap()
}

/// Invokes until the verification is complete; returns its result, and how many invocations it took.
async fn to_the_end(db: &TestDb, options: VerifyOptions) -> (Verification, usize) {
    let mut invocations = 1;
    loop {
        let found = invoke(db, options, &no_time()).await;
        if found.complete {
            return (found, invocations);
        }
        invocations += 1;
    }
}

/// Fails when an invocation begins again at the first aggregate, counts one twice or leaves one out, or forgets what an earlier one has
/// found.
#[tokio::test]
async fn a_verification_that_runs_out_of_time_goes_on_in_the_next_invocation() {
    let db = TestDb::new().await;
    accounts(&db, 350).await;
    for place in [0, 120, 340] {
        spoil(&db, "ledger", place).await;
    }
    db.run("insert into locker values (gen_random_uuid(), gen_random_uuid(), 'ledger')")
        .await;
    let view = db.foldlog.view("ledger").unwrap();
    let check = VerifyOptions::default();
    // Of a page that is full, the last aggregate may have more events, so the next page begins with it.
    for (aggregates, differ) in [(99, 1), (198, 2), (297, 2), (350, 3)] {
        let found = invoke(&db, check, &no_time()).await;
        assert_eq!(
            (found.aggregates, found.differ, found.complete),
            (aggregates, differ, false)
        );
        assert_eq!(found.differences.len() as u64, differ);
        let progress = last(db.pool(), view).await.unwrap().unwrap();
        assert_eq!(
            (progress.aggregates, progress.differ, progress.complete),
            (aggregates, differ, false)
        );
    }
    let found = invoke(&db, check, &no_time()).await;
    assert_eq!(
        (found.aggregates, found.differ, found.orphan_claims),
        (350, 3, 1)
    );
    assert!(found.complete);
    let json = serde_json::to_value(&found.differences[0]).unwrap();
    assert_eq!(
        (&json["version"], &json["changes"]),
        (&1.into(), &serde_json::json!({"deposits": [99, 0]}))
    );

    // A repair is another question; it is complete, and the next verification begins anew.
    let (repaired, invocations) = to_the_end(&db, VerifyOptions::repair()).await;
    assert_eq!(
        (repaired.aggregates, repaired.differ, repaired.repaired),
        (350, 3, 3)
    );
    assert_eq!((repaired.orphan_claims, repaired.removed_claims), (1, 1));
    assert!(invocations > 3);
    let clean = invoke(&db, check, &Budget::default()).await;
    assert_eq!((clean.aggregates, clean.differ), (350, 0));
    assert_eq!((clean.orphan_claims, clean.removed_claims), (0, 0));
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a verification goes on although the result would be about two generations, two folds or two questions, was left for long, or
/// shall begin anew; or when an append makes it begin anew.
#[tokio::test]
async fn a_verification_begins_anew_when_its_question_changes() {
    let db = TestDb::new().await;
    accounts(&db, 250).await;
    let check = VerifyOptions::default();
    let first = async || invoke(&db, check, &no_time()).await;
    assert_eq!(first().await.aggregates, 99);
    // The events of an append are behind its newest aggregate.
    accounts(&db, 10).await;
    assert_eq!(first().await.aggregates, 198);

    let restart = VerifyOptions {
        restart: true,
        ..check
    };
    assert_eq!(invoke(&db, restart, &no_time()).await.aggregates, 99);
    let repair = VerifyOptions::repair();
    assert_eq!(invoke(&db, repair, &no_time()).await.aggregates, 99);
    assert_eq!(first().await.aggregates, 99);
    for changed in [
        "fold_hash = 'that of another build'",
        "verified_at = verified_at - interval '2 hours'",
        // As an earlier build writes it.
        "run = null",
    ] {
        assert_eq!(first().await.aggregates, 198, "before {changed}");
        db.run(&format!("update verifications set {changed}")).await;
        assert_eq!(first().await.aggregates, 99, "{changed}");
    }

    reproject_to_the_end(&db.foldlog, "ledger").await;
    spoil(&db, "ledger#2", 200).await;
    assert_eq!(first().await.aggregates, 99);
    let (found, _) = to_the_end(&db, check).await;
    assert_eq!((found.aggregates, found.differ), (260, 1));
}

/// Fails when two invocations check the same range while there is another one, or when both count an aggregate.
#[tokio::test]
async fn two_invocations_share_a_verification() {
    let db = Arc::new(TestDb::new().await);
    // Several ranges, in random order of ids.
    for statement in [
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), gen_random_uuid(), 1, 2000, '{\"owner\": \"ada\"}' from generate_series(1, 48000)",
        "insert into locker select id, aggregate_id, 'ledger' from events",
        "insert into ledger select aggregate_id, 1, 0, 1 from events",
    ] {
        db.run(statement).await;
    }
    for place in [10, 30_000] {
        spoil(&db, "ledger", place).await;
    }
    // The first one repairs with one session, and waits in the first range.
    let held = Held::open(
        &db,
        "select pg_advisory_xact_lock(generation_key('ledger'))",
    )
    .await;
    let invocation = || {
        let db = db.clone();
        tokio::spawn(async move { invoke(&db, VerifyOptions::repair(), &Budget::default()).await })
    };
    let first = invocation();
    wait_until_blocked(&mut db.connect().await, "Waits for the inline folds").await;
    let second = invocation();
    let waiting = "select count(*) = 2 from pg_stat_activity where query like '%Waits for the inline folds%' and wait_event_type = 'Lock' \
                   and datname = current_database()";
    wait_until_true(&db, waiting).await;
    let taken = "select count(*) from verify_ranges where taken_at is not null and not is_finished";
    assert_eq!(db.count(taken).await, 2, "ranges in progress");
    held.release().await;
    let found = [first.await.unwrap(), second.await.unwrap()];
    let complete = found.iter().filter(|found| found.complete).count();
    assert!(complete > 0);
    let found = found.into_iter().find(|found| found.complete).unwrap();
    assert_eq!(
        (found.aggregates, found.differ, found.repaired),
        (48_000, 2, 2)
    );
    let check = invoke(&db, VerifyOptions::default(), &Budget::default()).await;
    assert_eq!((check.aggregates, check.differ), (48_000, 0));
}

/// Fails when two invocations that check the same range both count it: nothing locks a range while it is checked.
#[tokio::test]
async fn a_range_that_two_invocations_check_is_counted_once() {
    let db = Arc::new(TestDb::new().await);
    accounts(&db, 150).await;
    spoil(&db, "ledger", 5).await;
    for options in [VerifyOptions::default(), VerifyOptions::repair()] {
        // Starts the verification, and counts nothing.
        let stopped = Budget::default();
        stopped.stop.cancel();
        assert_eq!(invoke(&db, options, &stopped).await.aggregates, 0);
        let held = Held::open(&db, "lock table ledger in access exclusive mode").await;
        let invocation = || {
            let db = db.clone();
            tokio::spawn(async move { invoke(&db, options, &Budget::default()).await })
        };
        let both = [invocation(), invocation()];
        let waiting = "select count(*) = 2 from pg_stat_activity where query like '%Reads a page for a verification%' and wait_event_type = 'Lock' \
                       and datname = current_database()";
        wait_until_true(&db, waiting).await;
        held.release().await;
        for invocation in both {
            let found = invocation.await.unwrap();
            assert_eq!((found.aggregates, found.differ), (150, 1), "{options:?}");
            assert_eq!(found.repaired, u64::from(options.repair));
        }
    }
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an invocation adds what it has found to a verification that was started in place of its own.
#[tokio::test]
async fn a_verification_that_was_replaced_is_not_counted() {
    let db = Arc::new(TestDb::new().await);
    accounts(&db, 50).await;
    let held = Held::open(&db, "lock table ledger in access exclusive mode").await;
    let replaced = {
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
    wait_until_blocked(&mut db.connect().await, "Reads a page for a verification").await;
    let stopped = Budget::default();
    stopped.stop.cancel();
    invoke(&db, VerifyOptions::repair(), &stopped).await;
    held.release().await;
    let error = replaced.await.unwrap().unwrap_err();
    assert!(matches!(error, ProjectionError::VerifyReplaced("ledger")));
    let view = db.foldlog.view("ledger").unwrap();
    let progress = last(db.pool(), view).await.unwrap().unwrap();
    assert_eq!((progress.aggregates, progress.repair), (0, true));
}

/// Fails when an invocation that is killed at any step makes the next one count an aggregate, a repair or a claim twice or not at all.
#[tokio::test]
async fn a_verification_killed_at_every_step_counts_every_aggregate_once() {
    let db = TestDb::new().await;
    accounts(&db, 350).await;
    let view = db.foldlog.view("ledger").unwrap();
    let round_trips = RoundTrips::start(&db.options).await;
    let pool = &Pool::new(round_trips.options(), 4);
    for options in [VerifyOptions::default(), VerifyOptions::repair()] {
        let mut kills = 0;
        for requests in 1.. {
            for place in [0, 120, 121, 340] {
                spoil(&db, "ledger", place).await;
            }
            db.run("insert into locker values (gen_random_uuid(), gen_random_uuid(), 'ledger'); delete from verifications")
                .await;
            let budget = Budget {
                // The first page has 100 events.
                until: Some(Instant::now() + Duration::from_hours(1)),
                ..Budget::default()
            };
            let run = verify(pool, view, options, &budget);
            let is_killed = round_trips.kill_after(requests, run).await.is_none();
            let found = loop {
                // The last step only reads the result.
                match last(db.pool(), view).await.unwrap() {
                    Some(found) if found.complete => break found,
                    _ => drop(invoke(&db, options, &Budget::default()).await),
                }
            };
            assert_eq!((found.aggregates, found.differ), (350, 4), "{requests}");
            assert_eq!(found.repaired, if options.repair { 4 } else { 0 });
            db.run("delete from locker l where not exists (select from events e where e.id = l.event_id)")
                .await;
            if options.repair {
                let spoiled = "select count(*) from ledger where deposits = 99";
                assert_eq!(db.count(spoiled).await, 0, "{requests}");
            }
            let removed = u64::from(options.repair);
            assert_eq!((found.orphan_claims, found.removed_claims), (1, removed));
            if !is_killed {
                break;
            }
            kills += 1;
        }
        assert!(kills > 15, "only {kills} steps");
    }
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a verification needs two connections at once, or a session of its own: two invocations share one connection of a pooler that
/// works per transaction.
#[tokio::test]
async fn a_verification_goes_on_behind_a_pooler_with_one_connection() {
    let db = TestDb::new().await;
    accounts(&db, 350).await;
    let bouncer = Bouncer::start_with(&db.options, "default_pool_size = 1").await;
    let view = db.foldlog.view("ledger").unwrap();
    let pools = [(); 2].map(|()| bouncer.pool(Some(Role::Projection)));
    for options in [VerifyOptions::default(), VerifyOptions::repair()] {
        for place in [0, 120, 340] {
            spoil(&db, "ledger", place).await;
        }
        let mut invocations = 0;
        let found = loop {
            invocations += 1;
            let budgets = [(); 2].map(|()| no_time());
            let both = tokio::join!(
                verify(&pools[0], view, options, &budgets[0]),
                verify(&pools[1], view, options, &budgets[1])
            );
            // One that begins after the other has completed the verification starts the next one.
            let complete = [both.0.unwrap(), both.1.unwrap()]
                .into_iter()
                .find(|found| found.complete);
            if let Some(found) = complete {
                break found;
            }
        };
        assert!(invocations > 1);
        assert_eq!((found.aggregates, found.differ), (350, 3), "{options:?}");
        assert_eq!(found.repaired, if options.repair { 3 } else { 0 });
    }
    assert_all_applied(&db, "ledger").await;
}
