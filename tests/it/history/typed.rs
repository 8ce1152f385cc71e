//! The typed reads of the past.

use foldlog::Foldlog;
use foldlog::domain::prelude::*;
use foldlog::domains::users::{UserEvent, Users};
use foldlog::event::Metadata;
use foldlog::query::{Moment, QueryError, RowState};
use time::macros::datetime;
use uuid::Uuid;

use crate::support::TestDb;

fn renamed(name: &str) -> UserEvent {
    UserEvent::UsernameChanged {
        username: name.to_owned(),
    }
}

/// A user at version 3, whose last two events are by `eve`.
async fn user(foldlog: &Foldlog) -> AggregateId {
    let id = AggregateId(Uuid::now_v7());
    let created = UserEvent::Created {
        id: id.0,
        username: "ada".to_owned(),
        email: "ada@example.org".to_owned(),
        password: None,
    };
    let mut by_eve = Metadata::default();
    by_eve.insert("actor", "eve").unwrap();
    foldlog.append::<Users>(id, [created]).await.unwrap();
    let append = foldlog.append::<Users>(id, [renamed("eve"), renamed("bob")]);
    append.metadata(&by_eve).await.unwrap();
    id
}

// Fails when a typed read of a past state returns another one than asked for.
#[tokio::test]
async fn a_past_state_is_read_with_types() {
    let db = TestDb::new().await;
    let (foldlog, id) = (&db.foldlog, user(&db.foldlog).await);
    let (past, version) = foldlog
        .get::<Users>(id)
        .version(Version(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(version, Version(2));
    assert!(format!("{past:?}").contains("eve"), "{past:?}");
    let (_, version) = foldlog
        .get::<Users>(id)
        .as_of(datetime!(9999-12-31 23:59:59 -23:59))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(version, Version(3));
    assert!(
        foldlog
            .get::<Users>(id)
            .as_of(datetime!(2020-01-01 0:00 UTC))
            .await
            .unwrap()
            .is_none()
    );
    let beyond = foldlog.get::<Users>(id).version(Version(4)).await;
    assert!(matches!(
        beyond,
        Err(QueryError::NoVersion { newest: Version(3) })
    ));
}

// Fails when a typed history, diff, blame or explanation differs from the HTTP route, or an event has lost its payload.
#[tokio::test]
async fn a_history_is_read_with_types() {
    let db = TestDb::new().await;
    let (foldlog, id) = (&db.foldlog, user(&db.foldlog).await);
    let page = foldlog
        .history::<Users>(id)
        .newest_first()
        .actor("eve")
        .limit(1)
        .await
        .unwrap();
    assert_eq!(page.events[0].payload, Some(renamed("bob")));
    let changes = page.events[0].changes.as_ref().unwrap();
    assert_eq!(
        changes["username"].each_ref().map(|json| json.get()),
        ["\"eve\"", "\"bob\""]
    );
    let next = foldlog
        .history::<Users>(id)
        .newest_first()
        .actor("eve")
        .starting_after(page.next.unwrap());
    let rest = next.await.unwrap();
    assert_eq!((rest.events.len(), rest.next), (1, None));
    let other_order = foldlog
        .history::<Users>(id)
        .starting_after(page.next.unwrap())
        .await;
    assert!(matches!(other_order, Err(QueryError::CursorOrder)));
    let unknown = foldlog.history::<Users>(id).field("password_hash").await;
    assert!(matches!(unknown, Err(QueryError::UnknownField { .. })));

    let diff = foldlog
        .diff::<Users>(id, Version(0), Moment::Newest)
        .await
        .unwrap();
    assert_eq!(
        (diff.from.version, diff.to.version, diff.changes.len()),
        (Version(0), Version(3), 2)
    );
    let blamed = foldlog.blame::<Users>(id, Version(2)).await.unwrap();
    assert_eq!(blamed.fields["username"].setter.version, Version(2));
    assert_eq!(blamed.fields["email"].setter.type_name, Some("Created"));
    let explanation = foldlog.explain::<Users>(id).await.unwrap();
    assert_eq!(
        (explanation.state, explanation.waiting.events.count),
        (RowState::Behind, 3)
    );
}

// Fails when a page of a typed history grows with what its events carry beside their payloads, or loses an event because it ends early.
#[tokio::test]
async fn a_typed_history_is_bounded_in_bytes() {
    let db = TestDb::new().await;
    let (foldlog, id) = (&db.foldlog, user(&db.foldlog).await);
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload, metadata) \
         select gen_random_uuid(), '{id}', n, 1002, jsonb_build_object('username', 'user ' || n), \
             jsonb_build_object('note', repeat('x', 1000000)) \
         from generate_series(4, 14) n"
    ))
    .await;
    let (mut versions, mut next, mut pages) = (Vec::new(), None, 0);
    loop {
        let mut history = foldlog.history::<Users>(id);
        if let Some(next) = next {
            history = history.starting_after(next);
        }
        let page = history.await.unwrap();
        versions.extend(page.events.iter().map(|past| past.event.version.0));
        (next, pages) = (page.next, pages + 1);
        if next.is_none() {
            break;
        }
    }
    assert_eq!((versions, pages), ((1..=14).collect(), 3));
}
