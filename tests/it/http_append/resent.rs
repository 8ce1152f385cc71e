//! Idempotent replays: a client that did not receive the response sends its events again.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::App;
use crate::support::json::{created, deleted, password_changed, renamed};

// Fails when a duplicate gets another body or ETag than the first request, or is stored again.
#[tokio::test]
async fn an_idempotent_replay_gets_the_first_response() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let (one, more) = (
        created(user, "ada"),
        json!([renamed(user, "b"), renamed(user, "c")]),
    );
    for events in [&one, &more] {
        let first = app.append("/users", events).await;
        // Another client appends between the two requests.
        app.append("/users", &renamed(user, "between")).await;
        let second = app.append("/users", events).await;
        assert_eq!((first.status, second.status), (201, 200));
        assert_eq!(first.body, second.body);
        assert_eq!(first.header("etag"), second.header("etag"));
        let elsewhere = app.append("/events", events).await;
        assert_eq!((elsewhere.status, elsewhere.body), (200, first.body));
    }
    assert_eq!(app.stored().await, 5);
}

// Fails when a replay with other metadata is rejected: metadata describes the request, not the event.
#[tokio::test]
async fn an_idempotent_replay_may_differ_in_metadata() {
    let app = App::new().await;
    let mut event = created(Uuid::now_v7(), "ada");
    event["metadata"] = json!({"attempt": 1});
    assert_eq!(app.append("/users", &event).await.status, 201);
    event["metadata"] = json!({"attempt": 2});
    assert_eq!(app.append("/users", &event).await.status, 200);
}

// Fails when a replay is recognised by its id alone, without comparing type, payload and aggregate.
#[tokio::test]
async fn a_reused_event_id_with_other_content_returns_409() {
    let app = App::new().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let stored = renamed(ada, "countess");
    let events = json!([created(ada, "ada"), stored, created(bob, "bob")]);
    assert_eq!(app.append("/users", &events).await.status, 201);
    let other = |change: &dyn Fn(&mut Value)| {
        let mut event = stored.clone();
        change(&mut event);
        event
    };
    for reused in [
        other(&|event| event["payload"]["username"] = json!("duchess")),
        other(&|event| event["aggregate_id"] = json!(bob)),
        other(&|event| {
            event["type_id"] = json!(1003);
            event["payload"] = json!({"email": "ada@example.org"});
        }),
        other(&|event| {
            event["type_id"] = json!(1001);
            event["payload"] = json!({"password": "countess"});
        }),
    ] {
        let answer = app.append("/users", &reused).await;
        let detail = answer.problem(409, "id-reused");
        assert!(
            detail.contains(stored["id"].as_str().unwrap()) && detail.contains("use a new id"),
            "{detail}"
        );
    }
    assert_eq!(app.stored().await, 3);
}

// Fails when the new events of a partial replay are stored, or when it is answered like a complete one.
#[tokio::test]
async fn a_partly_duplicate_array_returns_409() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let (old, new) = (renamed(user, "b"), renamed(user, "c"));
    app.append("/users", &json!([created(user, "a"), old]))
        .await;
    for (events, index) in [(json!([new, old]), 1), (json!([old, new]), 0)] {
        let answer = app.append("/users", &events).await;
        let detail = answer.problem(409, "id-reused");
        assert!(detail.contains("send only the new events"), "{detail}");
        assert_eq!(answer.body["index"], index);
    }
    assert_eq!(app.stored().await, 2);
}

// Fails when `If-Match` is compared before the replay is recognised: the event itself has increased the version.
#[tokio::test]
async fn an_idempotent_replay_ignores_if_match() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let (create, rename) = (created(user, "ada"), renamed(user, "b"));
    let (none, one) = (("if-none-match", "*"), ("if-match", "\"1\""));
    for status in [201, 200] {
        let first = app.append_with("/users", none, &create).await;
        let second = app.append_with("/users", one, &rename).await;
        assert_eq!((first.status, second.status), (status, status));
        assert_eq!(second.header("etag"), "\"2\"");
    }
    let new = app.append_with("/users", one, &renamed(user, "c")).await;
    new.problem(412, "version-mismatch");
    app.append("/users", &deleted(user)).await;
    assert_eq!(app.append_with("/users", one, &rename).await.status, 200);
}

// Fails when hashes are compared, because two hashes of one password differ; or when passwords are not compared at all.
#[tokio::test]
async fn an_idempotent_replay_verifies_the_password() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let mut create = created(user, "ada");
    create["payload"]["password"] = json!("correct horse");
    let mut change = password_changed(user, "battery staple");
    for status in [201, 200] {
        assert_eq!(app.append("/users", &create).await.status, status);
        assert_eq!(app.append("/users", &change).await.status, status);
    }
    change["payload"]["password"] = json!("battery stapler");
    app.append("/users", &change)
        .await
        .problem(409, "id-reused");
    create["payload"]["password"] = Value::Null;
    app.append("/users", &create)
        .await
        .problem(409, "id-reused");
    let sealed = "select count(*) from events where payload ->> 'password' like '$argon2id$%'";
    assert_eq!(app.db.count(sealed).await, 2);
    assert_eq!(app.stored().await, 2);
}

// Fails when the stored hash is accepted as the password: a reader of the log could replay the event with it.
#[tokio::test]
async fn a_stored_hash_is_not_accepted_as_the_password() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let mut change = password_changed(user, "battery staple");
    app.append("/users", &json!([created(user, "ada"), change]))
        .await;
    let hash: String =
        sqlx::query_scalar("select payload ->> 'password' from events where type_id = 1001")
            .fetch_one(&mut *app.db.pool().acquire().await.unwrap())
            .await
            .unwrap();
    change["payload"]["password"] = json!(hash);
    app.append("/users", &change)
        .await
        .problem(409, "id-reused");
}
