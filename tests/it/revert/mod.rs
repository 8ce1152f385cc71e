//! Reverts over HTTP.

mod races;
mod refused;

use foldlog::Foldlog;
use foldlog::domains::users::{User, Users};
use foldlog::event::{AggregateId, Metadata, Version};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{Answer, App};
use crate::support::json::{created, deleted, event, password_changed, renamed};

/// A user with four versions: ada, renamed, with another e-mail address and a password.
async fn changed_user(app: &App) -> Uuid {
    let user = Uuid::now_v7();
    let events = json!([
        created(user, "ada"),
        renamed(user, "countess"),
        event(user, 1003, json!({"email": "new@example.org"})),
        password_changed(user, "secret"),
    ]);
    assert_eq!(app.append("/users", &events).await.status, 201);
    user
}

async fn revert(app: &App, user: Uuid, body: &Value) -> Answer {
    app.append(&format!("/users/{user}/revert"), body).await
}

fn to(version: i32) -> Value {
    json!({"id": Uuid::now_v7(), "to_version": version})
}

async fn read(app: &App, user: Uuid) -> Value {
    let answer = app.read(&format!("/users/{user}?consistency=strong")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

// Fails when a revert leaves a field as it is that an event can restore, or does not say that the password stays.
#[tokio::test]
async fn a_revert_restores_what_events_can_restore_and_reports_the_rest() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let answer = revert(&app, user, &to(1)).await;
    assert_eq!((answer.status, answer.header("etag")), (201, "\"6\""));
    assert_eq!(answer.body["result"], "Aggregate reverted");
    assert_eq!(answer.body["events"].as_array().unwrap().len(), 2);
    assert_eq!(answer.body["not_restored"], json!(["password_hash"]));
    let email = format!("{user}@example.org");
    assert_eq!(
        answer.body["changes"],
        json!({"username": ["countess", "ada"], "email": ["new@example.org", email]})
    );
    let row = json!({"id": user, "username": "ada", "email": email, "version": 6});
    assert_eq!(read(&app, user).await, row);
    app.db.catch_up("users").await;
    app.db.assert_views_equal_a_fold_from_scratch().await;
}

// Fails when a revert that is sent again appends again or answers differently, also after the aggregate has changed, or when
// the id of a revert can be used for another one.
#[tokio::test]
async fn a_revert_is_idempotent_by_its_id() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let body = to(1);
    let first = revert(&app, user, &body).await;
    assert_eq!(first.status, 201);
    app.append("/users", &renamed(user, "eve")).await;
    let again = revert(&app, user, &body).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(app.stored().await, 7);
    for other in [
        json!({"id": body["id"], "to_version": 2}),
        json!({"id": body["id"], "to_version": 1, "except": ["email"]}),
    ] {
        revert(&app, user, &other).await.problem(409, "id-reused");
    }
    let stored = created(Uuid::now_v7(), "bob");
    app.append("/users", &stored).await;
    let taken = json!({"id": stored["id"], "to_version": 1});
    revert(&app, user, &taken).await.problem(409, "id-reused");
    let mut event = renamed(user, "ada");
    event["id"] = body["id"].clone();
    let answer = app.append("/users", &event).await;
    assert_eq!(
        answer.status, 200,
        "the first event of the revert: {answer:?}"
    );
    assert_eq!(app.stored().await, 8);
}

// Fails when the log does not say which revert an event belongs to, or loses the client's metadata.
#[tokio::test]
async fn the_events_of_a_revert_say_what_they_restore() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let mut body = to(2);
    body["metadata"] = json!({"reason": "asked by phone"});
    body["except"] = json!(["username"]);
    let answer = revert(&app, user, &body).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body["events"][0]["id"], body["id"]);
    let marked = "select count(*) from events where version = 5 and metadata = \
                  '{\"reason\": \"asked by phone\", \"revert\": {\"to_version\": 2, \"except\": [\"username\"]}}'";
    assert_eq!(app.db.count(marked).await, 1);
}

// Fails when a field in `except` is changed, or one that is not is left as it is.
#[tokio::test]
async fn a_revert_leaves_the_excepted_fields_as_they_are() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let mut body = to(1);
    body["except"] = json!(["email"]);
    let answer = revert(&app, user, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.body["not_restored"], json!(["password_hash"]));
    let row = read(&app, user).await;
    assert_eq!(
        (&row["username"], &row["email"]),
        (&json!("ada"), &json!("new@example.org"))
    );
}

// Fails when a deleted user does not come back, or comes back with a password.
#[tokio::test]
async fn a_deleted_user_is_restored_without_a_password() {
    for inline in [&[][..], &["users"][..]] {
        let app = App::with_db(TestDb::with_inline(inline).await).await;
        let user = changed_user(&app).await;
        let ended = app.append("/users", &deleted(user)).await;
        assert_eq!(ended.status, 201);
        app.db.catch_up("users").await;
        let answer = revert(&app, user, &to(4)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.body["not_restored"], json!(["password_hash"]));
        assert_eq!(answer.body["events"].as_array().unwrap().len(), 1);
        app.db.catch_up("users").await;
        let row = app.read(&format!("/users/{user}")).await;
        assert_eq!(
            row.body,
            json!({"id": user, "username": "countess", "email": "new@example.org", "version": 6})
        );
        let renamed = app.append("/users", &renamed(user, "ada")).await;
        assert_eq!(renamed.status, 201);
        app.db.catch_up("users").await;
        app.db.assert_views_equal_a_fold_from_scratch().await;
    }
}

// Fails when any event but the restoration follows the end of an aggregate, or a restoration follows anything else.
#[tokio::test]
async fn only_a_restoration_follows_a_deletion() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let restored = || {
        event(
            user,
            1006,
            json!({"username": "ada", "email": "ada@example.org"}),
        )
    };
    let answer = app.append("/users", &restored()).await;
    answer.problem(409, "rule-broken");
    assert_eq!(answer.body["rule"], "does_not_exist");
    app.append("/users", &created(user, "ada")).await;
    let answer = app.append("/users", &restored()).await;
    answer.problem(409, "rule-broken");
    assert_eq!(answer.body["rule"], "already_exists");
    let both = json!([
        deleted(user),
        restored(),
        renamed(user, "eve"),
        deleted(user)
    ]);
    assert_eq!(app.append("/users", &both).await.status, 201);
    for event in [renamed(user, "eve"), created(user, "eve"), deleted(user)] {
        app.append("/users", &event).await.problem(410, "deleted");
    }
    app.db.catch_up("users").await;
    app.append("/users", &renamed(user, "eve"))
        .await
        .problem(410, "deleted");
    assert_eq!(app.append("/users", &restored()).await.status, 201);
    let row = read(&app, user).await;
    assert_eq!(
        (&row["username"], &row["version"]),
        (&json!("ada"), &json!(6))
    );
}

// Fails when a revert without anything to do appends an event, or is an error.
#[tokio::test]
async fn a_revert_to_the_current_state_appends_nothing() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    for version in [3, 4] {
        let answer = revert(&app, user, &to(version)).await;
        assert_eq!((answer.status, answer.header("etag")), (200, "\"4\""));
        assert_eq!(answer.body["result"], "Nothing to revert");
        assert_eq!(answer.body["events"], json!([]));
        let left = if version == 3 {
            vec!["password_hash"]
        } else {
            vec![]
        };
        assert_eq!(answer.body["not_restored"], json!(left));
    }
    assert_eq!(app.stored().await, 4);
}

// Fails when the typed revert differs from the route.
#[tokio::test]
async fn a_typed_revert_restores_the_state() {
    let app = App::new().await;
    let user = changed_user(&app).await;
    let (foldlog, id): (&Foldlog, _) = (&app.db.foldlog, AggregateId(user));
    let mut metadata = Metadata::default();
    metadata.insert("actor", "ada").unwrap();
    let revert = || foldlog.revert::<Users>(id, Version(1)).metadata(&metadata);
    let (dry_run, left) = revert().dry_run().await.unwrap();
    assert_eq!(
        (dry_run.duplicate, left),
        (false, vec!["password_hash".to_owned()])
    );
    let planned: User = dry_run.aggregates[0].decode().unwrap().unwrap();
    assert_eq!(app.stored().await, 4);
    let reverted = revert()
        .except(["email"])
        .expecting(Version(4))
        .await
        .unwrap();
    assert_eq!(reverted.events.len(), 1);
    revert().expecting(Version(4)).await.unwrap_err();
    revert().await.unwrap();
    let (now, version) = foldlog.get::<Users>(id).strong().await.unwrap().unwrap();
    assert_eq!((now, version), (planned, Version(6)));
}
