//! Appends whose row is known before, beside everything that can make that row a wrong one.

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::domains::users::UserEvent;
use foldlog::event::{EventId, UntypedEvent, Version};
use foldlog::projection::verify::{VerifyOptions, verify};
use foldlog::projection::{self, Budget};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, event, opened};
use crate::support::workers::{assert_all_applied, version_in_view};
use crate::support::{TestDb, created, renamed};

/// Another host on this database, which folds the views of the domains inline.
fn host(db: &TestDb) -> Foldlog {
    let builder = Foldlog::builder().domains(DOMAINS);
    let builder = builder.inline(["users", "accounts"]);
    builder.build(Pool::new(db.options.clone(), 2)).unwrap()
}

fn email_changed(user: Uuid) -> UntypedEvent {
    let email = format!("{}@example.org", Uuid::now_v7());
    event(user, UserEvent::EmailChanged { email })
}

/// How many rows of a view differ from the fold of the log.
async fn differences(db: &TestDb, view: &str) -> u64 {
    let view = db.foldlog.view(view).unwrap();
    let verified = verify(
        db.pool(),
        view,
        VerifyOptions::default(),
        &Budget::default(),
    )
    .await;
    verified.unwrap().differ
}

/// Fails when a host that remembers a wrong row writes it again after it was repaired.
#[tokio::test]
async fn a_row_that_was_repaired_is_read_before_the_next_append() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    db.catch_up("users").await;
    db.run("update users set username = 'wrong'").await;
    let host = host(&db);
    append(&host, &[email_changed(user)]).await;
    let view = db.foldlog.view("users").unwrap();
    let repaired = verify(db.pool(), view, VerifyOptions::repair(), &Budget::default()).await;
    assert_eq!(repaired.unwrap().repaired, 1);
    append(&host, &[email_changed(user)]).await;
    append(&host, &[email_changed(user)]).await;
    assert_eq!(differences(&db, "users").await, 0);
    assert_eq!(version_in_view(&db, "users", user).await, Some(Version(4)));
    assert_all_applied(&db, "users").await;
}

/// Fails when a host that has created an aggregate writes content into its row again that was erased from the log and the view.
#[tokio::test]
async fn content_that_was_erased_does_not_return_from_memory() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    let host = host(&db);
    append(&host, &[created(user, "ada")]).await;
    for statement in [
        "alter table events disable trigger events_immutable",
        "update events set payload = jsonb_set(payload, '{username}', '\"erased\"')",
        "alter table events enable trigger events_immutable",
    ] {
        db.run(statement).await;
    }
    let view = db.foldlog.view("users").unwrap();
    let repaired = verify(db.pool(), view, VerifyOptions::repair(), &Budget::default()).await;
    assert_eq!(repaired.unwrap().repaired, 1);
    append(&host, &[email_changed(user)]).await;
    assert_eq!(differences(&db, "users").await, 0);
    assert_eq!(version_in_view(&db, "users", user).await, Some(Version(2)));
}

/// Fails when a host that remembers the effect of an event writes it into the row from which an operator has excluded the event.
#[tokio::test]
async fn a_skipped_event_stays_without_effect_in_a_row_that_is_known() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    let host = host(&db);
    append(&host, &[opened(account)]).await;
    append(&db.foldlog, &[deposited(account, 2_000_000)]).await;
    db.catch_up("accounts").await;
    append(&host, &[deposited(account, 1)]).await;
    let skipped = "select id from events where version = 2";
    let skipped: Uuid = sqlx::query_scalar(AssertSqlSafe(skipped))
        .fetch_one(&mut db.connect().await)
        .await
        .unwrap();
    let view = db.foldlog.view("accounts").unwrap();
    let by = (None, "too much");
    let budget = Budget::default();
    let report = projection::skip(db.pool(), view, (EventId(skipped), None), by, &budget).await;
    assert!(report.unwrap().unparked);
    db.run("alter table accounts drop constraint accounts_rich_check")
        .await;
    append(&host, &[deposited(account, 1)]).await;
    let balance = db.count("select balance_cents from accounts").await;
    assert_eq!(balance, 2);
}

/// Fails when an append whose row is known is folded over a row that lacks earlier events.
#[tokio::test]
async fn a_row_that_is_behind_is_read() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    let host = host(&db);
    append(&host, &[created(user, "ada")]).await;
    // The row is behind the state that the host remembers.
    for statement in ["delete from locker", "delete from users"] {
        db.run(statement).await;
    }
    append(&host, &[renamed(user, "eve")]).await;
    assert_eq!(version_in_view(&db, "users", user).await, Some(Version(2)));
    assert_all_applied(&db, "users").await;
}

/// Fails when an event whose id has a claim that was left behind is stored by a statement that wrote only a part of what belongs to it.
#[tokio::test]
async fn a_claim_that_is_there_already_is_not_counted() {
    let db = TestDb::new().await;
    let host = host(&db);
    let (first, second) = (
        created(Uuid::now_v7(), "ada"),
        created(Uuid::now_v7(), "eve"),
    );
    db.run(&format!(
        "insert into locker (event_id, aggregate_id, lock_domain) values ('{}', '{}', 'users')",
        second.id.0, second.aggregate_id.0
    ))
    .await;
    append(&host, &[first]).await;
    append(&host, std::slice::from_ref(&second)).await;
    // The claim says that the event is folded, as for an append that reads its row.
    let seen = version_in_view(&db, "users", second.aggregate_id.0).await;
    assert_eq!(seen, None);
    assert_eq!(differences(&db, "users").await, 1);
}

/// Fails when the row of an aggregate that a person has parked by hand changes, because it is known and has all events.
#[tokio::test]
async fn an_aggregate_parked_by_hand_is_not_folded() {
    let db = TestDb::new().await;
    let host = host(&db);
    let user = Uuid::now_v7();
    append(&host, &[created(user, "ada")]).await;
    db.run(
        "insert into parked (lock_domain, aggregate_id, event_id, version, error, next_try) \
         select 'users', aggregate_id, id, version + 1, 'held', 'infinity' from events",
    )
    .await;
    append(&host, &[renamed(user, "eve")]).await;
    assert_eq!(version_in_view(&db, "users", user).await, Some(Version(1)));
}
