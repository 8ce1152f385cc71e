//! Secrets in every place of a payload: hashed or hidden as at its first level.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::LazyLock;

use foldlog::domain::Domains;
use foldlog::domain::prelude::*;
use foldlog::event::TypeSchemaError;
use foldlog::view::Inline;
use foldlog::{BuildError, Foldlog};
use foldlog::{http, migrations};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::App;
use crate::support::conforms;
use crate::support::log::Log;

/// Marks a password: it may be in no table, response, document or log line.
const PASSWORD: &str = "planted-password";
/// Marks another secret: it is stored, and may be in no response, document or log line.
const TOKEN: &str = "planted-token";

events! {
    /// What can happen to a vault.
    pub enum VaultEvent in 5000..6000 {
        5000 => Filled { name: String, token: Option<Secret<String>>, content: Content },
        5001 => Locked { note: String, #[serde(flatten)] credentials: Credentials },
    }
}

/// A secret in each place where serde can put one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Content {
    nested: Credentials,
    optional: Option<Credentials>,
    none: Option<Secret<String>>,
    list: Vec<Secret<String>>,
    passwords: Vec<Password>,
    map: BTreeMap<String, Password>,
    logins: Vec<Login>,
    pair: (i32, Secret<String>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Credentials {
    login: String,
    password: Option<Password>,
    token: Secret<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub enum Login {
    Token(Secret<String>),
    Credentials(Credentials),
    Pin { pin: Password, digits: u8 },
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Vault {
    name: String,
    token: Option<Secret<String>>,
    content: Content,
}

#[derive(Debug)]
struct Vaults;

impl Domain for Vaults {
    const NAME: &'static str = "vaults";
    const VIEW: &'static str = "create table vaults (id uuid primary key, version integer not null, name text not null, \
                                token text, content jsonb not null)";
    type Event = VaultEvent;
    type State = Vault;
    type Error = Infallible;

    fn check(_: Option<&Vault>, _: &VaultEvent) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(vault: Option<Vault>, event: &VaultEvent) -> Option<Vault> {
        match event.clone() {
            VaultEvent::Filled {
                name,
                token,
                content,
            } => Some(Vault {
                name,
                token,
                content,
            }),
            VaultEvent::Locked { credentials, .. } => vault.map(|vault| Vault {
                content: Content {
                    nested: credentials,
                    ..vault.content
                },
                ..vault
            }),
        }
    }
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| http::document(&DOMAINS, false));

const DOMAINS: Domains = foldlog::domains![Vaults];

async fn app() -> App {
    let db = TestDb::new().await;
    let foldlog = Foldlog::new(db.pool().clone(), DOMAINS, Inline::new()).unwrap();
    migrations::up(
        &mut db.connect().await,
        foldlog.pool.schema(),
        &foldlog.views,
        foldlog.inline(),
    )
    .await
    .unwrap();
    App::with_foldlog(db, foldlog).await
}

/// Sends a request, and checks the response against the OpenAPI document of the vaults, which has no secrets in responses.
async fn send(app: &App, method: Method, path: &str, body: Option<&Value>) -> (u16, String) {
    let request = app.request(method.clone(), path);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let path = response.url().path().to_owned();
    let text = response.text().await.unwrap();
    if path != "/openapi.json" {
        let body = serde_json::from_str(&text).unwrap();
        conforms::check(&DOCUMENT, method.as_str(), &path, status, &headers, &body)
            .unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
    }
    (status, text)
}

fn filled(vault: Uuid, content: &Value) -> Value {
    let token = format!("{TOKEN}-0");
    json!({
        "id": Uuid::now_v7(), "aggregate_id": vault, "type_id": 5000,
        "payload": {"name": "ada", "token": token, "content": content},
    })
}

fn everything() -> Value {
    let credentials = |n: i32| json!({"login": "ada", "password": format!("{PASSWORD}-{n}"), "token": format!("{TOKEN}-{n}")});
    json!({
        "nested": credentials(1),
        "optional": credentials(2),
        "none": null,
        "list": [format!("{TOKEN}-3"), format!("{TOKEN}-4")],
        "passwords": [format!("{PASSWORD}-5")],
        "map": {"key": format!("{PASSWORD}-6")},
        "logins": [
            {"Token": format!("{TOKEN}-7")},
            {"Credentials": credentials(8)},
            {"Pin": {"pin": format!("{PASSWORD}-9"), "digits": 4}},
        ],
        "pair": [7, format!("{TOKEN}-10")],
    })
}

/// The rows of all tables whose text contains this.
async fn stored(app: &App, text: &str) -> i64 {
    let mut found = 0;
    for table in ["events", "vaults", "locker", "parked", "settled", "views"] {
        let rows = format!("select count(*) from {table} t where t::text like '%{text}%'");
        found += app.db.count(&rows).await;
    }
    found
}

// Fails when a password below the first level of a payload is stored in plain text, or a secret there is shown, or a
// replay is not compared by verifying the passwords.
#[tokio::test]
async fn secrets_at_any_depth_are_hashed_hidden_and_verified() {
    let log = Log::default();
    let guard = log.capture("foldlog=trace,sqlx=debug");
    let app = app().await;
    let vault = Uuid::now_v7();
    let event = filled(vault, &everything());
    let mut answers = vec![send(&app, Method::POST, "/vaults", Some(&event)).await];
    assert_eq!(answers[0].0, 201, "{answers:?}");
    let replayed = send(&app, Method::POST, "/vaults", Some(&event)).await;
    assert_eq!(replayed.0, 200, "{replayed:?}");
    assert_eq!(replayed.1, answers[0].1);
    for path in [
        "/nested/password",
        "/passwords/0",
        "/map/key",
        "/logins/1/Credentials/password",
        "/logins/2/Pin/pin",
        "/list/0",
        "/pair/1",
    ] {
        let mut other = event.clone();
        let content = other.pointer_mut("/payload/content").unwrap();
        *content.pointer_mut(path).unwrap() = json!(format!("{PASSWORD}-other"));
        let answer = send(&app, Method::POST, "/vaults", Some(&other)).await;
        assert_eq!(answer.0, 409, "{path}: {answer:?}");
        answers.push(answer);
    }
    let locked = json!({
        "id": Uuid::now_v7(), "aggregate_id": vault, "type_id": 5001,
        "payload": {
            "note": "lost", "login": "eve", "password": format!("{PASSWORD}-11"), "token": format!("{TOKEN}-11"),
        },
    });
    answers.push(send(&app, Method::POST, "/vaults", Some(&locked)).await);
    assert_eq!(answers.last().unwrap().0, 201, "{answers:?}");

    let strong = format!("/vaults/{vault}?consistency=strong");
    let shown = send(&app, Method::GET, &strong, None).await;
    let row: Value = serde_json::from_str(&shown.1).unwrap();
    assert_eq!(
        row,
        json!({
            "id": vault, "version": 2, "name": "ada",
            "content": {
                "nested": {"login": "eve"},
                "optional": {"login": "ada"},
                "list": [null, null],
                "passwords": [null],
                "map": {},
                "logins": [{"Token": null}, {"Credentials": {"login": "ada"}}, {"Pin": {"digits": 4}}],
                "pair": [7, null],
            },
        })
    );
    answers.push(shown);
    let foldlog = Foldlog::new(app.db.pool().clone(), DOMAINS, Inline::new()).unwrap();
    let view = foldlog.view("vaults").unwrap();
    let budget = foldlog::projection::Budget::default();
    let caught_up = foldlog::projection::catch_up(&foldlog.pool, view, 100, &budget).await;
    assert_eq!(caught_up.unwrap().applied, 2);
    for path in [&*format!("/vaults/{vault}"), "/vaults", "/vaults?name=ada"] {
        let page = send(&app, Method::GET, path, None).await;
        assert!(page.1.contains("eve"), "{page:?}");
        answers.push(page);
    }
    for filter in ["token", "content", "password"] {
        let path = format!("/vaults?{filter}={TOKEN}-0");
        let answer = send(&app, Method::GET, &path, None).await;
        assert_eq!(answer.0, 400, "{answer:?}");
        answers.push((answer.0, answer.1.replace(&path, "")));
    }
    drop(guard);
    assert_nothing_shown(&log, &answers);
    assert_eq!(stored(&app, PASSWORD).await, 0);
    assert!(stored(&app, "argon2id").await > 0);
    assert!(stored(&app, TOKEN).await > 0, "a Secret is stored");
}

fn assert_nothing_shown(log: &Log, answers: &[(u16, String)]) {
    let document = http::document(&DOMAINS, true).to_string();
    assert!(document.contains("\"secret\":true"));
    let text = log.text();
    assert!(text.contains("POST /{domain} 201"), "nothing was captured");
    for shown in answers
        .iter()
        .map(|(_, body)| body)
        .chain([&text, &document])
    {
        for secret in ["planted", "argon2id"] {
            let line = shown.lines().find(|line| line.contains(secret));
            assert_eq!(line, None);
        }
    }
}

fn secret() -> impl Strategy<Value = Value> {
    (0..1000).prop_map(|n| json!(format!("{TOKEN}-{n}")))
}

fn password() -> impl Strategy<Value = Value> {
    (0..1000).prop_map(|n| json!(format!("{PASSWORD}-{n}")))
}

fn credentials() -> impl Strategy<Value = Value> {
    let password = prop_oneof![password(), Just(Value::Null)];
    ("[a-z]{1,8}", password, secret()).prop_map(
        |(login, password, token)| json!({"login": login, "password": password, "token": token}),
    )
}

fn login() -> impl Strategy<Value = Value> {
    prop_oneof![
        secret().prop_map(|token| json!({"Token": token})),
        credentials().prop_map(|credentials| json!({"Credentials": credentials})),
        password().prop_map(|pin| json!({"Pin": {"pin": pin, "digits": 4}})),
    ]
}

fn content() -> impl Strategy<Value = Value> {
    use prop::collection::{btree_map, vec};
    let optional = |value: BoxedStrategy<Value>| prop_oneof![value, Just(Value::Null)];
    (
        credentials(),
        optional(credentials().boxed()),
        optional(secret().boxed()),
        vec(secret(), 0..3),
        vec(password(), 0..2),
        btree_map("[a-z]{1,4}", password(), 0..2),
        vec(login(), 0..3),
        secret(),
    )
        .prop_map(
            |(nested, optional, none, list, passwords, map, logins, pair)| {
                json!({
                    "nested": nested, "optional": optional, "none": none, "list": list, "passwords": passwords,
                    "map": map, "logins": logins, "pair": [1, pair],
                })
            },
        )
}

// Fails when a generated payload brings a secret into a table, response, document or log line where it must not be.
#[tokio::test]
async fn generated_secrets_are_neither_shown_nor_stored_in_plain_text() {
    let log = Log::default();
    let guard = log.capture("foldlog=trace,sqlx=debug");
    let app = app().await;
    let mut runner = TestRunner::deterministic();
    let mut answers = Vec::new();
    for _ in 0..12 {
        let content = content().new_tree(&mut runner).unwrap().current();
        let vault = Uuid::now_v7();
        let event = filled(vault, &content);
        let appended = send(&app, Method::POST, "/vaults", Some(&event)).await;
        assert_eq!(appended.0, 201, "{content}: {appended:?}");
        let replayed = send(&app, Method::POST, "/vaults", Some(&event)).await;
        assert_eq!(replayed.0, 200, "{content}: {replayed:?}");
        let strong = format!("/vaults/{vault}?consistency=strong");
        let shown = send(&app, Method::GET, &strong, None).await;
        assert_eq!(shown.0, 200, "{content}: {shown:?}");
        let mut wrong = event;
        wrong["payload"]["content"]["nested"]["token"] = json!([format!("{TOKEN}-wrong")]);
        let rejected = send(&app, Method::POST, "/vaults", Some(&wrong)).await;
        assert_eq!(rejected.0, 422, "{rejected:?}");
        answers.extend([appended, replayed, shown, rejected]);
    }
    drop(guard);
    assert_nothing_shown(&log, &answers);
    assert_eq!(stored(&app, PASSWORD).await, 0);
}

/// A domain whose event has this field.
macro_rules! unsafe_domain {
    ($module:ident, $(#[$meta:meta])* $field:ty) => {
        mod $module {
            use super::*;

            events! {
                /// An event.
                pub enum UnsafeEvent in 6000..7000 {
                    6000 => Happened { $(#[$meta])* field: $field, other: i32 },
                }
            }

            #[derive(Debug, Serialize, Deserialize, ToSchema)]
            pub struct State {
                other: i32,
            }

            #[derive(Debug)]
            pub struct Unsafe;

            impl Domain for Unsafe {
                const NAME: &'static str = "unsafe_events";
                const VIEW: &'static str = "";
                type Event = UnsafeEvent;
                type State = State;
                type Error = Infallible;

                fn check(_: Option<&State>, _: &UnsafeEvent) -> Result<(), Infallible> {
                    Ok(())
                }

                fn apply(state: Option<State>, _: &UnsafeEvent) -> Option<State> {
                    state
                }
            }
        }
    };
}

/// An enum whose content serde writes beside its tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind")]
pub enum Tagged {
    Hidden(Secret<Credentials>),
}

unsafe_domain!(map_key, BTreeMap<Secret<String>, i32>);
unsafe_domain!(flattened, #[serde(flatten)] Secret<Credentials>);
unsafe_domain!(tagged, Vec<Tagged>);

// Fails when foldlog starts with a secret in a place where serde drops its marker.
#[tokio::test]
async fn a_secret_that_cannot_be_hidden_is_a_build_error() {
    let db = TestDb::new().await;
    let build = |domains| Foldlog::new(db.pool().clone(), domains, Inline::new()).map(drop);
    for (domains, expected) in [
        (foldlog::domains![map_key::Unsafe], "field (map key)"),
        (foldlog::domains![flattened::Unsafe], ""),
        (foldlog::domains![tagged::Unsafe], "field"),
    ] {
        match build(domains) {
            Err(BuildError::Payload {
                domain,
                event,
                source,
            }) => {
                assert_eq!((domain, event), ("unsafe_events", "Happened"));
                assert_eq!(
                    source,
                    TypeSchemaError::UnhideableSecret(expected.to_owned())
                );
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}
