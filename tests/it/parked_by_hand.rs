//! Rows of `parked` that a person deletes, changes or truncates. Deleting a row means "retry now": it never hides an event.

use foldlog::event::{AggregateId, Version};
use foldlog::projection::list_parked;
use sqlx::{AssertSqlSafe, raw_sql};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::accounts::make_foldable;
use crate::support::db::run;
use crate::support::events::{append, deposited, opened};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::workers::{assert_all_applied, version_in_view};

/// An account that is parked in the ledger at version 2, with two later events.
async fn parked(db: &TestDb) -> Uuid {
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account), deposited(account, 13)]).await;
    db.catch_up("ledger").await;
    append(&db.foldlog, &[deposited(account, 1), deposited(account, 1)]).await;
    db.catch_up("ledger").await;
    account
}

const DELETE: &str = "delete from parked where lock_domain = 'ledger'";
const DUE: &str = "select count(*) from parked where lock_domain = 'ledger' and next_try <= statement_timestamp()";

/// Fails when deleting the row of a parked aggregate hides its events from every later pass.
#[tokio::test]
async fn a_deleted_parked_row_is_retried() {
    for delete in [
        DELETE.to_owned(),
        format!("set role foldlog_projection; {DELETE}"),
        format!("set default_transaction_isolation = serializable; {DELETE}"),
        "delete from parked".to_owned(),
    ] {
        let db = TestDb::new().await;
        let account = parked(&db).await;
        db.run(&delete).await;
        assert_eq!(db.count(DUE).await, 1, "{delete}");
        db.catch_up("ledger").await;
        assert_eq!(
            version_in_view(&db, "ledger", account).await,
            Some(Version(1))
        );
        make_foldable(account);
        db.run(&delete).await;
        db.catch_up("ledger").await;
        assert_all_applied(&db, "ledger").await;
        assert_eq!(db.count("select count(*) from parked").await, 0);
    }
}

/// Fails when a retry unparks an aggregate because it finds no event from the version on that a person wrote into the row, for example to
/// pass over the event: the events before that version would never be folded.
#[tokio::test]
async fn a_version_beyond_the_newest_event_in_a_parked_row_hides_no_event() {
    let db = TestDb::new().await;
    let account = parked(&db).await;
    db.run("update parked set version = 5, next_try = statement_timestamp()")
        .await;
    db.catch_up("ledger").await;
    assert_eq!(db.count("select count(*) from parked").await, 1);
    make_foldable(account);
    db.run("update parked set version = 99, next_try = statement_timestamp()")
        .await;
    db.catch_up("ledger").await;
    assert_eq!(db.count("select count(*) from parked").await, 0);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a row cannot be deleted although the next pass would find its events.
#[tokio::test]
async fn a_parked_row_is_deleted_where_nothing_is_settled() {
    let db = TestDb::new().await;
    let account = parked(&db).await;
    make_foldable(account);
    db.run(&format!(
        "delete from settled where lock_domain = 'ledger'; {DELETE}"
    ))
    .await;
    assert_eq!(db.count("select count(*) from parked").await, 0);
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the deletion looks at what was settled before it waited for a pass that relies on the row.
#[tokio::test]
async fn a_deletion_waits_for_a_pass_that_relies_on_the_parked_row() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account), deposited(account, 13)]).await;
    db.catch_up("ledger").await;
    append(&db.foldlog, &[deposited(account, 1)]).await;
    // What a pass does that passes over the new event.
    let mut pass = Held::open(&db, "select from parked for share").await;
    let mut connection = db.connect().await;
    let deletion = tokio::spawn(async move { run(&mut connection, DELETE).await });
    wait_until_blocked(&mut db.connect().await, DELETE).await;
    run(
        pass.connection(),
        "update settled set snapshot = log_snapshot() where lock_domain = 'ledger'",
    )
    .await;
    pass.commit().await;
    deletion.await.unwrap();
    assert_eq!(db.count(DUE).await, 1);
    make_foldable(account);
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a parked row can become the row of another aggregate, or when all rows can vanish at once.
#[tokio::test]
async fn parked_rows_cannot_be_renamed_or_truncated() {
    let db = TestDb::new().await;
    let account = parked(&db).await;
    for statement in [
        "truncate parked",
        "truncate parked cascade",
        "update parked set aggregate_id = gen_random_uuid()",
        "update parked set lock_domain = 'accounts'",
    ] {
        let refused = raw_sql(AssertSqlSafe(statement))
            .execute(&mut db.connect().await)
            .await
            .unwrap_err();
        let code = refused.as_database_error().unwrap().code();
        assert_eq!(code.as_deref(), Some("42501"), "{statement}");
    }
    make_foldable(account);
    db.run(DELETE).await;
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the page of parked aggregates cannot be read because one of them is never to be tried again.
#[tokio::test]
async fn a_parked_aggregate_that_is_never_tried_again_is_listed() {
    let db = TestDb::new().await;
    let account = parked(&db).await;
    db.run("update parked set next_try = 'infinity'").await;
    let view = db.foldlog.view("ledger").unwrap();
    let page = list_parked(db.pool(), view, None, 10.into()).await.unwrap();
    assert_eq!(page.parked[0].aggregate_id, AggregateId(account));
    assert_eq!(page.parked[0].next_try, None);
    let json = serde_json::to_value(&page.parked[0]).unwrap();
    assert_eq!(json["next_try"], serde_json::Value::Null);
}
