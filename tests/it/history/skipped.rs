//! Events that an operator has skipped.

use serde_json::json;
use uuid::Uuid;

use crate::support::app::App;
use crate::support::json::{created, deposited, opened};

/// Parks the aggregates of a domain, and skips the event at which one is parked.
async fn skip(app: &App, domain: &str) {
    app.db.catch_up(domain).await;
    let event: Uuid = sqlx::query_scalar("select event_id from parked where lock_domain = $1")
        .bind(domain)
        .fetch_one(&mut app.db.connect().await)
        .await
        .unwrap();
    let skip =
        json!({"skip": {"domain": domain, "event_id": event, "reason": "cannot be repaired"}});
    let answer = app.append("/projections", &skip).await;
    assert!(answer.status < 300, "{answer:?}");
    app.db.catch_up(domain).await;
}

// Fails when a past state includes what a skipped event would have done, differs from the live row at the newest version, or cannot
// be read because of the event.
#[tokio::test]
async fn a_skipped_event_has_no_effect_on_the_past() {
    let app = App::new().await;
    let (user, account) = (Uuid::now_v7(), Uuid::now_v7());
    app.append("/users", &created(user, "ada")).await;
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) values
                 (gen_random_uuid(), '{user}', 2, 1002, '{{\"username\": [\"hunter2\"]}}'),
                 (gen_random_uuid(), '{user}', 3, 1002, '{{\"username\": \"bob\"}}')"
        ))
        .await;
    skip(&app, "users").await;
    let path = format!("/users/{user}");
    let live = app.read(&path).await;
    assert_eq!(
        (&live.body["username"], &live.body["version"]),
        (&json!("bob"), &json!(3))
    );
    for query in ["?version=3", "?as_of=2999-01-01T00:00:00Z"] {
        assert_eq!(
            app.read(&format!("{path}{query}")).await.body,
            live.body,
            "{query}"
        );
    }
    let list = app.read("/users?as_of=2999-01-01T00:00:00Z").await;
    assert_eq!(list.body["result"], json!([live.body]));
    let skipped = app.read(&format!("{path}?version=2")).await;
    assert_eq!(
        (&skipped.body["username"], &skipped.body["version"]),
        (&json!("ada"), &json!(2))
    );
    for order in ["asc", "desc"] {
        let history = app.read(&format!("{path}/events?order={order}")).await;
        let events = history.body["result"].as_array().unwrap();
        let at = |version| {
            events
                .iter()
                .find(|event| event["version"] == version)
                .unwrap()
        };
        assert_eq!(
            (&at(2)["error"], &at(2)["changes"]),
            (&json!("skipped"), &json!(null))
        );
        assert_eq!(at(3)["changes"], json!({"username": ["ada", "bob"]}));
    }
    let blame = app.read(&format!("{path}/blame")).await;
    assert_eq!(blame.body["fields"]["username"]["version"], 3);
    let explained = app.read(&format!("{path}/explain")).await;
    assert_eq!(explained.body["state"], "current");

    // This one can be folded, but the database rejects the row.
    app.append("/accounts", &opened(account, "ada")).await;
    app.db.catch_up("accounts").await;
    app.append("/accounts", &deposited(account, 2_000_000))
        .await;
    skip(&app, "accounts").await;
    app.append("/accounts", &deposited(account, 5)).await;
    app.db.catch_up("accounts").await;
    let live = app.read(&format!("/accounts/{account}")).await;
    assert_eq!(
        (&live.body["balance_cents"], &live.body["version"]),
        (&json!(5), &json!(3))
    );
    let past = app.read(&format!("/accounts/{account}?version=3")).await;
    assert_eq!(past.body, live.body);
}
