//! What a program needs for requests about many large events.

use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use super::program::{LOCAL, Program, url};
use crate::support::TestDb;

/// How many events of 1 MB there are.
const EVENT_COUNT: u128 = 300;

/// Much less than all of them together.
const MAX_MIB: u64 = 200;

/// The id of an event, whose digits are those of a decimal number.
fn event_id(n: u128) -> Uuid {
    Uuid::parse_str(&format!("{n:032}")).unwrap()
}

/// Fails when a request loads all large events that it names, or all that an aggregate has: a function has 256 MB.
#[tokio::test]
async fn requests_about_many_large_events_need_little_memory() {
    let (db, client, user) = (TestDb::new().await, Client::new(), Uuid::now_v7());
    let created = format!(r#"{{"id":"{user}","username":"ada","email":"ada@example.org"}}"#);
    db.run(&format!(
        "insert into events (id, aggregate_id, version, type_id, payload, metadata) \
         select lpad(n::text, 32, '0')::uuid, '{user}', n, case n when 1 then 1000 else 1002 end, \
             case n when 1 then '{created}' else '{{\"username\":\"ada\"}}' end::jsonb, \
             jsonb_build_object('large', repeat('x', 1000000)) \
         from generate_series(1, {EVENT_COUNT}) n"
    ))
    .await;
    let database = url(&db.options);
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("APP_SERVER_PORT", "127.0.0.1:0"),
    ];
    let mut local = Program::start(LOCAL, &[], &env);
    let address = local.url().await;
    let reused: Vec<Value> = (2..=EVENT_COUNT)
        .map(|n| json!({"id": event_id(n), "aggregate_id": user, "type_id": 1002, "payload": {"username": "bob"}}))
        .collect();
    for (path, body, status) in [
        ("users", json!(reused), 409),
        ("projections", json!({}), 200),
        ("projections", json!({"verify": "users"}), 200),
    ] {
        let sent = client.post(format!("{address}/{path}")).json(&body).send();
        let answer = sent.await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let said = answer.text().await.unwrap();
        let peak = local.peak_memory();
        assert!(peak < MAX_MIB, "{peak} MiB after {body:.40}: {said}");
    }
    local.terminate().await.well();
}
