//! Inline projections: folds in the append's own transaction.

use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::command::{self, AppendError, Appended};
use foldlog::db;
use foldlog::domains::users::UserEvent;
use foldlog::event::{ExpectedVersion, UntypedEvent, Version};
use foldlog::projection::{self, Budget, ProjectionError};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::accounts::make_foldable;
use crate::support::app::App;
use crate::support::db::{DOMAINS, run};
use crate::support::events::{append, deposited, event, opened};
use crate::support::json;
use crate::support::locks::{Held, hold_claim, wait_until_blocked};
use crate::support::workers::{WRITE, append_in, assert_all_applied, version_in_view, worker};
use crate::support::{TestDb, created, renamed};

/// Another host on the same database that folds these projections inline and uses these session settings.
fn host(db: &TestDb, inline: &[&str], settings: &[(&str, &str)]) -> Foldlog {
    let inline = inline.iter().map(|name| (*name).to_owned()).collect();
    let options = db.options.clone().options(settings.iter().copied());
    Foldlog::new(db::Pool::new(options, 10), DOMAINS, inline).unwrap()
}

/// An event that creates a user with this e-mail address.
fn with_email(user: Uuid, email: &str) -> UntypedEvent {
    let created = UserEvent::Created {
        id: user,
        username: "ada".to_owned(),
        email: email.to_owned(),
        password: None,
    };
    event(user, created)
}

async fn send(foldlog: &Foldlog, events: &[UntypedEvent]) -> Result<Appended, AppendError> {
    command::execute(foldlog, events, ExpectedVersion::Any, None).await
}

/// Fails when an append returns before its fold, or when the fold leaves out events that are not in the row yet.
#[tokio::test]
async fn an_inline_view_is_never_behind_a_committed_append() {
    let db = Arc::new(TestDb::with_inline(&["accounts", "ledger"]).await);
    let accounts: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    append(
        &db.foldlog,
        &accounts.iter().map(|a| opened(*a)).collect::<Vec<_>>(),
    )
    .await;
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        let (db, account) = (db.clone(), accounts[writer % 3]);
        writers.spawn(async move {
            for _ in 0..8 {
                let appended =
                    append(&db.foldlog, &[deposited(account, 1), deposited(account, 2)]).await;
                let answered = appended.events[1].version;
                for view in ["accounts", "ledger"] {
                    let seen = version_in_view(&db, view, account).await;
                    assert!(seen >= Some(answered), "{view}: {seen:?} after {answered}");
                }
            }
        });
    }
    writers.join_all().await;
    assert_all_applied(&db, "ledger").await;
    assert_all_applied(&db, "accounts").await;
}

/// Fails when a duplicate is reported as another error, or when a rejected append leaves an event in the log.
#[tokio::test]
async fn an_inline_set_rule_rejects_a_duplicate_email() {
    let db = TestDb::with_inline(&["users"]).await;
    let start = Arc::new(Barrier::new(6));
    let mut senders = JoinSet::new();
    for sender in 0..6 {
        let (foldlog, start) = (db.foldlog.clone(), start.clone());
        let email = if sender % 2 == 0 {
            "ada@example.org"
        } else {
            "ADA@example.org"
        };
        senders.spawn(async move {
            start.wait().await;
            send(&foldlog, &[with_email(Uuid::now_v7(), email)]).await
        });
    }
    let results = senders.join_all().await;
    assert_eq!(
        results.iter().filter(|r| r.is_ok()).count(),
        1,
        "{results:?}"
    );
    let refused = |r: &&Result<_, AppendError>| matches!(r, Err(AppendError::SetRule { message, .. }) if message.contains("taken"));
    assert_eq!(results.iter().filter(refused).count(), 5, "{results:?}");

    let other = Uuid::now_v7();
    append(&db.foldlog, &[created(other, "bob")]).await;
    let change = UserEvent::EmailChanged {
        email: "ada@example.org".to_owned(),
    };
    let changed = send(&db.foldlog, &[event(other, change)]).await;
    assert!(
        matches!(changed, Err(AppendError::SetRule { .. })),
        "{changed:?}"
    );
    assert_eq!(db.count("select count(*) from events").await, 2);
    assert_all_applied(&db, "users").await;
}

/// Fails when a value that one event of an append releases is still taken for the next event.
#[tokio::test]
async fn a_deleted_users_email_can_be_used_again() {
    let db = TestDb::with_inline(&["users"]).await;
    let (gone, new) = (Uuid::now_v7(), Uuid::now_v7());
    append(&db.foldlog, &[with_email(gone, "ada@example.org")]).await;
    let deleted = event(gone, UserEvent::Deleted { id: None });
    append(&db.foldlog, &[deleted, with_email(new, "ada@example.org")]).await;
    assert_eq!(version_in_view(&db, "users", gone).await, None);
    assert_all_applied(&db, "users").await;
}

/// Fails when an append writes its rows one by one over the old rows: then the order of the ids decides which append is
/// rejected.
#[tokio::test]
async fn an_email_released_in_the_same_append_can_be_taken_in_any_row_order() {
    let db = TestDb::with_inline(&["users"]).await;
    let (low, high) = (Uuid::from_u128(1), Uuid::from_u128(u128::MAX));
    for (gives, takes, email) in [
        (low, Uuid::from_u128(2), "a@example.org"),
        (high, Uuid::from_u128(3), "b@example.org"),
    ] {
        append(&db.foldlog, &[with_email(gives, email)]).await;
        let changed = event(
            gives,
            UserEvent::EmailChanged {
                email: format!("not-{email}"),
            },
        );
        append(&db.foldlog, &[changed, with_email(takes, email)]).await;
    }
    assert_eq!(db.count("select count(*) from users").await, 4);
    assert_all_applied(&db, "users").await;
}

/// Fails when a set rule is enforced for a view that is not inline: it would park users instead of rejecting appends.
#[tokio::test]
async fn a_set_rule_is_not_enforced_without_inline() {
    // Another projection is inline, so this host has just created or dropped the set rules of all views.
    let db = TestDb::with_inline(&["ledger"]).await;
    for _ in 0..2 {
        append(
            &db.foldlog,
            &[with_email(Uuid::now_v7(), "ada@example.org")],
        )
        .await;
    }
    let caught_up = db.catch_up("users").await;
    assert_eq!((caught_up.applied, caught_up.parked.unwrap()), (2, 0));
    assert_all_applied(&db, "users").await;
}

/// Fails when an inline fold claims only the events of its append, or only some of the earlier ones: it would skip versions.
#[tokio::test]
async fn an_inline_append_folds_its_aggregates_backlog_first() {
    let db = TestDb::new().await;
    let (account, other) = (Uuid::now_v7(), Uuid::now_v7());
    append(&db.foldlog, &[opened(account), opened(other)]).await;
    for _ in 0..3 {
        append(
            &db.foldlog,
            &[(); 900]
                .iter()
                .map(|()| deposited(account, 1))
                .collect::<Vec<_>>(),
        )
        .await;
    }
    let inline = host(&db, &["ledger"], &[]);
    append(&inline, &[deposited(account, 5)]).await;
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(2702))
    );
    assert_eq!(version_in_view(&db, "ledger", other).await, None);

    assert_eq!(db.catch_up("ledger").await.applied, 1, "the other account");
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an inline fold and a worker both fold an event, or neither does.
#[tokio::test]
async fn inline_appends_and_workers_fold_each_event_once() {
    let db = TestDb::new().await;
    let accounts: Arc<Vec<Uuid>> = Arc::new((0..5).map(|_| Uuid::now_v7()).collect());
    append(
        &db.foldlog,
        &accounts.iter().map(|a| opened(*a)).collect::<Vec<_>>(),
    )
    .await;
    let hosts = [host(&db, &["ledger"], &[]), host(&db, &[], &[])];
    let mut appends = JoinSet::new();
    for writer in 0..4_usize {
        let (foldlog, accounts) = (hosts[writer % 2].clone(), accounts.clone());
        appends.spawn(async move {
            for round in 0..12 {
                let pair = [
                    accounts[(writer + round) % 5],
                    accounts[(writer * 2 + round * 3 + 1) % 5],
                ];
                append(&foldlog, &pair.map(|account| deposited(account, 1))).await;
            }
        });
    }
    let workers: Vec<_> = [3, 5]
        .map(|batch| {
            let foldlog = db.foldlog.clone();
            let budget = Budget::default();
            let stop = budget.stop.clone();
            let works = tokio::spawn(async move {
                let view = foldlog.view("ledger").unwrap();
                while !budget.stop.is_cancelled() {
                    projection::catch_up(&foldlog.pool, view, batch, &budget)
                        .await
                        .unwrap();
                }
            });
            (works, stop)
        })
        .into();
    appends.join_all().await;
    for (works, stop) in workers {
        stop.cancel();
        works.await.unwrap();
    }
    db.catch_up("ledger").await;
    assert_eq!(db.count("select count(*) from events").await, 5 + 96);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an inline fold writes a row that it computed before a worker folded an event of the aggregate, or when it loses the
/// events that it appended.
#[tokio::test]
async fn an_inline_fold_starts_over_when_a_worker_has_claimed_its_backlog() {
    let db = TestDb::new().await;
    let inline = host(&db, &["ledger"], &[]);
    let account = Uuid::now_v7();
    let first = opened(account);
    append(&db.foldlog, &[first.clone(), deposited(account, 1)]).await;
    // A worker's batch with the first event alone, before its commit.
    let mut worker = hold_claim(&db, "ledger", &first).await;
    let row = format!(
        "insert into ledger (id, version, deposits, last_version) values ('{account}', 1, 0, 1)"
    );
    run(worker.connection(), &row).await;
    let mut watch = db.connect().await;
    let appends = tokio::spawn(async move { send(&inline, &[deposited(account, 1)]).await });
    wait_until_blocked(&mut watch, "Claims events for an append").await;
    worker.commit().await;
    appends.await.unwrap().unwrap();
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(3))
    );
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the deadlock becomes an error of the append or the worker, or when the side that Postgres aborts does not
/// retry.
#[tokio::test]
async fn a_deadlock_between_a_worker_and_an_inline_append_is_resolved_by_a_retry() {
    for worker_loses in [true, false] {
        let db = TestDb::new().await;
        let [first, between, last] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
        // The inline append claims in the order of positions: first, between, last. The transaction of `last` is older
        // than the others, so a worker claims `last` before them.
        let mut older = Held::open(&db, "select pg_current_xact_id()").await;
        append(&db.foldlog, &[opened(first)]).await;
        let middle = opened(between);
        append(&db.foldlog, std::slice::from_ref(&middle)).await;
        append_in(older.connection(), &[opened(last)]).await;
        older.commit().await;

        // Postgres aborts the session that checks for deadlocks.
        let never = [("deadlock_timeout", "1min")];
        let (inline, works) = if worker_loses {
            (host(&db, &["ledger"], &never), host(&db, &[], &[]))
        } else {
            (
                host(&db, &["ledger"], &[("deadlock_timeout", "10ms")]),
                host(&db, &[], &never),
            )
        };
        let mut watch = db.connect().await;
        let claim = hold_claim(&db, "ledger", &middle).await;
        let appends = tokio::spawn(async move {
            let events = [first, between, last].map(|account| deposited(account, 1));
            send(&inline, &events).await
        });
        wait_until_blocked(&mut watch, "Claims events for an append").await;
        let worker = tokio::spawn(async move {
            let view = works.view("ledger").unwrap();
            projection::catch_up(&works.pool, view, 100, &Budget::default()).await
        });
        wait_until_blocked(&mut watch, WRITE).await;
        claim.release().await;

        assert!(!appends.await.unwrap().unwrap().duplicate);
        worker.await.unwrap().unwrap();
        db.catch_up("ledger").await;
        assert_eq!(db.count("select count(*) from events").await, 6);
        assert_all_applied(&db, "ledger").await;
    }
}

/// Fails when an append that waits for a repair is stored without its fold, so that its set rule is not checked.
#[tokio::test]
async fn an_inline_append_that_waits_for_a_repair_checks_its_set_rule() {
    let one = with_email(Uuid::now_v7(), "ada@example.org");
    refused_after_a_repair("that they were folded into before", vec![one]).await;
    // More than one event is folded in a transaction.
    let user = Uuid::now_v7();
    let two = vec![with_email(user, "ada@example.org"), renamed(user, "ada")];
    refused_after_a_repair("Reads all unclaimed events of aggregates", two).await;
}

/// `statement` waits for the repair when these events are appended.
async fn refused_after_a_repair(statement: &str, events: Vec<UntypedEvent>) {
    let db = TestDb::with_inline(&["users"]).await;
    append(
        &db.foldlog,
        &[with_email(Uuid::now_v7(), "ada@example.org")],
    )
    .await;
    let mut repair = Held::open(&db, "select pg_advisory_xact_lock(generation_key('users'))").await;
    let foldlog = db.foldlog.clone();
    let appends = tokio::spawn(async move { send(&foldlog, &events).await });
    // Its snapshot is older than the repair.
    wait_until_blocked(&mut db.connect().await, statement).await;
    run(repair.connection(), "select note_repair('users')").await;
    repair.commit().await;
    let refused = appends.await.unwrap();
    assert!(
        matches!(refused, Err(AppendError::SetRule { .. })),
        "{refused:?}"
    );
    assert_eq!(db.count("select count(*) from events").await, 1);
    assert_all_applied(&db, "users").await;
}

/// Fails when an event that is sent again is refused because the view has no live generation of this build's definition any more: it is
/// stored, so nothing has to be folded.
#[tokio::test]
async fn a_resend_is_answered_without_a_generation_to_fold_into() {
    let db = TestDb::with_inline(&["users"]).await;
    let inline = host(&db, &["users"], &[]);
    let user = Uuid::now_v7();
    let rename = renamed(user, "eve");
    append(&inline, &[created(user, "ada")]).await;
    append(&inline, std::slice::from_ref(&rename)).await;
    // As if another build had gone live with a definition of its own.
    db.run("update views set definition_hash = 'other' where name = 'users'")
        .await;
    let refused = send(&inline, &[renamed(user, "bob")]).await;
    assert!(
        matches!(refused, Err(AppendError::Inline(_))),
        "{refused:?}"
    );
    assert!(send(&inline, &[rename]).await.unwrap().duplicate);
}

/// Fails when an append to a parked aggregate is rejected, or when its fold skips the event at which it is parked.
#[tokio::test]
async fn a_parked_aggregate_is_appended_to_but_not_folded_inline() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account), deposited(account, 13)]).await;
    assert_eq!(db.catch_up("ledger").await.parked.unwrap(), 1);
    let inline = host(&db, &["ledger"], &[]);
    append(&inline, &[deposited(account, 1)]).await;
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(1))
    );
    assert_eq!(db.count("select count(*) from locker").await, 1);

    make_foldable(account);
    db.run("update parked set next_try = now()").await;
    assert_eq!(
        worker(&db, "ledger", 100).await.unwrap().unwrap().applied,
        2
    );
    append(&inline, &[deposited(account, 1)]).await;
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(4))
    );
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an event that cannot be folded is stored anyway, or when an earlier event that cannot be folded blocks the
/// aggregate for good.
#[tokio::test]
async fn an_append_that_cannot_be_folded_inline_is_not_stored() {
    let db = TestDb::new().await;
    let inline = host(&db, &["ledger"], &[]);
    let account = Uuid::now_v7();
    append(&inline, &[opened(account)]).await;
    let refused = send(&inline, &[deposited(account, 13)]).await;
    assert!(
        matches!(
            refused,
            Err(AppendError::NotFoldable {
                index: 0,
                projection: "ledger"
            })
        ),
        "{refused:?}"
    );
    assert_eq!(db.count("select count(*) from events").await, 1);
    assert_eq!(db.count("select count(*) from parked").await, 0);

    // Another host has stored such an event. A catch-up parks the aggregate, and appends are accepted again.
    append(&db.foldlog, &[deposited(account, 13)]).await;
    let waits = send(&inline, &[deposited(account, 1)]).await;
    assert!(
        matches!(
            waits,
            Err(AppendError::Inline(ProjectionError::FoldFailed { .. }))
        ),
        "{waits:?}"
    );
    assert_eq!(db.catch_up("ledger").await.parked.unwrap(), 1);
    append(&inline, &[deposited(account, 1)]).await;
    assert_eq!(db.count("select count(*) from events").await, 3);
}

/// Fails when an event is refused for good, or the server is said to have a bug, because a person has changed the row of its aggregate so
/// that it cannot be read.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_not_the_fault_of_an_event() {
    let db = TestDb::with_inline(&["users"]).await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    db.run("alter table users alter username drop not null; update users set username = null")
        .await;
    let app = App::with_db(db).await;
    // The host remembers the user, so the rules need not read the row. The fold of two events does.
    let renames = serde_json::json!([json::renamed(user, "eve"), json::renamed(user, "ada")]);
    let answers = [
        app.append("/users", &renames).await,
        app.read(&format!("/users/{user}")).await,
        app.read("/users").await,
    ];
    for answer in answers {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(app.stored().await, 1);
}
