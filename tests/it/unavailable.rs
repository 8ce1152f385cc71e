//! Postgres away: the API says so, with a time to come back, and recovers by itself.

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::view::Inline;
use serde_json::json;

use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{Answer, App};
use crate::support::chaos::Chaos;
use crate::support::db::DOMAINS;
use crate::support::json::{created, renamed};
use crate::support::locks::{gate_commits, hold_gate, wait_until_blocked};

/// The API with a proxy between it and Postgres.
async fn behind_a_proxy() -> (Chaos, App, Pool) {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let pool = Pool::new(chaos.options(), 10);
    let foldlog = Foldlog::new(pool.clone(), DOMAINS, Inline::new()).unwrap();
    (chaos, App::with_foldlog(db, foldlog).await, pool)
}

// Fails when a connection error returns 500 instead of 503, when Retry-After is missing, when the response quotes the driver, or
// when the pool does not recover.
#[tokio::test]
async fn an_unavailable_database_returns_503_with_retry_after_until_it_is_back() {
    let (mut chaos, app, _) = behind_a_proxy().await;
    let user = Uuid::now_v7();
    assert_eq!(
        app.append("/users", &created(user, "ada")).await.status,
        201
    );

    chaos.refuse().await;
    let (event, strong) = (
        created(Uuid::now_v7(), "bob"),
        format!("/users/{user}?consistency=strong"),
    );
    let answers = tokio::join!(
        app.append("/users", &event),
        app.read("/users"),
        app.read(&strong),
        app.read("/health")
    );
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        let detail = answer.problem(503, "unavailable");
        assert_eq!(
            detail,
            "the database is unavailable; retry the request later, event ids make appends idempotent"
        );
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!(wait > 0);
    }

    chaos.restore().await;
    assert_eq!(app.append("/users", &event).await.status, 201);
    assert_eq!(app.read("/health").await.status, 200);
}

// Fails when a process needs Postgres to start, or gives up because it was away.
#[tokio::test]
async fn a_server_starts_while_postgres_is_unavailable() {
    let db = TestDb::new().await;
    let mut chaos = Chaos::start(&db.options).await;
    chaos.refuse().await;
    let foldlog = Foldlog::new(Pool::new(chaos.options(), 10), DOMAINS, Inline::new()).unwrap();
    let app = App::with_foldlog(db, foldlog).await;
    app.read("/users").await.problem(503, "unavailable");
    chaos.restore().await;
    assert_eq!(
        app.append("/users", &created(Uuid::now_v7(), "ada"))
            .await
            .status,
        201
    );
}

/// Opens so many connections in the pool, and leaves them idle.
async fn fill(pool: &Pool, count: u32) {
    let open = (0..count).map(|_| pool.acquire());
    let open: Vec<_> = futures_util::future::try_join_all(open).await.unwrap();
    drop(open);
}

// Fails when a request that meets a dead connection is tried on the next one of the pool only, which is dead as well.
// None of them was idle long enough to be asked whether it lives.
#[tokio::test]
async fn dead_pooled_connections_are_replaced_without_an_error() {
    let (mut chaos, app, pool) = behind_a_proxy().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    app.db.catch_up("users").await;
    for cut in 0..6 {
        fill(&pool, 10).await;
        if cut % 2 == 0 {
            chaos.cut().await;
        } else {
            let terminate = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and application_name = 'foldlog' and pid <> pg_backend_pid()";
            app.db.run(terminate).await;
        }
        match cut / 2 {
            0 => assert_eq!(app.append("/users", &renamed(user, "b")).await.status, 201),
            1 => assert_eq!(app.read("/users").await.status, 200),
            _ => assert_eq!(app.read("/health").await.status, 200),
        }
        // A crowd at once, each of which may meet a dead connection.
        fill(&pool, 10).await;
        chaos.cut().await;
        let path = format!("/users/{user}?consistency=strong");
        let crowd = (0..20).map(|_| app.read(&path));
        for answer in futures_util::future::join_all(crowd).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
}

// Fails when an append whose connection broke is not looked up by its id when it is tried again: it was stored.
#[tokio::test]
async fn an_append_retried_after_a_lost_response_is_stored_once() {
    let (mut chaos, app, _) = behind_a_proxy().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    // The append's own commit waits behind this, after it has inserted.
    gate_commits(&app.db, "events").await;
    let gate = hold_gate(&app.db).await;
    let rename = renamed(user, "b");
    let (answer, ()) = tokio::join!(app.append("/users", &rename), async {
        wait_until_blocked(&mut app.db.connect().await, "insert into \"public\".events").await;
        // The server does not notice that its client is gone: the first send is stored when the gate opens.
        chaos.cut().await;
        gate.release().await;
    });
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    assert_eq!(answer.header("etag"), "\"2\"");
    assert_eq!(app.stored().await, 2);
}

/// The answers of all routes, those that write with one event and with two.
async fn answers(app: &App) -> [Answer; 7] {
    let user = Uuid::now_v7();
    [
        app.append("/users", &created(user, "ada")).await,
        app.append("/users", &json!([created(user, "ada"), renamed(user, "b")]))
            .await,
        app.read("/users").await,
        app.read("/users?username=ada").await,
        app.read(&format!("/users/{user}")).await,
        app.read(&format!("/users/{user}?consistency=strong")).await,
        app.read("/health").await,
    ]
}

// Fails when an error of the database reaches a client: its words, a table's name, a value it quotes.
#[tokio::test]
async fn a_500_response_does_not_mention_the_database() {
    let app = App::new().await;
    // Only a bug in a statement is a 500. These tables answer every statement as if it had one.
    app.db
        .run(
            "create function broken() returns boolean language plpgsql stable as \
                 $$ begin raise syntax_error; end $$; \
             do $$ declare name text; begin \
                 foreach name in array array['users', 'events', 'locker'] loop \
                     execute format('alter table %I rename to %I', name, 'lost_' || name); \
                     execute format('create view %I as select * from %I where broken()', name, 'lost_' || name); \
                 end loop; \
             end $$",
        )
        .await;
    for answer in answers(&app).await {
        let detail = answer.problem(500, "internal");
        assert_eq!(
            detail,
            "an internal error occurred and was logged; quote the X-Request-Id of this response when you report it"
        );
        let members: Vec<_> = answer.body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["type", "title", "status", "detail"]);
    }
}

// Fails when a database that is not migrated, or was changed by hand, answers 500, or when the answer mentions what is missing.
#[tokio::test]
async fn a_database_that_is_not_set_up_answers_503() {
    let app = App::new().await;
    app.db
        .run("alter table users rename to lost_users; alter table events rename metadata to lost_metadata; \
              alter table locker rename to lost_locker")
        .await;
    for answer in answers(&app).await {
        let detail = answer.problem(503, "unavailable");
        assert!(
            detail.starts_with("the database is unavailable"),
            "{detail}"
        );
        assert_eq!(answer.header("retry-after"), "15");
    }
}

// Fails when a caller that gives up a statement on a silent connection leaves the other silent connections to the next callers.
#[cfg(feature = "lambda")]
#[tokio::test]
async fn a_statement_that_its_caller_gives_up_makes_the_other_connections_suspect() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let pool = Pool::new(chaos.options(), 2);
    let both = tokio::try_join!(pool.acquire(), pool.acquire()).unwrap();
    drop(both);
    chaos.swallow();
    {
        let mut given_up = pool.acquire().await.unwrap();
        let statement = sqlx::query("select 1").execute(&mut *given_up);
        assert!(futures_util::poll!(std::pin::pin!(statement)).is_pending());
    }
    let mut connection = pool.acquire().await.unwrap();
    let answer = sqlx::query("select 1").execute(&mut *connection).await;
    assert!(answer.is_ok(), "{answer:?}");
}
