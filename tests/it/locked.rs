//! Requests that wait for locks: how long, and what they leave for the others.

use futures_util::future::{join, join_all};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{Answer, App};
use crate::support::bouncer::Bouncer;
use crate::support::db::DOMAINS;
use crate::support::json::{created, renamed};
use crate::support::locks::{Held, wait_until_blocked};

/// Inserts the next event of this aggregate in a transaction that stays open: every append to the aggregate waits for it.
async fn lock_aggregate(db: &TestDb, aggregate: Uuid, version: u32) -> Held {
    let insert = format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         values (gen_random_uuid(), '{aggregate}', {version}, 1002, '{{\"username\": \"x\"}}')"
    );
    Held::open(db, &insert).await
}

/// Sends thirty events to an aggregate that is locked until ten other users were created and read.
async fn send_to_locked(app: &App, user: Uuid, path: &str) -> Vec<Answer> {
    let lock = lock_aggregate(&app.db, user, 2).await;
    let renames: Vec<_> = (0..30)
        .map(|number| renamed(user, &format!("ada{number}")))
        .collect();
    let waiting = join_all(renames.iter().map(|rename| app.append(path, rename)));
    let others = async {
        wait_until_blocked(&mut app.db.connect().await, "-- Appends").await;
        for _ in 0..10 {
            let created = app.append("/users", &created(Uuid::now_v7(), "bob")).await;
            assert_eq!(created.status, 201, "{created:?}");
            for path in [
                "/users".to_owned(),
                format!("/users/{user}?consistency=strong"),
            ] {
                let read = app.read(&path).await;
                assert_eq!(read.status, 200, "{read:?}");
            }
        }
        lock.release().await;
    };
    join(waiting, others).await.0
}

/// Thirty dry runs wait for one aggregate, because a view is folded inline. Fails when they take all connections.
#[tokio::test]
async fn dry_runs_of_a_locked_aggregate_leave_connections_for_other_requests() {
    let app = App::with_db(TestDb::with_inline(&["users"]).await).await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    for answer in send_to_locked(&app, user, "/users?dry_run=true").await {
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
}

/// Thirty appends wait for one aggregate, and the pool has ten connections. Fails when they take all of them, so that every other
/// request waits in vain for a connection.
#[tokio::test]
async fn appends_to_a_locked_aggregate_leave_connections_for_other_requests() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    let answers = send_to_locked(&app, user, "/users").await;
    for answer in answers {
        assert!(matches!(answer.status, 201 | 503), "{answer:?}");
        assert_eq!(
            answer.header("retry-after").is_empty(),
            answer.status == 201
        );
    }
    let after = app.append("/users", &renamed(user, "eve")).await;
    assert_eq!(after.status, 201, "{after:?}");
}

/// Fails when an append waits for a lock until the request's time is up, and when the aggregate stays locked for it.
#[tokio::test]
async fn an_append_to_a_locked_aggregate_answers_503_while_the_lock_is_held() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    let lock = lock_aggregate(&app.db, user, 2).await;
    let rename = renamed(user, "bob");
    let answer = app.append("/users", &rename).await;
    let detail = answer.problem(503, "unavailable");
    assert!(detail.contains("concurrent requests"), "{detail}");
    lock.release().await;
    assert_eq!(app.append("/users", &rename).await.status, 201);
}

/// An append behind a pooler is given up while it waits for a lock, as at the time limit of a request. Fails when its transaction
/// stays open with the keys that it has locked, until the server ends it for being idle.
#[tokio::test]
async fn an_append_that_was_given_up_behind_a_pooler_unlocks_its_aggregate() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start(&db.options).await;
    let foldlog =
        foldlog::Foldlog::new(bouncer.pool(None), DOMAINS, foldlog::view::Inline::new()).unwrap();
    let app = App::with_foldlog(db, foldlog.clone()).await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    let lock = lock_aggregate(&app.db, user, 2).await;
    let mut given_up = JoinSet::new();
    let event = crate::support::renamed(user, "bob");
    given_up.spawn(async move {
        let expected = foldlog::event::ExpectedVersion::Any;
        foldlog::command::execute(&foldlog, &[event], expected, None).await
    });
    wait_until_blocked(&mut app.db.connect().await, "insert into \"public\".events").await;
    given_up.shutdown().await;
    lock.release().await;
    let answer = app.append("/users", &renamed(user, "eve")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(
        answer.header("etag"),
        "\"2\"",
        "the append that was given up is stored"
    );
}

/// Thirty reads and appends wait for one view, as while an operator adds an index to it, and the pool has ten connections. Fails when they
/// take all of them, so that requests that do not need the view fail.
#[tokio::test]
async fn requests_for_a_locked_view_leave_connections_for_other_requests() {
    let app = App::new().await;
    let users: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
    for user in &users {
        app.append("/users", &created(*user, "ada")).await;
    }
    // A host that does not remember the users.
    let foldlog = app.db.foldlog.clone();
    let foldlog = foldlog::Foldlog::new(foldlog.pool.clone(), DOMAINS, foldlog.inline().clone());
    let app = App::with_foldlog(app.db, foldlog.unwrap()).await;
    let lock = Held::open(&app.db, "lock table users in access exclusive mode").await;
    let waiting = join_all(users.iter().map(async |user| {
        let (path, strong) = (format!("/users/{user}"), "/users?consistency=strong");
        let rename = renamed(*user, "eve");
        tokio::join!(
            app.read(&path),
            app.read(strong),
            app.append("/users", &rename)
        )
    }));
    let others = async {
        wait_until_blocked(&mut app.db.connect().await, "-- Reads").await;
        for path in ["/events", "/health"] {
            let read = app.read(path).await;
            assert_eq!(read.status, 200, "{path}: {read:?}");
        }
        lock.release().await;
    };
    let (answers, ()) = join(waiting, others).await;
    for (get, list, append) in answers {
        assert!(matches!(get.status, 200 | 404 | 503), "{get:?}");
        assert!(matches!(list.status, 200 | 503), "{list:?}");
        assert!(matches!(append.status, 201 | 503), "{append:?}");
    }
}
