//! Expected versions: `If-Match` and `If-None-Match: *`.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::app::{App, send};
use crate::support::json::{created, opened, password_changed, renamed};

// Fails when `If-Match` is not compared, or when the problem lacks the current version.
#[tokio::test]
async fn an_if_match_mismatch_returns_412_with_the_current_version() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    let matches = |version| ("if-match", version);
    let second = app
        .append_with("/users", matches("\"1\""), &renamed(user, "b"))
        .await;
    assert_eq!((second.status, second.header("etag")), (201, "\"2\""));
    for (path, header, event) in [
        ("/users", matches("\"1\""), renamed(user, "c")),
        ("/events", matches("\"3\""), renamed(user, "c")),
        ("/users", matches("\"1\""), password_changed(user, "secret")),
        ("/users", matches("\"2147483647\""), renamed(user, "c")),
        ("/users", ("if-none-match", "*"), created(user, "c")),
        ("/users", ("if-none-match", "*"), renamed(user, "c")),
    ] {
        let answer = app.append_with(path, header, &event).await;
        let detail = answer.problem(412, "version-mismatch");
        assert!(detail.contains("version 2"), "{detail}");
        assert_eq!(answer.body["version"], 2);
        assert_eq!(answer.body["aggregate_id"], json!(user));
    }
    let unborn = Uuid::now_v7();
    let answer = app
        .append_with("/users", matches("\"1\""), &created(unborn, "bob"))
        .await;
    answer.problem(412, "version-mismatch");
    assert_eq!(answer.body["version"], 0);
    assert_eq!(app.stored().await, 2);
}

// Fails when `If-None-Match: *` is checked for one aggregate of an array only.
#[tokio::test]
async fn if_none_match_star_applies_to_every_aggregate_of_the_request() {
    let app = App::new().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    app.append("/users", &created(ada, "ada")).await;
    let none = ("if-none-match", "*");
    let both = json!([created(bob, "bob"), created(ada, "ada")]);
    let answer = app.append_with("/users", none, &both).await;
    answer.problem(412, "version-mismatch");
    assert_eq!(answer.body["aggregate_id"], json!(ada));
    let new = json!([
        created(bob, "bob"),
        renamed(bob, "robert"),
        opened(Uuid::now_v7(), "bob")
    ]);
    assert_eq!(app.append_with("/events", none, &new).await.status, 201);
    assert_eq!(app.stored().await, 4);
}

// Fails when one expected version is accepted for several aggregates.
#[tokio::test]
async fn if_match_with_several_aggregates_returns_400() {
    let app = App::new().await;
    let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
    app.append("/users", &json!([created(ada, "ada"), created(bob, "bob")]))
        .await;
    let header = ("if-match", "\"1\"");
    let both = json!([renamed(ada, "a"), renamed(bob, "b")]);
    let answer = app.append_with("/users", header, &both).await;
    let detail = answer.problem(400, "malformed");
    assert!(detail.contains("belong to one aggregate"), "{detail}");
    let one = json!([renamed(ada, "a"), renamed(ada, "b")]);
    assert_eq!(app.append_with("/users", header, &one).await.status, 201);
    assert_eq!(app.stored().await, 4);
}

// Fails when a malformed version in a header is ignored: the client would believe that it was compared.
#[tokio::test]
async fn a_malformed_if_match_or_if_none_match_header_returns_400() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    for tag in [
        "1",
        "\"0\"",
        "\"01\"",
        "\"-1\"",
        "\"+1\"",
        "\"2147483648\"",
        "\"99999999999999999999\"",
        "\"1.0\"",
        "\"\"",
        "\"",
        "",
        "W/\"1\"",
        "\"1\", \"2\"",
        "*",
        "\"abc\"",
        "\"1'; drop table events; --\"",
        "'1'",
    ] {
        let answer = app
            .append_with("/users", ("if-match", tag), &renamed(user, "b"))
            .await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains("like \"3\""), "{tag}: {detail}");
    }
    for tag in ["\"1\"", "", "W/*", "\"*\"", "*, *"] {
        let answer = app
            .append_with("/users", ("if-none-match", tag), &renamed(user, "b"))
            .await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains("must be *"), "{tag}: {detail}");
    }
    let request = || {
        app.request(Method::POST, "/users")
            .json(&renamed(user, "b"))
    };
    let both = request()
        .header("if-match", "\"1\"")
        .header("if-none-match", "*");
    let twice = request()
        .header("if-match", "\"1\"")
        .header("if-match", "\"1\"");
    let bytes = request().header("if-match", &b"\"\xff\""[..]);
    for request in [both, twice, bytes] {
        send(request).await.problem(400, "malformed");
    }
    assert_eq!(app.stored().await, 1);
}
