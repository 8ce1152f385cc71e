//! The routes of operators.

mod database;
mod failures;
mod handed_over;
mod retry;
mod skipped;
mod verified;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{Answer, App};
use crate::support::created;
use crate::support::events::{append, deposited, opened};

async fn operate(app: &App, payload: Value) -> Answer {
    app.append("/projections", &payload).await
}

/// An account that the ledger parks at its second event, with two more behind it.
async fn parked_account(app: &App) -> Uuid {
    let account = Uuid::now_v7();
    let events = [
        opened(account),
        deposited(account, 13),
        deposited(account, 1),
        deposited(account, 2),
    ];
    append(&app.db.foldlog, &events).await;
    account
}

// Fails when a verb is not available over HTTP, or its answer differs from that of the catch-up function.
#[tokio::test]
async fn each_verb_works_over_http() {
    let app = App::new().await;
    append(&app.db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let account = parked_account(&app).await;

    let measured = operate(&app, json!({"status": true})).await;
    assert_eq!(measured.status, 200, "{measured:?}");
    assert_eq!(measured.body["projections"]["users"]["remaining"], 1);
    assert_eq!(
        measured.body["projections"]["users"]["state"],
        "unprocessed"
    );

    let caught_up = operate(&app, json!({})).await;
    let users = json!({"applied": 1, "remaining": 0, "parked": 0, "done": true});
    let ledger = json!({"applied": 1, "remaining": 0, "parked": 1, "done": true});
    assert_eq!(caught_up.body["projections"]["users"], users);
    assert_eq!(caught_up.body["projections"]["ledger"], ledger);

    let retried = operate(&app, json!({"retry": "ledger"})).await;
    let ledger = &retried.body["projections"]["ledger"];
    assert_eq!(
        (&ledger["failed"], &ledger["unparked"]),
        (&json!(1), &json!(0))
    );
    assert!(retried.body["projections"]["users"].is_null());

    let listed = app.read("/projections/ledger/parked").await;
    let entry = &listed.body["result"][0];
    assert_eq!((listed.status, &listed.body["next"]), (200, &json!(null)));
    assert_eq!(entry["aggregate_id"], json!(account));
    assert_eq!(
        (&entry["class"], &entry["version"]),
        (&json!("fold"), &json!(2))
    );
    assert_eq!(
        (&entry["attempts"], &entry["waiting"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(entry["error"], "a deposit of 13 cents cannot be folded");

    let skip = json!({"skip": {"domain": "ledger", "event_id": entry["event_id"], "reason": "a mistake", "actor": "ada"}});
    let skipped = operate(&app, skip.clone()).await;
    let ledger = &skipped.body["projections"]["ledger"];
    assert_eq!(ledger["skipped"]["version"], 2);
    assert_eq!(
        (&ledger["applied"], &ledger["unparked"]),
        (&json!(2), &json!(1))
    );
    operate(&app, skip).await.problem(404, "not-parked");
    let deposits = format!("select deposits from ledger where id = '{account}'");
    assert_eq!(app.db.count(&deposits).await, 2);
    let listed = app.read("/projections/ledger/parked").await;
    assert_eq!(listed.body["result"], json!([]));
}

// Fails when a projection cannot be built again, verified, repaired or cancelled over HTTP.
#[tokio::test]
async fn reprojections_and_verifications_work_over_http() {
    let app = App::new().await;
    append(&app.db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    app.db.catch_up("users").await;
    let users = async |payload: Value| {
        let answer = operate(&app, payload).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["projections"]["users"].clone()
    };
    let verified = users(json!({"verify": "users"})).await;
    assert_eq!(
        (&verified["done"], &verified["differences"]),
        (&json!(true), &json!([]))
    );
    app.db.run("update users set username = 'eve'").await;
    let verified = users(json!({"verify": "users"})).await;
    assert_eq!(verified["verification"]["differ"], 1);
    assert_eq!(
        verified["differences"][0]["changes"]["username"],
        json!(["eve", "ada"])
    );
    let listed = app.read("/projections/users/differences?limit=1").await;
    let difference = &listed.body["result"][0];
    assert_eq!(
        (
            &difference["field"],
            &difference["live"],
            &difference["new"]
        ),
        (&json!("username"), &json!("eve"), &json!("ada"))
    );
    assert_eq!((listed.status, &listed.body["next"]), (200, &json!(null)));
    for query in ["after=x", "after=AAAA", "limit=0", "unknown=1"] {
        let path = format!("/projections/users/differences?{query}");
        app.read(&path).await.problem(400, "malformed");
    }
    let status = app.read("/projections").await.body["projections"]["users"].clone();
    assert_eq!(
        (&status["generation"], &status["reprojection"]),
        (&json!(1), &json!(null))
    );
    assert_eq!(status["last_verify"]["differ"], 1);
    let repaired = users(json!({"verify": "users", "repair": true})).await;
    assert_eq!(repaired["verification"]["repaired"], 1);
    let reprojected = users(json!({"reproject": "users", "max_changes": 0})).await;
    assert_eq!(
        reprojected["reprojection"]["state"], "live",
        "{reprojected}"
    );
    assert_eq!(reprojected["done"], true);
    let cancelled = users(json!({"cancel": "users"})).await;
    assert_eq!(cancelled["cancelled"], false);
    assert_eq!(
        app.read("/users").await.body["result"][0]["username"],
        "ada"
    );
}

// Fails when the status of a projection lacks a figure, or a worker that has looked is not seen.
#[tokio::test]
async fn the_status_of_each_projection_is_measured_against_the_log() {
    let app = App::new().await;
    append(&app.db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let users = async || app.read("/projections").await.body["projections"]["users"].clone();
    let before = users().await;
    assert_eq!(
        (&before["state"], &before["lag_events"]),
        (&json!("unprocessed"), &json!(1))
    );
    assert_eq!(before["workers"]["last_seen"], json!(null));
    assert_eq!(before["newest_event_at"], before["oldest_waiting_at"]);
    app.db.catch_up("users").await;
    let after = users().await;
    assert_eq!(
        (&after["state"], &after["lag_events"]),
        (&json!("current"), &json!(0))
    );
    assert_eq!(
        (&after["parked"], &after["oldest_waiting_at"]),
        (&json!(0), &json!(null))
    );
    assert_eq!(after["newest_event_at"], before["newest_event_at"]);
    assert!(after["workers"]["last_seen"].is_string(), "{after}");
}

// Fails when an idle worker is no longer seen, or writes at each pass that it is.
#[tokio::test]
async fn an_idle_worker_is_seen() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    db.catch_up("users").await;
    db.run("update settled set settled_at = now() - interval '1 hour'")
        .await;
    let seen = "select count(*) from settled where settled_at > now() - interval '1 minute'";
    assert_eq!(db.count(seen).await, 0);
    db.catch_up("users").await;
    assert_eq!(db.count(seen).await, 1);
    let written = "select xmin::text::bigint from settled where lock_domain = 'users'";
    let before = db.count(written).await;
    db.catch_up("users").await;
    assert_eq!(db.count(written).await, before);
}

// Fails when a mark beyond unclaimed events makes a projection look healthy.
#[tokio::test]
async fn a_mark_that_is_wrong_does_not_hide_the_newest_events() {
    let app = App::new().await;
    append(&app.db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    app.db.catch_up("users").await;
    append(&app.db.foldlog, &[created(Uuid::now_v7(), "eve")]).await;
    app.db
        .run("update settled set snapshot = pg_current_snapshot()")
        .await;
    let health = app.read("/health").await;
    let users = &health.body["projections"]["users"];
    assert_eq!(
        (&users["lag_events"], &users["state"]),
        (&json!(1), &json!("behind"))
    );
}

// Fails when a projection with parked aggregates looks healthy, or one that is merely behind does not.
#[tokio::test]
async fn health_is_degraded_while_aggregates_are_parked() {
    let app = App::new().await;
    for projection in ["users", "accounts", "ledger"] {
        app.db.catch_up(projection).await;
    }
    assert_eq!(app.read("/health").await.body["status"], "up");
    parked_account(&app).await;
    app.db.catch_up("accounts").await;
    assert_eq!(app.read("/health").await.body["status"], "up");
    app.db.catch_up("ledger").await;
    let health = app.read("/health").await;
    assert_eq!(
        (health.status, &health.body["status"]),
        (200, &json!("degraded"))
    );
    assert_eq!(health.body["projections"]["ledger"]["parked"], 1);
}

// Fails when a page leaves an aggregate out or repeats one, or shows a text that may quote a payload.
#[tokio::test]
async fn parked_aggregates_are_paged_without_payloads() {
    let app = App::new().await;
    let mut accounts = Vec::new();
    for _ in 0..5 {
        accounts.push(parked_account(&app).await);
    }
    let odd = Uuid::now_v7();
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) \
             values (gen_random_uuid(), '{odd}', 1, 2001, '{{\"cents\": \"hunter2\"}}')"
        ))
        .await;
    accounts.push(odd);
    app.db.catch_up("ledger").await;
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/projections/ledger/parked?limit=2{after}");
        let page = app.read(&path).await;
        assert!(!page.body.to_string().contains("hunter2"), "{page:?}");
        for entry in page.body["result"].as_array().unwrap() {
            found.push(Uuid::parse_str(entry["aggregate_id"].as_str().unwrap()).unwrap());
            if entry["aggregate_id"] == json!(odd) {
                assert_eq!(
                    (&entry["class"], &entry["error"]),
                    (&json!("event"), &json!(null))
                );
            }
        }
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    accounts.sort_unstable();
    assert_eq!(found, accounts);
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "unknown=1"] {
        let path = format!("/projections/ledger/parked?{query}");
        app.read(&path).await.problem(400, "malformed");
    }
    app.read("/projections/nothing/parked")
        .await
        .problem(404, "no-such-projection");
}

// Fails when a payload that is no verb does something, or is answered without saying what to send.
#[tokio::test]
async fn a_payload_that_is_not_a_verb_is_refused() {
    let app = App::new().await;
    for payload in [
        json!([]),
        json!("retry"),
        json!({"sing": true}),
        json!({"status": true, "retry": "users"}),
        json!({"retry": 7}),
        json!({"skip": {"domain": "users"}}),
        json!({"skip": {"domain": "users", "event_id": Uuid::nil(), "reason": ""}}),
    ] {
        let answer = operate(&app, payload).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains(r#"{"status":true}"#), "{detail}");
    }
    let unknown = operate(&app, json!({"retry": "nothing"})).await;
    let detail = unknown.problem(404, "no-such-projection");
    assert!(detail.contains("users"), "{detail}");
    app.append("/projections?dry_run=true", &json!({}))
        .await
        .problem(400, "malformed");
    for body in [
        "{",
        r#"{"reproject":"users","max_changes":0,"max_changes":9}"#,
        r#"{"retry":"nothing","retr\u0079":"users"}"#,
        r#"{"skip":{"domain":"users","domain":"accounts"}}"#,
        r#"{"reproject":"users","source":"x","detail-type":"x"}"#,
    ] {
        let answer = app.append_raw("/projections", body).await;
        answer.problem(400, "malformed");
    }
}

// Fails when a verb that needs a reprojection answers 500 where none waits.
#[tokio::test]
async fn a_preview_without_a_filled_generation_returns_409() {
    let app = App::new().await;
    append(&app.db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let preview = operate(&app, json!({"preview": "users"})).await;
    let detail = preview.problem(409, "wrong-reprojection");
    assert!(detail.contains("start one with reproject"), "{detail}");
}
