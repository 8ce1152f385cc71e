//! The OpenAPI document: it is complete, it matches what the server does, and the repository has a snapshot of it. Besides,
//! `support/conforms.rs` compares every response that any test receives with it.

mod generators;
mod names;
pub mod types;

use std::collections::BTreeSet;

use foldlog::domains;
use foldlog::http::document;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::{App, send};
use crate::support::conforms::{self, DOCUMENT, operations, resolve};
use crate::support::db::DOMAINS;

const API: &str = include_str!("../../../docs/API.md");

/// Compares a document with its snapshot; `INSTA_UPDATE=always` writes the snapshot.
fn assert_snapshot(path: &str, document: &Value) {
    let text = format!("{}\n", serde_json::to_string_pretty(document).unwrap());
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(path, &text).unwrap();
    }
    let snapshot = std::fs::read_to_string(path).unwrap_or_default();
    let differs = text.lines().zip(snapshot.lines()).find(|(a, b)| a != b);
    assert!(text == snapshot, "{path} differs: {differs:?}");
}

// Fails when the document changes without a new snapshot, which a reviewer sees.
#[test]
fn the_openapi_document_equals_its_snapshot() {
    assert_snapshot(
        "tests/snapshots/openapi.json",
        &document(&domains::ALL, true),
    );
}

// Fails when `GET /openapi.json` is missing, or serves something else than `document` returns.
#[tokio::test]
async fn get_openapi_json_serves_the_document() {
    let app = App::new().await;
    for _ in 0..2 {
        let answer = app.read("/openapi.json").await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json")
        );
        assert_eq!(answer.body, document(&DOMAINS, false));
    }
    assert_eq!(document(&DOMAINS, true)["openapi"], "3.1.0");
}

// Fails when the router has a route or a method that the document lacks, or the reverse.
#[tokio::test]
async fn the_openapi_document_has_the_routes_of_the_router() {
    let app = App::new().await;
    let document = document(&DOMAINS, true);
    let paths: BTreeSet<&String> = document["paths"].as_object().unwrap().keys().collect();
    for path in &paths {
        let real = path.replace("{id}", &Uuid::nil().to_string());
        let refused = send(app.request(Method::DELETE, &real)).await;
        refused.problem(405, "method-not-allowed");
        let allowed = refused.header("allow").split(',').map(str::trim);
        let allowed: BTreeSet<String> = allowed
            .filter(|method| *method != "HEAD")
            .map(str::to_ascii_lowercase)
            .collect();
        let methods = document["paths"][path].as_object().unwrap().keys().cloned();
        assert_eq!(allowed, methods.collect(), "{path}");
    }
    let expected = [
        "/accounts",
        "/accounts/{id}",
        "/accounts/{id}/blame",
        "/accounts/{id}/diff",
        "/accounts/{id}/events",
        "/accounts/{id}/explain",
        "/accounts/{id}/revert",
        "/events",
        "/events/activity",
        "/health",
        "/openapi.json",
        "/projections",
        "/projections/{name}",
        "/projections/{name}/differences",
        "/projections/{name}/parked",
        "/projections/{name}/skipped",
        "/users",
        "/users/{id}",
        "/users/{id}/blame",
        "/users/{id}/diff",
        "/users/{id}/events",
        "/users/{id}/explain",
        "/users/{id}/revert",
    ];
    assert!(paths.into_iter().eq(&expected));
}

// Fails when docs/API.md lacks a route of the document, or has one that does not exist.
#[test]
fn the_api_guide_has_the_routes_of_the_openapi_document() {
    let document = document(&domains::ALL, true);
    let documented: BTreeSet<String> = operations(&document)
        .map(|(path, method, _)| {
            let path = path.replacen("/users", "/{domain}", 1);
            format!("{} {path}", method.to_uppercase())
        })
        .collect();
    let words = API.split('`').skip(1).step_by(2);
    let guided: BTreeSet<String> = words
        .filter(|word| word.starts_with("GET /") || word.starts_with("POST /"))
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, guided);
}

// Fails when the document or docs/API.md lacks a kind of problem, or gives it another status.
#[test]
fn every_problem_type_is_in_the_openapi_document_and_the_api_guide() {
    let document = document(&domains::ALL, true);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let only = |schema: &Value, name: &str| schema["properties"][name]["const"].clone();
    let documented: BTreeSet<(String, u64)> = schemas
        .iter()
        .filter(|(name, _)| name.starts_with("Problem"))
        .map(|(_, schema)| {
            let urn = only(schema, "type").as_str().unwrap().to_owned();
            let name = urn.strip_prefix("urn:foldlog:problem:").unwrap().to_owned();
            (name, only(schema, "status").as_u64().unwrap())
        })
        .collect();
    let guided: BTreeSet<(String, u64)> = API
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split("` | ");
            let (name, rest) = (cells.next()?, cells.next()?);
            let status = rest.split(' ').next()?.parse().ok()?;
            Some((name.to_owned(), status))
        })
        .collect();
    assert_eq!(documented, guided);
    // Each problem is a response of some operation, except those for unknown paths and methods, and for pages of a console that reads.
    let text = document["components"]["responses"].to_string();
    for name in schemas.keys().filter(|name| name.starts_with("Problem")) {
        let outside =
            ["ProblemNoRoute", "ProblemNoMethod", "ProblemReadOnly"].contains(&name.as_str());
        let answered = text.contains(&format!("\"#/components/schemas/{name}\""));
        assert_eq!(answered, !outside, "{name}");
    }
}

// Fails when the server rejects an example of the document, or an event type of the example domains has none.
#[tokio::test]
async fn the_server_accepts_the_examples_of_the_openapi_document() {
    let app = App::new().await;
    for (domain, names) in [
        ("users", &USERS[..]),
        (
            "accounts",
            &[
                "accounts.event.Opened",
                "accounts.event.Deposited",
                "accounts.event.Closed",
            ],
        ),
    ] {
        for name in names {
            let example = example(name);
            let taken = app.append(&format!("/{domain}"), &example).await;
            assert_eq!(taken.status, 201, "{name}: {taken:?}");
            let again = app.append("/events", &example).await;
            assert_eq!(again.status, 200, "{name}: {again:?}");
        }
    }
}

const USERS: [&str; 6] = [
    "users.event.Created",
    "users.event.PasswordChanged",
    "users.event.UsernameChanged",
    "users.event.EmailChanged",
    "users.event.Deleted",
    "users.event.Restored",
];

// Fails when the server accepts an event without a required property, requires an optional one, or accepts one that is not
// documented.
#[tokio::test]
async fn the_required_properties_of_an_event_are_those_of_its_schema() {
    let app = App::new().await;
    let document = document(&DOMAINS, true);
    for name in USERS {
        let schema = &document["components"]["schemas"][name];
        let (example, payload) = (example(name), &schema["properties"]["payload"]);
        let required = |schema: &Value, field: &str| {
            let required = schema["required"].as_array();
            required.is_some_and(|all| all.contains(&json!(field)))
        };
        let send = async |event: &Value| app.append("/users", event).await;
        let mut unknown = example.clone();
        unknown["unknown"] = json!(1);
        send(&unknown).await.problem(400, "malformed");
        let mut unknown = example.clone();
        unknown["payload"]["unknown"] = json!(1);
        send(&unknown).await.problem(422, "unprocessable");
        for field in schema["properties"].as_object().unwrap().keys() {
            let mut less = example.clone();
            less.as_object_mut().unwrap().remove(field);
            let malformed = send(&less).await.status == 400;
            assert_eq!(malformed, required(schema, field), "{name}: {field}");
        }
        for field in payload["properties"].as_object().unwrap().keys() {
            let mut less = example.clone();
            less["payload"].as_object_mut().unwrap().remove(field);
            let unprocessable = send(&less).await.status == 422;
            assert_eq!(unprocessable, required(payload, field), "{name}: {field}");
        }
    }
}

// Fails when a request's secret is not marked, or is marked as `writeOnly`, which makes generators derive a second type; or when a
// response's schema or a filter has a secret.
#[test]
fn secrets_are_marked_in_requests_and_absent_from_responses() {
    let document = document(&domains::ALL, true);
    let schemas = &document["components"]["schemas"];
    let properties = |event: &str| &schemas[event]["properties"]["payload"]["properties"];
    for event in ["users.event.Created", "users.event.PasswordChanged"] {
        let password = &properties(event)["password"];
        assert_eq!(password["x-foldlog"]["secret"], true, "{event}");
    }
    assert!(!document.to_string().contains("writeOnly"));
    let password = resolve(
        &document,
        &properties("users.event.PasswordChanged")["password"],
    );
    assert_eq!(
        password,
        &json!({"type": "string", "format": "password", "x-foldlog": {"secret": true}})
    );
    let row = schemas["users.row"]["properties"].as_object().unwrap();
    let columns: Vec<&String> = row.keys().collect();
    assert_eq!(columns, ["id", "username", "email", "version"]);
    assert!(
        !document["paths"]["/users"]["get"]
            .to_string()
            .contains("password")
    );
}

// Fails when the check that every response of every test goes through accepts a response that is not documented.
#[test]
fn a_response_that_is_not_in_the_openapi_document_is_detected() {
    let check = |status: u16, headers: &[(&str, &str)], body: Value| {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        conforms::check(
            &DOCUMENT,
            "GET",
            "/users",
            status,
            &headers.collect(),
            &body,
        )
    };
    let json = ("content-type", "application/json");
    let whole = [json, ("x-request-id", "1"), ("cache-control", "no-cache")];
    let row =
        json!({"id": Uuid::nil(), "version": 1, "username": "ada", "email": "ada@example.org"});
    let page = |row: &Value| json!({"result": [row], "next": null});
    check(200, &whole, page(&row)).unwrap();
    check(201, &whole, page(&row)).unwrap_err();
    check(200, &whole[..2], page(&row)).unwrap_err();
    check(
        200,
        &[("content-type", "text/plain"), whole[1], whole[2]],
        page(&row),
    )
    .unwrap_err();
    for (name, value) in [
        ("id", json!("1")),
        ("version", json!(0)),
        ("username", json!(null)),
        ("password_hash", json!("x")),
    ] {
        let mut row = row.clone();
        row[name] = value;
        check(200, &whole, page(&row)).unwrap_err();
    }
    check(200, &whole, json!({"result": []})).unwrap_err();
    check(404, &whole, json!({})).unwrap_err();
}

/// The example of an event.
fn example(name: &str) -> Value {
    let document = document(&DOMAINS, true);
    let examples = &document["components"]["schemas"][name]["examples"];
    assert!(examples[0].is_object(), "{name} has no example");
    examples[0].clone()
}

// Fails when the document lacks a verb of operators, or describes one that the server does not accept.
#[tokio::test]
async fn every_verb_is_in_the_openapi_document() {
    let app = App::new().await;
    let document = document(&DOMAINS, true);
    let body = &document["paths"]["/projections"]["post"]["requestBody"];
    let verbs = &body["content"]["application/json"]["schema"]["oneOf"];
    let mut documented = BTreeSet::new();
    for verb in verbs.as_array().unwrap() {
        let mut payload = json!({});
        for name in verb["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            documented.insert(name.to_owned());
            payload[name] = match verb["properties"][name]["type"].as_str().unwrap() {
                "boolean" => json!(true),
                "string" => json!("users"),
                _ => json!({"domain": "users", "event_id": Uuid::nil(), "reason": "a typo"}),
            };
        }
        let answer = app.append("/projections", &payload).await;
        assert!(
            [200, 404, 409].contains(&answer.status),
            "{payload}: {answer:?}"
        );
    }
    let refused = app.append("/projections", &json!({"sing": true})).await;
    let known = refused.problem(400, "malformed").split("{\"").skip(1);
    let known = known.map(|verb| verb.split('"').next().unwrap().to_owned());
    // The payload of `skip` is an object, too.
    assert_eq!(documented, known.filter(|name| name != "domain").collect());
}

// Fails when an event or a payload is accepted as an array of its fields, which serde's derive also reads.
#[tokio::test]
async fn an_array_of_fields_is_rejected_as_event_and_payload() {
    let app = App::new().await;
    let event = example("users.event.Created");
    let fields = ["id", "aggregate_id", "type_id", "payload"].map(|name| event[name].clone());
    app.append("/users", &json!([fields]))
        .await
        .problem(400, "malformed");
    let mut flat = event;
    flat["payload"] = ["id", "username", "email", "password"]
        .map(|name| flat["payload"][name].clone())
        .into();
    app.append("/users", &flat)
        .await
        .problem(422, "unprocessable");
    assert_eq!(app.stored().await, 0);
}

// Fails when an operation's security differs from what the server requires, or a server without authentication documents
// any.
#[test]
fn the_openapi_document_has_the_scope_of_each_operation() {
    let asked = document(&domains::ALL, true);
    let needs = |path: &str, method: &str| asked["paths"][path][method]["security"].clone();
    let scope = |scope: &str| json!([{"token": [scope]}]);
    assert_eq!(needs("/users", "get"), scope("users:read"));
    assert_eq!(needs("/users/{id}", "get"), scope("users:read"));
    assert_eq!(needs("/users", "post"), scope("users:write"));
    assert_eq!(needs("/events", "post"), json!([{"token": []}]));
    assert_eq!(needs("/events", "get"), json!([{"token": []}]));
    for open in ["/health", "/openapi.json"] {
        assert_eq!(needs(open, "get"), json!(null));
    }
    for (path, method, operation) in operations(&asked) {
        let open = operation["security"].is_null();
        let refused = ["401", "403"].map(|status| operation["responses"][status].is_null());
        assert_eq!(refused, [open, open], "{method} {path}");
    }
    let scheme = &asked["components"]["securitySchemes"]["token"];
    assert_eq!(scheme["scheme"], "bearer");
    let unasked = document(&domains::ALL, false).to_string();
    assert!(!unasked.contains("\"security") && !unasked.contains("\"401\""));
}
