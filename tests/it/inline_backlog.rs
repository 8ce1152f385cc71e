//! Inline folds of aggregates of which many events wait in the view.

use foldlog::Foldlog;
use foldlog::command::{self, AppendError, Appended};
use foldlog::db;
use foldlog::domains::users::{UserEvent, Users};
use foldlog::event::{AggregateId, ExpectedVersion, UntypedEvent, Version};
use foldlog::projection::ProjectionError;
use sqlx::Connection as _;
use uuid::Uuid;

use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, event, opened};
use crate::support::workers::{assert_all_applied, version_in_view};
use crate::support::{TestDb, created, renamed};

/// Another host on the same database that folds a projection inline.
fn host(db: &TestDb, inline: &str) -> Foldlog {
    let inline = [inline.to_owned()].into();
    Foldlog::new(db::Pool::new(db.options.clone(), 4), DOMAINS, inline).unwrap()
}

async fn send(foldlog: &Foldlog, event: &UntypedEvent) -> Result<Appended, AppendError> {
    command::execute(
        foldlog,
        std::slice::from_ref(event),
        ExpectedVersion::Any,
        None,
    )
    .await
}

/// An account with this many events, none of which is folded.
async fn account(db: &TestDb, events: i32) -> Uuid {
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account)]).await;
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), '{account}', n, 2001, '{{\"cents\": 1}}' from generate_series(2, {events}) n"
    ))
    .await;
    account
}

/// The most claims of one transaction.
const LARGEST_FOLD: &str =
    "select coalesce(max(n), 0) from (select count(*) as n from locker group by xmin::text) claims";

fn is_too_far_behind(answer: &Result<Appended, AppendError>) -> bool {
    matches!(
        answer,
        Err(AppendError::Inline(ProjectionError::TooManyEvents(_)))
    )
}

/// Fails when an append reads all events that wait in its aggregate at once.
#[tokio::test]
async fn a_long_backlog_is_folded_in_pieces_before_the_append() {
    let db = TestDb::new().await;
    let account = account(&db, 5000).await;
    let inline = host(&db, "ledger");
    send(&inline, &deposited(account, 1)).await.unwrap();
    let viewed = version_in_view(&db, "ledger", account).await;
    assert_eq!(viewed, Some(Version(5001)));
    let largest = db.count(LARGEST_FOLD).await;
    assert!(largest <= 2000, "{largest} claims in one transaction");
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an append folds without a limit, when what a refused append has folded is lost, or when an aggregate that is further behind
/// than one append folds is never caught up by appends.
#[tokio::test]
async fn an_append_that_is_refused_for_a_long_backlog_has_folded_a_part_of_it() {
    let db = TestDb::new().await;
    let account = account(&db, 51_500).await;
    let inline = host(&db, "ledger");
    let deposit = deposited(account, 1);
    let refused = send(&inline, &deposit).await;
    assert!(is_too_far_behind(&refused), "{refused:?}");
    assert_eq!(db.count("select count(*) from events").await, 51_500);
    assert_eq!(db.count("select count(*) from locker").await, 50_000);
    assert!(!send(&inline, &deposit).await.unwrap().duplicate);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the backlog of an append in the caller's transaction is read at once, is folded outside of that transaction, or ends it.
#[tokio::test]
async fn an_append_in_a_transaction_folds_a_long_backlog_in_it() {
    let db = TestDb::with_inline(&["users"]).await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), '{user}', n, 1002, '{{\"username\": \"eve\"}}' from generate_series(2, 3500) n"
    ))
    .await;
    let mut connection = db.connect().await;
    for is_kept in [false, true] {
        let mut transaction = connection.begin().await.unwrap();
        let renamed = UserEvent::UsernameChanged {
            username: "bob".to_owned(),
        };
        db.foldlog
            .append::<Users>(AggregateId(user), [renamed])
            .in_transaction(&mut transaction)
            .await
            .unwrap();
        if is_kept {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
            assert_eq!(db.count("select count(*) from locker").await, 1);
        }
    }
    let viewed = version_in_view(&db, "users", user).await;
    assert_eq!(viewed, Some(Version(3501)));
    assert_all_applied(&db, "users").await;
}

/// Fails when an append is refused by a set rule that only an older state of its aggregate breaks.
#[tokio::test]
async fn an_older_state_does_not_break_a_set_rule_for_an_append() {
    let db = TestDb::with_inline(&["users"]).await;
    let (behind, other) = (Uuid::now_v7(), Uuid::now_v7());
    append(&db.foldlog, &[created(behind, "ada")]).await;
    let taken = UserEvent::EmailChanged {
        email: "taken@example.org".to_owned(),
    };
    append(&db.foldlog, &[created(other, "bob")]).await;
    append(&db.foldlog, &[event(other, taken)]).await;
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), '{behind}', n, 1003, \
             jsonb_build_object('email', case when n < 3000 then 'taken@example.org' else 'own@example.org' end) \
         from generate_series(2, 3500) n"
    ))
    .await;
    let rename = renamed(behind, "eve");
    let answer = send(&db.foldlog, &rename).await;
    assert!(is_too_far_behind(&answer), "{answer:?}");
    db.catch_up("users").await;
    send(&db.foldlog, &rename).await.unwrap();
}
