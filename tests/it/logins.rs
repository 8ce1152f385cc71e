//! How hosts log in, and as what they work: a secret that is rotated, a token, a role of least privilege.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router, routing::post};
use foldlog::config::DatabaseAddress;
use foldlog::db::{DbError, Login as _, Pool, PoolSettings, Pooler, Role, Schema};
use foldlog::event::AggregateId;
use foldlog::{migrations, view};
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::bins::program::{LISTENER, LOCAL, Program, url};
use crate::support::TestDb;
use crate::support::locks::wait_until_true;

/// A server for the part of Secrets Manager's API that is called: one secret, and a count of its reads.
#[derive(Clone, Default)]
struct SecretsManager {
    secret: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<HashMap<String, String>>>>,
}

impl SecretsManager {
    /// On a port of its own.
    async fn start(&self) -> String {
        let answer = async |State(this): State<Self>, headers: HeaderMap, body: String| {
            this.answer(&headers, &body)
        };
        let routes = Router::new().route("/", post(answer));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let routes = routes.with_state(self.clone());
        tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        url
    }

    fn answer(&self, headers: &HeaderMap, body: &str) -> (StatusCode, Json<Value>) {
        let body: Value = serde_json::from_str(body).unwrap();
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let asked =
            ["authorization", "x-amz-target", "x-amz-date"].map(|n| (n.to_owned(), header(n)));
        self.asked.lock().unwrap().push(asked.into());
        if body["SecretId"] != "arn:of:the:secret" {
            let error = json!({"__type": "com.amazonaws#ResourceNotFoundException"});
            return (StatusCode::BAD_REQUEST, Json(error));
        }
        let secret = self.secret.lock().unwrap().to_string();
        (StatusCode::OK, Json(json!({ "SecretString": secret })))
    }

    fn holds(&self, secret: Value) {
        *self.secret.lock().unwrap() = secret;
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

const PASSWORD: &str = "planted-password";

/// A new login. A server may ask for its password or not, so a test that wants it refused takes its right to log in.
async fn login(db: &TestDb, roles: &str) -> String {
    let name = format!("app_{}", Uuid::now_v7().simple());
    db.run(&format!(
        "create role {name} login password '{PASSWORD}'; grant {roles} to {name}"
    ))
    .await;
    name
}

/// The test's database, as this login.
fn as_login(db: &TestDb, name: &str) -> PgConnectOptions {
    db.options.clone().username(name).password(PASSWORD)
}

async fn drop_login(db: &TestDb, name: &str) {
    db.run(&format!("drop owned by {name}; drop role {name}"))
        .await;
}

/// Where the tests' server is, for a login that comes by another name.
fn env<'a>(options: &PgConnectOptions, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, String)> {
    let host = options.get_socket().map_or_else(
        || options.get_host().to_owned(),
        |socket| socket.display().to_string(),
    );
    let mut env = vec![
        ("DB_HOST", host),
        ("DB_PORT", options.get_port().to_string()),
        ("DB_NAME", options.get_database().unwrap().to_owned()),
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "planted-key-id".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "planted-secret-key".to_owned()),
    ];
    env.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    env
}

fn borrowed<'a>(env: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    env.iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

/// The listener logs in with what the secret says; then the login is changed, its sessions end, and the secret is rotated.
/// Fails when a refused login does not make it read the secret again, when it is read for each connection, when a request
/// is not signed, or when a password or a key is in the log.
#[tokio::test]
async fn a_rotated_secret_is_read_again_after_a_failed_login() {
    let db = TestDb::new().await;
    let (first, second) = (
        login(&db, "foldlog_projection").await,
        login(&db, "foldlog_projection").await,
    );
    let manager = SecretsManager::default();
    manager.holds(
        json!({"username": first, "password": PASSWORD, "foldlog": "postgres",
        "host": "ignored.example.org", "port": 1, "dbname": "ignored"}),
    );
    let endpoint = manager.start().await;
    let env = env(
        &db.options,
        &[
            ("DB_SECRET_ARN", "arn:of:the:secret"),
            ("AWS_ENDPOINT_URL", &endpoint),
        ],
    );
    let mut listener = Program::start(LISTENER, &[], &borrowed(&env));
    listener.until_it_says("the listener is connected").await;
    crate::support::events::append(
        &db.foldlog,
        &[crate::support::created(Uuid::now_v7(), "ada")],
    )
    .await;
    wait_until_true(&db, "select count(*) = 1 from users").await;
    assert_eq!(manager.asked(), 1, "a secret is read once");
    // Rotated, in the order that Secrets Manager does it: the database first.
    db.run(&format!("alter role {first} nologin")).await;
    manager.holds(json!({"username": second, "password": PASSWORD}));
    db.run(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{first}'"
    ))
    .await;
    crate::support::events::append(
        &db.foldlog,
        &[crate::support::created(Uuid::now_v7(), "bob")],
    )
    .await;
    wait_until_true(&db, "select count(*) = 2 from users").await;
    assert!(manager.asked() <= 4, "read {} times", manager.asked());
    for asked in manager.asked.lock().unwrap().iter() {
        assert_eq!(asked["x-amz-target"], "secretsmanager.GetSecretValue");
        let signed = &asked["authorization"];
        assert!(
            signed.starts_with("AWS4-HMAC-SHA256 Credential=planted-key-id/")
                && signed.contains("/eu-central-1/secretsmanager/aws4_request"),
            "{signed}"
        );
    }
    let ended = listener.terminate().await;
    let said = format!("{}{}", ended.out, ended.err);
    for planted in [PASSWORD, "planted-secret-key", &second] {
        assert!(!said.contains(planted), "{planted} is in the log: {said}");
    }
    for name in [first, second] {
        drop_login(&db, &name).await;
    }
}

/// Fails when a secret that cannot be used is a riddle, or is quoted.
#[tokio::test]
async fn an_unusable_secret_is_reported_with_the_reason() {
    let db = TestDb::new().await;
    let manager = SecretsManager::default();
    let endpoint = manager.start().await;
    for (arn, secret, says) in [
        (
            "arn:of:another",
            json!({}),
            "secretsmanager answered 400 ResourceNotFoundException",
        ),
        (
            "arn:of:the:secret",
            json!("planted-text"),
            "must be a JSON object with `username` and `password`",
        ),
        (
            "arn:of:the:secret",
            json!({"username": "u"}),
            "must be a JSON object with `username` and `password`",
        ),
    ] {
        manager.holds(secret);
        let env = env(
            &db.options,
            &[("DB_SECRET_ARN", arn), ("AWS_ENDPOINT_URL", &endpoint)],
        );
        let mut listener = Program::start(LISTENER, &[], &borrowed(&env));
        let said = listener.until_it_says(says).await;
        assert!(!said.contains("planted"), "{said}");
    }
}

/// Fails when a token is not what RDS takes: a presigned URL for `connect` of this user, good for a quarter of an hour, in
/// the place of the password.
#[tokio::test]
async fn an_iam_token_is_a_presigned_rds_db_connect_request() {
    // Signing works offline: it needs only a region and credentials in the environment of a process.
    if std::env::var_os("FOLDLOG_TEST_IAM").is_none() {
        let test = std::env::current_exe().unwrap();
        let ran = tokio::process::Command::new(test)
            .args([
                "--exact",
                "logins::an_iam_token_is_a_presigned_rds_db_connect_request",
            ])
            .envs([
                ("FOLDLOG_TEST_IAM", "1"),
                ("AWS_REGION", "eu-central-1"),
                ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                ("AWS_SECRET_ACCESS_KEY", "planted-secret-key"),
                ("AWS_SESSION_TOKEN", "a/session+token="),
                ("PGSSLMODE", "require"),
            ])
            .output()
            .await
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stdout)
        );
        return;
    }
    let place = DatabaseAddress {
        host: Some("db.example.org".to_owned()),
        port: Some(5433),
        name: Some("app".to_owned()),
    };
    let login = foldlog::aws::IamLogin::new(&place, "app user").unwrap();
    let options = login.options(false).await.unwrap();
    let url = sqlx::ConnectOptions::to_url_lossy(&options);
    let token = percent_encoding_decoded(url.password().unwrap());
    let (at, query) = token.split_once("/?").unwrap();
    assert_eq!(at, "db.example.org:5433");
    let query: HashMap<_, _> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    assert_eq!(query["Action"], "connect");
    assert!(
        ["app+user", "app%20user"].contains(&query["DBUser"]),
        "{query:?}"
    );
    assert_eq!(query["X-Amz-Expires"], "900");
    assert_eq!(query["X-Amz-Algorithm"], "AWS4-HMAC-SHA256");
    assert_eq!(query["X-Amz-SignedHeaders"], "host");
    assert!(query["X-Amz-Credential"].contains("eu-central-1%2Frds-db%2Faws4_request"));
    assert_eq!(query["X-Amz-Security-Token"], "a%2Fsession%2Btoken%3D");
    assert_eq!(query["X-Amz-Signature"].len(), 64);
    assert!(!format!("{login:?}").contains("planted"));
}

fn percent_encoding_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// Tries what each role must not do through the pools that the hosts use. Fails when a host keeps the privileges of its login (which
/// allows everything), or when a role has more privileges than it needs.
#[tokio::test]
async fn each_hosts_role_has_only_the_privileges_it_needs() {
    let db = TestDb::new().await;
    crate::support::events::append(
        &db.foldlog,
        &[crate::support::created(Uuid::now_v7(), "ada")],
    )
    .await;
    db.catch_up("users").await;
    let insert = "insert into events (id, aggregate_id, version, type_id, payload) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}')";
    let rewrites = [
        "update events set payload = '{}'",
        "delete from events",
        "truncate events",
    ];
    let views = ["update users set username = 'x'", "delete from users"];
    let claims = ["delete from locker", "delete from settled"];
    for (role, refused) in [
        (Role::Command, [&views[..], &claims].concat()),
        (Role::CommandInline, vec![]),
        (Role::Query, [&views[..], &claims, &[insert]].concat()),
        (Role::Projection, vec![insert]),
    ] {
        let pool = Pool::open(PoolSettings {
            login: Arc::new(db.options.clone()),
            size: 1,
            pooler: Pooler::None,
            role: Some(role),
            schema: Schema::default(),
        });
        for statement in refused.into_iter().chain(rewrites) {
            let mut connection = pool.acquire().await.unwrap();
            let ran = sqlx::query(statement).execute(&mut *connection).await;
            let code = ran.unwrap_err();
            let code = code
                .as_database_error()
                .unwrap()
                .code()
                .unwrap()
                .into_owned();
            assert_eq!(code, "42501", "{role:?}: {statement}");
        }
    }
}

/// Fails when a login without the grant of its role works all the same, or when the error does not say what to grant; both when the
/// role is set with the session and, as behind a pooler, with each transaction.
#[tokio::test]
async fn a_login_without_its_role_gets_the_grant_statement() {
    let db = TestDb::new().await;
    let name = login(&db, "foldlog_query").await;
    for pooler in [Pooler::None, Pooler::Transaction] {
        let pool = |role| {
            Pool::open(PoolSettings {
                login: Arc::new(as_login(&db, &name)),
                size: 1,
                pooler,
                role: Some(role),
                schema: Schema::default(),
            })
        };
        let error = pool(Role::Command).acquire().await.unwrap_err();
        assert!(matches!(error, DbError::Role { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("`grant foldlog_command to`"), "{text}");
        pool(Role::Query).acquire().await.unwrap();
    }
    drop_login(&db, &name).await;
}

/// Fails when a host looks for tables in the search path of its login instead of in `DB_SCHEMA`.
#[tokio::test]
async fn every_login_finds_the_tables_in_db_schema() {
    let db = crate::bins::empty().await;
    let app: Schema = "app".parse().unwrap();
    let mut connection = db.connect().await;
    let (views, inline) = (&db.foldlog.views, db.foldlog.inline());
    migrations::up(&mut connection, &app, views, inline)
        .await
        .unwrap();
    let name = login(&db, "foldlog_query").await;
    let pool = Pool::open(PoolSettings {
        login: Arc::new(as_login(&db, &name)),
        size: 1,
        pooler: Pooler::None,
        role: Some(Role::Query),
        schema: app.clone(),
    });
    let users = db.foldlog.view("users").unwrap();
    let mut session = pool.acquire().await.unwrap();
    let found = view::get(&mut session, users, AggregateId(Uuid::now_v7())).await;
    assert!(matches!(found, Ok(view::FromServing::Read(None))));
    drop(session);
    pool.close();
    while migrations::down(&mut connection, &app)
        .await
        .unwrap()
        .is_some()
    {}
    connection.close().await.unwrap();
    drop_login(&db, &name).await;
}

/// The whole of `cargo run` with a login as a managed Postgres gives it: it may create roles and owns the database, and is
/// no superuser. Fails when a migration needs more, or a part of `local` cannot act as its role.
#[tokio::test]
async fn local_needs_no_superuser() {
    let db = crate::bins::empty().await;
    let name = login(
        &db,
        "foldlog_command, foldlog_command_inline, foldlog_query, foldlog_projection",
    )
    .await;
    let database = db.options.get_database().unwrap();
    db.run(&format!(
        "alter role {name} createrole; alter database {database} owner to {name}; alter schema public owner to {name}"
    ))
    .await;
    let url = url(&as_login(&db, &name));
    let env = [
        ("DATABASE_URL", url.as_str()),
        ("APP_SERVER_PORT", "127.0.0.1:0"),
    ];
    let mut local = Program::start(LOCAL, &[], &env);
    let address = local.url().await;
    let client = reqwest::Client::new();
    crate::bins::the_requests_of_the_readme(&client, &address).await;
    local.terminate().await.well();
    db.run(&format!(
        "reassign owned by {name} to current_user; drop owned by {name}; drop role {name}"
    ))
    .await;
}
