//! Behind a real PgBouncer that tracks named statements (`DB_POOLER=prepared`). (`TEST_POOLER=prepared cargo test` sends the
//! whole suite through one, as CI does.)

use foldlog::db::{DbError, Role};
use sqlx::Row as _;

use crate::support::TestDb;
use crate::support::bouncer::{Bouncer, set_login_defaults};

/// Fails when the two clients that verify a pooler do not notice that it forwards names: statements would run other clients'
/// plans.
#[tokio::test]
async fn a_pooler_that_does_not_track_names_is_refused() {
    let db = TestDb::new().await;
    set_login_defaults(&db.options, None).await;
    for more in [
        "max_prepared_statements = 0",
        "max_prepared_statements = 0\nserver_round_robin = 1",
        "max_prepared_statements = 0\ndefault_pool_size = 1",
    ] {
        let Some(bouncer) = Bouncer::start_tracking(&db.options, more).await else {
            return;
        };
        // Whether the names are used already on the server connections or not.
        for _ in 0..3 {
            let refused = bouncer.pool(None).acquire().await.unwrap_err();
            assert!(matches!(refused, DbError::UntrackedNames(_)), "{refused}");
            let text = refused.to_string();
            assert!(text.contains("max_prepared_statements"), "{text}");
            assert!(text.contains("DB_POOLER=transaction"), "{text}");
        }
    }
}

/// Fails when a statement outside of a transaction has the privileges or the isolation level that the login or the database
/// happens to have.
#[tokio::test]
async fn a_session_without_the_defaults_is_refused_with_the_statements_that_set_them() {
    let db = TestDb::new().await;
    let name = db.options.get_database().unwrap().to_owned();
    for setting in ["default_transaction_isolation = serializable", "jit = on"] {
        db.run(&format!("alter database {name} set {setting}"))
            .await;
    }
    let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
        return;
    };
    let refused = bouncer.pool(Some(Role::Query)).acquire().await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, DbError::SessionDefaults { .. }), "{text}");
    for part in [
        "set role = foldlog_query",
        "set jit = 'off'",
        "set default_transaction_isolation = 'read committed'",
        "set statement_timeout = ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The statements that it names are the ones that help.
    set_login_defaults(&db.options, Some(Role::Query)).await;
    let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
        return;
    };
    let mut session = bouncer.pool(Some(Role::Query)).acquire().await.unwrap();
    let row = sqlx::query("select current_user::text, current_setting('transaction_isolation')")
        .fetch_one(&mut *session)
        .await
        .unwrap();
    let (role, isolation): (String, String) = (row.get(0), row.get(1));
    assert_eq!((&*role, &*isolation), ("foldlog_query", "read committed"));
}

/// Fails when a host works as another role than its own, or when a transaction, whose role nothing sets here, differs from a single
/// statement.
#[tokio::test]
async fn behind_a_pooler_that_tracks_names_the_role_is_the_logins_default() {
    let db = TestDb::new().await;
    for role in [
        Role::Command,
        Role::Query,
        Role::Projection,
        Role::CommandInline,
    ] {
        set_login_defaults(&db.options, Some(role)).await;
        let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
            return;
        };
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
    // A command host that also projects has one login for both, so the role that has the privileges of both serves it, and only it.
    let bouncer = Bouncer::start_tracking(&db.options, "").await.unwrap();
    bouncer.pool(Some(Role::Command)).acquire().await.unwrap();
    bouncer
        .pool(Some(Role::Projection))
        .acquire()
        .await
        .unwrap();
    let refused = bouncer.pool(Some(Role::Query)).acquire().await.unwrap_err();
    assert!(
        matches!(refused, DbError::SessionDefaults { .. }),
        "{refused}"
    );
}

/// Fails when a request that is given up leaves its statement to the next user of the connection, or a statement that the database
/// refuses makes a later one fail.
#[tokio::test]
async fn cancelled_and_refused_statements_leave_a_usable_connection() {
    let db = TestDb::new().await;
    set_login_defaults(&db.options, None).await;
    let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
        return;
    };
    let pool = bouncer.pool(None);
    for (statement, code) in [("select 1 from nowhere", "42P01"), ("select 1/0", "22012")] {
        let mut session = pool.acquire().await.unwrap();
        for _ in 0..2 {
            let refused = sqlx::query(statement).execute(&mut *session).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.as_database_error().unwrap().code().unwrap(), code);
        }
        let slow = sqlx::query("select pg_sleep(30)").execute(&mut *session);
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(2), slow).await;
        assert!(given_up.is_err());
    }
    let answer: i64 = sqlx::query_scalar("select 1::bigint")
        .fetch_one(&mut *pool.acquire().await.unwrap())
        .await
        .unwrap();
    assert_eq!(answer, 1);
}

/// A server connection keeps the plan of a statement longer than any client that named it. Fails when a view that was rebuilt with
/// another type of column cannot be read until the pooler reconnects.
#[tokio::test]
async fn a_changed_result_type_is_read_after_a_retry() {
    let db = TestDb::new().await;
    set_login_defaults(&db.options, None).await;
    db.run("create table rebuilt as select 1::int as amount")
        .await;
    let Some(bouncer) = Bouncer::start_tracking(&db.options, "").await else {
        return;
    };
    let pool = bouncer.pool(None);
    let read = async || {
        let mut session = pool.acquire().await.unwrap();
        sqlx::query("select amount from rebuilt")
            .fetch_one(&mut *session)
            .await
    };
    read().await.unwrap();
    db.run("alter table rebuilt alter amount type bigint").await;
    let first = read().await;
    let second = read().await;
    assert_eq!(second.unwrap().get::<i64, _>(0), 1, "{first:?}");
}
