//! Old revisions of payloads: they are read as the newest, never written, and their secrets stay hidden.

use foldlog::domain::prelude::*;
use foldlog::event::Upcaster;
use foldlog::testing::TestDatabase;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::app::App;
use crate::support::json::{created, event, renamed};

events! {
    /// What can happen to a key. Its payloads have changed several times.
    pub enum KeyEvent in 9000..10000 {
        9000 => Issued { label: String, owner: String, secret: Option<Secret<String>> },
        9001 => Relabelled { label: String },
        9002 => Revoked { reason: Option<String> },
    }
    old {
        /// `owner` was added later.
        9000 => IssuedWithoutOwner { label: String, secret: Option<Secret<String>> }
            as Issued { label, owner: "unknown".to_owned(), secret },
        /// Before that, the label was called a name, and the secret was not marked.
        9000 => IssuedWithName { name: String, token: String }
            as IssuedWithoutOwner { label: name, secret: Some(Secret::new(token)) },
        /// The newest revision would decode this one, too, and lose the reason.
        9002 => RevokedBecause { because: String } as Revoked { reason: Some(because) },
        /// A type of its own, with a note that no longer exists.
        9009 => Renamed { name: String, note: Option<String> } as Relabelled { label: name },
        9008 => RenamedTo { to: Vec<String> } as Renamed { name: to.join(" "), note: None },
    }
}

/// A key: the row of the view.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    label: String,
    owner: String,
    secret: Option<Secret<String>>,
}

rules! {
    /// Why an event of a key is rejected.
    #[derive(Debug, thiserror::Error)]
    pub enum KeyError {
        #[error("the key does not exist")]
        DoesNotExist,
    }
}

#[derive(Debug)]
pub struct Keys;

impl Domain for Keys {
    const NAME: &'static str = "keys";
    const VIEW: &'static str = "create table keys (id uuid primary key, version integer not null, label text not null, \
                                owner text not null, secret text)";
    type Event = KeyEvent;
    type State = Key;
    type Error = KeyError;

    fn check(key: Option<&Key>, event: &KeyEvent) -> Result<(), KeyError> {
        let is_first = matches!(event, KeyEvent::Issued { .. });
        (key.is_none() == is_first)
            .then_some(())
            .ok_or(KeyError::DoesNotExist)
    }

    fn apply(key: Option<Key>, event: &KeyEvent) -> Option<Key> {
        match event.clone() {
            KeyEvent::Issued {
                label,
                owner,
                secret,
            } => Some(Key {
                label,
                owner,
                secret,
            }),
            KeyEvent::Relabelled { label } => key.map(|key| Key { label, ..key }),
            KeyEvent::Revoked { .. } => None,
        }
    }
}

/// Stores an event as an older build has written it; returns its id.
async fn record(
    db: &TestDatabase,
    key: AggregateId,
    version: i32,
    type_id: i16,
    payload: Value,
) -> EventId {
    let id = EventId(Uuid::now_v7());
    let insert = format!(
        "insert into events (id, aggregate_id, version, type_id, payload) values ('{id}', '{key}', {version}, {type_id}, $1)"
    );
    let insert = sqlx::query(AssertSqlSafe(insert)).bind(payload);
    insert.execute(&mut db.connect().await).await.unwrap();
    id
}

// Fails when an old revision is not read as the newest by folds, rules, histories or the comparison of a resent event.
#[tokio::test]
async fn old_revisions_are_read_as_the_newest() {
    let db = TestDatabase::new(foldlog::domains![Keys]).await;
    let (foldlog, key) = (db.foldlog(), AggregateId(Uuid::now_v7()));
    let issued = json!({"name": "door", "token": "hunter2"});
    let first = record(&db, key, 1, 9000, issued).await;
    record(
        &db,
        key,
        2,
        9009,
        json!({"name": "gate", "note": "hunter3"}),
    )
    .await;
    record(&db, key, 3, 9008, json!({"to": ["front", "gate"]})).await;
    let row = |label: &str| Key {
        label: label.to_owned(),
        owner: "unknown".to_owned(),
        secret: Some(Secret::new("hunter2".to_owned())),
    };
    let strong = foldlog.get::<Keys>(key).strong().await.unwrap();
    assert_eq!(strong, Some((row("front gate"), Version(3))));
    db.catch_up().await;
    assert_eq!(foldlog.get::<Keys>(key).await.unwrap(), strong);
    assert_eq!(
        foldlog.get::<Keys>(key).version(Version(1)).await.unwrap(),
        Some((row("door"), Version(1)))
    );

    let page = foldlog.history::<Keys>(key).await.unwrap();
    let relabelled = |label: &str| KeyEvent::Relabelled {
        label: label.to_owned(),
    };
    assert_eq!(page.events[1].payload, Some(relabelled("gate")));
    assert_eq!(page.events[2].payload, Some(relabelled("front gate")));
    let shown: Vec<Value> = page
        .events
        .iter()
        .map(|past| serde_json::to_value(foldlog.show_event(&past.event)).unwrap())
        .collect();
    assert_eq!(
        (&shown[0]["type"], &shown[0]["type_id"]),
        (&json!("Issued"), &json!(9000))
    );
    assert_eq!(
        shown[0]["payload"],
        json!({"label": "door", "owner": "unknown"})
    );
    assert_eq!(
        (&shown[1]["type"], &shown[1]["type_id"]),
        (&json!("Relabelled"), &json!(9001))
    );
    assert_eq!(shown[1]["payload"], json!({"label": "gate"}));
    assert!(!format!("{shown:?}").contains("hunter"), "{shown:?}");

    // The rules see the state, and the log keeps what was recorded.
    let appended = foldlog
        .append::<Keys>(key, [relabelled("back")])
        .await
        .unwrap();
    assert_eq!(appended.events[0].version, Version(4));
    let issued = KeyEvent::Issued {
        label: "door".to_owned(),
        owner: "unknown".to_owned(),
        secret: Some(Secret::new("hunter2".to_owned())),
    };
    let again = foldlog
        .append::<Keys>(key, [issued])
        .ids([first])
        .await
        .unwrap();
    assert!(again.duplicate);
    let stored: i64 = sqlx::query_scalar(
        "select count(*) from events where payload ? 'token' or payload ? 'note' or payload ? 'to'",
    )
    .fetch_one(&mut db.connect().await)
    .await
    .unwrap();
    assert_eq!(stored, 3);
}

// Fails when a payload loses a field because a later revision skips it, when fields of newer code are rejected, or when what no
// revision decodes is accepted.
#[test]
fn a_payload_is_read_by_the_first_revision_that_has_its_fields() {
    let decode = |type_id, json: Value| {
        let json = serde_json::value::to_raw_value(&json).unwrap();
        KeyEvent::decode_recorded(TypeId(type_id), &json).map_err(|error| error.to_string())
    };
    let error = decode(9000, json!({"label": 5})).unwrap_err();
    assert!(
        error.contains("invalid type") && error.contains("9000"),
        "{error}"
    );
    let error = decode(9009, json!({})).unwrap_err();
    assert!(error.contains("no old revision"), "{error}");
    assert_eq!(
        decode(9007, json!({})).unwrap_err(),
        "event type 9007 is unknown"
    );
    let revoked = |reason: Option<&str>| {
        let reason = reason.map(ToOwned::to_owned);
        Ok(KeyEvent::Revoked { reason })
    };
    for (json, reason) in [
        (json!({}), None),
        (json!({"reason": "lost"}), Some("lost")),
        (json!({"because": "lost"}), Some("lost")),
        (json!({"reason": "lost", "since": 5}), Some("lost")),
        (json!({"reason": "lost", "because": "sold"}), Some("lost")),
    ] {
        assert_eq!(decode(9002, json), revoked(reason));
    }
    let newest = KeyEvent::Revoked { reason: None };
    assert_eq!(newest.clone().upcast(), newest);
    let old: Vec<_> = KeyEvent::OLD_TYPES
        .iter()
        .map(|old| (old.id.0, old.name, old.newest.0))
        .collect();
    assert_eq!(
        old,
        [
            (9000, "IssuedWithoutOwner", 9000),
            (9000, "IssuedWithName", 9000),
            (9002, "RevokedBecause", 9002),
            (9009, "Renamed", 9001),
            (9008, "RenamedTo", 9001),
        ]
    );
}

// Fails when the old revision of the example domain is not read, is accepted from a client, or a problem does not say what to send.
#[tokio::test]
async fn an_old_type_of_users_is_read_and_not_accepted() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    let old = event(user, 1005, json!({"name": "eve"}));
    for path in ["/users", "/events"] {
        let refused = app.append(path, &old).await;
        let detail = refused.problem(422, "unprocessable");
        assert!(
            detail.contains("1005") && detail.contains("send an event of type 1002"),
            "{detail}"
        );
    }
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload)
             values (gen_random_uuid(), '{user}', 2, 1005, '{{\"name\": \"eve\"}}')"
        ))
        .await;
    app.db.catch_up("users").await;
    assert_eq!(
        app.read(&format!("/users/{user}")).await.body["username"],
        "eve"
    );
    assert_eq!(
        app.append("/users", &renamed(user, "bob")).await.status,
        201
    );
    let history = app.read(&format!("/users/{user}/events")).await;
    let event = &history.body["result"][1];
    assert_eq!(
        (
            &event["type_id"],
            &event["type"],
            &event["payload"],
            &event["changes"]
        ),
        (
            &json!(1002),
            &json!("UsernameChanged"),
            &json!({"username": "eve"}),
            &json!({"username": ["ada", "eve"]})
        )
    );
    assert_eq!(app.stored().await, 3);
}
