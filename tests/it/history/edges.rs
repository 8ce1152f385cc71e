//! Parameters, unknown, foreign and deleted aggregates, bounds, and events that cannot be folded.

use foldlog::http::{self, AppState, Auth, MaxPageBytes, Operations};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::App;
use crate::support::json::{created, deleted, deposited, opened, password_changed, renamed};

/// An app with a user at version 3.
async fn app_with_user() -> (App, Uuid, String) {
    let app = App::new().await;
    let user = Uuid::now_v7();
    let events = json!([
        created(user, "ada"),
        password_changed(user, "correct horse"),
        renamed(user, "eve")
    ]);
    app.append("/users", &events).await;
    (app, user, format!("/users/{user}"))
}

// Fails when a wrong parameter of a route about the past is accepted or ignored, or its problem does not say what to send.
#[tokio::test]
async fn wrong_parameters_of_the_past_return_400_with_what_to_send() {
    let (app, _, path) = app_with_user().await;
    let newest_first = app.read(&format!("{path}/events?order=desc&limit=1")).await;
    let other_order = format!(
        "/events?after={}",
        newest_first.body["next"].as_str().unwrap()
    );
    for (query, hint) in [
        ("?version=0", "1 to 2147483647"),
        ("?version=-1", "1 to 2147483647"),
        ("?version=2147483648", "1 to 2147483647"),
        ("?version=1.0", "1 to 2147483647"),
        ("?version=", "1 to 2147483647"),
        ("?as_of=", "RFC 3339"),
        ("?as_of=yesterday", "RFC 3339"),
        ("?as_of=2026-11-26", "RFC 3339"),
        ("?as_of=2026-11-26T08:00:00", "RFC 3339"),
        ("?as_of=2026-11-26%0008:00:00Z", "RFC 3339"),
        ("?as_of=infinity", "RFC 3339"),
        ("?as_of=now()", "RFC 3339"),
        ("?version=1&as_of=2026-11-26T08:00:00Z", "not both"),
        ("?version=1&consistency=strong", "exclude consistency"),
        (
            "?as_of=2026-11-26T08:00:00Z&min_version=1",
            "exclude consistency",
        ),
        ("/events?order=newest", "`asc` (oldest first) or `desc`"),
        ("/events?limit=0", "1 to 1000"),
        ("/events?limit=1001", "1 to 1000"),
        ("/events?after=x", "unchanged `next`"),
        ("/events?after=AAAAAAAAAAAAAAAAAAAAAA", "unchanged `next`"),
        (other_order.as_str(), "same order"),
        ("/events?field=shoe_size", "its fields are: username, email"),
        (
            "/events?field=password_hash",
            "its fields are: username, email",
        ),
        ("/events?field=version", "its fields are: username, email"),
        ("/events?actor=ada&actor=bob", "send it once"),
        ("/events?type=Created", "unknown parameter `type`"),
        ("/diff", "`from=0`"),
        ("/diff?from=-1", "from 0 to 2147483647"),
        ("/diff?from=1&to=x", "from 0 to 2147483647"),
        ("/diff?from=2026-11-26T08:00", "RFC 3339"),
        ("/diff?from=1&until=2", "unknown parameter `until`"),
        ("/blame?version=0", "1 to 2147483647"),
        (
            "/blame?consistency=strong",
            "unknown parameter `consistency`",
        ),
        ("/events?field=%00", "its fields are: username, email"),
        ("/events?field=", "its fields are: username, email"),
        ("/events?limit=-1", "1 to 1000"),
        ("/events?limit=1e3", "1 to 1000"),
        (
            "/diff?from=1&to=99999999999999999999",
            "from 0 to 2147483647",
        ),
        ("/diff?from=%2B1&to=-0x1", "from 0 to 2147483647"),
        ("/blame?as_of=2026-11-26T08:00:00Z&version=1", "not both"),
        ("/explain?version=1", "unknown parameter `version`"),
    ] {
        let answer = app.read(&format!("{path}{query}")).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains(hint), "{query}: {detail}");
    }
}

// Fails when an aggregate that does not exist, or belongs to another domain, has a past; or a deleted one has no history.
#[tokio::test]
async fn unknown_foreign_and_deleted_aggregates() {
    let (app, user, path) = app_with_user().await;
    app.append("/users", &deleted(user)).await;
    let account = Uuid::now_v7();
    app.append(
        "/accounts",
        &json!([opened(account, "ada"), deposited(account, 5)]),
    )
    .await;
    let unknown = format!("/users/{}", Uuid::now_v7());
    let foreign = format!("/users/{account}");
    for path in [&unknown, &foreign] {
        for below in [
            "?version=1",
            "?as_of=2999-01-01T00:00:00Z",
            "/events",
            "/events?order=desc",
            "/events?actor=ada",
            "/diff?from=0",
            "/diff?from=1",
            "/diff?from=2026-01-01T00:00:00Z&to=2999-01-01T00:00:00Z",
            "/blame",
            "/blame?as_of=2999-01-01T00:00:00Z",
            "/explain",
        ] {
            let answer = app.read(&format!("{path}{below}")).await;
            let detail = answer.problem(404, "not-found");
            assert!(
                detail.contains("no aggregate with this id"),
                "{below}: {detail}"
            );
        }
    }
    for below in [
        "?version=4",
        "?as_of=2999-01-01T00:00:00Z",
        "/blame",
        "/blame?version=4",
    ] {
        app.read(&format!("{path}{below}"))
            .await
            .problem(410, "deleted");
    }
    for below in [
        "?version=5",
        "/diff?from=0&to=5",
        "/diff?from=5",
        "/blame?version=5",
    ] {
        let answer = app.read(&format!("{path}{below}")).await;
        let detail = answer.problem(404, "not-found");
        assert!(detail.contains("newest version is 4"), "{below}: {detail}");
        assert_eq!(answer.body["version"], 4);
    }
    for below in [
        "?as_of=2020-01-01T00:00:00Z",
        "/blame?as_of=2020-01-01T00:00:00Z",
    ] {
        let answer = app.read(&format!("{path}{below}")).await;
        assert!(answer.problem(404, "not-found").contains("did not exist"));
    }
    assert_eq!(
        app.read(&format!("{path}?version=3")).await.body["username"],
        "eve"
    );
    let history = app.read(&format!("{path}/events")).await;
    assert_eq!(
        (
            history.status,
            history.body["result"].as_array().unwrap().len()
        ),
        (200, 4)
    );
    let gone = json!({"username": ["eve", null], "email": [format!("{user}@example.org"), null]});
    assert_eq!(history.body["result"][3]["changes"], gone);
    let diff = app.read(&format!("{path}/diff?from=3")).await;
    assert_eq!((diff.status, &diff.body["changes"]), (200, &gone));
    assert_eq!(
        (&diff.body["to"]["version"], &diff.body["to"]["deleted"]),
        (&json!(4), &json!(true))
    );
}

// Fails when a moment outside of the history is not the state before or after it, or an unencoded plus sign is refused.
#[tokio::test]
async fn times_before_and_after_all_events_are_defined() {
    let (app, _, path) = app_with_user().await;
    for time in [
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59.999999999Z",
        "2999-01-01T00:00:00+02:00",
        "2999-01-01T00:00:00%2B02:00",
        "2999-01-01t00:00:00.1234567890123z",
    ] {
        let answer = app.read(&format!("{path}?as_of={time}")).await;
        assert_eq!(
            (answer.status, &answer.body["version"]),
            (200, &json!(3)),
            "{time}"
        );
    }
    for time in [
        "0000-01-01T00:00:00+23:59",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59.9999999Z",
    ] {
        let answer = app.read(&format!("{path}?as_of={time}")).await;
        answer.problem(404, "not-found");
        let diff = app.read(&format!("{path}/diff?from={time}&to=1")).await;
        assert_eq!(
            diff.body["from"],
            json!({"version": 0, "created_at": null, "deleted": false})
        );
        assert_eq!(
            diff.body["changes"]["username"],
            json!([null, "ada"]),
            "{time}"
        );
    }
    let backwards = app.read(&format!("{path}/diff?from=3&to=1")).await;
    assert_eq!(
        backwards.body["changes"],
        json!({"username": ["eve", "ada"]})
    );
    let same = app
        .read(&format!("{path}/diff?from=2999-01-01T00:00:00Z&to=3"))
        .await;
    assert_eq!(same.body["changes"], json!({}));
    // A time and a version, the later one first.
    let backwards = app
        .read(&format!("{path}/diff?from=2999-01-01T00:00:00Z&to=1"))
        .await;
    assert_eq!(
        backwards.body["changes"],
        json!({"username": ["eve", "ada"]})
    );
    let forwards = app
        .read(&format!("{path}/diff?from=1&to=2999-01-01T00:00:00Z"))
        .await;
    assert_eq!(
        forwards.body["changes"],
        json!({"username": ["ada", "eve"]})
    );
}

// Fails when a secret, plain or hashed, is shown by a route about the past.
#[tokio::test]
async fn no_route_about_the_past_shows_a_secret() {
    let (app, _, path) = app_with_user().await;
    app.db.catch_up("users").await;
    for below in [
        "?version=2",
        "/events",
        "/events?order=desc",
        "/diff?from=0",
        "/diff?from=1",
        "/blame",
        "/explain",
    ] {
        let answer = app.read(&format!("{path}{below}")).await;
        assert_eq!(answer.status, 200, "{below}");
        let text = answer.body.to_string();
        for secret in ["argon2", "correct horse", "password_hash"] {
            assert!(!text.contains(secret), "{below}: {text}");
        }
    }
    let history = app.read(&format!("{path}/events")).await;
    let event = &history.body["result"][1];
    assert_eq!(
        (&event["type"], &event["payload"], &event["changes"]),
        (&json!("PasswordChanged"), &json!({}), &json!({}))
    );
}

// Fails when an event that cannot be folded makes a history unreadable, or a state after it is made up.
#[tokio::test]
async fn an_unfoldable_event_is_marked_and_the_rest_stays_readable() {
    let (app, user, path) = app_with_user().await;
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) values
                 (gen_random_uuid(), '{user}', 4, 1002, '{{\"username\": \"hunter2\", \"username\": 5}}'),
                 (gen_random_uuid(), '{user}', 5, 1999, '{{\"token\": \"hunter2\"}}'),
                 (gen_random_uuid(), '{user}', 6, 1002, '{{\"username\": \"bob\"}}')"
        ))
        .await;
    for (order, versions) in [("asc", [1, 2, 3, 4, 5, 6]), ("desc", [6, 5, 4, 3, 2, 1])] {
        let history = app.read(&format!("{path}/events?order={order}")).await;
        let events = history.body["result"].as_array().unwrap();
        let found: Vec<&Value> = events.iter().map(|event| &event["version"]).collect();
        assert_eq!(
            found,
            versions
                .iter()
                .map(|v| json!(v))
                .collect::<Vec<_>>()
                .iter()
                .collect::<Vec<_>>()
        );
        let at = |version: i32| {
            events
                .iter()
                .find(|event| event["version"] == version)
                .unwrap()
        };
        assert_eq!(at(3)["changes"]["username"], json!(["ada", "eve"]));
        assert_eq!(
            (&at(4)["changes"], &at(4)["error"], &at(4)["payload"]),
            (&json!(null), &json!("unfoldable"), &json!(null))
        );
        assert_eq!(
            (&at(5)["type"], &at(5)["payload"]),
            (&json!(null), &json!(null))
        );
        assert_eq!(
            (&at(6)["error"], &at(6)["payload"]),
            (&json!("follows_unfoldable"), &json!({"username": "bob"}))
        );
        assert!(!history.body.to_string().contains("hunter2"));
    }
    for below in [
        "?version=3",
        "/blame?version=3",
        "/diff?from=0&to=3",
        "/explain",
    ] {
        assert_eq!(
            app.read(&format!("{path}{below}")).await.status,
            200,
            "{below}"
        );
    }
    for below in ["?version=4", "?version=6", "/blame", "/diff?from=0"] {
        app.read(&format!("{path}{below}"))
            .await
            .problem(503, "unavailable");
    }
    app.read(&format!("{path}/blame?version=7"))
        .await
        .problem(404, "not-found");
}

// Fails when a page with a filter reads an aggregate of any size in one request, or misses an event because it does not.
#[tokio::test]
async fn a_filtered_history_is_read_in_bounded_parts() {
    let (app, user, path) = app_with_user().await;
    app.db
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload, metadata)
             select gen_random_uuid(), '{user}', version, 1002, jsonb_build_object('username', 'user ' || version),
                 case version when 24000 then '{{\"actor\": \"ada\"}}' else '{{\"actor\": 5}}' end::jsonb
             from generate_series(4, 24001) version"
        ))
        .await;
    for order in ["asc", "desc"] {
        let (mut found, mut pages, mut after) = (Vec::new(), 0, String::new());
        loop {
            let page = app
                .read(&format!("{path}/events?order={order}&actor=ada{after}"))
                .await;
            found.extend(page.body["result"].as_array().unwrap().clone());
            pages += 1;
            match page.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!((found.len(), pages), (1, 3), "{order}");
        assert_eq!(
            found[0]["changes"]["username"],
            json!(["user 23999", "user 24000"])
        );
    }
    let last = app.read(&format!("{path}?version=24001")).await;
    assert_eq!(last.body["username"], "user 24001");
}

// Fails when a page of a history is larger than a gateway passes on, or a page that ends because of its size loses an event.
#[tokio::test]
async fn pages_of_a_history_are_bounded_in_bytes() {
    let (app, user, path) = app_with_user().await;
    let name = "é\"".repeat(50);
    let events: Vec<Value> = (0..97).map(|_| renamed(user, &name)).collect();
    app.append("/users", &json!(events)).await;
    let state = AppState {
        foldlog: app.db.foldlog.clone(),
        cors_origins: [].into(),
        auth: Auth::None,
        operations: Operations::None,
    };
    let bounded = http::router(state.clone(), state).layer(axum::Extension(MaxPageBytes(10_000)));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{path}/events", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, bounded).await.unwrap() });
    for order in ["asc", "desc"] {
        let (mut versions, mut after) = (Vec::new(), String::new());
        loop {
            let text = app
                .client
                .get(format!("{url}?order={order}{after}"))
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            assert!(text.len() < 11_000, "{}", text.len());
            let page: Value = serde_json::from_str(&text).unwrap();
            let events = page["result"].as_array().unwrap();
            versions.extend(
                events
                    .iter()
                    .map(|event| event["version"].as_i64().unwrap()),
            );
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        if order == "desc" {
            versions.reverse();
        }
        assert_eq!(versions, (1..=100).collect::<Vec<_>>(), "{order}");
    }
}

// Fails when conditional requests do not work for a past state, or a response may be used without revalidation.
#[tokio::test]
async fn a_past_state_has_its_version_as_etag() {
    let (app, _, path) = app_with_user().await;
    let past = format!("{path}?version=2");
    let conditional = async |name: &str, tag: &str| {
        let request = app.request(reqwest::Method::GET, &past).header(name, tag);
        crate::support::app::send(request).await
    };
    assert_eq!(conditional("if-none-match", "\"2\"").await.status, 304);
    assert_eq!(conditional("if-none-match", "\"3\"").await.status, 200);
    assert_eq!(conditional("if-match", "\"2\"").await.status, 200);
    conditional("if-match", "\"3\"")
        .await
        .problem(412, "version-mismatch");
    assert_eq!(app.read(&past).await.header("cache-control"), "no-cache");
}
