//! Every statement runs READ COMMITTED, and may write, whatever the defaults of the database and of the login are.

use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::db::{Pool, PoolSettings, Pooler, Role, Schema};
use foldlog::view::Inline;
use futures_util::future::join_all;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::bins::program::{LISTENER, LOCAL, MIGRATE, Program, url};
use crate::bins::{empty, the_requests_of_the_readme};
use crate::support::TestDb;
use crate::support::app::App;
use crate::support::bouncer::Bouncer;
use crate::support::db::DOMAINS;
use crate::support::events::append;
use crate::support::json::{created, renamed};
use crate::support::locks::wait_until_true;

/// Sets the defaults of the database for all new sessions.
async fn set_defaults(db: &TestDb, isolation: &str) {
    let name = db.options.get_database().unwrap();
    db.run(&format!(
        "begin isolation level read committed read write; \
         alter database {name} set default_transaction_deferrable = on; \
         alter database {name} set default_transaction_isolation = '{isolation}'; \
         alter database {name} set default_transaction_read_only = on; \
         commit"
    ))
    .await;
}

/// Makes every write to the tables fail in a transaction that is not READ COMMITTED.
const REQUIRE_READ_COMMITTED: &str = "begin isolation level read committed read write; \
    create function require_read_committed() returns trigger language plpgsql as $$ begin \
        if current_setting('transaction_isolation') <> 'read committed' then \
            raise exception '% in a % transaction', tg_op, current_setting('transaction_isolation'); \
        end if; \
        return null; \
    end $$; \
    do $$ declare name text; begin \
        foreach name in array array['events', 'locker', 'settled', 'users'] loop \
            execute format('create trigger isolation after insert or update or delete on %I \
                for each statement execute function require_read_committed()', name); \
        end loop; \
    end $$; \
    commit";

fn pool(db: &TestDb, role: Option<Role>) -> Pool {
    Pool::open(PoolSettings {
        login: Arc::new(db.options.clone()),
        size: 4,
        pooler: Pooler::None,
        role,
        schema: Schema::default(),
    })
}

async fn transaction_mode(executor: impl PgExecutor<'_>) -> (String, String, String) {
    sqlx::query_as(
        "select current_setting('transaction_isolation'), current_setting('transaction_read_only'), \
         current_setting('transaction_deferrable')",
    )
    .fetch_one(executor)
    .await
    .unwrap()
}

/// Fails when a session or a transaction of any role keeps a default of the database: directly and behind a pooler, inside of
/// transactions and outside.
#[tokio::test]
async fn sessions_of_every_role_are_read_committed_and_may_write() {
    let db = TestDb::new().await;
    let bouncer = Bouncer::start(&db.options).await;
    for isolation in ["serializable", "repeatable read"] {
        set_defaults(&db, isolation).await;
        for role in [
            None,
            Some(Role::Command),
            Some(Role::CommandInline),
            Some(Role::Query),
            Some(Role::Projection),
        ] {
            for pool in [pool(&db, role), bouncer.pool(role)] {
                let alone = transaction_mode(&mut *pool.acquire().await.unwrap()).await;
                assert_eq!(
                    (&*alone.0, &*alone.2),
                    ("read committed", "off"),
                    "{role:?}"
                );
                if role != Some(Role::Query) {
                    assert_eq!(alone.1, "off", "{role:?}");
                }
                let mut transaction = pool.begin().await.unwrap();
                let within = transaction_mode(&mut *transaction).await;
                assert_eq!(
                    within,
                    ("read committed".into(), "off".into(), "off".into())
                );
                transaction.rollback().await.unwrap();
            }
        }
    }
}

/// Fails when requests fail because the database's default isolation level makes the loser of a race fail: appends to one
/// aggregate with and without an inline projection, lists, and reads that fold what is not projected yet.
#[tokio::test]
async fn contended_requests_succeed_in_a_database_that_is_serializable_by_default() {
    for inline in [Inline::new(), Inline::from(["users".to_owned()])] {
        let db = TestDb::new().await;
        db.run(REQUIRE_READ_COMMITTED).await;
        set_defaults(&db, "serializable").await;
        let foldlog = Foldlog::new(pool(&db, None), DOMAINS, inline).unwrap();
        let app = App::with_foldlog(db, foldlog).await;
        let user = Uuid::now_v7();
        let first = app.append("/users", &created(user, "ada")).await;
        assert_eq!(first.status, 201, "{first:?}");
        let renames = (0..60).map(|number| renamed(user, &format!("ada{number}")));
        let path = format!("/users/{user}?consistency=strong");
        let answers = join_all(renames.map(async |rename| {
            let read = if rename["id"].as_str().unwrap().ends_with('0') {
                "/users"
            } else {
                &path
            };
            tokio::join!(app.append("/users", &rename), app.read(read))
        }))
        .await;
        for (appended, read) in answers {
            assert_eq!(appended.status, 201, "{appended:?}");
            assert_eq!(read.status, 200, "{read:?}");
        }
    }
}

/// Fails when `migrate`, the listener's own session or a part of `local` runs a statement with the database's defaults.
#[tokio::test]
async fn programs_work_in_a_database_that_is_serializable_and_read_only_by_default() {
    let db = empty().await;
    let database = url(&db.options);
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("APP_SERVER_PORT", "127.0.0.1:0"),
    ];
    db.run(
        "create function require_read_committed_ddl() returns event_trigger language plpgsql as $$ begin \
            if current_setting('transaction_isolation') <> 'read committed' then \
                raise exception '% in a % transaction', tg_tag, current_setting('transaction_isolation'); \
            end if; \
        end $$; \
        create event trigger isolation on ddl_command_end execute function require_read_committed_ddl()",
    )
    .await;
    set_defaults(&db, "serializable").await;
    Program::run(MIGRATE, &["up"], &env).await.well();
    db.run(REQUIRE_READ_COMMITTED).await;
    let mut local = Program::start(LOCAL, &[], &env);
    let address = local.url().await;
    the_requests_of_the_readme(&reqwest::Client::new(), &address).await;
    local.terminate().await.well();
    let mut listener = Program::start(LISTENER, &[], &env);
    listener.until_it_says("the listener is connected").await;
    let foldlog = Foldlog::new(pool(&db, None), DOMAINS, Inline::new()).unwrap();
    append(&foldlog, &[crate::support::created(Uuid::now_v7(), "ada")]).await;
    wait_until_true(&db, "select count(*) = 2 from users").await;
    listener.terminate().await.well();
}

/// Fails when a limit that a database sets for its applications ends a migration, or the idle session that waits for notifications.
#[tokio::test]
async fn the_limits_of_a_database_apply_neither_to_migrations_nor_to_an_idle_listener() {
    let db = empty().await;
    let name = db.options.get_database().unwrap();
    db.run(&format!(
        "create function require_no_limit() returns event_trigger language plpgsql as $$ begin \
            if current_setting('statement_timeout') <> '0' or current_setting('idle_in_transaction_session_timeout') <> '0' then \
                raise exception '% with a limit', tg_tag; \
            end if; \
        end $$; \
        create event trigger limits on ddl_command_end execute function require_no_limit(); \
        alter database {name} set statement_timeout = '1min'; \
        alter database {name} set idle_in_transaction_session_timeout = '1min'; \
        alter database {name} set idle_session_timeout = '1min'"
    ))
    .await;
    let database = url(&db.options);
    let env = [("DATABASE_URL", database.as_str())];
    Program::run(MIGRATE, &["up"], &env).await.well();
    let pool = pool(&db, None);
    let mut connection = pool.acquire().await.unwrap();
    let idle: String = sqlx::query_scalar("select current_setting('idle_session_timeout')")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(idle, "0");
}
