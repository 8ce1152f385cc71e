//! What an error of Postgres means: who is told what, whether the request is repeated, and what becomes of the connection.

use foldlog::Foldlog;
use foldlog::db::{DbError, Pool};
use foldlog::view::Inline;
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{Answer, App};
use crate::support::db::DOMAINS;
use crate::support::json::{created, renamed};
use crate::support::log::Log;

/// Makes each append to the log fail with the code in the table `fault`, after as many backends as it says have failed.
const FAULT: &str = "create table fault (code text not null, opened_before timestamptz not null default 'infinity'); \
    create function fail() returns trigger language plpgsql security definer as $$ \
    declare fault fault; \
    begin \
        select * into fault from fault; \
        if found and (select backend_start from pg_stat_activity where pid = pg_backend_pid()) < fault.opened_before then \
            raise exception 'secret of the database' using errcode = fault.code; \
        end if; \
        return null; \
    end $$; \
    create trigger fault after insert on events for each statement execute function fail()";

async fn app() -> App {
    let app = App::new().await;
    app.db.run(FAULT).await;
    app
}

async fn append_with_fault(app: &App, code: &str) -> Answer {
    let set = format!("delete from fault; insert into fault values ('{code}')");
    app.db.run(&set).await;
    app.append("/users", &created(Uuid::now_v7(), "ada")).await
}

/// Fails when an error that is not a bug in foldlog's statements answers 500, when an error of the environment does not say when
/// to come back, or when the answer quotes the database.
#[tokio::test]
async fn only_an_invalid_statement_answers_500() {
    let app = app().await;
    for (status, codes) in [
        (
            503,
            "08000 08003 08006 08P01 0A000 0B000 25006 25P02 25P03 26000 28000 28P01 3D000 3F000 40001 40003 40P01 42501 42P01 \
             42703 42883 53000 53100 53200 53300 53400 54000 54001 55000 55006 55P03 57000 57014 57P01 57P03 57P04 58000 58030 \
             58P01 72000 F0000 XX000 XX001 XX002",
        ),
        (
            409,
            "02000 21000 22001 22003 22023 22P02 23502 23514 23P01 2F000 38000 39000 44000 HV000 P0001 P0002 P0004 ZX001",
        ),
        (500, "03000 42601 42803"),
    ] {
        for code in codes.split_ascii_whitespace() {
            let answer = append_with_fault(&app, code).await;
            assert_eq!(answer.status, status, "{code}: {answer:?}");
            let wait: Option<u64> = answer.header("retry-after").parse().ok();
            assert_eq!(wait.is_some(), status == 503, "{code}: {answer:?}");
            assert!(!answer.body.to_string().contains("secret"), "{answer:?}");
        }
    }
    app.db.run("delete from fault").await;
    let repaired = app.append("/users", &created(Uuid::now_v7(), "ada")).await;
    assert_eq!(repaired.status, 201, "{repaired:?}");
    assert_eq!(app.stored().await, 1);
}

/// Fails when the log of a request does not say what is wrong with the server.
#[tokio::test]
async fn a_full_disk_is_logged_as_a_full_disk() {
    let log = Log::default();
    let _guard = log.capture("info");
    let app = app().await;
    append_with_fault(&app, "53100")
        .await
        .problem(503, "unavailable");
    let text = log.text();
    assert!(text.contains("the disk is full (SQLSTATE 53100)"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

/// A fail-over: the connections of the pool lead to a server that has become read-only, and new ones to the new writer. Fails when
/// the connections that were opened before it are kept, or when the append is not repeated on a new one.
#[tokio::test]
async fn an_append_continues_on_a_new_connection_after_a_fail_over() {
    for code in ["25006", "0A000", "26000"] {
        let app = app().await;
        let user = Uuid::now_v7();
        // Several connections lie in the pool.
        let pool = app.db.pool();
        let open: Vec<_> = futures_util::future::join_all((0..4).map(|_| pool.acquire())).await;
        drop(open);
        let set = format!("insert into fault values ('{code}', clock_timestamp())");
        app.db.run(&set).await;
        for event in [
            created(user, "ada"),
            renamed(user, "bob"),
            renamed(user, "eve"),
        ] {
            let answer = app.append("/users", &event).await;
            assert_eq!(answer.status, 201, "{code}: {answer:?}");
        }
    }
}

async fn backend(pool: &Pool) -> i32 {
    let mut session = pool.acquire().await.unwrap();
    sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut *session)
        .await
        .unwrap()
}

/// Fails when a connection is kept after an error that says that it is at fault, or closed after an error that does not; outside
/// of a transaction and inside.
#[tokio::test]
async fn a_connection_at_fault_is_not_kept() {
    let db = TestDb::new().await;
    let pool = Pool::new(db.options.clone(), 1);
    let raise = |code: &str| {
        let sql = format!("do $$ begin raise exception using errcode = '{code}'; end $$");
        sqlx::query(AssertSqlSafe(sql)).persistent(false)
    };
    for (kept, codes) in [
        (
            true,
            "22012 23505 23514 40001 40P01 42601 42P01 53100 55P03 57014 P0001",
        ),
        (
            false,
            "08006 08P01 0A000 25006 25P02 26000 3B001 53200 57P01 58030 XX000 XX001",
        ),
    ] {
        for code in codes.split_ascii_whitespace() {
            let before = backend(&pool).await;
            let failed = raise(code)
                .execute(&mut *pool.acquire().await.unwrap())
                .await;
            assert!(failed.is_err());
            let between = backend(&pool).await;
            assert_eq!(before == between, kept, "{code}");
            let mut transaction = pool.begin().await.unwrap();
            assert!(transaction.execute(raise(code)).await.is_err());
            transaction.rollback().await.unwrap();
            assert_eq!(
                between == backend(&pool).await,
                kept,
                "{code} in a transaction"
            );
        }
    }
}

/// Fails when a table that was altered under a live pool leaves a connection whose prepared statement fails for ever.
#[tokio::test]
async fn a_cached_plan_that_no_longer_fits_is_prepared_again() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    assert_eq!(
        app.append("/users", &created(user, "ada")).await.status,
        201
    );
    app.db.catch_up("users").await;
    let path = format!("/users/{user}?consistency=strong");
    for precision in [3, 4, 5, 6] {
        // Every connection prepares the statements.
        for _ in 0..3 {
            let reads = futures_util::future::join_all((0..8).map(|_| app.read(&path))).await;
            for read in reads {
                assert_eq!(read.status, 200, "{read:?}");
            }
            let renamed = app.append("/users", &renamed(user, "bob")).await;
            assert_eq!(renamed.status, 201, "{renamed:?}");
        }
        let alter = format!(
            "alter table events disable trigger user; \
            alter table events alter created_at type timestamptz({precision}); alter table events enable trigger user"
        );
        app.db.run(&alter).await;
    }
}

/// Fails when a request fails because the session has lost its prepared statements, as behind a pooler in session mode.
#[tokio::test]
async fn prepared_statements_that_the_server_forgot_are_prepared_again() {
    let db = TestDb::new().await;
    let pool = Pool::new(db.options.clone(), 1);
    let foldlog = Foldlog::new(pool.clone(), DOMAINS, Inline::new()).unwrap();
    let app = App::with_foldlog(db, foldlog).await;
    assert_eq!(app.read("/users").await.status, 200);
    pool.acquire()
        .await
        .unwrap()
        .execute(sqlx::raw_sql("deallocate all"))
        .await
        .unwrap();
    assert_eq!(app.read("/users").await.status, 200);
}

/// Fails when a missing table or privilege is not reported as a fault of the installation.
#[tokio::test]
async fn a_database_that_is_not_set_up_is_an_error_of_the_installation() {
    let db = TestDb::new().await;
    for sql in [
        "select 1 from foldlog.nowhere",
        "select nothing from foldlog.events",
        "select foldlog.nothing()",
    ] {
        let mut session = db.pool().acquire().await.unwrap();
        let error = sqlx::query(sql).execute(&mut *session).await.unwrap_err();
        let error = DbError::from(error);
        assert!(matches!(error, DbError::Installation(_)), "{error}");
        assert!(error.to_string().contains("migrate up"), "{error}");
    }
}
