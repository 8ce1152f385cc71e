//! Appends that are decided over remembered states.

use foldlog::Foldlog;
use foldlog::command::{self, AppendError};
use foldlog::domain::RejectedError;
use foldlog::domains::users::UserEvent;
use foldlog::event::{ExpectedVersion, UntypedEvent, Version};
use uuid::Uuid;

use super::switches::{confirmed, database, process, set, touched};
use crate::support::events::{append, deposited, event, opened};
use crate::support::{TestDb, created, renamed};

/// A database for switches, and two processes.
async fn two_processes() -> (TestDb, Foldlog, Foldlog) {
    let db = database().await;
    let (one, other) = (process(&db, true), process(&db, true));
    (db, one, other)
}

async fn try_append(foldlog: &Foldlog, event: UntypedEvent) -> Result<i32, AppendError> {
    let appended = command::execute(foldlog, &[event], ExpectedVersion::Any, None).await?;
    Ok(appended.events[0].version.0)
}

#[track_caller]
fn assert_refused(appended: &Result<i32, AppendError>) {
    let Err(AppendError::Rejected { error, .. }) = appended else {
        panic!("{appended:?}");
    };
    assert!(matches!(error, RejectedError::Rule { .. }), "{error}");
}

// Fails when a remembered state decides although another process has appended.
#[tokio::test]
async fn a_state_that_another_process_has_outdated_is_loaded_again() {
    let (_db, one, other) = two_processes().await;
    let switch = Uuid::now_v7();
    append(&one, &[set(switch, 1)]).await;
    append(&other, &[set(switch, 2)]).await;
    assert_refused(&try_append(&one, confirmed(switch, 1)).await);
    assert_eq!(try_append(&one, set(switch, 3)).await.unwrap(), 3);
    append(&other, &[set(switch, 4)]).await;
    assert_refused(&try_append(&one, confirmed(switch, 3)).await);
    assert_eq!(try_append(&one, confirmed(switch, 4)).await.unwrap(), 5);
}

// Fails when the client gets a rejection or a version that rests on memory: another process has made the event acceptable.
#[tokio::test]
async fn the_rules_never_reject_by_memory() {
    let (_db, one, other) = two_processes().await;
    let switch = Uuid::now_v7();
    append(&one, &[set(switch, 1)]).await;
    append(&other, &[set(switch, 2)]).await;
    // The process remembers version 1.
    let second = ExpectedVersion::Exact(Version(2));
    let appended = command::execute(&one, &[confirmed(switch, 2)], second, None).await;
    assert_eq!(appended.unwrap().events[0].version, Version(3));
}

// Fails when a restored log is taken for the one that the process remembers because an aggregate has the same version again,
// or even the same event, which its client has sent again. Single events and arrays are appended by different statements.
#[tokio::test]
async fn a_restored_log_with_the_same_versions_is_noticed() {
    let (db, one, other) = two_processes().await;
    for (resent, as_array) in [(false, false), (true, false), (false, true), (true, true)] {
        let switch = Uuid::now_v7();
        let touched = || touched(switch);
        let last = touched();
        append(&one, &[set(switch, 1)]).await;
        append(&one, &[set(switch, 2)]).await;
        append(&one, std::slice::from_ref(&last)).await;
        // The restored log ends after the first event; then other events bring the switch to the same version.
        db.run(&format!(
            "begin; alter table events disable trigger events_immutable; \
             delete from events where aggregate_id = '{switch}' and version > 1; \
             alter table events enable trigger events_immutable; commit"
        ))
        .await;
        let again = if resent { last } else { touched() };
        append(&other, &[set(switch, 9), again]).await;
        let mut events = vec![confirmed(switch, 2)];
        if as_array {
            events.push(confirmed(switch, 2));
        }
        let refused = command::execute(&one, &events, ExpectedVersion::Any, None).await;
        assert_refused(&refused.map(|appended| appended.events[0].version.0));
    }
}

// Fails when an aggregate that has ended is forgotten to have existed, or when its last state goes on deciding.
#[tokio::test]
async fn an_ended_aggregate_stays_ended() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    append(&db.foldlog, &[renamed(user, "b")]).await;
    append(&db.foldlog, &[event(user, UserEvent::Deleted { id: None })]).await;
    for event in [renamed(user, "c"), created(user, "ada")] {
        let refused = try_append(&db.foldlog, event).await;
        assert!(
            matches!(
                refused,
                Err(AppendError::Rejected {
                    error: RejectedError::Deleted,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

// Fails when a state of one domain decides about events of another one.
#[tokio::test]
async fn an_aggregate_is_remembered_for_its_own_domain() {
    let db = TestDb::new().await;
    let id = Uuid::now_v7();
    append(&db.foldlog, &[opened(id)]).await;
    let foreign = try_append(&db.foldlog, renamed(id, "ada")).await;
    assert!(
        matches!(
            foreign,
            Err(AppendError::Rejected {
                error: RejectedError::Foreign(..),
                ..
            })
        ),
        "{foreign:?}"
    );
    assert_eq!(try_append(&db.foldlog, deposited(id, 1)).await.unwrap(), 2);
}

// Fails when an event that is sent again is stored again or rejected, because the remembered state includes it.
#[tokio::test]
async fn a_resent_event_is_recognized_over_a_remembered_state() {
    let (_db, one, _) = two_processes().await;
    let switch = Uuid::now_v7();
    append(&one, &[set(switch, 1)]).await;
    for event in [set(switch, 2), confirmed(switch, 2), set(switch, 3)] {
        let first = append(&one, std::slice::from_ref(&event)).await;
        let again = append(&one, &[event]).await;
        assert!(again.duplicate && again.events == first.events);
    }
    // The rules would reject it now.
    let event = confirmed(switch, 3);
    let first = append(&one, std::slice::from_ref(&event)).await;
    append(&one, &[set(switch, 4)]).await;
    let again = append(&one, &[event]).await;
    assert!(again.duplicate && again.events == first.events);
}
