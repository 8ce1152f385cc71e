//! Claims that an API gateway's authorizer has verified; claims from any other source are ignored.

use axum::Extension;
use foldlog::config;
use foldlog::http::Auth;
use foldlog::http::auth::GatewayClaims;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::issuer::{AUDIENCE, ISSUER, config, set, token, trusting};
use crate::support::app::{App, send};
use crate::support::json::created;
use crate::support::log::Log;

/// The API behind a host that adds the claims of this request context to its requests.
async fn app_with_claims(auth: Auth, context: &Value) -> App {
    let claims = GatewayClaims::from_context(context);
    App::with_layers(auth, |routes| match claims {
        Some(claims) => routes.layer(Extension(claims)),
        None => routes,
    })
    .await
}

fn gateway() -> Auth {
    Auth::new(&config(None)).unwrap()
}

/// Claims as an HTTP API passes them on: all of them are strings.
fn flat() -> Value {
    json!({"iss": ISSUER, "aud": format!("[other {AUDIENCE}]"), "exp": "1700000000", "sub": "ada",
           "scope": "users:read users:write"})
}

/// Fails when verified claims are rejected in one of the shapes in which gateways pass them on. Neither the token nor its
/// expiry is checked again: the gateway did both.
#[tokio::test]
async fn claims_verified_by_the_gateway_are_accepted() {
    let http = |claims: Value| json!({"authorizer": {"jwt": {"claims": claims, "scopes": null}}});
    let rest = |claims: Value| json!({"authorizer": {"claims": claims}});
    let changed = |name: &str, value: Value| {
        let mut claims = flat();
        claims[name] = value;
        claims
    };
    let mut cognito = changed("client_id", json!(AUDIENCE));
    cognito.as_object_mut().unwrap().remove("aud");
    for context in [
        http(flat()),
        rest(flat()),
        http(changed("aud", json!(AUDIENCE))),
        rest(changed("aud", json!(["other", AUDIENCE]))),
        rest(cognito),
        http({
            let mut claims = changed("scp", json!("[users:read users:write]"));
            claims.as_object_mut().unwrap().remove("scope");
            claims
        }),
    ] {
        let app = app_with_claims(gateway(), &context).await;
        assert_eq!(app.read("/users").await.status, 200, "{context}");
        let answer = app.append("/users", &created(Uuid::now_v7(), "ada")).await;
        assert_eq!(answer.status, 201, "{context}: {answer:?}");
        app.read("/accounts").await.problem(403, "forbidden");
        let signed = app
            .db
            .count("select count(*) from events where metadata ->> 'actor' = 'ada'");
        assert_eq!(signed.await, 1);
    }
    for (name, value) in [
        ("iss", json!("https://other.example.org/")),
        ("aud", json!("[other]")),
        ("aud", json!(format!("other {AUDIENCE}"))),
        ("aud", json!(format!("x{AUDIENCE}"))),
        ("sub", json!("")),
    ] {
        let app = app_with_claims(gateway(), &http(changed(name, value))).await;
        app.read("/users").await.problem(401, "unauthorized");
    }
    // Without JWT_ISSUER and JWT_AUDIENCE the gateway alone checks them.
    let trusting = config::AuthConfig::Jwt {
        jwks: None,
        issuer: None,
        audience: None,
    };
    let app = app_with_claims(
        Auth::new(&trusting).unwrap(),
        &http(changed("aud", json!("any"))),
    )
    .await;
    assert_eq!(app.read("/users").await.status, 200);
}

/// Fails when a client can forge a gateway's claims in a header, or when a token is accepted that cannot be verified.
#[tokio::test]
async fn a_request_without_a_gateway_cannot_forge_gateway_claims() {
    let log = Log::default();
    let guard = log.capture("foldlog=info");
    let app = app_with_claims(gateway(), &json!({"elb": {"targetGroupArn": "arn"}})).await;
    let claims = flat().to_string();
    for name in [
        "x-amzn-request-context",
        "x-amzn-oidc-data",
        "x-amzn-lambda-context",
        "requestcontext",
        "authorizer",
    ] {
        let context = json!({"authorizer": {"jwt": {"claims": flat()}}}).to_string();
        for value in [&claims, &context] {
            let request = app.request(Method::GET, "/users").header(name, value);
            send(request).await.problem(401, "unauthorized");
        }
    }
    let request = app
        .request(Method::GET, "/users")
        .bearer_auth(token("users:read"));
    let answer = send(request).await;
    assert!(answer.problem(401, "unauthorized").contains("JWT_JWKS"));
    drop(guard);
    let text = log.text();
    assert!(
        text.contains("401: this server cannot verify tokens") && text.contains("JWT_JWKS"),
        "{text}"
    );
    // With JWT_JWKS the same token is verified and accepted.
    let app = app_with_claims(trusting(&set()), &json!({})).await;
    let request = app
        .request(Method::GET, "/users")
        .bearer_auth(token("users:read"));
    assert_eq!(send(request).await.status, 200);
}
