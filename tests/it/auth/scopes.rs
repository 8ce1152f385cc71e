//! Which scopes dry runs, reverts and the routes of operators require.

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::issuer::token;
use super::{app, append, read};
use crate::support::app::{App, send};
use crate::support::json::{created, deposited, opened, renamed};

const ALL: [&str; 5] = [
    "users:read",
    "users:write",
    "accounts:read",
    "accounts:write",
    "operate",
];

/// Asserts that a POST needs each of these scopes, and no other one.
async fn assert_needs(app: &App, path: &str, body: &Value, needed: &[&str], status: StatusCode) {
    for missing in needed {
        let others: Vec<&str> = ALL.into_iter().filter(|scope| scope != missing).collect();
        let answer = append(app, path, &token(&others.join(" ")), body).await;
        let detail = answer.problem(403, "forbidden");
        assert!(detail.ends_with(missing), "{path}: {detail}");
        let text = answer.body.to_string();
        assert!(!text.contains("planted"), "{path}: {text}");
    }
    let answer = append(app, path, &token(&needed.join(" ")), body).await;
    assert_eq!(answer.status, status.as_u16(), "{path}: {answer:?}");
}

/// Fails when a caller who may only write reads rows by a dry run.
#[tokio::test]
async fn a_dry_run_requires_the_read_scope_of_every_domain_in_the_body() {
    let app = app().await;
    let (user, account) = (Uuid::now_v7(), Uuid::now_v7());
    let all = token(&ALL.join(" "));
    append(&app, "/users", &all, &created(user, "planted")).await;
    append(&app, "/accounts", &all, &opened(account, "planted")).await;
    let (one, dry) = (renamed(user, "eve"), StatusCode::OK);
    let users = ["users:write", "users:read"];
    for path in ["/users?dry_run=true", "/events?dry_run=true"] {
        assert_needs(&app, path, &one, &users, dry).await;
    }
    let both = json!([one, deposited(account, 1)]);
    let scopes = [&users[..], &["accounts:write", "accounts:read"]].concat();
    assert_needs(&app, "/events?dry_run=true", &both, &scopes, dry).await;
    assert_eq!(app.stored().await, 2);
    // A dry run that is none needs no more than the append.
    let created = StatusCode::CREATED;
    assert_needs(&app, "/users?dry_run=false", &one, &users[..1], created).await;
}

/// Fails when a caller who may only write reads earlier values by a revert.
#[tokio::test]
async fn a_revert_requires_the_read_and_the_write_scope() {
    let app = app().await;
    let user = Uuid::now_v7();
    let all = token(&ALL.join(" "));
    append(&app, "/users", &all, &created(user, "planted")).await;
    append(&app, "/users", &all, &renamed(user, "eve")).await;
    let body = json!({"id": Uuid::now_v7(), "to_version": 1});
    let both = ["users:read", "users:write"];
    for (query, status) in [("?dry_run=true", 200), ("", 201)] {
        let (path, status) = (
            format!("/users/{user}/revert{query}"),
            StatusCode::from_u16(status).unwrap(),
        );
        assert_needs(&app, &path, &body, &both, status).await;
    }
}

/// Fails when a route of operators is open to callers without the scope `operate`.
#[tokio::test]
async fn every_route_of_operators_requires_the_scope_operate() {
    let app = app().await;
    let routes = [
        (Method::GET, "/projections"),
        (Method::POST, "/projections"),
        (Method::GET, "/projections/users"),
        (Method::GET, "/projections/users/parked"),
        (Method::GET, "/projections/users/differences"),
        // A projection that does not exist must not be told apart without the scope.
        (Method::GET, "/projections/nothing/parked"),
    ];
    let others = token(&ALL[..4].join(" "));
    for (method, path) in &routes {
        let request = || app.request(method.clone(), path).json(&json!({}));
        send(request()).await.problem(401, "unauthorized");
        let answer = send(request().bearer_auth(&others)).await;
        let detail = answer.problem(403, "forbidden");
        assert!(detail.ends_with("operate"), "{detail}");
        let challenge = "Bearer error=\"insufficient_scope\", scope=\"operate\"";
        assert_eq!(answer.header("www-authenticate"), challenge);
        let answer = send(request().bearer_auth(token("operate"))).await;
        let is_known = !path.contains("nothing");
        assert_eq!(
            answer.status,
            if is_known { 200 } else { 404 },
            "{answer:?}"
        );
    }
    read(&app, "/users", &token("operate"))
        .await
        .problem(403, "forbidden");
}

/// Fails when a skip is recorded under a name that the operator chose, or under none.
#[tokio::test]
async fn the_actor_of_a_skip_is_the_subject_of_the_token() {
    let app = app().await;
    let account = Uuid::now_v7();
    let all = token(&ALL.join(" "));
    append(&app, "/accounts", &all, &opened(account, "ada")).await;
    let poison = deposited(account, 13);
    append(&app, "/accounts", &all, &poison).await;
    app.db.catch_up("ledger").await;
    let skip = |actor: Option<Value>| {
        let mut skip = json!({"domain": "ledger", "event_id": poison["id"], "reason": "a mistake"});
        if let Some(actor) = actor {
            skip["actor"] = actor;
        }
        json!({ "skip": skip })
    };
    for forged in [
        json!("eve"),
        json!("Ada"),
        json!(""),
        json!(null),
        json!(["ada"]),
    ] {
        let answer = append(&app, "/projections", &all, &skip(Some(forged))).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains("skip.actor"), "{detail}");
    }
    let skipped = "select count(*) from skipped where actor = 'ada'";
    assert_eq!(app.db.count("select count(*) from skipped").await, 0);
    let answer = append(&app, "/projections", &all, &skip(None)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(app.db.count(skipped).await, 1);
}
