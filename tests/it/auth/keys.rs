//! The issuer's JWK set: from a file and a URL, rotated, unavailable and invalid.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use foldlog::http::Auth;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::issuer::{Pair, claims, config, pair, set, trusting};
use super::read;
use crate::support::app::App;
use crate::support::poll::{poll, wait_until};

/// A server with an issuer's JWK set.
#[derive(Clone, Default)]
struct Keys {
    answer: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
    /// While a test holds this, the issuer does not respond.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Keys {
    /// Starts the server and returns the set's URL.
    async fn serve(&self) -> String {
        let keys = self.clone();
        let respond = async move || -> Response {
            keys.asked.fetch_add(1, Ordering::SeqCst);
            drop(keys.gate.lock().await);
            match keys.answer.lock().unwrap().clone() {
                Some(text) if text.starts_with("http") => {
                    (StatusCode::FOUND, [("location", text)]).into_response()
                }
                Some(text) => Body::from(text).into_response(),
                None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        };
        let routes = Router::new().route("/jwks.json", get(respond));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        format!("http://{address}/jwks.json")
    }

    fn are(&self, keys: &[(&str, &Pair)]) {
        let keys: Vec<Value> = keys.iter().map(|(id, pair)| pair.jwk(id)).collect();
        self.respond_with(&json!({"keys": keys}).to_string());
    }

    fn respond_with(&self, text: &str) {
        *self.answer.lock().unwrap() = Some(text.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn token(pair: &Pair, id: &str) -> String {
    pair.token(&json!({"alg": "EdDSA", "kid": id}), &claims("users:read"))
}

/// Fails when keys are fetched before the first token or for each one, when a new key is not found, or when forged tokens
/// cause any number of fetches.
#[tokio::test]
async fn a_jwks_url_is_cached_and_fetched_again_for_an_unknown_kid() {
    let (keys, old, new, newer) = (
        Keys::default(),
        Pair::ed25519(),
        Pair::ed25519(),
        Pair::ed25519(),
    );
    keys.are(&[("old", &old)]);
    let app = App::with_auth(Auth::new(&config(Some(&keys.serve().await))).unwrap()).await;
    app.read("/users").await.problem(401, "unauthorized");
    assert_eq!(keys.asked(), 0);
    for _ in 0..3 {
        assert_eq!(read(&app, "/users", &token(&old, "old")).await.status, 200);
    }
    assert_eq!(keys.asked(), 1);

    keys.are(&[("old", &old), ("new", &new)]);
    assert_eq!(read(&app, "/users", &token(&old, "old")).await.status, 200);
    let all = (0..8).map(|_| async { read(&app, "/users", &token(&new, "new")).await.status });
    assert!(
        futures_util::future::join_all(all)
            .await
            .iter()
            .all(|status| *status == 200)
    );
    assert_eq!(keys.asked(), 2, "once for all that came at the same time");

    // A made-up `kid`, and a rotation right after it.
    let forged = |n: usize| token(&newer, &format!("made up {n}"));
    let answer = read(&app, "/users", &forged(0)).await;
    assert!(answer.problem(401, "unauthorized").contains("`kid`"));
    keys.are(&[("newer", &newer)]);
    assert_eq!(
        read(&app, "/users", &token(&newer, "newer")).await.status,
        200
    );
    assert_eq!(keys.asked(), 4);
    let all = (0..50).map(|n| {
        let forged = forged(n);
        let app = &app;
        async move { read(app, "/users", &forged).await.status }
    });
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|status| *status == 401));
    assert!(keys.asked() <= 7, "{} fetches", keys.asked());
}

/// The first client disconnects before the issuer has responded. Fails when that cancels the JWKS fetch: all other clients would be
/// without keys until the next fetch is allowed, and a client that repeats this could lock them out for ever.
#[tokio::test]
async fn a_cancelled_request_does_not_cancel_the_jwks_fetch() {
    let (keys, pair) = (Keys::default(), Pair::ed25519());
    keys.are(&[("one", &pair)]);
    let app = App::with_auth(Auth::new(&config(Some(&keys.serve().await))).unwrap()).await;
    let token = token(&pair, "one");
    let gate = keys.gate.lock().await;
    {
        let hangs_up = read(&app, "/users", &token);
        let asked = wait_until("the issuer is asked", async || keys.asked() > 0);
        tokio::select! {
            _ = hangs_up => panic!("it is answered without keys"),
            () = asked => {}
        }
    }
    drop(gate);
    // Shorter than the pause after which the issuer may be asked again.
    let is_accepted = async || read(&app, "/users", &token).await.status == 200;
    assert!(
        poll(Duration::from_secs(4), is_accepted).await,
        "the token is never accepted"
    );
    assert_eq!(keys.asked(), 1);
}

/// Fails when an issuer that is unreachable or responds with garbage makes the cached keys unusable, when it is asked without a
/// limit, or when a client gets 401 although its token could not be verified.
#[tokio::test]
async fn an_unreachable_issuer_keeps_the_cached_jwks_and_returns_503_without_one() {
    let (keys, old) = (Keys::default(), Pair::ed25519());
    let url = keys.serve().await;
    let app = App::with_auth(Auth::new(&config(Some(&url))).unwrap()).await;
    for _ in 0..3 {
        let answer = read(&app, "/users", &token(&old, "old")).await;
        answer.problem(503, "unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(keys.asked(), 1);

    let mut too_large = json!({"keys": [old.jwk("new")]});
    too_large["more"] = json!("x".repeat(300_000));
    for nonsense in [
        None,
        Some("{".to_owned()),
        Some("{\"keys\": []}".to_owned()),
        Some(too_large.to_string()),
        // A redirect to a set that contains the key.
        Some({
            let other = Keys::default();
            other.are(&[("new", &old)]);
            other.serve().await
        }),
    ] {
        let app = App::with_auth(Auth::new(&config(Some(&url))).unwrap()).await;
        keys.are(&[("old", &old)]);
        assert_eq!(read(&app, "/users", &token(&old, "old")).await.status, 200);
        keys.answer.lock().unwrap().clone_from(&nonsense);
        let before = keys.asked();
        let answer = read(&app, "/users", &token(&old, "new")).await;
        answer.problem(401, "unauthorized");
        assert_eq!(keys.asked(), before + 1);
        assert_eq!(read(&app, "/users", &token(&old, "old")).await.status, 200);
    }
}

/// Fails when a key that was added to the file is not found without a restart.
#[tokio::test]
async fn a_jwks_file_is_read_again_for_an_unknown_kid() {
    let (old, new) = (Pair::ed25519(), Pair::ed25519());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let write = |keys: Vec<Value>| std::fs::write(&file, json!({"keys": keys}).to_string());
    write(vec![old.jwk("old")]).unwrap();
    let app = App::with_auth(Auth::new(&config(file.to_str())).unwrap()).await;
    assert_eq!(read(&app, "/users", &token(&old, "old")).await.status, 200);
    write(vec![old.jwk("old"), new.jwk("new")]).unwrap();
    assert_eq!(read(&app, "/users", &token(&new, "new")).await.status, 200);
}

/// Fails when an invalid `JWT_JWKS` is not reported at start, or when the error quotes the content of the file.
#[test]
fn an_unusable_jwks_file_is_reported_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let private = json!({"keys": [{"kty": "oct", "k": "cGxhbnRlZA", "alg": "HS256"}]}).to_string();
    for (place, says) in [
        ("/nowhere/jwks.json".to_owned(), "cannot be read"),
        (folder.path().to_str().unwrap().to_owned(), "cannot be read"),
        ("http://issuer.example.org/jwks.json".to_owned(), "https"),
        ("http://localhost.example.org/jwks.json".to_owned(), "https"),
        ("http://localhost@example.org/jwks.json".to_owned(), "https"),
        ("ftp://localhost/jwks.json".to_owned(), "https"),
        ("file:///etc/jwks.json".to_owned(), "https"),
        ("https://".to_owned(), "https"),
    ] {
        let error = Auth::new(&config(Some(&place))).unwrap_err().to_string();
        assert!(
            error.contains("JWT_JWKS") && error.contains(says),
            "{place}: {error}"
        );
    }
    for text in ["", "{", "[]", "{\"keys\": {}}", &private] {
        let error = Auth::new(&config(Some(&file(text))))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("JWT_JWKS contains no public key"),
            "{text}: {error}"
        );
    }
    let long = format!("{}{}", set(), " ".repeat(300_000));
    let error = Auth::new(&config(Some(&file(&long))))
        .unwrap_err()
        .to_string();
    assert!(error.contains("larger"), "{error}");
    for place in [
        "https://issuer.example.org/jwks.json",
        "http://localhost:9/jwks.json",
        "http://[::1]:9/x",
    ] {
        assert!(Auth::new(&config(Some(place))).is_ok(), "{place}");
    }
    drop(trusting(&json!({"keys": [pair("ed").jwk("ed")]})));
}
