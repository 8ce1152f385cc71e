//! Defects that hand-written event stores commonly have, with one test for each. `order.rs` and `parked.rs` test two of
//! them in more depth for projections.

use std::sync::Arc;

use foldlog::projection::Listener;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::app::App;
use crate::support::events::{append, deposited, opened};
use crate::support::json;
use crate::support::locks::{Held, wait_until_blocked, wait_until_true};
use crate::support::{TestDb, created, renamed};

/// Makes every insert of an event fail. `with` is the text after `raise exception`.
async fn refuse_inserts(db: &TestDb, with: &str) {
    let sql = format!(
        "create or replace function refuse() returns trigger language plpgsql as $$ begin raise exception {with}; end $$; \
         drop trigger if exists refused on events; \
         create trigger refused before insert on events for each row execute function refuse()"
    );
    db.run(&sql).await;
}

// Fails when the result of the insert is ignored, or when the response contains the text of the database error.
#[tokio::test]
async fn an_insert_that_a_trigger_rejects_returns_409() {
    let app = App::new().await;
    refuse_inserts(&app.db, "'the disk is full of hunter2'").await;
    let user = Uuid::now_v7();
    for events in [
        json::created(user, "ada"),
        json!([json::created(user, "ada"), json::renamed(user, "b")]),
    ] {
        let answer = app.append("/users", &events).await;
        let detail = answer.problem(409, "rule-broken");
        assert!(detail.contains("a trigger in the database"), "{detail}");
        assert!(!answer.body.to_string().contains("hunter2"), "{answer:?}");
        assert_eq!(app.stored().await, 0);
    }
}

// Fails when the rules use a state that was read earlier and the append does not detect that the state has changed: the
// rule for the rename below is checked before the deletion commits, and the rename would be stored after it.
#[tokio::test]
async fn a_rule_decided_on_a_stale_state_is_decided_again() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &json::created(user, "ada")).await;
    let delete = format!(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         values (gen_random_uuid(), '{user}', 2, 1004, '{{}}')"
    );
    let deleting = Held::open(&app.db, &delete).await;
    let rename = json::renamed(user, "b");
    let (answer, ()) = tokio::join!(app.append("/users", &rename), async {
        wait_until_blocked(&mut app.db.connect().await, "insert into \"public\".events").await;
        deleting.commit().await;
    });
    answer.problem(410, "deleted");
    assert_eq!(app.stored().await, 2);
}

// Fails when a worker skips a claim that another worker holds: the second worker would fold the later events first.
#[tokio::test]
async fn two_listeners_do_not_apply_out_of_order() {
    let db = TestDb::new().await;
    let user = Uuid::now_v7();
    append(&db.foldlog, &[created(user, "0"), renamed(user, "1")]).await;
    let holding = Held::open(&db, "lock table users in share mode").await;
    let first = async { db.catch_up("users").await };
    let second = async {
        wait_until_blocked(&mut db.connect().await, "Writes a folded batch").await;
        append(&db.foldlog, &[renamed(user, "2"), renamed(user, "3")]).await;
        db.catch_up("users").await
    };
    let release = async {
        let both = "select count(*) = 2 from pg_stat_activity where wait_event_type = 'Lock' \
             and datname = current_database() and query like '%Writes a folded batch%'";
        wait_until_true(&db, both).await;
        holding.release().await;
    };
    let (first, second, ()) = tokio::join!(first, second, release);
    assert_eq!(first.applied + second.applied, 4);
    let last = "select count(*) from users where version = 4 and username = '3'";
    assert_eq!(db.count(last).await, 1);
    db.assert_views_equal_a_fold_from_scratch().await;
}

// Fails when only a notification brings an event into the view.
#[tokio::test]
async fn an_event_appended_without_a_listener_is_projected_later() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let stop = CancellationToken::new();
    let listener = Listener {
        login: Arc::new(db.options.clone()),
        pool: db.foldlog.pool.clone(),
        views: db.foldlog.views.clone(),
        batch_size: 100,
        stop: stop.clone(),
    };
    let listener = tokio::spawn(listener.run());
    wait_until_true(&db, "select exists (select from users)").await;
    stop.cancel();
    listener.await.unwrap();
}

// Fails when a `created` event is stored under another aggregate id than its payload names.
#[tokio::test]
async fn a_created_event_with_another_payload_id_returns_422() {
    let app = App::new().await;
    let mut event = json::created(Uuid::now_v7(), "ada");
    event["aggregate_id"] = json!(Uuid::now_v7());
    let answer = app.append("/users", &event).await;
    let detail = answer.problem(422, "unprocessable");
    assert_eq!(detail, "event 0: payload.id must equal aggregate_id");
    let deleted = json::event(Uuid::now_v7(), 1004, json!({"id": Uuid::now_v7()}));
    app.append("/users", &deleted)
        .await
        .problem(422, "unprocessable");
    assert_eq!(app.stored().await, 0);
}

// Fails when a password is stored in plain text in the log or in the view.
#[tokio::test]
async fn a_password_is_not_stored_in_plain_text() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let mut create = json::created(user, "ada");
    create["payload"]["password"] = json!("hunter2");
    app.append(
        "/events",
        &json!([create, json::password_changed(user, "hunter2")]),
    )
    .await;
    app.db.catch_up("users").await;
    for table in ["events", "users"] {
        let plain = format!("select count(*) from {table} t where t::text like '%hunter2%'");
        assert_eq!(app.db.count(&plain).await, 0);
        let hashed = format!(
            "select count(*) from {table} t where t::text like '%$argon2id$v=19$m=19456,t=2,p=1$%'"
        );
        assert!(app.db.count(&hashed).await > 0);
    }
}

// Fails when every pass retries a poison event, or when it delays other aggregates.
#[tokio::test]
async fn a_poison_event_is_retried_only_when_its_backoff_has_passed() {
    let db = TestDb::new().await;
    let (rich, poor) = (Uuid::now_v7(), Uuid::now_v7());
    append(
        &db.foldlog,
        &[opened(rich), deposited(rich, 1_000_000), deposited(rich, 1)],
    )
    .await;
    for deposits in 0..3 {
        // The next retry is hours away, however long this test takes.
        db.run("update parked set next_try = next_try + interval '1 hour'")
            .await;
        let next = if deposits == 0 {
            opened(poor)
        } else {
            deposited(poor, 1)
        };
        append(&db.foldlog, &[next]).await;
        let pass = db.catch_up("accounts").await;
        assert!(pass.done, "{pass:?}");
        assert_eq!((pass.parked, pass.remaining), (Some(1), Some(0)));
        let cents = format!("select balance_cents from accounts where id = '{poor}'");
        assert_eq!(db.count(&cents).await, deposits);
    }
    let attempts = "select attempts::bigint from parked";
    assert_eq!(db.count(attempts).await, 1);
    // A retry that is due runs once, and the next one is later.
    db.run("update parked set next_try = statement_timestamp()")
        .await;
    db.catch_up("accounts").await;
    db.catch_up("accounts").await;
    let longer = "select attempts::bigint from parked where next_try > statement_timestamp() + interval '6 seconds'";
    assert_eq!(db.count(longer).await, 2);
}

// Fails when an id is unwrapped instead of validated: the panic would close the connection without a response.
#[tokio::test]
async fn a_malformed_id_returns_400() {
    let app = App::new().await;
    for bad in [
        json!("x"),
        json!(""),
        json!(7),
        Value::Null,
        json!(["a"]),
        json!("00000000-0000-0000-0000-00000000000"),
    ] {
        for field in ["id", "aggregate_id"] {
            let mut event = json::created(Uuid::now_v7(), "ada");
            event[field] = bad.clone();
            app.append("/users", &event).await.problem(400, "malformed");
        }
        let mut event = json::created(Uuid::now_v7(), "ada");
        event["payload"]["id"] = bad.clone();
        app.append("/users", &event)
            .await
            .problem(422, "unprocessable");
        let path = bad.to_string().replace(['"', '[', ']'], "");
        if !path.is_empty() {
            app.read(&format!("/users/{path}"))
                .await
                .problem(400, "malformed");
        }
    }
    assert_eq!(app.stored().await, 0);
    assert_eq!(
        app.append("/users", &json::created(Uuid::now_v7(), "ada"))
            .await
            .status,
        201
    );
}

// Fails when an error is recognized by its message, which depends on the server's language and version. The first error
// below has the message of a violated unique key but another SQLSTATE; the second has the SQLSTATE but another message.
#[tokio::test]
async fn a_database_error_is_recognized_by_sqlstate_and_constraint_not_by_text() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &json::created(user, "ada")).await;
    let looks_alike = "'duplicate key value violates unique constraint \"events_aggregate_id_version_key\" deadlock detected'";
    refuse_inserts(&app.db, looks_alike).await;
    app.append("/users", &json::renamed(user, "b"))
        .await
        .problem(409, "rule-broken");

    let by_code = "'qapla' using errcode = 'unique_violation', constraint = 'events_aggregate_id_version_key'";
    refuse_inserts(&app.db, by_code).await;
    // The append loses the race at every attempt.
    let answer = app.append("/users", &json::renamed(user, "b")).await;
    let detail = answer.problem(503, "unavailable");
    assert!(
        detail.contains("too many concurrent appends to the same aggregate"),
        "{detail}"
    );
    assert!(!answer.header("retry-after").is_empty());

    let other = "'duplicate key' using errcode = 'unique_violation', constraint = 'events_somebody_elses_key'";
    refuse_inserts(&app.db, other).await;
    app.append("/users", &json::renamed(user, "b"))
        .await
        .problem(409, "rule-broken");
    assert_eq!(app.stored().await, 1);
}
