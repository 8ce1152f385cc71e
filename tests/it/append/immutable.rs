//! What the database itself holds about recorded events.

use foldlog::db::Session;
use foldlog::event::Version;
use foldlog::store::{self, ExpectedHeads, Outcome};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::events::{append, prepare};
use crate::support::{TestDb, created, renamed};

// Fails when a trigger is missing for one of the verbs; an owner and superuser, whom no grant stops, is refused, too.
#[tokio::test]
async fn events_are_immutable() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    for rewrite in [
        "update events set payload = '{}'",
        "update events set version = version where false",
        "delete from events",
        "truncate events",
        "truncate events, locker cascade",
        "insert into events (id, aggregate_id, version, type_id, payload) select id, aggregate_id, version, type_id, payload \
         from events on conflict (id, aggregate_id) do update set payload = '{}'",
        "with gone as (delete from events returning *) select count(*) from gone",
    ] {
        let error = sqlx::raw_sql(AssertSqlSafe(rewrite))
            .execute(&mut db.connect().await)
            .await
            .expect_err(rewrite);
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        assert_eq!(code.as_deref(), Some("42501"), "{rewrite}: {error}");
    }
    let untouched =
        "select count(*) from events where payload ->> 'username' = 'ada' and version = 1";
    assert_eq!(db.count(untouched).await, 1);
}

// Fails when an append stores the server's clock unchecked: the clock may have been set back, or the log moved to another host.
#[tokio::test]
async fn created_at_never_runs_backwards_within_an_aggregate() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    let ahead = format!(
        "insert into events (id, aggregate_id, version, type_id, payload, created_at) \
         values (gen_random_uuid(), '{user}', 2, 1002, '{{\"username\": \"b\"}}', statement_timestamp() + interval '1 day')"
    );
    db.run(&ahead).await;
    append(&db.foldlog, &[renamed(user, "c")]).await;
    append(&db.foldlog, &[renamed(user, "d"), renamed(user, "e")]).await;
    let times: Vec<OffsetDateTime> =
        sqlx::query_scalar("select created_at from events order by version")
            .fetch_all(&mut *db.pool().acquire().await.unwrap())
            .await
            .unwrap();
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted(), "{times:?}");
    // Other aggregates have the clock's time.
    append(&db.foldlog, &[created(Uuid::now_v7(), "bob")]).await;
    let now = "select count(*) from events where created_at <= statement_timestamp()";
    assert_eq!(db.count(now).await, 2);
}

// Fails when an append that lost stores a part: the statement is all or nothing without a transaction around it.
#[tokio::test]
async fn an_append_that_loses_stores_nothing() {
    let db = TestDb::new().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    append(&db.foldlog, &[created(ada, "ada")]).await;
    let mut connection = Session::from(db.connect().await);
    let taken = created(ada, "ada");
    append(&db.foldlog, &[created(Uuid::now_v7(), "eve")]).await;
    for (events, expected) in [
        (
            vec![created(bob, "bob"), renamed(ada, "b")],
            ExpectedHeads::from([(taken.aggregate_id, Version(7).into())]),
        ),
        (
            vec![renamed(ada, "b")],
            ExpectedHeads::from([(taken.aggregate_id, Version(0).into())]),
        ),
    ] {
        let outcome = store::append(&mut connection, &prepare(&events), &expected, false).await;
        assert!(matches!(outcome, Ok(Outcome::LostRace)), "{outcome:?}");
        assert_eq!(db.count("select count(*) from events").await, 2);
    }
}
