//! `GET /{domain}?consistency=strong`: pages with the events that are not projected yet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use foldlog::Foldlog;
use foldlog::projection::{self, Budget};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::App;
use crate::support::events;
use crate::support::json::{created, deleted, deposited, opened, renamed};

async fn rows(app: &App, parameters: &str) -> Vec<(u128, String)> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/users?consistency=strong{parameters}{after}");
        let page = app.read(&path).await;
        assert_eq!(page.status, 200, "{page:?}");
        for row in page.body["result"].as_array().unwrap() {
            let id: Uuid = row["id"].as_str().unwrap().parse().unwrap();
            rows.push((id.as_u128(), row["username"].as_str().unwrap().to_owned()));
        }
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return rows,
        }
    }
}

fn named(rows: &[(u128, &str)]) -> Vec<(u128, String)> {
    let row = |(id, name): &(u128, &str)| (*id, (*name).to_owned());
    rows.iter().map(row).collect()
}

// Fails when the tail does not add, replace or remove a row, in whatever page and whatever filter, or when a removed row leaves a page
// short.
#[tokio::test]
async fn the_tail_adds_replaces_and_removes_rows() {
    let app = App::new().await;
    let id = Uuid::from_u128;
    for (number, name) in [(2, "ada"), (4, "bob"), (6, "ada"), (8, "eve")] {
        app.append("/users", &created(id(number), name)).await;
    }
    app.db.catch_up("users").await;
    assert_eq!(rows(&app, "").await.len(), 4);
    app.append("/users", &created(id(1), "new")).await;
    app.append("/users", &renamed(id(2), "eve")).await;
    app.append("/users", &deleted(id(4))).await;
    app.append("/users", &json!([created(id(5), "x"), deleted(id(5))]))
        .await;
    app.append("/users", &created(id(9), "ada")).await;
    let all = named(&[(1, "new"), (2, "eve"), (6, "ada"), (8, "eve"), (9, "ada")]);
    for limit in 1..7 {
        assert_eq!(rows(&app, &format!("&limit={limit}")).await, all, "{limit}");
        let filtered = |name: &str| format!("&limit={limit}&username={name}");
        assert_eq!(
            rows(&app, &filtered("eve")).await,
            named(&[(2, "eve"), (8, "eve")])
        );
        assert_eq!(
            rows(&app, &filtered("ada")).await,
            named(&[(6, "ada"), (9, "ada")])
        );
        assert_eq!(rows(&app, &filtered("bob")).await, []);
    }
    // A page with removed rows is full.
    let page = app.read("/users?consistency=strong&limit=3").await.body;
    assert_eq!(page["result"].as_array().unwrap().len(), 3);
    // As projected, nothing has changed.
    let page = app.read("/users").await.body;
    assert_eq!(page["result"].as_array().unwrap().len(), 4);
    app.db.catch_up("users").await;
    assert_eq!(rows(&app, "").await, all);
}

// Fails when a filter on a folded row compares otherwise than Postgres does on a stored one.
#[tokio::test]
async fn folded_rows_are_filtered_by_the_types_of_their_columns() {
    let app = App::new().await;
    let account = Uuid::from_u128(1);
    app.append(
        "/accounts",
        &json!([opened(account, "ada"), deposited(account, 500)]),
    )
    .await;
    for (filter, found) in [
        ("balance_cents=500", 1),
        ("balance_cents=0500", 1),
        ("balance_cents=5", 0),
        ("balance_cents=500&owner=ada", 1),
        ("balance_cents=500&owner=ADA", 0),
    ] {
        let path = format!("/accounts?consistency=strong&{filter}");
        let page = app.read(&path).await.body;
        assert_eq!(page["result"].as_array().unwrap().len(), found, "{filter}");
    }
}

// Fails when a parked aggregate fails a page that it is not on, or when its own page is shown without its newest events.
#[tokio::test]
async fn a_parked_aggregate_fails_only_its_own_page() {
    let app = App::new().await;
    for number in [1, 2, 3, 4] {
        let user = Uuid::from_u128(number);
        app.append("/users", &created(user, "ada")).await;
    }
    app.db.catch_up("users").await;
    let parked = Uuid::from_u128(3);
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) \
             values (gen_random_uuid(), '{parked}', 2, 1002, '{{\"surname\": 1}}')"
        ))
        .await;
    for _ in 0..2 {
        let first = app.read("/users?consistency=strong&limit=1").await;
        assert_eq!(first.status, 200);
        let next = first.body["next"].as_str().unwrap();
        let path = format!("/users?consistency=strong&limit=2&after={next}");
        let second = app.read(&path).await;
        let detail = second.problem(503, "unavailable");
        assert!(detail.contains("cannot be folded"), "{detail}");
        let after = foldlog::view::PageCursor::decode("AAAAAAAAAAAAAAAAAAAAAw").unwrap();
        let path = format!("/users?consistency=strong&after={}", after.encode());
        let last = app.read(&path).await;
        assert_eq!(last.status, 200, "{last:?}");
        // Waiting first, then parked.
        app.db.catch_up("users").await;
    }
    assert_eq!(app.db.count("select count(*) from parked").await, 1);
}

// Fails when a list folds a backlog without a limit, or returns a page without a part of it.
#[tokio::test]
async fn a_backlog_that_is_too_large_returns_503() {
    let app = App::new().await;
    let users: Vec<Value> = (0..1000)
        .map(|number| created(Uuid::from_u128(number), "ada"))
        .collect();
    assert_eq!(app.append("/users", &json!(users)).await.status, 201);
    assert_eq!(rows(&app, "&limit=1000").await.len(), 1000);
    app.append("/users", &created(Uuid::from_u128(1000), "ada"))
        .await;
    let answer = app.read("/users?consistency=strong").await;
    let detail = answer.problem(503, "unavailable");
    assert!(detail.contains("too far behind"), "{detail}");
    assert!(!answer.header("retry-after").is_empty());
    app.db.catch_up("users").await;
    assert_eq!(rows(&app, "").await.len(), 1001);
}

const USER_COUNT: u128 = 40;

/// The version of each user after what was committed, 0 where it is deleted.
type Committed = Arc<Mutex<BTreeMap<u128, (i32, bool)>>>;

async fn write(foldlog: Foldlog, committed: Committed, stop: Arc<AtomicBool>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::SeqCst) {
        // Each writer has its own users, so it knows their versions.
        let number = random.random_range(0..USER_COUNT) * 2 + u128::from(seed);
        let user = Uuid::from_u128(number);
        let (version, exists) = committed
            .lock()
            .unwrap()
            .get(&number)
            .copied()
            .unwrap_or_default();
        if version > 0 && !exists {
            tokio::task::yield_now().await;
            continue;
        }
        let ends = random.random_range(0..40) == 0;
        let event = match version {
            0 => events::created(user, "ada"),
            _ if ends => events::event(
                user,
                foldlog::domains::users::UserEvent::Deleted { id: None },
            ),
            _ => events::renamed(user, "grace"),
        };
        events::append(&foldlog, &[event]).await;
        let is_row = version == 0 || !ends;
        committed
            .lock()
            .unwrap()
            .insert(number, (version + 1, is_row));
    }
}

async fn catch_up(foldlog: Foldlog, stop: Arc<AtomicBool>) {
    let view = foldlog.view("users").unwrap();
    while !stop.load(Ordering::SeqCst) {
        projection::catch_up(&foldlog.pool, view, 3, &Budget::default())
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
}

// Fails when a page misses an event that was committed before its request, while appends and catch-ups run.
#[tokio::test]
async fn a_strong_list_shows_every_event_that_was_committed_before_it() {
    let app = App::new().await;
    let (committed, stop) = (Committed::default(), Arc::new(AtomicBool::new(false)));
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..2 {
        let (foldlog, committed) = (app.db.foldlog.clone(), Arc::clone(&committed));
        tasks.spawn(write(foldlog, committed, Arc::clone(&stop), seed));
        tasks.spawn(catch_up(app.db.foldlog.clone(), Arc::clone(&stop)));
    }
    for round in 0..60 {
        let before = committed.lock().unwrap().clone();
        let limit = [7, 25, 1000][round % 3];
        let mut seen = BTreeMap::new();
        let mut after = String::new();
        loop {
            let path = format!("/users?consistency=strong&limit={limit}{after}");
            let page = app.read(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            for row in page.body["result"].as_array().unwrap() {
                let id: Uuid = row["id"].as_str().unwrap().parse().unwrap();
                let version = row["version"].as_i64().unwrap();
                assert!(seen.insert(id.as_u128(), version).is_none(), "{id} twice");
            }
            match page.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let later = committed.lock().unwrap().clone();
        for (user, (version, exists)) in before {
            match seen.get(&user) {
                Some(row) => assert!(*row >= i64::from(version) && exists, "user {user}"),
                // It may have been deleted since.
                None => assert!(
                    !exists || !later[&user].1 || is_being_deleted(&app, user).await,
                    "user {user}"
                ),
            }
        }
    }
    stop.store(true, Ordering::SeqCst);
    tasks.join_all().await;
}

/// Whether the newest event of a user is its deletion: it may be stored before the writer knows.
async fn is_being_deleted(app: &App, user: u128) -> bool {
    let id = Uuid::from_u128(user);
    let sql = format!("select count(*) from events where aggregate_id = '{id}' and type_id = 1004");
    app.db.count(&sql).await > 0
}
