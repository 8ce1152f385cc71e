//! Behind a real PgBouncer that tracks named statements (`DB_POOLER=prepared`). (`TEST_POOLER=prepared cargo test` sends the
//! whole suite through one, as CI does.)

use foldlog::db::{DbError, Role};
use sqlx::Row as _;

use crate::support::TestDb;
use crate::support::bouncer::Bouncer;
use crate::support::db::set_login_defaults;

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
