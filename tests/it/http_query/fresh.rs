//! `GET /{domain}/{id}`: one row, conditional requests and consistency.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::app::{App, send};
use crate::support::json::{created, deleted, password_changed, renamed};

/// An app with one user at version 2, of which only version 1 is projected.
async fn app_one_version_behind() -> (App, Uuid, String) {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    app.db.catch_up("users").await;
    app.append("/users", &renamed(user, "countess")).await;
    (app, user, format!("/users/{user}"))
}

// Fails when a row has too many or too few fields, or no ETag.
#[tokio::test]
async fn a_row_has_its_public_columns_and_its_version_as_etag() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let events = json!([
        created(user, "ada"),
        password_changed(user, "correct horse")
    ]);
    app.append("/users", &events).await;
    app.db.catch_up("users").await;
    let row = json!({"id": user, "username": "ada", "email": format!("{user}@example.org"), "version": 2});
    for path in [
        format!("/users/{user}"),
        format!("/users/{}", user.simple().to_string().to_uppercase()),
    ] {
        let answer = app.read(&path).await;
        assert_eq!((answer.status, &answer.body), (200, &row));
        assert_eq!(answer.header("etag"), "\"2\"");
        assert_eq!(answer.header("cache-control"), "no-cache");
    }
}

// Fails when an ETag is compared as text, when a list or a weak ETag is not understood, or when a 304 has no ETag.
#[tokio::test]
async fn if_none_match_with_the_current_version_returns_304() {
    let (app, _, path) = app_one_version_behind().await;
    for (tag, status) in [
        ("\"1\"", 304),
        ("W/\"1\"", 304),
        ("*", 304),
        ("\"7\", W/\"1\" , \"9\"", 304),
        ("\"2\"", 200),
        ("\"11\"", 200),
        ("1", 200),
        ("garbage, \"", 200),
        ("", 200),
    ] {
        let request = app.request(Method::GET, &path).header("if-none-match", tag);
        let answer = send(request).await;
        assert_eq!(answer.status, status, "{tag}");
        assert_eq!(answer.header("etag"), "\"1\"");
        assert_eq!(answer.body == json!(""), status == 304);
    }
    let request = app.request(Method::GET, &path);
    let two = request
        .header("if-none-match", "\"5\"")
        .header("if-none-match", "\"1\"");
    assert_eq!(send(two).await.status, 304);
    let strong = app.request(Method::GET, &format!("{path}?consistency=strong"));
    let answer = send(strong.header("if-none-match", "\"1\"")).await;
    assert_eq!((answer.status, answer.header("etag")), (200, "\"2\""));
}

// Fails when a strong read returns an outdated row, or when an eventual read folds events.
#[tokio::test]
async fn consistency_strong_folds_events_that_are_not_projected_yet() {
    let (app, _, path) = app_one_version_behind().await;
    for (query, name, version) in [
        ("", "ada", 1),
        ("?consistency=eventual", "ada", 1),
        ("?consistency=strong", "countess", 2),
        ("?min_version=1", "ada", 1),
        ("?consistency=eventual&min_version=1", "ada", 1),
        ("?min_version=2", "countess", 2),
        ("?min_version=2&consistency=strong", "countess", 2),
    ] {
        let answer = app.read(&format!("{path}{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(
            (&answer.body["username"], &answer.body["version"]),
            (&json!(name), &json!(version)),
            "{query}"
        );
        assert_eq!(answer.header("etag"), format!("\"{version}\""));
    }
    app.db.catch_up("users").await;
    assert_eq!(app.read(&path).await.body["username"], "countess");
}

// Fails when a row below min_version is returned.
#[tokio::test]
async fn a_min_version_above_the_newest_returns_412() {
    let (app, _, path) = app_one_version_behind().await;
    for query in [
        "min_version=3",
        "min_version=2147483647",
        "min_version=3&consistency=strong",
    ] {
        let answer = app.read(&format!("{path}?{query}")).await;
        let detail = answer.problem(412, "version-mismatch");
        assert!(detail.contains("at version 2"), "{detail}");
        assert_eq!(answer.body["version"], 2);
    }
}

// Fails when unknown, unprojected and deleted aggregates cannot be told apart.
#[tokio::test]
async fn missing_not_projected_and_deleted_rows_have_distinct_problems() {
    let (app, user, path) = app_one_version_behind().await;
    let unknown = format!("/users/{}", Uuid::now_v7());
    let late = Uuid::now_v7();
    app.append("/users", &created(late, "bob")).await;
    for query in ["", "?consistency=strong", "?min_version=1"] {
        let never = app.read(&format!("{unknown}{query}")).await;
        never.problem(404, "not-found");
    }
    let late = format!("/users/{late}");
    let answer = app.read(&late).await;
    let detail = answer.problem(404, "not-found");
    assert!(
        detail.contains("not projected yet") && detail.contains("consistency=strong"),
        "{detail}"
    );
    assert_eq!(app.read(&format!("{late}?min_version=1")).await.status, 200);

    app.append("/users", &deleted(user)).await;
    assert_eq!(app.read(&path).await.status, 200, "not projected yet");
    app.read(&format!("{path}?consistency=strong"))
        .await
        .problem(410, "deleted");
    app.db.catch_up("users").await;
    for query in [
        "",
        "?consistency=strong",
        "?min_version=1",
        "?min_version=9",
    ] {
        app.read(&format!("{path}{query}"))
            .await
            .problem(410, "deleted");
    }
    // An aggregate of another domain is not found.
    app.read(&path.replace("users", "accounts"))
        .await
        .problem(404, "not-found");
}

// Fails when an unknown parameter is ignored.
#[tokio::test]
async fn unknown_query_parameters_return_400() {
    let (app, _, path) = app_one_version_behind().await;
    for (query, hint) in [
        ("consistency=weak", "`eventual` or `strong`"),
        ("consistency=", "`eventual` or `strong`"),
        ("consistency=strong&consistency=strong", "send it once"),
        ("min_version=0", "1 to 2147483647"),
        ("min_version=-1", "1 to 2147483647"),
        ("min_version=2147483648", "1 to 2147483647"),
        ("min_version=two", "1 to 2147483647"),
        ("limit=1", "unknown parameter `limit`"),
        ("username=ada", "unknown parameter `username`"),
    ] {
        let answer = app.read(&format!("{path}?{query}")).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains(hint), "{query}: {detail}");
    }
}
