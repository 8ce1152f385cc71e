//! A reprojection that is under way while the log moves to another cluster.

use std::path::{Path, PathBuf};

use foldlog::db::Pool;
use foldlog::event::Version;
use foldlog::projection::Budget;
use foldlog::projection::reproject::{ReprojectOptions, reproject};
use foldlog::projection::verify::{VerifyOptions, verify};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::faults::many_accounts;
use super::{reproject_to_the_end, some_accounts};
use crate::restored::{age, host};
use crate::support::TestDb;
use crate::support::events::{append, assert_equals_fold, deposited};
use crate::support::round_trips::RoundTrips;
use crate::support::workers::{assert_all_applied, version_in_view};

/// Fails when the snapshot with which a generation is filled is not healed with the log: events that are appended after the restore would
/// look as if the snapshot saw them, and no catch-up would fold them. The reprojection is interrupted at several steps.
#[tokio::test]
async fn a_reprojection_continues_after_a_restore() {
    for requests in (2..32).step_by(3) {
        let db = TestDb::new().await;
        let accounts = some_accounts(&db, 12).await;
        db.catch_up("ledger").await;
        let view = db.foldlog.view("ledger").unwrap();
        let budget = Budget::default();
        let round_trips = RoundTrips::start(&db.options).await;
        let pool = Pool::new(round_trips.options(), 4);
        let run = reproject(&pool, view, 10, ReprojectOptions::default(), &budget);
        drop(round_trips.kill_after(requests, run).await);
        append(&db.foldlog, &[deposited(accounts[1], 1)]).await;
        age(&db, 1_000_000).await;
        // As another cluster, in which no session is open.
        let restored = host(&db.options);
        append(&restored, &[deposited(accounts[1], 1)]).await;
        reproject_to_the_end(&restored, "ledger").await;
        append(&restored, &[deposited(accounts[1], 1)]).await;
        let ledger = restored.view("ledger").unwrap();
        foldlog::projection::catch_up(&restored.pool, ledger, 10, &budget)
            .await
            .unwrap();
        let version = version_in_view(&db, "ledger", accounts[1]).await;
        assert_eq!(version, Some(Version(5)), "after {requests} requests");
        assert_all_applied(&db, "ledger").await;
        let clean = verify(&restored.pool, ledger, VerifyOptions::default(), &budget)
            .await
            .unwrap();
        assert_eq!((clean.differ, clean.orphan_claims), (0, 0));
    }
}

/// Fails when a lane of the generation stops its reprojection. A worker of an earlier build creates one that knew the generation as live when
/// a dump from before that was restored under it, and others may have split it.
#[tokio::test]
async fn a_generation_that_has_lanes_already_is_settled() {
    for lanes in [
        "('ledger#2', 0, 255)",
        "('ledger#2', 0, 127), ('ledger#2', 128, 255)",
    ] {
        settles_a_generation_with(lanes).await;
    }
}

async fn settles_a_generation_with(lanes: &str) {
    let db = TestDb::new().await;
    let accounts = some_accounts(&db, 12).await;
    db.catch_up("ledger").await;
    let view = db.foldlog.view("ledger").unwrap();
    let budget = Budget::default();
    let filling = "select count(*) from settled where lock_domain = 'ledger#2 fill'";
    let mut requests = 0;
    while db.count(filling).await == 0 {
        requests += 1;
        let round_trips = RoundTrips::start(&db.options).await;
        let pool = Pool::new(round_trips.options(), 4);
        let run = reproject(&pool, view, 3, ReprojectOptions::default(), &budget);
        drop(round_trips.kill_after(requests, run).await);
    }
    db.run(&format!(
        "insert into settled (lock_domain, first, last) values {lanes}"
    ))
    .await;
    // One of each half of the slots, and more; the fifth one is closed.
    for account in &accounts[..4] {
        append(&db.foldlog, &[deposited(*account, 1)]).await;
    }
    // Until the transaction that settles it, and no further: lanes are merged later.
    let filled = "select count(*) from views where name = 'ledger#2' and filled_at is not null";
    while db.count(filled).await == 0 {
        requests += 1;
        let round_trips = RoundTrips::start(&db.options).await;
        let pool = Pool::new(round_trips.options(), 4);
        let run = reproject(&pool, view, 3, ReprojectOptions::default(), &budget);
        drop(round_trips.kill_after(requests, run).await);
    }
    let slots = "select sum(last - first + 1)::bigint from settled where lock_domain = 'ledger#2'";
    assert_eq!(
        db.count(slots).await,
        256,
        "each slot has one lane: {lanes}"
    );
    reproject_to_the_end(&db.foldlog, "ledger").await;
    let live = "select count(*) from views where name = 'ledger#2' and state = 'live'";
    assert_eq!(db.count(live).await, 1);
    assert_all_applied(&db, "ledger").await;
}

/// The folder of `pg_dump` and `pg_restore` of the server's version; `None` if the server is one from npm or an archive, which have only
/// the programs of a server.
async fn programs(db: &TestDb) -> Option<PathBuf> {
    let folder: String = sqlx::query_scalar("select setting from pg_config where name = 'BINDIR'")
        .fetch_one(&mut db.connect().await)
        .await
        .unwrap();
    let folder = PathBuf::from(folder);
    folder.join("pg_restore").exists().then_some(folder)
}

/// Runs a program of the server's installation against a database.
async fn run_program(db: &TestDb, program: PathBuf, database: &str, arguments: &[&str]) {
    let host = db.options.get_socket().map_or_else(
        || db.options.get_host().to_owned(),
        |folder| folder.display().to_string(),
    );
    let url = sqlx::ConnectOptions::to_url_lossy(&db.options);
    let output = tokio::process::Command::new(&program)
        .env("PGPASSWORD", url.password().unwrap_or_default())
        .args([
            "--host",
            &host,
            "--port",
            &db.options.get_port().to_string(),
        ])
        .args(["--username", db.options.get_username()])
        .args(["--dbname", database])
        .args(arguments)
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", program.display());
}

/// Dumps the database of a test and restores it as another one.
async fn restore_as(db: &TestDb, programs: &Path, name: &str) -> PgConnectOptions {
    db.run(&format!("create database {name}")).await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("dump").display().to_string();
    let source = db.options.get_database().unwrap();
    let (dump, restore) = (programs.join("pg_dump"), programs.join("pg_restore"));
    run_program(db, dump, source, &["--format=custom", "--file", &file]).await;
    run_program(db, restore, name, &["--exit-on-error", &file]).await;
    db.options.clone().database(name)
}

/// Fails when a dump that is taken in the middle of a reprojection lacks something that the reprojection needs to continue.
#[tokio::test]
async fn a_reprojection_continues_on_a_restored_dump() {
    let db = TestDb::new().await;
    let Some(programs) = programs(&db).await else {
        return;
    };
    let accounts = some_accounts(&db, 12).await;
    many_accounts(&db).await;
    db.catch_up("ledger").await;
    let round_trips = RoundTrips::start(&db.options).await;
    let pool = Pool::new(round_trips.options(), 4);
    let (view, budget) = (db.foldlog.view("ledger").unwrap(), Budget::default());
    let finished = "select count(*) from slices where is_finished";
    let mut requests = 1;
    while db.count(finished).await == 0 {
        let run = reproject(&pool, view, 10, ReprojectOptions::default(), &budget);
        let ended = round_trips.kill_after(requests, run).await;
        assert!(ended.is_none(), "the reprojection was not killed");
        requests += 1;
    }
    assert!(
        db.count("select count(*) from slices where not is_finished")
            .await
            > 0
    );
    append(&db.foldlog, &[deposited(accounts[1], 1)]).await;

    let name = format!("{}_dump", db.options.get_database().unwrap());
    let options = restore_as(&db, &programs, &name).await;
    let restored = host(&options);
    append(&restored, &[deposited(accounts[1], 1)]).await;
    assert_eq!(
        reproject_to_the_end(&restored, "ledger").await.generation,
        2
    );
    let ledger = restored.view("ledger").unwrap();
    let verified = verify(&restored.pool, ledger, VerifyOptions::default(), &budget).await;
    let verified = verified.unwrap();
    assert_eq!((verified.differ, verified.orphan_claims), (0, 0));
    assert_eq!((verified.aggregates, verified.complete), (512, true));
    let mut there = PgConnection::connect_with(&options).await.unwrap();
    assert_equals_fold(&mut there, &ledger.current()).await;
    there.close().await.unwrap();
    restored.pool.close();
    db.run(&format!("drop database {name} with (force)")).await;
}
