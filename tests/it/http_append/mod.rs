//! Appending over HTTP: responses, expected versions and idempotent replays.

mod expected;
mod problems;
mod resent;

use foldlog::command::MAX_PASSWORDS;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::App;
use crate::support::json::{created, deposited, event, opened, renamed};

// Fails when a route, a name or a number of the requests in the README changes.
#[tokio::test]
async fn the_readme_requests_get_the_documented_responses() {
    let app = App::new().await;
    let user = "100000bb-1111-2222-3333-000000000001";
    let first = json!({
        "id": "000000aa-1111-2222-3333-000000000001", "aggregate_id": user, "type_id": 1000,
        "payload": {"id": user, "username": "test", "email": "test@test.test"},
    });
    let second = json!({
        "id": "000000aa-1111-2222-3333-000000000002", "aggregate_id": user, "type_id": 1001,
        "payload": {"password": "test_password"},
    });
    let saved = |version, body: &Value| json!({"result": "Event saved", "aggregate_id": user, "version": version, "position": body["position"], "created_at": body["created_at"]});
    for (version, event) in [(1, &first), (2, &second)] {
        let answer = app.append("/users", event).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.body, saved(version, &answer.body));
        assert!(answer.body["position"].is_i64());
        assert_eq!(answer.header("etag"), format!("\"{version}\""));
    }
    app.db.catch_up("users").await;
    let listed = app.read("/users").await;
    assert_eq!(listed.status, 200);
    let row = json!({"id": user, "username": "test", "email": "test@test.test", "version": 2});
    assert_eq!(listed.body, json!({"result": [row], "next": null}));
}

// Fails when the response to an array has another order, or when versions are not counted per aggregate.
#[tokio::test]
async fn the_response_to_an_array_keeps_its_order() {
    let app = App::new().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let events = [
        created(ada, "ada"),
        created(bob, "bob"),
        renamed(ada, "countess"),
        renamed(bob, "robert"),
    ];
    let answer = app.append("/users", &json!(events)).await;
    assert_eq!((answer.status, answer.header("etag")), (201, ""));
    assert_eq!(answer.body["result"], "Events saved");
    let saved = answer.body["events"].as_array().unwrap();
    let versions: Vec<_> = saved.iter().map(|e| e["version"].as_i64()).collect();
    assert_eq!(versions, [Some(1), Some(1), Some(2), Some(2)]);
    for (saved, sent) in saved.iter().zip(&events) {
        assert_eq!(
            (&saved["id"], &saved["aggregate_id"]),
            (&sent["id"], &sent["aggregate_id"])
        );
        assert_eq!(saved.as_object().unwrap().len(), 5);
    }
    let positions: Vec<_> = saved.iter().map(|e| e["position"].as_i64()).collect();
    assert!(positions.is_sorted(), "{positions:?}");
}

// Fails when the shape of the response depends on the number of events instead of the shape of the body.
#[tokio::test]
async fn an_array_of_one_event_gets_an_array_in_the_response() {
    let app = App::new().await;
    let answer = app
        .append("/users", &json!([created(Uuid::now_v7(), "ada")]))
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body["events"][0]["version"], 1);
}

// Fails when a domain's route accepts another domain's events, or /events accepts one domain only.
#[tokio::test]
async fn only_the_route_events_accepts_several_domains() {
    let app = App::new().await;
    let (user, account) = (Uuid::now_v7(), Uuid::now_v7());
    let events = json!([
        created(user, "ada"),
        opened(account, "ada"),
        deposited(account, 7)
    ]);
    let refused = app.append("/users", &events).await;
    let detail = refused.problem(422, "unprocessable");
    assert!(
        detail.contains("2000") && detail.contains("users"),
        "{detail}"
    );
    assert_eq!(refused.body["index"], 1);
    assert_eq!(app.stored().await, 0);

    assert_eq!(app.append("/events", &events).await.status, 201);
    app.db.catch_up("users").await;
    app.db.catch_up("accounts").await;
    let account = app.read(&format!("/accounts/{account}")).await;
    assert_eq!(
        (account.status, &account.body["balance_cents"]),
        (200, &json!(7))
    );
    assert_eq!(app.read(&format!("/users/{user}")).await.status, 200);
    assert_eq!(
        app.append("/events", &created(Uuid::now_v7(), "bob"))
            .await
            .status,
        201
    );
}

// Fails when an event of an array is stored although another one is rejected: for its shape, by a rule, by a rule of another
// aggregate, or for a reused id.
#[tokio::test]
async fn an_array_of_events_is_stored_atomically() {
    let app = App::new().await;
    let (ada, bob, account) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let first = created(ada, "ada");
    assert_eq!(app.append("/users", &first).await.status, 201);
    let mut taken = renamed(bob, "robert");
    taken["id"] = first["id"].clone();
    for (last, status, kind) in [
        (renamed(bob, ""), 422, "unprocessable"),
        (created(bob, "again"), 409, "rule-broken"),
        (created(ada, "again"), 409, "rule-broken"),
        (deposited(account, 1), 409, "rule-broken"),
        (taken, 409, "id-reused"),
    ] {
        let events = json!([renamed(ada, "countess"), created(bob, "bob"), last]);
        let answer = app.append("/events", &events).await;
        answer.problem(status, kind);
        assert_eq!(answer.body["index"], 2, "{answer:?}");
        assert_eq!(app.stored().await, 1);
    }
}

// Fails when metadata is not stored, or when absent metadata is stored as null.
#[tokio::test]
async fn metadata_is_stored_beside_the_payload() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let mut first = created(user, "ada");
    first["metadata"] = json!({"trace": {"id": "abc", "depth": [1, 2.5, null]}});
    let mut second = renamed(user, "countess");
    second["metadata"] = Value::Null;
    let events = json!([first, second, renamed(user, "ada")]);
    assert_eq!(app.append("/users", &events).await.status, 201);
    let metadata: Vec<Value> = sqlx::query_scalar("select metadata from events order by version")
        .fetch_all(&mut *app.db.pool().acquire().await.unwrap())
        .await
        .unwrap();
    assert_eq!(metadata, [first["metadata"].clone(), json!({}), json!({})]);
}

// Fails when a broken rule is reported as an invalid event, or the reverse.
#[tokio::test]
async fn a_broken_rule_returns_409_and_a_malformed_payload_422() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let unborn = app.append("/users", &renamed(user, "ada")).await;
    assert_eq!(
        unborn.problem(409, "rule-broken"),
        "event 0: the user does not exist"
    );
    app.append("/users", &created(user, "ada")).await;
    let again = app.append("/users", &created(user, "ada")).await;
    assert_eq!(
        again.problem(409, "rule-broken"),
        "event 0: the user already exists"
    );
    let foreign = app.append("/accounts", &opened(user, "ada")).await;
    let detail = foreign.problem(409, "rule-broken");
    assert!(detail.contains("another domain"), "{detail}");
    app.append("/users", &event(user, 1004, json!({"id": user})))
        .await;
    let gone = app.append("/users", &renamed(user, "ada")).await;
    assert_eq!(
        gone.problem(410, "deleted"),
        "event 0: the aggregate is deleted"
    );
    assert_eq!(app.stored().await, 2);
}

// Fails when a request may contain so many passwords that hashing them exceeds the time limit of the request.
#[tokio::test]
async fn more_passwords_than_can_be_hashed_in_time_return_422() {
    let app = App::new().await;
    let with_password = |n: usize| {
        let mut event = created(Uuid::now_v7(), &format!("user {n}"));
        event["payload"]["password"] = json!("correct horse");
        event
    };
    let events: Vec<_> = (0..=MAX_PASSWORDS).map(with_password).collect();
    for path in ["/users", "/events"] {
        let answer = app.append(path, &json!(events)).await;
        let detail = answer.problem(422, "unprocessable");
        assert!(detail.contains("at most 100 per request"), "{detail}");
        assert_eq!(answer.body["index"], MAX_PASSWORDS);
    }
    let without = (0..500).map(|n| created(Uuid::now_v7(), &format!("name {n}")));
    let mixed: Vec<_> = without.chain(events.into_iter().take(3)).collect();
    assert_eq!(app.append("/users", &json!(mixed)).await.status, 201);
}
