//! The moment in which a generation goes live, beside inline appends.

use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::command::{self, AppendError};
use foldlog::db::Pool;
use foldlog::domains::users::UserEvent;
use foldlog::event::{ExpectedVersion, UntypedEvent};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::reproject_to_the_end;
use crate::support::TestDb;
use crate::support::created;
use crate::support::db::DOMAINS;
use crate::support::events::{append, event};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::workers::{assert_all_applied, version_in_view};
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
        let other = other.clone();
        tokio::spawn(async move { append(&other, &[created(user, "late")]).await })
    };
    wait_until_blocked(&mut db.connect().await, "commit").await;
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
    assert_eq!(version_in_view(&db, "users", user).await, Some(Version(1)));
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
