//! Events with invalid values.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{event_with, payload};
use crate::support::app::App;
use crate::support::json::{created, event};

// Fails when U+0000, which Postgres cannot store in jsonb, is a 500 in any part of the event.
#[tokio::test]
async fn a_nul_character_returns_422() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let nul = |at: &str| {
        event_with(
            "payload",
            &format!("{{\"id\":\"{user}\",\"username\":\"ada\",\"email\":\"a@b\",{at}}}"),
        )
    };
    for (part, body) in [
        ("payload", nul("\"password\":\"a\\u0000b\"")),
        ("payload", nul("\"a\\u0000b\":1")),
        (
            "payload",
            nul("\"more\":{\"deep\":[1,{\"er\":\"\\u0000\"}]}"),
        ),
        ("metadata", event_with("metadata", "{\"a\":\"\\u0000\"}")),
        ("metadata", event_with("metadata", "{\"\\u0000\":1}")),
        (
            "metadata",
            event_with("metadata", "{\"a\":[[{\"b\\u0000\":null}]]}"),
        ),
    ] {
        let answer = app.append_raw("/users", format!("[{body}]")).await;
        let detail = answer.problem(422, "unprocessable");
        assert!(
            detail.contains(&format!("`{part}` contains \\u0000"))
                && detail.contains("leave it out"),
            "{detail}"
        );
        assert_eq!(answer.body["index"], 0);
    }
    assert_eq!(app.stored().await, 0);
}

// Fails when a field of an event with a wrong type is accepted, or when an unknown field is ignored.
#[tokio::test]
async fn unknown_and_mistyped_event_fields_return_400() {
    let app = App::new().await;
    for (field, value, hint) in [
        (
            "type_id",
            "99999",
            "type_id must be a number from 1 to 32767",
        ),
        ("type_id", "-1", "type_id must be a number from 1 to 32767"),
        ("type_id", "0", "type_id must be a number from 1 to 32767"),
        ("type_id", "1e3", "type_id must be a number from 1 to 32767"),
        (
            "type_id",
            "1000.0",
            "type_id must be a number from 1 to 32767",
        ),
        (
            "type_id",
            "\"1000\"",
            "type_id must be a number from 1 to 32767",
        ),
        (
            "type_id",
            "null",
            "type_id must be a number from 1 to 32767",
        ),
        (
            "type_id",
            "123456789012345678901234567890",
            "type_id must be a number from 1 to 32767",
        ),
        ("id", "\"00000000-0000-0000-0000-00000000000g\"", "UUID"),
        ("id", "17", "UUID"),
        ("aggregate_id", "\"ada\"", "UUID"),
        ("aggregate_id", "null", "UUID"),
        ("metadata", "[]", "metadata must be a JSON object"),
        ("metadata", "\"text\"", "metadata must be a JSON object"),
        ("metadata", "7", "metadata must be a JSON object"),
        ("version", "1", "unknown field `version`"),
        ("position", "1", "unknown field `position`"),
        (
            "created_at",
            "\"2020-01-01T00:00:00Z\"",
            "unknown field `created_at`",
        ),
        ("__proto__", "{}", "unknown field"),
    ] {
        let answer = app.append_raw("/users", event_with(field, value)).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains(hint), "{field} {value}: {detail}");
    }
    for missing in ["id", "aggregate_id", "type_id", "payload"] {
        let mut event = created(Uuid::now_v7(), "ada");
        event.as_object_mut().unwrap().remove(missing);
        let answer = app.append("/users", &event).await;
        let detail = answer.problem(400, "malformed");
        assert!(
            detail.contains(&format!("missing field `{missing}`")),
            "{detail}"
        );
    }
    // A duplicate field is ambiguous.
    let twice = event_with("metadata", "{},\"type_id\":1000");
    let answer = app.append_raw("/users", twice).await;
    let detail = answer.problem(400, "malformed");
    assert!(detail.contains("duplicate field `type_id`"), "{detail}");
    assert_eq!(app.stored().await, 0);
}

// Fails when a domain accepts a type id that it does not have.
#[tokio::test]
async fn an_unknown_type_id_returns_422() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    for (path, type_id, hint) in [
        ("/users", 2000, "does not belong to the domain `users`"),
        ("/users", 1, "does not belong to the domain `users`"),
        ("/users", 32767, "does not belong to the domain `users`"),
        (
            "/accounts",
            1000,
            "does not belong to the domain `accounts`",
        ),
        ("/events", 9000, "does not belong to any domain"),
        ("/users", 1999, "1999 is unknown"),
        ("/events", 1007, "1007 is unknown"),
        ("/events", 1005, "send an event of type 1002"),
    ] {
        let answer = app.append(path, &event(user, type_id, payload(user))).await;
        let detail = answer.problem(422, "unprocessable");
        assert!(detail.contains(hint), "{path} {type_id}: {detail}");
        assert_eq!(answer.body["index"], 0);
    }
    let mixed = json!([
        created(user, "ada"),
        event(user, 2000, json!({"owner": "ada"}))
    ]);
    let answer = app.append("/events", &mixed).await;
    assert!(
        answer
            .problem(422, "unprocessable")
            .contains("another domain")
    );
    assert_eq!(app.stored().await, 0);
}

/// A valid payload of `Created` with one field replaced.
fn changed(user: Uuid, field: &str, value: Value) -> Value {
    let mut payload = payload(user);
    payload[field] = value;
    payload
}

/// Checks that each payload is rejected with a detail that contains its hint.
async fn refuses(app: &App, type_id: i32, user: Uuid, payloads: &[(Value, &str)]) {
    for (payload, hint) in payloads {
        let answer = app
            .append("/events", &event(user, type_id, payload.clone()))
            .await;
        let detail = answer.problem(422, "unprocessable");
        assert!(
            detail.starts_with("event 0: ") && detail.contains(hint),
            "{payload}: {detail}"
        );
    }
    assert_eq!(app.stored().await, 0);
}

// Fails when a payload is accepted that does not match its type, or when one of its fields is ignored.
#[tokio::test]
async fn a_payload_of_another_type_returns_422() {
    let (app, user) = (App::new().await, Uuid::now_v7());
    let mut nameless = payload(user);
    nameless.as_object_mut().unwrap().remove("username");
    let object = "the payload must be a JSON object";
    let payloads = [
        (json!([user, "ada", "ada@example.org", null]), object),
        (json!("text"), object),
        (Value::Null, object),
        (json!(7), object),
        (json!({}), "missing field `id`"),
        (nameless, "missing field `username`"),
        (changed(user, "username", json!(7)), "expected a string"),
        (changed(user, "username", Value::Null), "expected a string"),
        (
            changed(user, "username", json!({"$gt": ""})),
            "expected a string",
        ),
        (
            changed(user, "password", json!(12345)),
            "secret field has the wrong type",
        ),
        (
            changed(user, "is_admin", json!(true)),
            "unknown field `is_admin`; leave it out",
        ),
        (
            changed(user, "password_hash", json!("$argon2id$")),
            "unknown field `password_hash`",
        ),
        (changed(user, "id", json!("x")), "UUID"),
    ];
    refuses(&app, 1000, user, &payloads).await;
    let cents = [
        json!("1"),
        json!(1.5),
        json!(u64::MAX),
        json!(1e300),
        json!([1]),
        Value::Null,
    ];
    let deposits = cents.map(|cents| (json!({"cents": cents}), "i64"));
    refuses(&app, 2001, user, &deposits).await;
}

// Fails when an event is stored that `Domain::validate` rejects.
#[tokio::test]
async fn a_payload_that_its_domain_rejects_returns_422() {
    let (app, user) = (App::new().await, Uuid::now_v7());
    let username = "username must be 1 to 100 characters";
    let password = "password must be 1 to 1000 characters";
    let payloads = [
        (changed(user, "username", json!("")), username),
        (changed(user, "username", json!(" \u{2003}")), username),
        (changed(user, "username", json!("a\nb")), username),
        (changed(user, "username", json!("a".repeat(101))), username),
        (
            changed(user, "email", json!("ada")),
            "email must look like name@host",
        ),
        (
            changed(user, "email", json!("a@b\r\nbcc: all")),
            "email must look like name@host",
        ),
        (changed(user, "password", json!("")), password),
        (changed(user, "password", json!("p".repeat(1001))), password),
        (
            changed(user, "id", json!(Uuid::now_v7())),
            "payload.id must equal aggregate_id",
        ),
    ];
    refuses(&app, 1000, user, &payloads).await;
}

// Fails when one of two events with the same id is stored, or the append is retried as a lost race.
#[tokio::test]
async fn a_repeated_event_id_in_an_array_returns_400() {
    let app = App::new().await;
    let (first, mut second) = (
        created(Uuid::now_v7(), "ada"),
        created(Uuid::now_v7(), "bob"),
    );
    second["id"] = first["id"].clone();
    for events in [json!([first, second]), json!([first, first])] {
        let answer = app.append("/users", &events).await;
        let detail = answer.problem(400, "malformed");
        assert_eq!(
            detail,
            "events 0 and 1 have the same id; each event needs its own id"
        );
    }
    assert_eq!(app.stored().await, 0);
}

// Fails when a number or a text of metadata is stored with another value.
#[tokio::test]
async fn unusual_but_valid_values_are_stored_unchanged() {
    let app = App::new().await;
    let metadata = json!({
        "": "", "big": i64::MAX, "small": i64::MIN, "huge": u64::MAX, "float": 1.5e300, "tiny": 5e-324, "zero": 0,
        "text": "\u{1F600}\u{202e}\\\"/\u{7f}\u{1}\n", "constructor": {"__proto__": [null, true, [[]], {}]}, "long": "x".repeat(100_000),
    });
    let mut user = created(Uuid::now_v7(), "\u{1F600} \u{202e}ada \\u0041 ✓");
    user["metadata"] = metadata.clone();
    assert_eq!(app.append("/users", &user).await.status, 201);
    assert_eq!(app.append("/users", &user).await.status, 200);
    let (stored, name): (Value, String) =
        sqlx::query_as("select metadata, payload ->> 'username' from events")
            .fetch_one(&mut *app.db.pool().acquire().await.unwrap())
            .await
            .unwrap();
    assert_eq!(stored, metadata);
    assert_eq!(name, user["payload"]["username"]);
    app.db.catch_up("users").await;
    assert_eq!(
        app.read("/users").await.body["result"][0]["username"],
        json!(name)
    );
}
