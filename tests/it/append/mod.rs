//! Appending: versions, expected versions, resent events, lost races.

mod cost;
mod explained;
mod grouped;
mod grouped_inline;
mod immutable;
mod known_rows;
mod limits;
mod races;
mod remembered;
mod stateless;
mod switches;

use foldlog::command::{self, AppendError};
use foldlog::event::{ExpectedVersion, Version};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::events::append;
use crate::support::{TestDb, created, renamed};

// Fails when a lost race is an error instead of another try, or when two appends can get one version.
#[tokio::test]
async fn sixty_four_writers_leave_no_holes() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let foldlog = db.foldlog.clone();
        writers.spawn(
            async move { append(&foldlog, &[renamed(user, &format!("ada{writer}"))]).await },
        );
    }
    let mut versions: Vec<i32> = writers
        .join_all()
        .await
        .iter()
        .map(|appended| appended.events[0].version.0)
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=65).collect::<Vec<_>>());
    assert_eq!(db.count("select count(*) from events").await, 65);
}

// Fails when a taken id is stored again, or answered as anything else than the first send.
#[tokio::test]
async fn twenty_senders_of_one_event_store_it_once() {
    let db = TestDb::new().await;
    let event = created(Uuid::now_v7(), "ada");
    let mut senders = JoinSet::new();
    for _ in 0..20 {
        let (foldlog, event) = (db.foldlog.clone(), event.clone());
        senders.spawn(async move { append(&foldlog, &[event]).await });
    }
    let answers = senders.join_all().await;
    assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.events == answers[0].events)
    );
    assert_eq!(db.count("select count(*) from events").await, 1);
}

// Fails when the expected version is compared before the insert instead of in it, or when its loss is tried again.
#[tokio::test]
async fn an_expected_version_holds_at_the_moment_of_the_append() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "ada")]).await;
    let expected = ExpectedVersion::Exact(Version(1));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let foldlog = db.foldlog.clone();
        writers.spawn(async move {
            command::execute(
                &foldlog,
                &[renamed(user, &format!("ada{writer}"))],
                expected,
                None,
            )
            .await
        });
    }
    let results = writers.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let lost = |result: &Result<_, AppendError>| {
        matches!(
            result,
            Err(AppendError::VersionMismatch {
                actual: Version(2),
                ..
            })
        )
    };
    assert_eq!(results.iter().filter(|result| lost(result)).count(), 7);
}
