//! A reprojection under load that is killed at every step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldlog::db::Pool;
use foldlog::event::{AggregateId, Version};
use foldlog::projection::Budget;
use foldlog::projection::reproject::{ReprojectOptions, ReprojectionState, reproject};
use foldlog::query::{self, Consistency};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{first_page, some_accounts};
use crate::support::TestDb;
use crate::support::events::{append, deposited};
use crate::support::round_trips::RoundTrips;
use crate::support::workers::assert_all_applied;

/// Inserts accounts with so many events that a reprojection cuts them into several slices.
pub async fn many_accounts(db: &TestDb) {
    db.run(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), a.id, v, 2001, '{\"cents\": 1}' \
         from (select gen_random_uuid() as id from generate_series(1, 500)) a, generate_series(1, 40) v \
         order by a.id, v",
    )
    .await;
}

/// Fails when a batch of a reprojection is done in part, when a killed worker keeps a slice, or when a step cannot be repeated.
#[tokio::test]
async fn a_reprojection_killed_at_every_step_folds_every_event_once() {
    let db = TestDb::new().await;
    some_accounts(&db, 30).await;
    many_accounts(&db).await;
    db.catch_up("ledger").await;
    db.run("update ledger set deposits = 99").await;
    let round_trips = RoundTrips::start(&db.options).await;
    let pool = &Pool::new(round_trips.options(), 4);
    let view = db.foldlog.view("ledger").unwrap();
    let mut kills = 0;
    for requests in 1.. {
        let budget = Budget::default();
        let run = reproject(pool, view, 10, ReprojectOptions::default(), &budget);
        if let Some(reached) = round_trips.kill_after(requests, run).await {
            let reached = reached.unwrap();
            assert_eq!(reached.state, ReprojectionState::Live);
            assert!(reached.slices >= 3, "only {} slices", reached.slices);
            break;
        }
        kills += 1;
        // An event that arrives while the reprojection is interrupted.
        some_accounts(&db, 1).await;
    }
    assert!(kills > 20, "only {kills} steps");
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a read misses a row or sees an older one than before, when an append fails, or when an event is lost or folded twice while
/// two catch-ups and a reprojection that is killed again and again run beside writers and readers.
#[expect(clippy::too_many_lines, reason = "one scenario, told in order")]
#[tokio::test]
async fn reads_and_appends_continue_during_a_reprojection_that_is_killed_again_and_again() {
    let db = Arc::new(TestDb::new().await);
    let accounts = some_accounts(&db, 12).await;
    let open: Vec<Uuid> = (0..12)
        .filter(|i| i % 5 != 4)
        .map(|i| accounts[i])
        .collect();
    db.catch_up("ledger").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for writer in 0..2 {
        let (db, stop, open) = (db.clone(), stop.clone(), open.clone());
        tasks.spawn(async move {
            for account in open.iter().cycle().skip(writer) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                append(&db.foldlog, &[deposited(*account, 1)]).await;
            }
        });
    }
    for _ in 0..2 {
        let (db, stop) = (db.clone(), stop.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                db.catch_up("ledger").await;
            }
        });
    }
    for reader in 0..2 {
        let (db, stop, open) = (db.clone(), stop.clone(), open.clone());
        // Each reader is a process of its own that finds out by itself which generation serves it.
        let host = foldlog::Foldlog::new(
            Pool::new(db.options.clone(), 2),
            crate::support::db::DOMAINS,
            foldlog::view::Inline::new(),
        )
        .unwrap();
        tasks.spawn(async move {
            let view = host.view("ledger").unwrap();
            let mut seen = vec![Version(0); open.len()];
            while !stop.load(Ordering::Relaxed) {
                for (account, seen) in open.iter().zip(&mut seen) {
                    let id = AggregateId(*account);
                    let row = query::get(&host, view, id, Consistency::Eventual)
                        .await
                        .unwrap();
                    assert!(
                        row.version >= *seen,
                        "reader {reader}: {:?} after {seen:?}",
                        row.version
                    );
                    *seen = row.version;
                }
                let page = first_page(&host, view).await.unwrap();
                assert!(page.rows.len() >= 12);
                for row in &page.rows {
                    let index = open.iter().position(|account| *account == row.id.0);
                    if let Some(index) = index {
                        assert!(row.version >= seen[index], "page of reader {reader}");
                        seen[index] = row.version;
                    }
                }
            }
        });
    }
    let view = db.foldlog.view("ledger").unwrap();
    let mut generations = 0;
    let round_trips = RoundTrips::start(&db.options).await;
    let pool = Pool::new(round_trips.options(), 4);
    let mut requests = 1;
    while generations < 3 {
        let budget = Budget::default();
        let run = reproject(&pool, view, 500, ReprojectOptions::default(), &budget);
        let reached = round_trips.kill_after(requests, run).await;
        match reached.transpose().unwrap() {
            Some(reached) if reached.state == ReprojectionState::Live => {
                generations += 1;
                requests = 1;
            }
            Some(_) => {}
            None => requests += 1 + requests / 4,
        }
        db.run("update views set retired_at = retired_at - interval '2 minutes' where state = 'retired'")
            .await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
    let connection = db.connect().await;
    let live = foldlog::view::resolve(&mut connection.into(), view)
        .await
        .unwrap()
        .view;
    // A run may be killed directly after it went live.
    assert!(live.lock_domain() >= "ledger#4", "{}", live.lock_domain());
}
