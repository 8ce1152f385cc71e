//! `GET /{domain}?consistency=strong`: pages with the events that are not projected yet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldlog::Foldlog;
use foldlog::projection::{self, Budget};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::reprojection::reproject_to_the_end;
use crate::support::app::App;
use crate::support::db::run;
use crate::support::events;
use crate::support::json::{created, deleted, deposited, opened, renamed};
use crate::support::locks::{Held, wait_until_blocked};

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
    // A page that ends before it is read although more rows were looked at.
    for number in [5, 6] {
        app.append("/users", &created(Uuid::from_u128(number), "ada"))
            .await;
    }
    let first = app.read("/users?consistency=strong&limit=2").await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.body["result"].as_array().unwrap().len(), 2);
}

// Fails when parked aggregates, however many there are, make pages unreadable that they are not on; or when one of them is on a page and
// is not noticed.
#[tokio::test]
async fn more_than_a_thousand_parked_aggregates_fail_only_their_own_pages() {
    let app = App::new().await;
    for number in [1, 2, 5000, 5001] {
        app.append("/users", &created(Uuid::from_u128(number), "ada"))
            .await;
    }
    app.db.catch_up("users").await;
    // Their first events cannot be folded.
    app.db
        .run(
            "insert into events (id, aggregate_id, version, type_id, payload) \
             select gen_random_uuid(), lpad(to_hex(n), 32, '0')::uuid, 1, 1000, '{\"surname\": 1}' \
             from generate_series(10, 2509) n",
        )
        .await;
    app.db.catch_up("users").await;
    assert_eq!(app.db.count("select count(*) from parked").await, 2500);
    let first = app.read("/users?consistency=strong&limit=2").await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.body["result"].as_array().unwrap().len(), 2);
    app.read("/users?consistency=strong&limit=3")
        .await
        .problem(503, "unavailable");
    let after = |number: u128| URL_SAFE_NO_PAD.encode(number.to_be_bytes());
    for (number, status) in [(2, 503), (2508, 503), (2509, 200), (5000, 200)] {
        let path = format!("/users?consistency=strong&after={}", after(number));
        assert_eq!(app.read(&path).await.status, status, "{number}");
    }
}

// Fails when a list takes what a generation has not folded for that of another one, which has begun to serve readers in between.
#[tokio::test]
async fn a_swap_of_generations_during_a_strong_list_hides_no_event() {
    let app = App::new().await;
    for number in [1, 2] {
        app.append("/users", &created(Uuid::from_u128(number), "ada"))
            .await;
    }
    app.db.catch_up("users").await;
    reproject_to_the_end(&app.db.foldlog, "users").await;
    // The first generation serves again, and the second one lacks a user.
    let lacking = Uuid::from_u128(2);
    app.db
        .run(&format!(
            "update views set serves = false, state = 'retired' where name = 'users#2'; \
             update views set serves = true, state = 'live' where name = 'users'; \
             delete from \"users#2\" where id = '{lacking}'; \
             delete from locker where lock_domain = 'users#2' and aggregate_id = '{lacking}'; \
             delete from settled where lock_domain = 'users#2'"
        ))
        .await;
    let expected = named(&[(1, "ada"), (2, "ada")]);
    assert_eq!(rows(&app, "").await, expected);
    let mut held = Held::open(&app.db, "lock table users in access exclusive mode").await;
    let (read, ()) = tokio::join!(rows(&app, ""), async {
        wait_until_blocked(&mut app.db.connect().await, "viewed_version").await;
        run(
            held.connection(),
            "update views set serves = false, state = 'retired' where name = 'users'; \
             update views set serves = true, state = 'live' where name = 'users#2'",
        )
        .await;
        held.commit().await;
    });
    assert_eq!(read, expected);
}

// Fails when a cursor of one generation skips or repeats a row of the next one, or is refused.
#[tokio::test]
async fn a_cursor_continues_after_a_swap_of_generations() {
    let app = App::new().await;
    for number in [1, 2, 3, 4] {
        app.append("/users", &created(Uuid::from_u128(number), "ada"))
            .await;
    }
    app.db.catch_up("users").await;
    app.append("/users", &renamed(Uuid::from_u128(4), "eve"))
        .await;
    let history = format!("/users/{}/events?order=desc", Uuid::from_u128(4));
    let paths = [
        "/users?",
        "/users?consistency=strong",
        "/users?as_of=2999-01-01T00:00:00Z",
        &history,
    ];
    let mut pages = Vec::new();
    for path in paths {
        let all = app.read(path).await.body["result"].take();
        let first = app.read(&format!("{path}&limit=1")).await.body;
        pages.push((path, all, first));
    }
    reproject_to_the_end(&app.db.foldlog, "users").await;
    for (path, all, first) in pages {
        let next = first["next"].as_str().unwrap();
        let rest = app.read(&format!("{path}&after={next}")).await;
        let (all, rest) = (all.as_array().unwrap(), &rest.body["result"]);
        // The view has caught up by its reprojection.
        let id = |row: &Value| row["id"].clone();
        let expected: Vec<Value> = all[1..].iter().map(id).collect();
        let found: Vec<Value> = rest.as_array().unwrap().iter().map(id).collect();
        assert_eq!(found, expected, "{path}");
    }
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
