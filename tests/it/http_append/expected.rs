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

// Fails when a condition of `If-Match` (RFC 9110, 13.1.1) is not evaluated: `*` is any version, a list matches any of its versions, a
// weak tag and a tag that is not a version never match.
#[tokio::test]
async fn if_match_accepts_a_star_and_lists_and_no_weak_tags() {
    let app = App::new().await;
    let (user, unborn) = (Uuid::now_v7(), Uuid::now_v7());
    let mut version = 1;
    app.append("/users", &created(user, "ada")).await;
    let long = (1..=16).map(|n| format!("\"{n}\"")).collect::<Vec<_>>();
    for (tags, matches) in [
        ("*", true),
        ("\"7\", \"{}\"", true),
        ("\"{}\",\"7\"", true),
        ("\"7\" ,, W/\"1\", \"{}\" ,", true),
        ("\"{}\", \"{}\"", true),
        (&*long.join(","), true),
        ("W/\"{}\"", false),
        ("W/\"{}\", \"77\"", false),
        ("\"77\", \"78\"", false),
        ("\"{}.0\"", false),
        ("\"0{}\"", false),
        ("\"+{}\"", false),
        ("\"\"", false),
        ("\"*\"", false),
        ("\"abc\"", false),
        ("\"0\"", false),
        ("\"2147483648\"", false),
        ("\"99999999999999999999\"", false),
        ("\"a,b\", \"c\"", false),
    ] {
        let tags = tags.replace("{}", &version.to_string());
        let event = renamed(user, &format!("user {version}"));
        let answer = app.append_with("/users", ("if-match", &tags), &event).await;
        let read = app.request(Method::GET, &format!("/users/{user}?consistency=strong"));
        if matches {
            version += 1;
            assert_eq!(
                (answer.status, &answer.body["version"]),
                (201, &json!(version)),
                "{tags}"
            );
            // An idempotent replay is recognized before the version is compared.
            let again = app.append_with("/users", ("if-match", &tags), &event).await;
            assert_eq!(
                (again.status, &again.body["version"]),
                (200, &json!(version)),
                "{tags}"
            );
        } else {
            answer.problem(412, "version-mismatch");
            assert_eq!(answer.body["version"], version, "{tags}");
            let answer = send(read.header("if-match", &tags)).await;
            answer.problem(412, "version-mismatch");
            assert_eq!(answer.body["version"], version, "{tags}");
        }
        let new = app
            .append_with("/users", ("if-match", &tags), &created(unborn, "bob"))
            .await;
        new.problem(412, "version-mismatch");
        assert_eq!(new.body["version"], 0, "{tags}");
    }
    assert_eq!(app.stored().await, version);
    let two_lines = app
        .request(Method::POST, "/users")
        .json(&renamed(user, "eve"));
    let two_lines = two_lines
        .header("if-match", "\"77\"")
        .header("if-match", format!("\"{version}\""));
    assert_eq!(send(two_lines).await.status, 201);
    let star = json!([renamed(user, "a"), created(unborn, "b")]);
    app.append_with("/users", ("if-match", "*"), &star)
        .await
        .problem(412, "version-mismatch");
}

// Fails when `If-Match` is ignored on a read, or when it hides that there is no row.
#[tokio::test]
async fn if_match_on_a_read_returns_412_unless_it_names_the_version() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    app.db.catch_up("users").await;
    let read = async |id: Uuid, headers: &[(&str, &str)]| {
        let mut request = app.request(Method::GET, &format!("/users/{id}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request).await
    };
    for (headers, status) in [
        (&[("if-match", "\"1\"")][..], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", "\"3\", \"1\"")], 200),
        (&[("if-match", "\"2\"")], 412),
        (&[("if-match", "W/\"1\"")], 412),
        (&[("if-match", "1")], 400),
        (&[("if-match", "\"1\""), ("if-none-match", "W/\"1\"")], 304),
        (&[("if-match", "\"2\""), ("if-none-match", "\"1\"")], 412),
    ] {
        assert_eq!(read(user, headers).await.status, status, "{headers:?}");
    }
    let unknown = read(Uuid::now_v7(), &[("if-match", "\"1\"")]).await;
    unknown.problem(404, "not-found");
}

// Fails when a malformed header is ignored: the client would believe that a version was compared.
#[tokio::test]
async fn a_malformed_if_match_or_if_none_match_header_returns_400() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    app.append("/users", &created(user, "ada")).await;
    let long = (1..=17)
        .map(|n| format!("\"{n}\""))
        .collect::<Vec<_>>()
        .join(",");
    for tag in [
        "1",
        "\"",
        "",
        ",",
        "\"1",
        "w/\"1\"",
        "*, *",
        "*, \"1\"",
        "\"1\" \"2\"",
        "\"1'; drop table events; --\"",
        "'1'",
        &long,
    ] {
        let answer = app
            .append_with("/users", ("if-match", tag), &renamed(user, "b"))
            .await;
        let detail = answer.problem(400, "malformed");
        assert!(
            detail.to_lowercase().contains("if-match must"),
            "{tag}: {detail}"
        );
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
    send(both).await.problem(400, "malformed");
    // An octet above 0x7F may occur in a tag, which then is no version.
    let bytes = request().header("if-match", &b"\"\xff\""[..]);
    send(bytes).await.problem(412, "version-mismatch");
    assert_eq!(app.stored().await, 1);
}
