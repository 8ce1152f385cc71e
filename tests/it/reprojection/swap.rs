//! The moment in which a generation goes live, beside inline appends.

use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::command::{self, AppendError};
use foldlog::db::Pool;
use foldlog::domains::users::UserEvent;
use foldlog::event::{AggregateId, ExpectedVersion, UntypedEvent};
use foldlog::migrations;
use foldlog::projection::Budget;
use foldlog::projection::reproject::{ReprojectOptions, ReprojectionState, reproject};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::reproject_to_the_end;
use crate::support::TestDb;
use crate::support::accounts::{make_foldable, make_unfoldable};
use crate::support::created;
use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, event, renamed};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::log::Log;
use crate::support::workers::{account, assert_all_applied, version_in_view};
use foldlog::event::Version;

fn with_email(user: Uuid, email: &str) -> UntypedEvent {
    let created = UserEvent::Created {
        id: user,
        username: "ada".to_owned(),
        email: email.to_owned(),
        password: None,
    };
    event(user, created)
}

/// Another process that folds users inline.
fn host(db: &TestDb) -> Foldlog {
    Foldlog::new(
        Pool::new(db.options.clone(), 4),
        DOMAINS,
        db.foldlog.inline().clone(),
    )
    .unwrap()
}

/// Fails when an append that has chosen the old generation commits after the new one went live without its event, or when the process
/// that went on with the old one does not notice.
#[tokio::test]
async fn an_inline_append_beside_a_reprojection_is_in_the_live_view() {
    beside_a_reprojection("that they were folded into before", |user| {
        vec![created(user, "late")]
    })
    .await;
    // More than one event is folded in a transaction.
    beside_a_reprojection("commit", |user| {
        vec![created(user, "later"), renamed(user, "late")]
    })
    .await;
}

/// `statement` waits when an append of these events has folded them into the first generation, and is about to commit.
async fn beside_a_reprojection(statement: &str, events: impl Fn(Uuid) -> Vec<UntypedEvent>) {
    let db = TestDb::with_inline(&["users"]).await;
    let other = host(&db);
    append(&db.foldlog, &[created(Uuid::now_v7(), "first")]).await;
    append(&other, &[created(Uuid::now_v7(), "second")]).await;
    // The append has folded into the first generation, and waits before it commits.
    let gate = Held::open(&db, "select pg_advisory_xact_lock(4711)").await;
    db.run(
        "create function wait() returns trigger language plpgsql as $$ begin if tg_relname = 'users' then perform pg_advisory_xact_lock(4711); end if; return null; end $$; \
         create constraint trigger gate after insert on users deferrable initially deferred for each row \
         execute function wait()",
    )
    .await;
    let user = Uuid::now_v7();
    let late = {
        let (other, events) = (other.clone(), events(user));
        tokio::spawn(async move { append(&other, &events).await })
    };
    wait_until_blocked(&mut db.connect().await, statement).await;
    let foldlog = db.foldlog.clone();
    let reprojected = tokio::spawn(async move { reproject_to_the_end(&foldlog, "users").await });
    wait_until_blocked(
        &mut db.connect().await,
        "Excludes others from what this transaction does",
    )
    .await;
    gate.commit().await;
    late.await.unwrap();
    assert_eq!(reprojected.await.unwrap().generation, 2);
    assert!(version_in_view(&db, "users", user).await.is_some());
    assert_all_applied(&db, "users").await;
    // The other process learns of it with its next append.
    let user = Uuid::now_v7();
    append(&other, &[created(user, "later")]).await;
    assert_eq!(version_in_view(&db, "users", user).await, Some(Version(1)));
    db.run("update views set retired_at = retired_at - interval '2 minutes'")
        .await;
    db.catch_up("users").await;
    assert_eq!(
        db.count("select count(*) from pg_class where relname = 'users'")
            .await,
        0
    );
    let user = Uuid::now_v7();
    append(&host(&db), &[created(user, "last")]).await;
    assert_eq!(version_in_view(&db, "users", user).await, Some(Version(1)));
    assert_all_applied(&db, "users").await;
}

/// Fails when two appends with the same e-mail address are accepted because one is checked against the old generation and the other one
/// against the new, or when the name of the new generation's index is not recognized as the rule.
#[tokio::test]
async fn a_set_rule_holds_while_a_reprojection_goes_live() {
    let db = Arc::new(TestDb::with_inline(&["users"]).await);
    for _ in 0..4 {
        let mut writers = JoinSet::new();
        for writer in 0..3 {
            let (host, round) = (host(&db), Uuid::now_v7());
            writers.spawn(async move {
                let mut taken = 0;
                for number in 0..15 {
                    let email = format!("{number}-{}@example.org", round.as_u128() % 2);
                    let event = with_email(Uuid::now_v7(), &email);
                    match command::execute(&host, &[event], ExpectedVersion::Any, None).await {
                        Ok(_) => {}
                        Err(AppendError::SetRule { .. }) => taken += 1,
                        Err(error) => panic!("writer {writer}: {error}"),
                    }
                }
                taken
            });
        }
        reproject_to_the_end(&db.foldlog, "users").await;
        writers.join_all().await;
        let twice = "select count(*) from (select lower(payload->>'email') from events group by 1 having count(*) > 1) t";
        assert_eq!(db.count(twice).await, 0);
        assert_all_applied(&db, "users").await;
    }
    let taken = with_email(Uuid::now_v7(), "0-0@example.org");
    let other = with_email(Uuid::now_v7(), "0-1@example.org");
    let mut refused = 0;
    for event in [taken, other] {
        let result = command::execute(&db.foldlog, &[event], ExpectedVersion::Any, None).await;
        refused += usize::from(matches!(result, Err(AppendError::SetRule { .. })));
    }
    assert!(refused > 0);
}

/// Fails when a generation goes live in which an aggregate is parked at an event that the live one has applied, so that reads go back in
/// time; when one that is parked in both at the same event is in the way; or when the generation is not continued after a correction.
#[tokio::test]
async fn a_generation_that_lacks_an_event_of_the_live_one_does_not_go_live() {
    let db = TestDb::new().await;
    let (in_both, _) = account(&db, 1).await;
    append(&db.foldlog, &[deposited(in_both, 13)]).await;
    let (applied, _) = account(&db, 1).await;
    make_foldable(applied);
    append(&db.foldlog, &[deposited(applied, 13)]).await;
    db.catch_up("ledger").await;
    let (pool, view) = (db.pool(), db.foldlog.view("ledger").unwrap());
    let reproject = || async {
        let (options, budget) = (ReprojectOptions::default(), Budget::default());
        reproject(pool, view, 100, options, &budget).await.unwrap()
    };
    make_unfoldable(applied);
    let log = Log::default();
    let captured = log.capture("warn");
    for _ in 0..2 {
        let refused = reproject().await;
        assert_eq!(refused.state, ReprojectionState::Refused);
        let behind = refused.behind.unwrap();
        assert_eq!(
            (behind.aggregates, behind.aggregate_id, behind.version),
            (1, AggregateId(applied), Version(3))
        );
        assert_eq!(
            version_in_view(&db, "ledger", applied).await,
            Some(Version(3))
        );
    }
    drop(captured);
    let text = log.text();
    assert!(text.contains("a failure of the class fold"), "{text}");
    assert!(
        !text.contains("cents"),
        "the text may quote a payload: {text}"
    );
    make_foldable(applied);
    let live = reproject().await;
    assert_eq!((live.state, live.generation), (ReprojectionState::Live, 2));
    assert_eq!(
        version_in_view(&db, "ledger", applied).await,
        Some(Version(3))
    );
    let parked = "select count(*) from parked where lock_domain = 'ledger#2'";
    assert_eq!(db.count(parked).await, 1);
}

/// Fails when an event that arrives after the generation was filled, and that only the live one can fold, is lost by going live.
#[tokio::test]
async fn an_aggregate_that_the_last_catch_up_parks_is_compared_too() {
    let db = TestDb::new().await;
    let (id, _) = account(&db, 1).await;
    db.catch_up("ledger").await;
    db.run("update ledger set deposits = 99").await;
    let (pool, view) = (db.pool(), db.foldlog.view("ledger").unwrap());
    let reproject = |max_changes| async move {
        let options = ReprojectOptions { max_changes };
        let reached = reproject(pool, view, 100, options, &Budget::default()).await;
        reached.unwrap()
    };
    assert_eq!(reproject(Some(0)).await.changes, Some(1));
    make_foldable(id);
    append(&db.foldlog, &[deposited(id, 13)]).await;
    db.catch_up("ledger").await;
    make_unfoldable(id);
    let refused = reproject(None).await;
    assert_eq!(refused.state, ReprojectionState::Refused);
    assert_eq!(refused.behind.unwrap().aggregates, 1);
    assert_eq!(version_in_view(&db, "ledger", id).await, Some(Version(3)));
}

/// Fails when an append fails because the table that it folds into was dropped after another generation had replaced it.
#[tokio::test]
async fn an_append_survives_the_removal_of_its_generation() {
    let db = TestDb::with_inline(&["users"]).await;
    let other = host(&db);
    let user = Uuid::now_v7();
    append(&other, &[created(user, "ada")]).await;
    reproject_to_the_end(&db.foldlog, "users").await;
    db.run("update views set retired_at = retired_at - interval '2 minutes'")
        .await;
    db.catch_up("users").await;
    let tables = "select count(*) from pg_class where relname = 'users'";
    assert_eq!(db.count(tables).await, 0);
    // The host remembers the user, so it does not read the row, which would tell it about the new generation.
    append(&other, &[renamed(user, "eve")]).await;
    assert_eq!(version_in_view(&db, "users", user).await, Some(Version(2)));
}

/// Fails when a generation inherits the trigger with which the one before it refuses inline appends: it asks about that one, and answers
/// for ever that it is behind once its claims are removed.
#[tokio::test]
async fn a_generation_does_not_inherit_the_guard_of_a_set_rule() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "first")]).await;
    reproject_to_the_end(&db.foldlog, "users").await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "second")]).await;
    let inline = std::iter::once("users".to_owned()).collect();
    let host = Foldlog::new(Pool::new(db.options.clone(), 4), DOMAINS, inline).unwrap();
    migrations::up(
        &mut db.connect().await,
        host.pool.schema(),
        &host.views,
        host.inline(),
    )
    .await
    .unwrap();
    let guards = "select count(*) from pg_trigger where tgfoid = 'refuse_incomplete'::regproc and tgrelid = ";
    let of = |table: &str| format!("{guards} '\"{table}\"'::regclass");
    assert_eq!(db.count(&of("users#2")).await, 1);
    reproject_to_the_end(&host, "users").await;
    assert_eq!(db.count(&of("users#3")).await, 0);
    db.run("delete from locker where lock_domain = 'users#2'")
        .await;
    append(&host, &[created(Uuid::now_v7(), "third")]).await;
    assert_all_applied(&db, "users").await;
}

/// Fails when the index of a set rule that is created while a generation is filled, or that is replaced, is missing once it is live.
#[tokio::test]
async fn a_set_rule_that_is_newer_than_the_generation_holds_once_it_is_live() {
    let db = TestDb::new().await;
    append(
        &db.foldlog,
        &[with_email(Uuid::now_v7(), "ada@example.org")],
    )
    .await;
    db.catch_up("users").await;
    db.run("update users set username = 'changed'").await;
    let (pool, view) = (db.pool(), db.foldlog.view("users").unwrap());
    let options = ReprojectOptions {
        max_changes: Some(0),
    };
    let refused = reproject(pool, view, 100, options, &Budget::default())
        .await
        .unwrap();
    assert_eq!(refused.state, ReprojectionState::Refused);
    let inline = std::iter::once("users".to_owned()).collect();
    let host = Foldlog::new(Pool::new(db.options.clone(), 4), DOMAINS, inline).unwrap();
    migrations::up(
        &mut db.connect().await,
        host.pool.schema(),
        &host.views,
        host.inline(),
    )
    .await
    .unwrap();
    db.run("create index on users (email); drop index users_username_idx; create index users_username_idx on users (username desc)")
        .await;
    assert_eq!(reproject_to_the_end(&host, "users").await.generation, 2);
    let indexes = |table: &str| {
        format!(
            "select string_agg(d, '; ' order by d) from (select substr(pg_get_indexdef(indexrelid), strpos(pg_get_indexdef(indexrelid), ' USING ')) \
             || coalesce(obj_description(indexrelid, 'pg_class'), '') as d from pg_index where indrelid = '\"{table}\"'::regclass) d"
        )
    };
    let same = format!(
        "select (({}) = ({}))::int::bigint",
        indexes("users"),
        indexes("users#2")
    );
    assert_eq!(db.count(&same).await, 1);
    let taken = with_email(Uuid::now_v7(), "ADA@example.org");
    let result = command::execute(&host, &[taken], ExpectedVersion::Any, None).await;
    assert!(
        matches!(result, Err(AppendError::SetRule { .. })),
        "{result:?}"
    );
}
