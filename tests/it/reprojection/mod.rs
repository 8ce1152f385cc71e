//! Reprojection: a view is built again beside the live one, and goes live without a read or an append noticing.

mod definitions;
mod dropped_table;
mod faults;
mod folds;
mod indexes;
pub mod removal;
mod restored;
mod resumed;
mod swap;
mod verify;

use std::time::{Duration, Instant};

use foldlog::Foldlog;
use foldlog::projection::Budget;
use foldlog::projection::ProjectionError;
use foldlog::projection::preview::preview;
use foldlog::projection::reproject::{
    ReprojectOptions, Reprojection, ReprojectionState, reproject,
};
use foldlog::query::{self, ListMoment, ListQuery, QueryError};
use foldlog::view::{View, ViewPage};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::accounts::{AccountEvent, make_foldable};
use crate::support::events::{append, deposited, event, opened};
use crate::support::workers::{account, assert_all_applied, version_in_view};
use foldlog::event::Version;

/// Reprojects until the generation is live or refused.
pub async fn reproject_to_the_end(foldlog: &Foldlog, projection: &str) -> Reprojection {
    let view = foldlog.view(projection).unwrap();
    loop {
        let options = ReprojectOptions::default();
        let reached = reproject(&foldlog.pool, view, 100, options, &Budget::default())
            .await
            .unwrap();
        if reached.state == ReprojectionState::Live {
            return reached;
        }
    }
}

/// The first page of a view, as projected.
pub async fn first_page(foldlog: &Foldlog, view: &View) -> Result<ViewPage, QueryError> {
    let page = ListQuery {
        filters: &[],
        after: None,
        limit: 100.into(),
        moment: ListMoment::Projected,
    };
    query::list(foldlog, view, &page).await
}

/// Appends accounts with a few deposits, of which some are closed again.
pub async fn some_accounts(db: &TestDb, count: usize) -> Vec<Uuid> {
    let mut accounts = Vec::new();
    for index in 0..count {
        let account = Uuid::now_v7();
        let mut events = vec![opened(account)];
        events.extend((0..index % 4).map(|_| deposited(account, 1)));
        if index % 5 == 4 {
            events.push(event(account, AccountEvent::Closed {}));
        }
        append(&db.foldlog, &events).await;
        accounts.push(account);
    }
    accounts
}

/// Fails when a reprojection leaves out an event, claims one twice, keeps a row of the old fold, or leaves the old generation as the one
/// that is read.
#[tokio::test]
async fn a_reprojected_view_is_the_fold_of_all_events() {
    let db = TestDb::new().await;
    let accounts = some_accounts(&db, 40).await;
    for projection in ["accounts", "ledger"] {
        db.catch_up(projection).await;
    }
    db.run("update ledger set deposits = 99").await;
    for (generation, projection) in [(2, "ledger"), (3, "ledger"), (2, "accounts")] {
        let reached = reproject_to_the_end(&db.foldlog, projection).await;
        assert_eq!(reached.generation, generation);
        assert_eq!(reached.slices, reached.slices_done);
        assert_eq!(reached.aggregates, 40);
        assert_all_applied(&db, projection).await;
        // What comes after it is folded into the new generation only.
        append(&db.foldlog, &[deposited(accounts[1], 5)]).await;
        assert!(db.catch_up("ledger").await.done);
        assert!(db.catch_up("accounts").await.done);
        assert_all_applied(&db, projection).await;
    }
    assert_eq!(
        version_in_view(&db, "ledger", accounts[1]).await,
        Some(Version(5))
    );
    let old = "select count(*) from locker where lock_domain = 'ledger'";
    assert!(db.count(old).await > 0, "the old claims are removed later");
    db.run("update views set retired_at = retired_at - interval '2 minutes'")
        .await;
    db.catch_up("ledger").await;
    assert_eq!(db.count(old).await, 0);
    let gone = "select count(*) from pg_class where relname in ('ledger', 'ledger#2')";
    assert_eq!(db.count(gone).await, 0);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an aggregate counts once for each batch that has some of its events: with a deadline, the first batch is one event.
#[tokio::test]
async fn an_aggregate_that_is_filled_by_two_batches_counts_once() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(
        &db.foldlog,
        &[
            opened(account),
            deposited(account, 1),
            deposited(account, 2),
        ],
    )
    .await;
    db.catch_up("accounts").await;
    let view = db.foldlog.view("accounts").unwrap();
    let budget = Budget {
        until: Some(Instant::now() + Duration::from_mins(1)),
        ..Budget::default()
    };
    let options = ReprojectOptions::default();
    let reached = reproject(&db.foldlog.pool, view, 100, options, &budget).await;
    let reached = reached.unwrap();
    assert_eq!(reached.state, ReprojectionState::Live);
    assert_eq!((reached.aggregates, reached.events), (1, 3));
}

/// Fails when an event that cannot be folded stops a reprojection, or when its aggregate is not parked with the versions before it claimed.
#[tokio::test]
async fn an_aggregate_that_cannot_be_folded_is_parked_in_the_new_generation() {
    let db = TestDb::new().await;
    some_accounts(&db, 6).await;
    let (poisoned, _) = account(&db, 1).await;
    append(
        &db.foldlog,
        &[deposited(poisoned, 13), deposited(poisoned, 1)],
    )
    .await;
    let (panicking, _) = account(&db, 0).await;
    append(&db.foldlog, &[deposited(panicking, 1313)]).await;
    db.catch_up("ledger").await;
    reproject_to_the_end(&db.foldlog, "ledger").await;
    let parked = "select count(*) from parked where lock_domain = 'ledger#2' and version = 3";
    assert_eq!(db.count(parked).await, 1);
    let claimed = format!(
        "select count(*) from locker where lock_domain = 'ledger#2' and aggregate_id = '{poisoned}'"
    );
    assert_eq!(db.count(&claimed).await, 2);
    assert_eq!(
        version_in_view(&db, "ledger", poisoned).await,
        Some(Version(2))
    );
    make_foldable(poisoned);
    make_foldable(panicking);
    let view = db.foldlog.view("ledger").unwrap();
    let retried = foldlog::projection::retry(db.pool(), view, &Budget::default())
        .await
        .unwrap();
    assert_eq!(retried.unparked, 2);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a table that a restored dump has left of a later generation stops every reprojection.
#[tokio::test]
async fn a_generation_avoids_the_name_of_a_table_that_exists() {
    let db = TestDb::new().await;
    some_accounts(&db, 3).await;
    db.catch_up("ledger").await;
    db.run("create table \"ledger#2\" (id uuid)").await;
    reproject_to_the_end(&db.foldlog, "ledger").await;
    let live = "select count(*) from views where name = 'ledger#3' and state = 'live'";
    assert_eq!(db.count(live).await, 1);
}

/// Fails when a reprojection goes live although more rows change than allowed, when the preview counts or shows other rows than those, or
/// when it cannot be continued after that.
#[tokio::test]
async fn a_reprojection_that_changes_too_many_rows_waits_for_a_decision() {
    let db = TestDb::new().await;
    let accounts = some_accounts(&db, 20).await;
    db.catch_up("ledger").await;
    let (pool, view) = (db.pool(), db.foldlog.view("ledger").unwrap());
    let none = preview(pool, view, 10, &Budget::default()).await;
    assert!(
        matches!(none, Err(ProjectionError::Cancelled("ledger"))),
        "{none:?}"
    );
    db.run(&format!(
        "update ledger set deposits = 99 where id in ('{}', '{}')",
        accounts[3], accounts[7]
    ))
    .await;
    db.run(&format!("delete from ledger where id = '{}'", accounts[0]))
        .await;
    let options = |max| ReprojectOptions {
        max_changes: Some(max),
    };
    let refused = reproject(pool, view, 100, options(2), &Budget::default())
        .await
        .unwrap();
    assert_eq!(
        (refused.state, refused.changes),
        (ReprojectionState::Refused, Some(3))
    );
    // Being behind does not count as a difference.
    append(&db.foldlog, &[deposited(accounts[8], 5)]).await;
    db.catch_up("ledger").await;
    let seen = preview(pool, view, 2, &Budget::default()).await.unwrap();
    assert_eq!(
        (seen.generation, seen.rows, seen.differ, seen.behind),
        (2, 20, 3, 1)
    );
    assert_eq!((seen.differences.len(), seen.complete), (2, true));
    let of_third = seen
        .differences
        .iter()
        .find(|d| d.id.0 == accounts[3])
        .unwrap();
    let json = serde_json::to_value(of_third).unwrap();
    assert_eq!(json["changes"], serde_json::json!({"deposits": [99, 3]}));
    assert_eq!(version_in_view(&db, "ledger", accounts[0]).await, None);
    let live = reproject(pool, view, 100, options(3), &Budget::default())
        .await
        .unwrap();
    assert_eq!(
        (live.state, live.changes),
        (ReprojectionState::Live, Some(3))
    );
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a log of many pages, or of none, cannot be cut into slices.
#[tokio::test]
async fn a_log_of_any_size_is_cut_into_slices() {
    let db = TestDb::new().await;
    some_accounts(&db, 10).await;
    for pages in [0_i64, 1, 2001, 1_000_000, 1 << 32] {
        let cut = include_str!("../../../src/projection/sql/cut_ranges.sql");
        let boundaries: Vec<Uuid> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(cut.replace("foldlog.", "")))
                .bind(64_i64)
                .bind(5000_i64)
                .bind(pages)
                .bind(2000_i64)
                .fetch_all(&mut db.connect().await)
                .await
                .unwrap();
        let plan = include_str!("../../../src/projection/reproject/sql/plan_slices.sql");
        sqlx::query(sqlx::AssertSqlSafe(plan.replace("foldlog.", "")))
            .bind(pages.to_string())
            .bind(boundaries)
            .execute(&mut db.connect().await)
            .await
            .unwrap();
        let slices = format!("select count(*) from slices where lock_domain = '{pages}'");
        assert!(db.count(&slices).await > 0, "{pages} pages");
    }
}

/// Fails when two generations, or their indexes, get the same name because Postgres cuts long names off.
#[tokio::test]
async fn a_name_that_leaves_no_room_for_a_generation_is_refused() {
    let db = TestDb::new().await;
    let name = |bytes: usize| {
        format!("select length(generation_name(repeat('v', {bytes}), '#12'))::bigint")
    };
    assert_eq!(db.count(&name(60)).await, 63);
    let refused = sqlx::query(sqlx::AssertSqlSafe(name(61)))
        .execute(&mut db.connect().await)
        .await;
    let error = refused.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42622");
}
