//! `AUTH=jwt` over HTTP with real keys: authentication, scopes, and the actor of stored events.

mod attacks;
mod gateway;
pub mod issuer;
mod keys;
mod scopes;

use foldlog::http::Auth;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use self::issuer::{claims, pair, set, token, trusting};
use crate::bins::program::{LOCAL, Program, url};
use crate::support::app::{Answer, App, send};
use crate::support::json::{created, opened};
use crate::support::log::Log;

/// The API with the keys of the test issuer.
async fn app() -> App {
    App::with_auth(trusting(&set())).await
}

async fn read(app: &App, path: &str, token: &str) -> Answer {
    send(app.request(Method::GET, path).bearer_auth(token)).await
}

async fn append(app: &App, path: &str, token: &str, body: &Value) -> Answer {
    let request = app.request(Method::POST, path).json(body);
    send(request.bearer_auth(token)).await
}

/// Fails when a valid signature is rejected, because an algorithm is missing or a key is parsed wrongly.
#[tokio::test]
async fn a_jwt_is_accepted_for_each_supported_algorithm() {
    let app = app().await;
    for (key, algorithms) in [
        (
            "rsa",
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..],
        ),
        ("p256", &["ES256"]),
        ("p384", &["ES384"]),
        ("ed", &["EdDSA"]),
    ] {
        for algorithm in algorithms {
            let header = json!({"alg": algorithm, "kid": key, "typ": "at+jwt"});
            let token = pair(key).token(&header, &claims("users:read"));
            let answer = read(&app, "/users", &token).await;
            assert_eq!(answer.status, 200, "{algorithm}: {answer:?}");
        }
    }
}

/// Fails when a request without a token reaches a handler, or its problem does not say what to send.
#[tokio::test]
async fn without_a_token_every_route_but_health_returns_401() {
    let app = app().await;
    assert_eq!(app.read("/health").await.status, 200);
    let user = Uuid::now_v7();
    let id = format!("/users/{user}?consistency=strong");
    let mut answers = vec![app.read("/users").await, app.read(&id).await];
    for path in ["/users", "/events", "/nobody"] {
        answers.push(app.append(path, &created(user, "ada")).await);
    }
    answers.push(send(app.request(Method::HEAD, "/users")).await);
    for answer in &answers[..5] {
        let detail = answer.problem(401, "unauthorized");
        assert!(detail.contains("Authorization: Bearer"), "{detail}");
    }
    for answer in &answers {
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, "Bearer")
        );
    }
    assert_eq!(app.stored().await, 0);
    // Unknown routes and unsupported methods are answered without a token, and reveal nothing.
    app.read("/a/b/c").await.problem(404, "no-such-route");
    let delete = send(app.request(Method::DELETE, "/users")).await;
    delete.problem(405, "method-not-allowed");
}

/// Fails when a scope grants what another one is for, or when an append to several domains requires only one of their scopes.
#[tokio::test]
async fn a_scope_allows_only_its_domain_and_operation_else_403() {
    let app = app().await;
    let (user, account) = (Uuid::now_v7(), Uuid::now_v7());
    let both = json!([opened(account, "ada"), created(user, "ada")]);
    let (get, post) = (Method::GET, Method::POST);
    let ones = [
        ("users:write", &post, "/users", created(user, "ada")),
        ("users:read", &get, "/users", Value::Null),
        ("users:read", &get, &*format!("/users/{user}"), Value::Null),
        ("accounts:read", &get, "/accounts", Value::Null),
        ("accounts:read users:read", &get, "/events", Value::Null),
        (
            "accounts:read",
            &get,
            "/events?domain=accounts",
            Value::Null,
        ),
        ("accounts:write users:write", &post, "/events", both.clone()),
    ]
    .map(|(scope, method, path, body)| (scope, method.clone(), path.to_owned(), body));
    let all = [
        "users:read",
        "users:write",
        "accounts:read",
        "accounts:write",
        "feed:read",
    ];
    let mut refused = 0;
    for (needed, method, path, body) in &ones {
        let needed: Vec<&str> = needed.split(' ').collect();
        for missing in &needed {
            let others: Vec<&str> = all.into_iter().filter(|scope| scope != missing).collect();
            let others = token(&others.join(" "));
            let request = app.request(method.clone(), path).bearer_auth(others);
            let answer = send(request.json(body)).await;
            let detail = answer.problem(403, "forbidden");
            assert!(detail.ends_with(missing), "{detail}");
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{missing}\"");
            assert_eq!(answer.header("www-authenticate"), challenge);
            refused += 1;
        }
    }
    assert_eq!((refused, app.stored().await), (9, 0));
    for (needed, method, path, body) in &ones {
        let request = app.request(method.clone(), path).bearer_auth(token(needed));
        let answer = send(request.json(body)).await;
        // The row may not be projected yet (404), and a user exists only once (409); both mean that access was granted.
        assert!(
            matches!(answer.status, 200 | 201 | 404 | 409),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(app.stored().await, 1);
    let known = read(&app, "/nobody", &token("users:read")).await;
    known.problem(404, "no-such-route");
}

/// Fails when an event is stored without its caller's subject, or with an actor that the caller chose.
#[tokio::test]
async fn the_jwt_subject_is_the_actor_in_the_metadata_of_every_event() {
    let app = app().await;
    let token = token("users:write accounts:write");
    let with = |mut event: Value, metadata: Value| {
        event["metadata"] = metadata;
        event
    };
    let new = || created(Uuid::now_v7(), "ada");
    for forged in [
        json!({"actor": "bob"}),
        json!({"actor": null}),
        json!({"actor": ["ada"]}),
        json!({"actor": {"sub": "ada"}}),
        json!({"actor": "Ada"}),
    ] {
        for path in ["/users", "/events"] {
            let answer = append(&app, path, &token, &with(new(), forged.clone())).await;
            let detail = answer.problem(422, "unprocessable");
            assert!(detail.starts_with("metadata.actor"), "{detail}");
            assert_eq!(answer.body["index"], 0);
        }
    }
    let second = json!([new(), with(new(), json!({"actor": "bob"}))]);
    let answer = append(&app, "/users", &token, &second).await;
    assert_eq!((answer.status, &answer.body["index"]), (422, &json!(1)));
    assert_eq!(app.stored().await, 0);

    let plain = new();
    assert_eq!(append(&app, "/users", &token, &plain).await.status, 201);
    assert_eq!(
        append(&app, "/users", &token, &plain).await.status,
        200,
        "sent again"
    );
    let same = with(new(), json!({"actor": "ada", "trace": "7"}));
    let all = json!([
        same,
        with(new(), json!({"trace": "7"})),
        opened(Uuid::now_v7(), "x")
    ]);
    assert_eq!(append(&app, "/events", &token, &all).await.status, 201);
    let signed = app
        .db
        .count("select count(*) from events where metadata ->> 'actor' = 'ada'");
    assert_eq!((signed.await, app.stored().await), (4, 4));
    let traced = app
        .db
        .count("select count(*) from events where metadata ->> 'trace' = '7'");
    assert_eq!(traced.await, 2, "what else the metadata said is lost");
}

/// Fails when metadata is changed although AUTH=none.
#[tokio::test]
async fn without_auth_the_client_sets_the_actor() {
    let app = App::new().await;
    let mut event = created(Uuid::now_v7(), "ada");
    event["metadata"] = json!({"actor": "whoever"});
    assert_eq!(app.append("/users", &event).await.status, 201);
    assert_eq!(
        app.append("/users", &created(Uuid::now_v7(), "bob"))
            .await
            .status,
        201
    );
    let signed = app
        .db
        .count("select count(*) from events where metadata ->> 'actor' = 'whoever'");
    let unsigned = app
        .db
        .count("select count(*) from events where metadata = '{}'");
    assert_eq!((signed.await, unsigned.await), (1, 1));
}

/// Fails when a token, or a part of one, appears in a log line or in a response.
#[tokio::test]
async fn a_token_appears_in_no_log_and_no_response() {
    let log = Log::default();
    let guard = log.capture("foldlog=trace,axum=trace");
    let app = app().await;
    let (good, expired) = (token("users:read users:write"), {
        let mut claims = claims("users:read");
        claims["exp"] = json!(1);
        pair("ed").token(&json!({"alg": "EdDSA", "kid": "ed"}), &claims)
    });
    let unknown = pair("ed").token(
        &json!({"alg": "planted-alg", "kid": "planted-kid"}),
        &claims("x"),
    );
    let strange = pair("ed").token(&json!({"alg": "EdDSA", "kid": "planted-kid"}), &claims("x"));
    let tokens = [good, expired, unknown, strange, "planted-token".to_owned()];
    let mut answers = Vec::new();
    for token in &tokens {
        answers.push(read(&app, "/users", token).await);
        answers.push(append(&app, "/users", token, &created(Uuid::now_v7(), "x")).await);
    }
    drop(guard);
    let text = log.text();
    for line in [
        "GET /{domain} 200",
        "GET /{domain} 401: the token has expired",
    ] {
        assert!(
            text.contains(line),
            "nothing was captured of {line}: {text}"
        );
    }
    let answers = answers
        .iter()
        .map(|a| format!("{} {:?}", a.body, a.headers));
    for text in answers.chain([text]) {
        assert!(!text.contains("planted"), "{text}");
        for part in tokens.iter().flat_map(|token| token.split('.')) {
            assert!(!text.contains(part), "{text}");
        }
    }
}

/// Fails when a server without authentication starts without a warning, or one with authentication logs it.
#[tokio::test]
async fn a_server_without_auth_logs_a_warning_at_start() {
    let log = Log::default();
    let guard = log.capture("foldlog=warn");
    Auth::None.warn_if_open("0.0.0.0:7755");
    trusting(&set()).warn_if_open("elsewhere");
    drop(guard);
    let text = log.text();
    assert!(
        text.contains("AUTH=none") && text.contains("0.0.0.0:7755"),
        "{text}"
    );
    assert!(!text.contains("elsewhere"), "{text}");

    let db = crate::bins::empty().await;
    let database = url(&db.options);
    for (place, warns) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let env = [("DATABASE_URL", &*database), ("APP_SERVER_PORT", place)];
        let mut local = Program::start(LOCAL, &[], &env);
        local.until_it_says("try: curl").await;
        assert_eq!(
            local.said().contains("AUTH=none"),
            warns,
            "{}",
            local.said()
        );
        local.terminate().await.well();
    }
}

/// Fails when `local` ignores `AUTH`, or starts with keys that it cannot read.
#[tokio::test]
async fn the_local_host_requires_a_token() {
    let db = crate::bins::empty().await;
    let database = url(&db.options);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, set().to_string()).unwrap();
    let mut env = vec![
        ("DATABASE_URL", &*database),
        ("APP_SERVER_PORT", ":0"),
        ("AUTH", "jwt"),
        ("JWT_JWKS", file.to_str().unwrap()),
        ("JWT_ISSUER", issuer::ISSUER),
        ("JWT_AUDIENCE", issuer::AUDIENCE),
    ];
    let mut local = Program::start(LOCAL, &[], &env);
    let users = format!("{}/users", local.url().await);
    let client = reqwest::Client::new();
    assert_eq!(send(client.get(&users)).await.status, 401);
    let request = client.get(&users).bearer_auth(token("users:read"));
    assert_eq!(send(request).await.status, 200);
    local.terminate().await.well();

    env[3].1 = "/nowhere/jwks.json";
    let ended = Program::run(LOCAL, &[], &env).await;
    assert!(ended.err.contains("JWT_JWKS names a file"), "{}", ended.err);
    assert!(!ended.status.success());
}
