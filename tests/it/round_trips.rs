//! How many round trips to the database a request takes.

use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::command;
use foldlog::db::{Pool, PoolSettings, Pooler, Role};
use foldlog::domains::users::Users;
use foldlog::event::{AggregateId, ExpectedVersion, UntypedEvent, Version};
use foldlog::projection::{self, Budget};
use foldlog::query::{self, Consistency, Moment};
use foldlog::view::Inline;
use sqlx::postgres::PgConnectOptions;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::bouncer::{Bouncer, set_login_defaults};
use crate::support::db::DOMAINS;
use crate::support::round_trips::RoundTrips;
use crate::support::{TestDb, created, renamed};

/// A `Foldlog` with one connection.
fn connect(options: PgConnectOptions, pooler: Pooler, role: Role) -> Foldlog {
    let pool = Pool::open(PoolSettings {
        login: Arc::new(options),
        pooler,
        role: Some(role),
        ..PoolSettings::new(PgConnectOptions::new_without_pgpass(), 1)
    });
    Foldlog::new(pool, DOMAINS, Inline::new()).unwrap()
}

async fn append(foldlog: &Foldlog, event: UntypedEvent) {
    // Boxed, because the futures of a debug build are large.
    Box::pin(command::execute(
        foldlog,
        &[event],
        ExpectedVersion::Any,
        None,
    ))
    .await
    .unwrap();
}

async fn read(foldlog: &Foldlog, user: Uuid, consistency: Consistency) {
    let users = foldlog.view("users").unwrap();
    let row = query::get(foldlog, users, AggregateId(user), consistency);
    Box::pin(row).await.unwrap();
}

/// The round trips of an append to a new user, of two appends to a user that another host created (the second time its state is
/// remembered), of a read, and of a strong read, in this order.
async fn measure(db: &TestDb, proxy: &RoundTrips, pooler: Pooler) -> [u64; 5] {
    let host = connect(proxy.options(), pooler, Role::CommandInline);
    let [first, user] = [Uuid::now_v7(), Uuid::now_v7()];
    for user in [first, user] {
        append(&db.foldlog, created(user, "ada")).await;
    }
    db.catch_up("users").await;
    // The first use of a statement on a connection also prepares it.
    append(&host, created(Uuid::now_v7(), "ada")).await;
    append(&host, renamed(first, "eve")).await;
    read(&host, first, Consistency::Eventual).await;
    read(&host, first, Consistency::Strong).await;
    let blind = append(&host, created(Uuid::now_v7(), "ada"));
    let ((), blind) = proxy.measure(blind).await;
    let ((), with_state) = proxy.measure(append(&host, renamed(user, "ada"))).await;
    let ((), remembered) = proxy.measure(append(&host, renamed(user, "eve"))).await;
    let ((), row) = proxy
        .measure(read(&host, user, Consistency::Eventual))
        .await;
    let ((), strong) = proxy.measure(read(&host, user, Consistency::Strong)).await;
    [blind, with_state, remembered, row, strong]
}

/// Fails when a request takes a round trip more on a direct connection: a transaction around a single statement, a ping, or a
/// second statement.
#[tokio::test]
async fn appends_and_reads_take_one_round_trip_and_loading_state_one_more() {
    let db = TestDb::new().await;
    let proxy = RoundTrips::start(&db.options).await;
    assert_eq!(measure(&db, &proxy, Pooler::None).await, [1, 2, 1, 1, 1]);
}

/// Fails when a request takes more round trips behind a pooler that tracks named statements than on a direct connection.
#[tokio::test]
async fn a_pooler_that_tracks_names_adds_no_round_trips() {
    let db = TestDb::new().await;
    set_login_defaults(&db.options, Some(Role::CommandInline)).await;
    let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
        return;
    };
    let proxy = RoundTrips::start(&bouncer.options()).await;
    assert_eq!(
        measure(&db, &proxy, Pooler::Prepared).await,
        [1, 2, 1, 1, 1]
    );
}

/// Fails when a statement takes more than begin, parse, execute and commit behind a pooler that does not track names.
#[tokio::test]
async fn a_pooler_that_does_not_track_names_costs_four_round_trips_a_statement() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start(&db.options).await;
    let proxy = RoundTrips::start(&bouncer.options()).await;
    assert_eq!(
        measure(&db, &proxy, Pooler::Transaction).await,
        [4, 8, 4, 4, 4]
    );
}

/// The round trips of a pass over a new event, and of a pass over nothing.
async fn measure_passes(db: &TestDb, proxy: &RoundTrips, pooler: Pooler) -> [u64; 2] {
    let host = connect(proxy.options(), pooler, Role::CommandInline);
    let view = host.view("users").unwrap();
    let budget = Budget::default();
    let pass = async || {
        let caught_up = Box::pin(projection::catch_up(&host.pool, view, 100, &budget)).await;
        caught_up.unwrap().applied
    };
    // The first use of a statement on a connection also prepares it.
    for _ in 0..2 {
        append(&db.foldlog, created(Uuid::now_v7(), "ada")).await;
        pass().await;
    }
    append(&db.foldlog, created(Uuid::now_v7(), "ada")).await;
    let (applied, of_new) = proxy.measure(pass()).await;
    let (nothing, of_none) = proxy.measure(pass()).await;
    assert_eq!((applied, nothing), (1, 0));
    [of_new, of_none]
}

/// Fails when a pass takes more than a read and a write on a direct connection, or more than a read when there is nothing to fold.
#[tokio::test]
async fn a_pass_takes_two_round_trips_and_one_over_nothing() {
    let db = TestDb::new().await;
    let proxy = RoundTrips::start(&db.options).await;
    assert_eq!(measure_passes(&db, &proxy, Pooler::None).await, [2, 1]);
}

/// Fails when a pass behind a pooler reads and writes in two transactions: between them the pooler may reach another server, or
/// Postgres may crash and lose commits that the read saw.
#[tokio::test]
async fn a_pass_behind_a_pooler_is_one_transaction() {
    let db = TestDb::new().await;
    set_login_defaults(&db.options, Some(Role::CommandInline)).await;
    let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
        return;
    };
    let proxy = RoundTrips::start(&bouncer.options()).await;
    // Begin, read, write, commit.
    assert_eq!(measure_passes(&db, &proxy, Pooler::Prepared).await, [4, 3]);
}

/// The round trips of the reads about the past of one user with two events, and of lists: see the test.
async fn measure_past(proxy: &RoundTrips, user: Uuid) -> Vec<(&'static str, u64)> {
    let host = connect(proxy.options(), Pooler::None, Role::Query);
    let (id, host) = (AggregateId(user), &host);
    let future = OffsetDateTime::now_utc() + time::Duration::days(1);
    let next = host.history::<Users>(id).limit(1).await.unwrap().next;
    let mut measured = Vec::new();
    // The first use of a statement on a connection also prepares it.
    for _ in 0..2 {
        measured.clear();
        let mut add = |name, (read, count): (bool, u64)| {
            assert!(read, "{name}");
            measured.push((name, count));
        };
        let past = host.get::<Users>(id).version(Version(1));
        let past = async { past.await.unwrap().is_some() };
        add("version", proxy.measure(past).await);
        let past = host.get::<Users>(id).as_of(future);
        let past = async { past.await.unwrap().is_some() };
        add("as_of", proxy.measure(past).await);
        let history = async { host.history::<Users>(id).await.is_ok() };
        add("history", proxy.measure(history).await);
        let newest = async { host.history::<Users>(id).newest_first().await.is_ok() };
        add("history, newest first", proxy.measure(newest).await);
        let second = host.history::<Users>(id).starting_after(next.unwrap());
        let second = async { second.await.is_ok() };
        add("history, second page", proxy.measure(second).await);
        let diff = async { host.diff::<Users>(id, Version(0), Version(2)).await.is_ok() };
        add("diff from nothing", proxy.measure(diff).await);
        let diff = async { host.diff::<Users>(id, Version(2), Version(1)).await.is_ok() };
        add("diff", proxy.measure(diff).await);
        let blame = async { host.blame::<Users>(id, Moment::Newest).await.is_ok() };
        add("blame", proxy.measure(blame).await);
        let explain = async { host.explain::<Users>(id).await.is_ok() };
        add("explain", proxy.measure(explain).await);
        let list = async { host.list::<Users>().as_of(future).await.is_ok() };
        add("list as_of", proxy.measure(list).await);
        let strong = async { host.list::<Users>().strong().await.is_ok() };
        add("strong list", proxy.measure(strong).await);
        let feed = async { host.feed().domain::<Users>().await.is_ok() };
        add("feed", proxy.measure(feed).await);
    }
    measured
}

/// Fails when a read of the past or a list takes a statement more, such as one that asks which generation serves the process.
#[tokio::test]
async fn reads_of_the_past_take_as_few_round_trips_as_they_have_parts() {
    let db = TestDb::new().await;
    let proxy = RoundTrips::start(&db.options).await;
    let user = Uuid::now_v7();
    append(&db.foldlog, created(user, "ada")).await;
    append(&db.foldlog, renamed(user, "eve")).await;
    db.catch_up("users").await;
    let measured = Box::pin(measure_past(&proxy, user)).await;
    assert_eq!(
        measured,
        [
            ("version", 1),
            ("as_of", 1),
            // What is known of the aggregate, and its events.
            ("history", 2),
            ("history, newest first", 2),
            ("history, second page", 2),
            ("diff from nothing", 1),
            ("diff", 2),
            ("blame", 1),
            // The claims, and the newest events.
            ("explain", 2),
            ("list as_of", 1),
            // What is not folded, and the page.
            ("strong list", 2),
            ("feed", 1),
        ]
    );
}
