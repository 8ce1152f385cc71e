//! The test databases that foldlog exports to other crates.

use foldlog::domain::prelude::*;
use foldlog::domains::users::{UserEvent, Users};
use foldlog::testing::TestDatabase;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::support::db::{DOMAINS, run};

async fn database_exists(admin: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(admin)
        .await
        .unwrap()
}

fn database_name(options: &PgConnectOptions) -> String {
    options.get_database().unwrap().to_owned()
}

/// Fails when a test sees the data of another one, or when setup statements do not run.
#[tokio::test]
async fn test_databases_are_migrated_empty_and_separate() {
    let setup = "create table invoices (id int)";
    let create = || TestDatabase::builder(DOMAINS).setup(setup).create();
    let (first, second) = (create().await, create().await);
    run(
        &mut first.connect().await,
        "insert into invoices values (1)",
    )
    .await;
    for (database, expected) in [(&first, 1), (&second, 0)] {
        database.catch_up().await;
        let counts = "select (select count(*) from invoices), (select count(*) from events)";
        let counts: (i64, i64) = sqlx::query_as(counts)
            .fetch_one(&mut database.connect().await)
            .await
            .unwrap();
        assert_eq!(counts, (expected, 0));
    }
}

/// Fails when databases of tests that passed pile up on the server, or when that of a failed test cannot be examined.
#[tokio::test]
async fn the_database_of_a_failed_test_is_kept_and_that_of_a_passed_one_dropped() {
    let observer = TestDatabase::new(DOMAINS).await;
    let mut admin = observer.connect().await;

    let passed = TestDatabase::new(DOMAINS).await;
    let name = database_name(&passed.connect_options());
    assert!(database_exists(&mut admin, &name).await);
    drop(passed);
    assert!(!database_exists(&mut admin, &name).await);

    let failed = TestDatabase::new(DOMAINS).await;
    let name = database_name(&failed.connect_options());
    let test = std::thread::spawn(move || {
        let _dropped_by_the_panic = failed;
        panic!("expected by the test");
    });
    test.join().unwrap_err();
    assert!(database_exists(&mut admin, &name).await);
    run(&mut admin, &format!("drop database {name}")).await;
    admin.close().await.unwrap();
}

/// Fails when the example in the documentation of [`foldlog::testing`] does not compile or does not pass.
#[tokio::test]
async fn a_new_user_appears_in_the_view() {
    let database = TestDatabase::new(foldlog::domains![Users]).await;
    let foldlog = database.foldlog();
    let id = Uuid::now_v7();
    let created = UserEvent::Created {
        id,
        username: "ada".to_owned(),
        email: "ada@example.org".to_owned(),
        password: None,
    };
    foldlog
        .append::<Users>(AggregateId(id), [created])
        .await
        .unwrap();
    database.catch_up().await;
    let (_user, version) = foldlog
        .get::<Users>(AggregateId(id))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(version, Version(1));
}
