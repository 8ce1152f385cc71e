//! What is planted in requests as a secret appears in no log line and no answer, and a password in no table.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::{Answer, App, send};
use crate::support::json::{created, deposited, event, opened, password_changed};
use crate::support::log::Log;

const PASSWORD: &str = "planted-password";
const EMAIL: &str = "planted-mail@example.org";
const METADATA: &str = "planted-metadata";
const NAME: &str = "planted-name";

fn ada(user: Uuid) -> Value {
    let payload = json!({"id": user, "username": NAME, "email": EMAIL, "password": PASSWORD});
    let mut event = event(user, 1000, payload);
    event["metadata"] = json!({"trace": METADATA, METADATA: 1});
    event
}

// Fails when the log gets a payload that differs from the one sent in more than the hash of its password.
#[tokio::test]
async fn a_payload_is_stored_as_it_was_sent_but_for_its_password() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let sent = json!({"id": user, "username": NAME, "email": EMAIL});
    app.append("/users", &event(user, 1000, sent.clone())).await;
    let other = Uuid::now_v7();
    let mut with_password = sent.clone();
    with_password["id"] = json!(other);
    with_password["password"] = json!(PASSWORD);
    app.append("/users", &event(other, 1000, with_password.clone()))
        .await;
    app.append("/users", &event(other, 1004, json!({}))).await;
    let rows: Vec<Value> = sqlx::query_scalar("select payload from events order by position")
        .fetch_all(&mut app.db.connect().await)
        .await
        .unwrap();
    let [first, mut second, third] = <[Value; 3]>::try_from(rows).unwrap();
    assert_eq!((first, third), (sent, json!({})));
    let hash = second["password"].take();
    assert!(hash.as_str().unwrap().starts_with("$argon2id$"), "{hash}");
    with_password["password"] = Value::Null;
    assert_eq!(second, with_password);
}

/// Every kind of answer to requests that hold what is planted.
async fn answers(app: &App) -> Vec<Answer> {
    let user = Uuid::now_v7();
    let (create, mut reused) = (ada(user), password_changed(user, PASSWORD));
    let mut answers = vec![
        app.append("/users", &create).await,
        app.append("/users", &reused).await,
        app.append("/users", &create).await,
        app.append(
            "/events",
            &json!([ada(Uuid::now_v7()), ada(Uuid::now_v7())]),
        )
        .await,
        app.append("/users", &ada(user)).await,
        app.append_with("/users", ("if-match", "\"9\""), &ada(user))
            .await,
        app.append_with("/users", ("if-match", PASSWORD), &ada(user))
            .await,
    ];
    reused["payload"]["password"] = json!("planted-password-2");
    answers.push(app.append("/users", &reused).await);
    for (field, value) in [
        ("type_id", json!(PASSWORD)),
        ("id", json!(PASSWORD)),
        ("aggregate_id", json!(EMAIL)),
        ("metadata", json!(METADATA)),
        ("payload", json!(PASSWORD)),
        ("payload", json!([user, NAME, EMAIL, PASSWORD])),
    ] {
        let mut bad = ada(user);
        bad[field] = value;
        answers.push(app.append("/users", &bad).await);
    }
    for (field, value) in [
        ("id", json!(PASSWORD)),
        ("email", json!("planted-mail")),
        ("password", json!({"planted-password": 1})),
        ("password", json!("planted-password".repeat(100))),
        ("username", json!(["planted-name"])),
        ("more", json!(PASSWORD)),
    ] {
        let mut bad = ada(user);
        bad["payload"][field] = value;
        answers.push(app.append("/users", &bad).await);
    }
    answers.push(
        app.append_raw("/users", format!("{{\"password\": \"{PASSWORD}\""))
            .await,
    );
    for path in [
        format!("/users/{user}?consistency=strong"),
        format!("/users?email={EMAIL}&x={PASSWORD}"),
        format!("/users?email={EMAIL}"),
        format!("/users?after={PASSWORD}"),
        format!("/{PASSWORD}/{METADATA}"),
        format!("/users/{PASSWORD}"),
        "/users".to_owned(),
        "/health".to_owned(),
    ] {
        let request = app
            .request(Method::GET, &path)
            .header("authorization", format!("Bearer {METADATA}"));
        answers.push(send(request.header("cookie", PASSWORD)).await);
    }
    answers
}

// Fails when a payload, a metadata value, a header or a path gets into a log line, with everything switched on that can
// be, or when an answer shows a password or its hash, or an error quotes what was sent.
#[tokio::test]
async fn what_is_planted_in_requests_is_in_no_log_and_in_no_error() {
    let log = Log::default();
    let guard = log.capture("foldlog=trace,sqlx=debug,it=trace");
    let app = App::new().await;
    let answers = answers(&app).await;
    app.db.catch_up("users").await;
    let read = [app.read("/users").await, app.read("/users?limit=1").await];
    drop(guard);
    let text = log.text();
    for line in [
        "POST /{domain} 201",
        "GET /{domain}/{id} 400",
        r#"insert into \"public\".events"#,
        r#"insert into \"public\".locker"#,
    ] {
        assert!(text.contains(line), "nothing was captured of {line}");
    }
    let shown = |text: &str| {
        let planted: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("planted") || line.contains("argon2id"))
            .collect();
        planted.join("\n")
    };
    assert_eq!(shown(&text), "");
    for answer in answers.iter().chain(&read) {
        let text = format!("{} {:?}", answer.body, answer.headers);
        if answer.status < 300 {
            assert!(
                !text.contains(PASSWORD) && !text.contains("argon2id") && !text.contains(METADATA),
                "{text}"
            );
        } else {
            assert_eq!(shown(&text), "");
        }
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    for status in [200, 201, 400, 404, 409, 412, 422] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    assert!(read[0].body.to_string().contains(EMAIL));
}

// Fails when a password is stored in plain text, in any table of the database, or the log's metadata in a view.
#[tokio::test]
async fn a_password_is_in_no_table() {
    let db = TestDb::with_inline(&["users"]).await;
    let app = App::with_db(db).await;
    answers(&app).await;
    app.db.catch_up("users").await;
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'public'")
            .fetch_all(&mut *app.db.pool().acquire().await.unwrap())
            .await
            .unwrap();
    assert!(tables.len() >= 9, "{tables:?}");
    for table in tables {
        let plain = format!("select count(*) from {table} t where t::text like '%{PASSWORD}%'");
        assert_eq!(app.db.count(&plain).await, 0, "{table}");
        if table != "events" {
            let metadata =
                format!("select count(*) from {table} t where t::text like '%{METADATA}%'");
            assert_eq!(app.db.count(&metadata).await, 0, "{table}");
        }
    }
}

// Fails when the words of the database, which quote a refused row, get into a log line, an answer or a parked row.
#[tokio::test]
async fn what_the_database_quotes_is_repeated_nowhere() {
    let log = Log::default();
    let guard = log.capture("foldlog=trace,sqlx=warn");
    let app = App::new().await;
    let account = Uuid::now_v7();
    let events = json!([opened(account, NAME), deposited(account, 1_000_000)]);
    assert_eq!(app.append("/accounts", &events).await.status, 201);
    // The view's table refuses the balance, and quotes the row.
    assert_eq!(app.db.catch_up("accounts").await.parked.unwrap(), 1);
    app.db
        .run(&format!("alter table events add constraint events_refused_check check (payload::text not like '%{EMAIL}%')"))
        .await;
    let mut user = created(Uuid::now_v7(), "ada");
    user["payload"]["email"] = json!(EMAIL);
    let refused = app.append("/users", &user).await;
    drop(guard);
    refused.problem(409, "rule-broken");
    assert!(!refused.body.to_string().contains("events_refused_check"));
    let text = log.text();
    assert!(
        text.contains("events_refused_check") && text.contains("parked 1 aggregates"),
        "{text}"
    );
    assert!(!text.contains("planted"), "{text}");
    assert_eq!(
        app.db
            .count("select count(*) from parked where error like '%planted%'")
            .await,
        0
    );
}
