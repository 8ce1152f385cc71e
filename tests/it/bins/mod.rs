//! Every binary is started as a program: a binary that no test starts is broken.

mod environment;
mod memory;
mod migrate;
pub mod program;

use reqwest::Client;
use serde_json::{Value, json};
use sqlx::Connection;
use uuid::Uuid;

use self::program::{LISTENER, LOCAL, MIGRATE, PASSWORD, Program, url};
use crate::support::chaos::Chaos;
use crate::support::events::{append, assert_equals_fold};
use crate::support::locks::{wait_until_blocked, wait_until_true};
use crate::support::poll::{POLL_TIMEOUT, poll};
use crate::support::{TestDb, created};

/// Waits until a list answers this.
pub async fn until_listed(client: &Client, url: &str, expected: &Value) {
    let mut last = Value::Null;
    let is_listed = async || {
        if let Ok(answer) = client.get(url).send().await {
            last = answer.json().await.unwrap();
        }
        &last == expected
    };
    let listed = poll(POLL_TIMEOUT, is_listed).await;
    assert!(listed, "{url} answers {last}, not {expected}");
}

/// Sends the requests of the README, and waits until the view has followed.
pub async fn the_requests_of_the_readme(client: &Client, url: &str) {
    let user = "100000bb-1111-2222-3333-000000000001";
    let bodies = [
        json!({"id": "000000aa-1111-2222-3333-000000000001", "aggregate_id": user, "type_id": 1000,
               "payload": {"id": user, "username": "test", "email": "test@test.test"}}),
        json!({"id": "000000aa-1111-2222-3333-000000000002", "aggregate_id": user, "type_id": 1001,
               "payload": {"password": "test_password"}}),
    ];
    for body in bodies {
        let answer = client.post(format!("{url}/users")).json(&body).send();
        let status = answer.await.unwrap().status().as_u16();
        assert!(matches!(status, 200 | 201), "{status}");
    }
    until_listed(client, &format!("{url}/users"), &the_user()).await;
}

/// What the README says the list is then.
pub fn the_user() -> Value {
    json!({"result": [{"id": "100000bb-1111-2222-3333-000000000001", "username": "test",
                       "email": "test@test.test", "version": 2}], "next": null})
}

/// An empty database, as a stranger has it.
pub async fn empty() -> TestDb {
    let db = TestDb::new().await;
    db.run("drop schema public cascade; create schema public")
        .await;
    db
}

/// The whole of what a stranger tries. Fails when `local` does not migrate by itself, does not name the port it got, or
/// loses what it answered 201 to when it is killed.
#[tokio::test]
async fn local_serves_the_readme_requests_and_loses_no_event_when_killed() {
    let (db, client) = (empty().await, Client::new());
    let database = url(&db.options);
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("APP_SERVER_PORT", "127.0.0.1:0"),
    ];
    let mut local = Program::start(LOCAL, &[], &env);
    let address = local.url().await;
    let greeting = local.said();
    assert!(greeting.contains("from DATABASE_URL"), "{greeting}");
    assert!(
        greeting.contains(&format!("try: curl {address}/users")),
        "{greeting}"
    );
    the_requests_of_the_readme(&client, &address).await;
    // Answered, and then killed at once: whether it was folded yet is left open.
    let another = json!({"id": Uuid::now_v7(), "aggregate_id": "200000bb-1111-2222-3333-000000000001", "type_id": 1000,
        "payload": {"id": "200000bb-1111-2222-3333-000000000001", "username": "late", "email": "late@test.test"}});
    let answer = client
        .post(format!("{address}/users"))
        .json(&another)
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 201);
    local.kill().await;

    let mut local = Program::start(LOCAL, &[], &env);
    let address = local.url().await;
    let mut both = the_user();
    let late = json!({"id": "200000bb-1111-2222-3333-000000000001", "username": "late", "email": "late@test.test", "version": 1});
    both["result"].as_array_mut().unwrap().push(late);
    until_listed(&client, &format!("{address}/users"), &both).await;
    the_requests_again_change_nothing(&client, &address, &both).await;
    local.terminate().await.well();
}

async fn the_requests_again_change_nothing(client: &Client, address: &str, expected: &Value) {
    let user = "100000bb-1111-2222-3333-000000000001";
    let again = json!({"id": "000000aa-1111-2222-3333-000000000002", "aggregate_id": user, "type_id": 1001,
        "payload": {"password": "test_password"}});
    let answer = client
        .post(format!("{address}/users"))
        .json(&again)
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 200);
    until_listed(client, &format!("{address}/users"), expected).await;
}

/// Fails when a fold is not exactly-once across processes, or when the second copy cannot start beside the first.
#[tokio::test]
async fn two_local_servers_on_one_database_fold_each_event_once() {
    let (db, client) = (empty().await, Client::new());
    let database = url(&db.options);
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("APP_SERVER_PORT", "127.0.0.1:0"),
    ];
    let mut copies = [
        Program::start(LOCAL, &[], &env),
        Program::start(LOCAL, &[], &env),
    ];
    let [first, second] = &mut copies;
    let addresses = [first.url().await, second.url().await];
    for number in 0..40 {
        let user = Uuid::now_v7();
        let body = json!({"id": Uuid::now_v7(), "aggregate_id": user, "type_id": 1000,
            "payload": {"id": user, "username": format!("user{number}"), "email": format!("{number}@example.org")}});
        let address = &addresses[number % 2];
        let answer = client
            .post(format!("{address}/users"))
            .json(&body)
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), 201);
    }
    wait_until_true(&db, "select count(*) = 40 from users").await;
    assert_eq!(db.count("select count(*) from locker").await, 40);
    assert_equals_fold(&mut db.connect().await, db.foldlog.view("users").unwrap()).await;
    for copy in copies {
        copy.terminate().await.well();
    }
}

/// Fails when SIGTERM cuts a request off, keeps the process from ending, or counts as a failure.
#[tokio::test]
async fn sigterm_finishes_requests_in_flight_and_exits_0() {
    let (db, client) = (TestDb::new().await, Client::new());
    let database = url(&db.options);
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("APP_SERVER_PORT", "127.0.0.1:0"),
    ];
    let mut local = Program::start(LOCAL, &[], &env);
    let address = local.url().await;
    let mut holder = db.connect().await;
    let mut gate = holder.begin().await.unwrap();
    sqlx::query("lock table events in exclusive mode")
        .execute(&mut *gate)
        .await
        .unwrap();
    let user = Uuid::now_v7();
    let body = json!({"id": Uuid::now_v7(), "aggregate_id": user, "type_id": 1000,
        "payload": {"id": user, "username": "ada", "email": "ada@example.org"}});
    let request = tokio::spawn(client.post(format!("{address}/users")).json(&body).send());
    wait_until_blocked(&mut db.connect().await, "insert into \"public\".events").await;
    local.signal(nix::sys::signal::Signal::SIGTERM);
    local.until_it_says("the listener has stopped").await;
    gate.commit().await.unwrap();
    assert_eq!(request.await.unwrap().unwrap().status(), 201);
    local.end().await.well();
    assert_eq!(db.count("select count(*) from events").await, 1);
}

/// Fails when a taken port is found out late, or answered by a number.
#[tokio::test]
async fn a_port_in_use_is_reported_in_one_sentence() {
    let db = TestDb::new().await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = socket.local_addr().unwrap().to_string();
    let env = [
        ("DATABASE_URL", &*url(&db.options)),
        ("APP_SERVER_PORT", &taken),
    ];
    let ended = Program::run(LOCAL, &[], &env).await;
    let line = ended.one_line_of_error();
    assert!(
        line.contains(&taken) && line.contains("set APP_SERVER_PORT to another port"),
        "{line}"
    );
    assert_eq!(ended.out, "");
}

/// Fails when only the first of two bad variables is reported, or when the message contains a URL.
#[tokio::test]
async fn all_bad_environment_variables_are_reported_at_once() {
    let database = format!("postgres://ada:{PASSWORD}@db:notaport/x");
    let bad = [
        ("APP_SERVER_PORT", "seven"),
        ("BATCH_SIZE", "0"),
        ("CORS_ORIGINS", "*"),
        ("DATABASE_URL", &database),
        ("INLINE", "nobody"),
        ("LOCAL_POSTGRES", "docker"),
    ];
    let ended = Program::run(LOCAL, &[], &bad).await;
    let line = ended.one_line_of_error();
    for (name, _) in bad {
        assert!(line.contains(name), "{name} is not in: {line}");
    }
    for (binary, verb) in [(LISTENER, None), (MIGRATE, Some("up"))] {
        let ended = Program::run(binary, verb.as_slice(), &bad).await;
        let line = ended.one_line_of_error();
        for (name, _) in &bad[..5] {
            assert!(line.contains(name), "{name} is not in: {line}");
        }
    }
    for (binary, verb) in [(LISTENER, None), (MIGRATE, Some("up"))] {
        let ended = Program::run(binary, verb.as_slice(), &[]).await;
        assert!(ended.one_line_of_error().contains("DATABASE_URL"));
    }
}

/// Fails when a line of `.env` is repeated in the error, or when `.env` is not read at all.
#[tokio::test]
async fn a_broken_dotenv_file_is_reported_without_its_contents() {
    for binary in [LOCAL, LISTENER, MIGRATE] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join(".env"),
            format!("DATABASE_URL='postgres://a:{PASSWORD}@h\n"),
        )
        .unwrap();
        let ended = Program::start_in(folder.path(), binary, &["status"], &[])
            .end()
            .await;
        assert!(ended.one_line_of_error().contains(".env"));
    }
}

/// Fails when a database that is away is answered by more than a sentence, or with a backtrace.
#[tokio::test]
async fn an_unreachable_database_is_reported_in_one_sentence() {
    let database = format!("postgres://ada:{PASSWORD}@127.0.0.1:1/none");
    for (binary, verb) in [
        (LOCAL, None),
        (MIGRATE, Some("up")),
        (MIGRATE, Some("status")),
    ] {
        let env = [
            ("DATABASE_URL", &*database),
            ("APP_SERVER_PORT", "127.0.0.1:0"),
        ];
        let ended = Program::run(binary, verb.as_slice(), &env).await;
        let line = ended.one_line_of_error();
        assert!(line.contains("cannot connect to the database"), "{line}");
    }
}

/// Fails when the listener needs Postgres to start, gives up, does not project, or ends badly.
#[tokio::test]
async fn the_listener_waits_for_postgres_and_ends_on_sigterm() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let mut network = Chaos::start(&db.options).await;
    network.refuse().await;
    let database = url(&network.options());
    let mut listener = Program::start(LISTENER, &[], &[("DATABASE_URL", &database)]);
    listener
        .until_it_says("the listener lost its session")
        .await;
    network.restore().await;
    listener.until_it_says("the listener is connected").await;
    wait_until_true(&db, "select count(*) = 1 from users").await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "bob")]).await;
    wait_until_true(&db, "select count(*) = 2 from users").await;
    let ended = listener.terminate().await;
    assert!(ended.well().err.contains("the listener has stopped"));
    assert_eq!(ended.out, "");
}
