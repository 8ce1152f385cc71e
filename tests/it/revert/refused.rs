//! Reverts that are refused, and hostile bodies.

use foldlog::command::AppendError;
use foldlog::domains::users::{UserEvent, Users};
use foldlog::event::{AggregateId, Metadata};
use serde_json::json;
use uuid::Uuid;

use super::{changed_user, revert, to};
use crate::support::app::App;
use crate::support::json::{created, deleted, deposited, event, opened, renamed};

// Fails when a revert that is impossible is accepted, or the problem does not point to the field that is wrong.
#[tokio::test]
async fn a_revert_that_is_impossible_says_why() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let with = |name: &str, value: serde_json::Value| {
        let mut body = to(1);
        body[name] = value;
        body
    };
    for (body, pointer) in [
        (to(5), "/to_version"),
        (with("except", json!(["email", "phone"])), "/except/1"),
        (with("except", json!(["password_hash"])), "/except/0"),
        (
            with("metadata", json!({"revert": {"to_version": 1}})),
            "/metadata/revert",
        ),
        (with("metadata", json!({"a": "\u{0}"})), "/metadata"),
    ] {
        let answer = revert(&app, user, &body).await;
        answer.problem(422, "unprocessable");
        assert_eq!(answer.body["pointer"], pointer, "{body}");
    }
    revert(&app, Uuid::now_v7(), &to(1))
        .await
        .problem(404, "not-found");
    app.append("/users", &deleted(user)).await;
    let answer = revert(&app, user, &to(5)).await;
    answer.problem(422, "unprocessable");
    assert_eq!(answer.body["pointer"], "/to_version");
    let answer = revert(&app, user, &with("except", json!(["email"]))).await;
    answer.problem(422, "unprocessable");
    assert_eq!(answer.body["pointer"], "/except");
    assert_eq!(app.stored().await, 5);
}

// Fails when a domain without a definition of reverts reverts, or its aggregate is reverted through another domain.
#[tokio::test]
async fn a_domain_that_defines_no_revert_refuses_it() {
    let app = App::new().await;
    let account = Uuid::now_v7();
    let events = json!([opened(account, "ada"), deposited(account, 5)]);
    assert_eq!(app.append("/accounts", &events).await.status, 201);
    let answer = app
        .append(&format!("/accounts/{account}/revert"), &to(1))
        .await;
    answer.problem(409, "rule-broken");
    assert_eq!(answer.body["rule"], "not_revertible");
    revert(&app, account, &to(1))
        .await
        .problem(404, "not-found");
    let closed = event(account, 2002, json!({}));
    assert_eq!(app.append("/accounts", &closed).await.status, 201);
    app.append(&format!("/accounts/{account}/revert"), &to(1))
        .await
        .problem(410, "deleted");
}

// Fails when a state that has become invalid since is restored, or the problem does not name the rule.
#[tokio::test]
async fn a_state_that_is_not_valid_any_more_is_not_restored() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    // Stored by SQL, because the rules refuse this address.
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) values (gen_random_uuid(), '{user}', 1, 1000, '{}')",
            json!({"id": user, "username": "ada", "email": "nowhere"})
        ))
        .await;
    let valid = event(user, 1003, json!({"email": "ada@example.org"}));
    assert_eq!(app.append("/users", &valid).await.status, 201);
    let answer = revert(&app, user, &to(1)).await;
    answer.problem(422, "unprocessable");
    assert_eq!(
        (&answer.body["pointer"], &answer.body["rule"]),
        (&json!("/to_version"), &json!("email"))
    );
}

// Fails when a body of another shape is accepted, or answered with anything but a 400 that says what to send.
#[tokio::test]
async fn a_malformed_revert_is_refused() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let id = Uuid::now_v7();
    for body in [
        json!([]),
        json!({}),
        json!({"id": id}),
        json!({"to_version": 1}),
        json!({"id": "x", "to_version": 1}),
        json!({"id": id, "to_version": 0}),
        json!({"id": id, "to_version": -1}),
        json!({"id": id, "to_version": 1.5}),
        json!({"id": id, "to_version": "1"}),
        json!({"id": id, "to_version": 4_294_967_297_i64}),
        json!({"id": id, "to_version": 1, "except": "email"}),
        json!({"id": id, "to_version": 1, "except": [1]}),
        json!({"id": id, "to_version": 1, "metadata": []}),
        json!({"id": id, "to_version": 1, "unknown": true}),
    ] {
        let answer = revert(&app, user, &body).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains("to_version"), "{body}: {detail}");
    }
    for query in ["dry_run=yes", "dry_run", "dry_run=", "dry=true"] {
        let path = format!("/users/{user}/revert?{query}");
        app.append(&path, &to(1)).await.problem(400, "malformed");
    }
    app.append("/users/x/revert", &to(1))
        .await
        .problem(400, "malformed");
    app.append("/nothing/x/revert", &to(1))
        .await
        .problem(404, "no-such-route");
    assert_eq!(app.stored().await, 4);
}

// Fails when a revert ignores If-Match or If-None-Match.
#[tokio::test]
async fn a_revert_honours_the_expected_version() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let path = format!("/users/{user}/revert");
    for (header, value) in [
        ("if-match", "\"3\""),
        ("if-match", "\"5\", \"6\""),
        ("if-none-match", "*"),
    ] {
        let answer = app.append_with(&path, (header, value), &to(1)).await;
        answer.problem(412, "version-mismatch");
        assert_eq!(answer.body["version"], 4);
    }
    assert_eq!(app.stored().await, 4);
    let body = to(1);
    let answer = app.append_with(&path, ("if-match", "\"4\""), &body).await;
    assert_eq!(answer.status, 201);
    // The version has advanced by the revert itself.
    let again = app.append_with(&path, ("if-match", "\"4\""), &body).await;
    assert_eq!((again.status, again.body), (200, answer.body));
    let bob = Uuid::now_v7();
    app.append("/users", &created(bob, "bob")).await;
    let same = app
        .append_with(&format!("/users/{bob}/revert"), ("if-match", "*"), &to(1))
        .await;
    assert_eq!(same.status, 200);
}

// Fails when a client can give an event the mark of a revert, so that a revert with the id of this event is taken for done.
#[tokio::test]
async fn an_event_with_the_mark_of_a_revert_is_refused() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let mut forged = renamed(user, "eve");
    for mark in [json!({"to_version": 1}), json!(null), json!("x")] {
        forged["metadata"] = json!({"reason": "x", "revert": mark});
        for path in ["/users", "/events", "/users?dry_run=true"] {
            let answer = app.append(path, &forged).await;
            answer.problem(422, "unprocessable");
            assert_eq!(answer.body["pointer"], "/metadata/revert");
            let answer = app.append(path, &json!([renamed(user, "a"), forged])).await;
            answer.problem(422, "unprocessable");
            assert_eq!(answer.body["pointer"], "/1/metadata/revert");
            assert_eq!(answer.body["index"], 1);
        }
    }
    let mut metadata = Metadata::default();
    metadata.insert("revert", json!({"to_version": 1})).unwrap();
    let renamed = UserEvent::UsernameChanged {
        username: "eve".to_owned(),
    };
    let typed = app.db.foldlog.append::<Users>(AggregateId(user), [renamed]);
    let refused = typed.metadata(&metadata).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::ReservedMetadata { index: 0 }),
        "{refused:?}"
    );
    assert_eq!(app.stored().await, 4);
}
