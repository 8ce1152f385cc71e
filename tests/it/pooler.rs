//! Behind a real PgBouncer in transaction mode. (`TEST_POOLER=transaction cargo test` sends the whole suite through one, as
//! CI does.)

use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::db::{DbError, Pool, PoolSettings, Pooler, Role, Schema};
use foldlog::event::ExpectedVersion;
use foldlog::projection::{self, Budget};
use foldlog::view::Inline;
use foldlog::{command, store};
use sqlx::Row;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::bins::program::{LISTENER, MIGRATE, Program, url};
use crate::support::TestDb;
use crate::support::bouncer::Bouncer;
use crate::support::db::DOMAINS;
use crate::support::events::{append, created, renamed};
use crate::support::workers::assert_all_applied;

fn host(bouncer: &Bouncer, role: Role) -> Foldlog {
    Foldlog::new(bouncer.pool(Some(role)), DOMAINS, Inline::new()).unwrap()
}

/// Thirty clients on four server connections. Fails when a statement has a name (another client's plan is run), stands
/// outside of a transaction, or acts as the role that another client left behind.
#[tokio::test]
async fn many_clients_share_a_few_server_connections_of_a_pooler() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start(&db.options).await;
    let (commands, queries) = (host(&bouncer, Role::Command), host(&bouncer, Role::Query));
    let projections = host(&bouncer, Role::Projection);
    let mut clients = JoinSet::new();
    for number in 0..30 {
        let (commands, queries, projections) =
            (commands.clone(), queries.clone(), projections.clone());
        clients.spawn(async move {
            let user = Uuid::now_v7();
            let expected = ExpectedVersion::Any;
            for event in [created(user, "ada"), renamed(user, &format!("ada{number}"))] {
                let id = event.id;
                let stored = command::execute(&commands, &[event], expected, None).await;
                assert!(!stored.unwrap().duplicate);
                let mut connection = queries.pool.acquire().await.unwrap();
                let mut found = Vec::new();
                store::find_events(&mut connection, &[id], |event| found.push(event))
                    .await
                    .unwrap();
                assert!(found.len() == 1 && found[0].id == id);
                let view = projections.view("users").unwrap();
                let budget = Budget::default();
                // It may lose batches to the others; what it leaves, they take.
                let _ = projection::catch_up(&projections.pool, view, 7, &budget).await;
            }
        });
    }
    clients.join_all().await;
    let view = projections.view("users").unwrap();
    let caught_up = projection::catch_up(&projections.pool, view, 100, &Budget::default()).await;
    assert!(caught_up.unwrap().done);
    assert_all_applied(&db, "users").await;
    db.assert_views_equal_a_fold_from_scratch().await;
}

/// Fails when a host behind a pooler keeps the privileges of its login, or when its role outlives the transaction.
#[tokio::test]
async fn behind_a_pooler_the_role_is_set_per_transaction() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start_with(&db.options, "default_pool_size = 1").await;
    for role in [
        Role::Command,
        Role::Query,
        Role::Projection,
        Role::CommandInline,
    ] {
        let pool = bouncer.pool(Some(role));
        let asked = "select current_user::text";
        let alone = sqlx::query_scalar::<_, String>(asked)
            .fetch_one(&mut *pool.acquire().await.unwrap())
            .await;
        assert_eq!(alone.unwrap(), role.name());
        let mut transaction = pool.begin().await.unwrap();
        let within = sqlx::query_scalar::<_, String>(asked).fetch_one(&mut *transaction);
        assert_eq!(within.await.unwrap(), role.name());
        transaction.commit().await.unwrap();
    }
    let left = sqlx::query_scalar::<_, String>("select current_user::text")
        .fetch_one(&mut *bouncer.pool(None).acquire().await.unwrap())
        .await;
    assert_eq!(left.unwrap(), db.options.get_username());
}

/// Fails when a request that is given up in between leaves its transaction to the next user of the connection.
#[tokio::test]
async fn a_cancelled_statement_leaves_no_open_transaction() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start(&db.options).await;
    let pool = bouncer.pool(None);
    for _ in 0..20 {
        let mut connection = pool.acquire().await.unwrap();
        let slow = sqlx::query("select pg_sleep(30)").execute(&mut *connection);
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(2), slow).await;
        assert!(given_up.is_err());
    }
    let answer: i64 = sqlx::query_scalar("select 1::bigint")
        .fetch_one(&mut *pool.acquire().await.unwrap())
        .await
        .unwrap();
    assert_eq!(answer, 1);
}

/// Fails when a statement that the database refuses leaves its transaction open, or loses the reason.
#[tokio::test]
async fn errors_are_equal_with_and_without_a_pooler() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let bouncer = Bouncer::start(&db.options).await;
    let (direct, pooled) = (db.pool().clone(), bouncer.pool(None));
    for pool in [direct, pooled] {
        let mut session = pool.acquire().await.unwrap();
        for statement in [
            "update events set payload = '{}'",
            "select 1 from nowhere",
            "select 1/0",
        ] {
            let refused = sqlx::query(statement).execute(&mut *session).await;
            let refused = refused.unwrap_err();
            let code = refused.as_database_error().unwrap().code().unwrap();
            assert!(["42501", "42P01", "22012"].contains(&&*code), "{code}");
        }
        let row = sqlx::query("select count(*) from events").fetch_one(&mut *session);
        assert_eq!(row.await.unwrap().get::<i64, _>(0), 1);
    }
}

/// Fails when the error does not say that `DB_POOLER` has to be set.
#[tokio::test]
async fn an_undeclared_pooler_is_detected_and_reported() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start(&db.options).await;
    let mut seen = Vec::new();
    // Each client names its first statement alike.
    for _ in 0..6 {
        let pool = Pool::new(bouncer.options(), 1);
        match pool.acquire().await {
            Err(DbError::Pooler(_)) => seen.push(()),
            Err(error) => panic!("{error}"),
            Ok(_) => {}
        }
    }
    assert!(!seen.is_empty(), "no client met another one's statement");
}

/// Fails when a host with `DB_POOLER=none` sets its role behind a pooler: the role would stay set in a session that another client
/// uses next.
#[tokio::test]
async fn an_undeclared_pooler_is_refused_before_a_role_is_set() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start(&db.options).await;
    let pool = Pool::open(PoolSettings {
        login: Arc::new(bouncer.options()),
        size: 1,
        pooler: Pooler::None,
        role: Some(Role::Query),
        schema: Schema::default(),
    });
    let refused = pool.acquire().await.unwrap_err();
    assert!(matches!(refused, DbError::Pooler(_)), "{refused}");
    assert!(refused.to_string().contains("DB_POOLER=transaction"));
}

/// Fails when `listener` or `migrate` starts on what cannot serve it, or does not say what to do instead.
#[tokio::test]
async fn listener_and_migrate_reject_a_pooler() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start_with(
        &db.options,
        "ignore_startup_parameters = extra_float_digits",
    )
    .await;
    let (direct, pooled) = (url(&db.options), url(&bouncer.options()));
    for (binary, arguments) in [
        (LISTENER, &[][..]),
        (MIGRATE, &["up"]),
        (MIGRATE, &["status"]),
    ] {
        // Told of it, or left to find out.
        for env in [
            &[
                ("DATABASE_URL", direct.as_str()),
                ("DB_POOLER", "transaction"),
            ][..],
            &[("DATABASE_URL", pooled.as_str())],
        ] {
            let ended = Program::run(binary, arguments, env).await;
            let line = ended.one_line_of_error();
            assert!(
                line.contains("direct connection") && line.contains("Postgres itself"),
                "{line}"
            );
        }
    }
}
