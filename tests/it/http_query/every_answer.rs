//! What all responses have in common: unknown routes and methods, request ids, CORS; and health.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::{App, ORIGIN, send};
use crate::support::json::{created, deposited, opened};
use crate::support::locks::Held;
use crate::support::poll::wait_until;

// Fails when an unknown path or method gets the framework's plain-text response.
#[tokio::test]
async fn an_unknown_route_returns_404_and_lists_the_routes() {
    let app = App::new().await;
    let user = format!("/users/{}", Uuid::now_v7());
    for path in [
        "/",
        "/users/",
        "//users",
        &format!("{user}/"),
        &format!("{user}/nothing/there"),
    ] {
        app.read(path).await.problem(404, "no-such-route");
    }
    for path in ["/nothing", "/Users", "/users%00", "/nothing/1", "/us%65rz"] {
        let answer = app.read(path).await;
        let detail = answer.problem(404, "no-such-route");
        assert!(detail.contains("users, accounts"), "{detail}");
        app.append("/nothing", &created(Uuid::now_v7(), "ada"))
            .await
            .problem(404, "no-such-route");
    }
    app.read("/%ff").await.problem(400, "malformed");
    for id in [
        "1",
        "not-a-uuid",
        "%00",
        "..",
        "1' or '1'='1",
        "0195d6f0-0000-7000-8000-00000000000g",
    ] {
        let answer = app
            .read(&format!(
                "/users/{}",
                id.replace(' ', "+").replace("..", "%2e%2e%2f")
            ))
            .await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains("must be a UUID"), "{detail}");
    }
    for (method, path, allowed) in [
        (Method::DELETE, "/users", &["GET", "HEAD", "POST"][..]),
        (Method::PUT, "/users", &["GET", "HEAD", "POST"]),
        (Method::POST, &user, &["GET", "HEAD"]),
        (Method::PATCH, &user, &["GET", "HEAD"]),
        (Method::POST, "/health", &["GET", "HEAD"]),
        (Method::DELETE, "/events", &["GET", "HEAD", "POST"]),
        (
            Method::from_bytes(b"PURGE").unwrap(),
            "/users",
            &["GET", "HEAD", "POST"],
        ),
    ] {
        let answer = send(app.request(method, path)).await;
        answer.problem(405, "method-not-allowed");
        let mut allow: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed);
    }
}

// Fails when HEAD is rejected, or returns other headers than GET.
#[tokio::test]
async fn head_returns_the_headers_of_get() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    app.db.catch_up("users").await;
    for path in [
        "/users".to_owned(),
        format!("/users/{user}"),
        "/health".to_owned(),
        "/users/1".to_owned(),
    ] {
        let (get, head) = (
            app.read(&path).await,
            send(app.request(Method::HEAD, &path)).await,
        );
        assert_eq!((head.status, &head.body), (get.status, &json!("")));
        for name in ["etag", "content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
}

// Fails when a response has no id, when a client's id is replaced, or when one that could forge a log line is kept.
#[tokio::test]
async fn x_request_id_is_echoed_only_if_safe_for_a_log_line() {
    let app = App::new().await;
    let (one, other) = (app.read("/users").await, app.read("/nothing").await);
    let ids = [one.header("x-request-id"), other.header("x-request-id")];
    assert!(ids.iter().all(|id| Uuid::parse_str(id).is_ok()) && ids[0] != ids[1]);
    let ask = async |id: &[u8]| {
        let id = HeaderValue::from_bytes(id).unwrap();
        send(
            app.request(Method::GET, "/users")
                .header("x-request-id", id),
        )
        .await
    };
    for own in [
        "abc-123",
        "Root=1-67891233-abcdef012345678912345678",
        "a/b+c.d:e_f=",
    ] {
        assert_eq!(ask(own.as_bytes()).await.header("x-request-id"), own);
    }
    let long = "a".repeat(129);
    for hostile in [
        "",
        "a b",
        "a\tb",
        "\"}",
        "<script>",
        "a;b",
        "caf\u{e9}",
        "\u{202e}",
        "${jndi:x}",
        &long,
    ] {
        let answer = ask(hostile.as_bytes()).await;
        assert!(
            Uuid::parse_str(answer.header("x-request-id")).is_ok(),
            "{hostile}"
        );
    }
}

// Fails when CORS allows another origin, or does not allow the headers that the API uses.
#[tokio::test]
async fn cors_allows_only_the_configured_origin() {
    let app = App::new().await;
    let ask = async |origin: &str| {
        let preflight = app
            .request(Method::OPTIONS, "/users")
            .header("origin", origin);
        let preflight = preflight.header("access-control-request-method", "POST");
        send(preflight.header(
            "access-control-request-headers",
            "content-type,if-match,x-request-id",
        ))
        .await
    };
    let allowed = ask(ORIGIN).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), ORIGIN);
    assert!(
        allowed
            .header("access-control-allow-methods")
            .contains("POST")
    );
    for name in [
        "content-type",
        "if-match",
        "if-none-match",
        "authorization",
        "x-request-id",
    ] {
        assert!(
            allowed
                .header("access-control-allow-headers")
                .contains(name),
            "{name}"
        );
    }
    for origin in [
        "https://evil.example.org",
        "https://app.example.org.evil.org",
        "http://app.example.org",
        "null",
    ] {
        assert_eq!(
            ask(origin).await.header("access-control-allow-origin"),
            "",
            "{origin}"
        );
    }
    // A page can read errors, too.
    let read = app
        .request(Method::GET, "/users?limit=0")
        .header("origin", ORIGIN);
    let answer = send(read).await;
    answer.problem(400, "malformed");
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    for name in ["etag", "x-request-id", "retry-after"] {
        assert!(
            answer
                .header("access-control-expose-headers")
                .contains(name)
        );
    }
}

// Fails when a projection is missing, or when its lag or its parked aggregates are wrong.
#[tokio::test]
async fn health_reports_lag_and_parked_per_projection() {
    let app = App::new().await;
    let projection = |health: &Value, name: &str| health["projections"][name].clone();
    let fresh = app.read("/health").await;
    assert_eq!(fresh.status, 200);
    assert_eq!(
        (&fresh.body["status"], &fresh.body["database"]),
        (&json!("up"), &json!("up"))
    );
    let nothing = json!({"lag_events": 0, "lag_seconds": 0.0, "newest_event_at": null, "oldest_waiting_at": null,
                         "parked": 0, "state": "current", "worker_seen_at": null, "fold_changed": false, "reprojection": null});
    for name in ["users", "accounts", "ledger"] {
        assert_eq!(projection(&fresh.body, name), nothing);
    }
    let (rich, poor) = (Uuid::now_v7(), Uuid::now_v7());
    // A constraint of the view's table rejects this balance.
    let events = json!([
        opened(rich, "ada"),
        deposited(rich, 1_000_000),
        deposited(rich, 1),
        opened(poor, "bob")
    ]);
    app.append("/accounts", &events).await;
    app.append("/users", &created(Uuid::now_v7(), "eve")).await;
    wait_until("accounts has a lag", async || {
        let health = app.read("/health").await.body;
        projection(&health, "accounts")["lag_seconds"].as_f64() > Some(0.0)
    })
    .await;
    let behind = app.read("/health").await.body;
    assert_eq!(projection(&behind, "accounts")["lag_events"], 4);
    assert_eq!(projection(&behind, "ledger")["lag_events"], 4);
    assert_eq!(projection(&behind, "users")["lag_events"], 1);
    app.db.catch_up("accounts").await;
    let parked = app.read("/health").await.body;
    let accounts = projection(&parked, "accounts");
    assert_eq!(
        accounts,
        json!({"lag_events": 0, "lag_seconds": 0.0, "newest_event_at": accounts["newest_event_at"],
               "oldest_waiting_at": null, "parked": 1, "state": "current", "worker_seen_at": accounts["worker_seen_at"],
               "fold_changed": false, "reprojection": null})
    );
    assert_eq!(projection(&parked, "ledger")["lag_events"], 4);
}

// Fails when a lag that cannot be measured is reported as 0, when it makes /health fail, or when a stuck projection, one that
// no worker processes and one that is merely behind look alike.
#[tokio::test]
async fn health_distinguishes_unknown_stuck_unprocessed_and_behind() {
    let app = App::new().await;
    let users = async || app.read("/health").await.body["projections"]["users"].clone();
    let appended = async |ago: &str| {
        let values = format!(
            "gen_random_uuid(), gen_random_uuid(), 1, 1004, '{{}}', now() - interval '{ago}'"
        );
        let columns = "id, aggregate_id, version, type_id, payload, created_at";
        app.db
            .run(&format!("insert into events ({columns}) values ({values})"))
            .await;
    };
    appended("1 second").await;
    assert_eq!(users().await["state"], "unprocessed");
    app.db.catch_up("users").await;
    appended("1 second").await;
    assert_eq!(users().await["state"], "behind");
    appended("6 minutes").await;
    let stuck = users().await;
    assert_eq!(
        (&stuck["state"], &stuck["lag_events"]),
        (&json!("stuck"), &json!(2))
    );
    app.db.catch_up("users").await;
    assert_eq!(users().await["state"], "current");
    let lock = Held::open(&app.db, "lock table parked in access exclusive mode").await;
    let health = app.read("/health").await;
    assert_eq!(
        (health.status, &health.body["database"]),
        (200, &json!("up"))
    );
    let unknown = json!({"lag_events": null, "lag_seconds": null, "newest_event_at": null, "oldest_waiting_at": null,
                         "parked": null, "state": "unknown", "worker_seen_at": null, "fold_changed": null, "reprojection": null});
    assert_eq!(health.body["projections"]["users"], unknown);
    assert_eq!(health.body["projections"]["ledger"], unknown);
    lock.release().await;
    assert_eq!(users().await["state"], "current");
}
