//! `explain`: which events made a row, which wait, and why.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{Answer, App};
use crate::support::json::{created, deleted, deposited, opened, renamed};
use crate::support::locks::Held;

async fn explain(app: &App, path: &str) -> Answer {
    let answer = app.read(&format!("{path}/explain")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// State, version of the row, newest version, claimed and waiting ranges, and why they wait.
fn summary(answer: &Answer) -> Value {
    let body = &answer.body;
    json!([
        body["state"],
        body["version"],
        body["newest"],
        body["claimed"]["ranges"],
        body["waiting"]["ranges"],
        body["waiting"]["reason"],
    ])
}

// Fails when an explanation contradicts the projection: before, between and after passes, and after a deletion.
#[tokio::test]
async fn an_explanation_follows_the_projection() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let path = format!("/users/{user}");
    app.append("/users", &created(user, "ada")).await;
    let waiting = explain(&app, &path).await;
    assert_eq!(
        summary(&waiting),
        json!(["behind", null, 1, [], [[1, 1]], "not_projected"])
    );
    assert_eq!(waiting.body["revision"], json!(null));
    assert!(waiting.body["waiting"]["since"].is_string());
    app.db.catch_up("users").await;
    let current = explain(&app, &path).await;
    assert_eq!(
        summary(&current),
        json!(["current", 1, 1, [[1, 1]], [], null])
    );
    app.append(
        "/users",
        &json!([renamed(user, "eve"), renamed(user, "bob")]),
    )
    .await;
    let behind = explain(&app, &path).await;
    assert_eq!(
        summary(&behind),
        json!(["behind", 1, 3, [[1, 1]], [[2, 3]], "not_projected"])
    );
    assert_eq!(behind.body["revision"], current.body["revision"]);
    let events = behind.body["events"].as_array().unwrap();
    let listed: Vec<_> = events
        .iter()
        .map(|event| json!([event["version"], event["claimed"]]))
        .collect();
    assert_eq!(
        listed,
        [json!([3, false]), json!([2, false]), json!([1, true])]
    );
    app.append("/users", &deleted(user)).await;
    app.db.catch_up("users").await;
    let gone = explain(&app, &path).await;
    assert_eq!(
        summary(&gone),
        json!(["deleted", null, 4, [[1, 4]], [], null])
    );
    assert_ne!(gone.body["revision"], current.body["revision"]);
}

// Fails when the revision is anything else than the hash of the claimed ids, or history and explanation disagree.
#[tokio::test]
async fn the_revision_is_the_hash_of_the_claims() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let path = format!("/users/{user}");
    app.append(
        "/users",
        &json!([created(user, "ada"), renamed(user, "eve")]),
    )
    .await;
    app.db.catch_up("users").await;
    app.append("/users", &renamed(user, "bob")).await;
    let expected: String = sqlx::query_scalar(
        "select encode(sha256(decode(string_agg(replace(id::text, '-', ''), '' order by version), 'hex')), 'hex')
         from events where version < 3",
    )
    .fetch_one(&mut app.db.connect().await)
    .await
    .unwrap();
    for below in ["/explain", "/events", "/events?order=desc&limit=1"] {
        let answer = app.read(&format!("{path}{below}")).await;
        assert_eq!(answer.body["revision"], expected, "{below}");
    }
    // It costs a look at each event, so only the first page has it.
    let first = app.read(&format!("{path}/events?limit=1")).await;
    let next = first.body["next"].as_str().unwrap();
    let second = app.read(&format!("{path}/events?after={next}")).await;
    assert_eq!(second.body["revision"], json!(null));
}

// Fails when the events of a parked aggregate wait without a reason, or the explanation shows a payload.
#[tokio::test]
async fn a_parked_aggregate_is_explained_by_its_event() {
    let app = App::new().await;
    let (user, account) = (Uuid::now_v7(), Uuid::now_v7());
    app.append("/users", &created(user, "ada")).await;
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) values
                 (gen_random_uuid(), '{user}', 2, 1002, '{{\"username\": [\"hunter2\"]}}'),
                 (gen_random_uuid(), '{user}', 3, 1002, '{{\"username\": \"eve\"}}')"
        ))
        .await;
    app.db.catch_up("users").await;
    let parked = explain(&app, &format!("/users/{user}")).await;
    assert_eq!(
        summary(&parked),
        json!(["parked", 1, 3, [[1, 1]], [[2, 3]], "parked"])
    );
    let event = &parked.body["parked"];
    assert_eq!(
        (&event["version"], &event["attempts"], &event["foldable"]),
        (&json!(2), &json!(1), &json!(false))
    );
    assert!(event["next_try"].is_string());
    assert_eq!(event["class"], "event");
    assert!(!parked.body.to_string().contains("hunter2"));
    app.db.run("update parked set next_try = 'infinity'").await;
    let never = explain(&app, &format!("/users/{user}")).await;
    assert_eq!(never.body["parked"]["next_try"], json!(null));

    // The database rejects the row of this account.
    app.append(
        "/accounts",
        &json!([opened(account, "ada"), deposited(account, 2_000_000)]),
    )
    .await;
    app.db.catch_up("accounts").await;
    let rejected = explain(&app, &format!("/accounts/{account}")).await;
    assert_eq!(
        (
            &rejected.body["state"],
            &rejected.body["parked"]["foldable"],
            &rejected.body["parked"]["class"]
        ),
        (&json!("parked"), &json!(true), &json!("write"))
    );
}

// Fails when a row or a claim that was changed by hand looks like a projection that is merely behind, or like a deletion.
#[tokio::test]
async fn rows_and_claims_that_were_changed_by_hand_are_inconsistent() {
    for (change, reason) in [
        ("delete from locker", json!("claim_lost")),
        (
            "delete from locker where event_id = (select id from events where version = 2)",
            json!("claim_lost"),
        ),
        ("delete from users", json!(null)),
        ("update users set version = 2", json!(null)),
    ] {
        let app = App::new().await;
        let user = Uuid::now_v7();
        app.append(
            "/users",
            &json!([
                created(user, "ada"),
                renamed(user, "eve"),
                renamed(user, "bob")
            ]),
        )
        .await;
        app.db.catch_up("users").await;
        app.db.run(change).await;
        let answer = explain(&app, &format!("/users/{user}")).await;
        let found = (&answer.body["state"], &answer.body["waiting"]["reason"]);
        assert_eq!(found, (&json!("inconsistent"), &reason), "{change}");
    }
}

// Fails when an inline view, which is never behind, is explained as behind; or an open transaction changes what is explained.
#[tokio::test]
async fn an_inline_view_is_current_and_open_transactions_do_not_show() {
    let app = App::with_db(TestDb::with_inline(&["users"]).await).await;
    let user = Uuid::now_v7();
    let path = format!("/users/{user}");
    app.append(
        "/users",
        &json!([created(user, "ada"), renamed(user, "eve")]),
    )
    .await;
    let uncommitted = format!(
        "insert into events (id, aggregate_id, version, type_id, payload)
         values (gen_random_uuid(), '{user}', 3, 1002, '{{\"username\": \"bob\"}}')"
    );
    let held = Held::open(&app.db, &uncommitted).await;
    let current = explain(&app, &path).await;
    assert_eq!(
        summary(&current),
        json!(["current", 2, 2, [[1, 2]], [], null])
    );
    held.commit().await;
    let behind = explain(&app, &path).await;
    assert_eq!(
        summary(&behind),
        json!(["behind", 2, 3, [[1, 2]], [[3, 3]], "not_projected"])
    );
}

// Fails when an explanation lists an unbounded number of events or ranges.
#[tokio::test]
async fn an_explanation_is_bounded() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload)
             select gen_random_uuid(), '{user}', version, 1002, '{{\"username\": \"eve\"}}' from generate_series(2, 1000) version;
             insert into locker (event_id, aggregate_id, lock_domain)
             select id, aggregate_id, 'users' from events where version % 2 = 0"
        ))
        .await;
    let answer = explain(&app, &format!("/users/{user}")).await;
    let ranges = |set: &str| answer.body[set]["ranges"].as_array().unwrap().len();
    assert_eq!(ranges("claimed") + ranges("waiting"), 100);
    assert_eq!(answer.body["claimed"]["events"], 500);
    assert_eq!(answer.body["waiting"]["events"], 500);
    assert_eq!(answer.body["events"].as_array().unwrap().len(), 20);
    assert_eq!(answer.body["state"], "inconsistent");
}
