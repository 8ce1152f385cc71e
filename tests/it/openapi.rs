//! The document of the API: that it is whole, that it is true, and that it stands in the repository as it is served.
//! What every other test hears is compared with it, too; see `support/conforms.rs`.

use std::collections::BTreeSet;
use std::path::Path;

use foldlog::domains;
use foldlog::http::document;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::{App, send};
use crate::support::conforms::{self, operations};
use crate::support::db::DOMAINS;

const SNAPSHOT: &str = "tests/snapshots/openapi.json";
const API: &str = include_str!("../../docs/API.md");

// Fails when anything of the document changes that nobody has looked at: `INSTA_UPDATE=always` writes it anew.
#[test]
fn the_document_is_the_one_in_the_repository() {
    let document = document(&domains::ALL, true);
    let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(SNAPSHOT, &text).unwrap();
    }
    let known = std::fs::read_to_string(Path::new(SNAPSHOT)).unwrap_or_default();
    let differs = text.lines().zip(known.lines()).find(|(a, b)| a != b);
    assert!(text == known, "{SNAPSHOT} is another: {differs:?}");
}

// Fails when the route is missing, serves another document, or makes it anew in another way.
#[tokio::test]
async fn the_document_is_served() {
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

// Fails when the router has a route or a method that the document has not, or the reverse.
#[tokio::test]
async fn the_documents_routes_are_the_routers() {
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
        "/events",
        "/health",
        "/openapi.json",
        "/users",
        "/users/{id}",
    ];
    assert!(paths.into_iter().eq(&expected));
}

// Fails when a route of the document is not in the guide, or one of the guide's is not there.
#[test]
fn the_guide_names_the_same_routes() {
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

// Fails when a kind of problem is missing in the document or in the guide, or has another status there.
#[test]
fn every_problem_is_in_the_document_and_in_the_guide() {
    let document = document(&domains::ALL, true);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let only = |schema: &Value, name: &str| schema["properties"][name]["enum"][0].clone();
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
    // Each is an answer of some operation, but for those that a request for another path or method gets.
    let text = document["paths"].to_string();
    for name in schemas.keys().filter(|name| name.starts_with("Problem")) {
        let outside = ["ProblemNoRoute", "ProblemNoMethod"].contains(&name.as_str());
        let answered = text.contains(&format!("\"#/components/schemas/{name}\""));
        assert_eq!(answered, !outside, "{name}");
    }
}

// Fails when an example is refused, or an event type of a real domain has none.
#[tokio::test]
async fn the_examples_are_taken_as_they_stand() {
    let app = App::new().await;
    for (domain, names) in [
        ("users", &USERS[..]),
        (
            "accounts",
            &["accounts.Opened", "accounts.Deposited", "accounts.Closed"],
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

const USERS: [&str; 5] = [
    "users.Created",
    "users.PasswordChanged",
    "users.UsernameChanged",
    "users.EmailChanged",
    "users.Deleted",
];

// Fails when the server does without a field that is documented as required, asks for one that is not, or takes one that
// is not documented.
#[tokio::test]
async fn required_fields_are_and_others_are_not() {
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

// Fails when a secret is documented as something to read, or not marked as something that is only written.
#[test]
fn secrets_are_written_and_never_read() {
    let document = document(&domains::ALL, true);
    let schemas = &document["components"]["schemas"];
    let password =
        &schemas["users.PasswordChanged"]["properties"]["payload"]["properties"]["password"];
    assert_eq!(password, &json!({"type": "string", "writeOnly": true}));
    let row = schemas["users.row"]["properties"].as_object().unwrap();
    let columns: Vec<&String> = row.keys().collect();
    assert_eq!(columns, ["email", "id", "username", "version"]);
    assert!(
        !document["paths"]["/users"]["get"]
            .to_string()
            .contains("password")
    );
}

// Fails when the check that all tests' answers go through is blind.
#[test]
fn an_answer_that_is_not_documented_is_noticed() {
    let check = |status: u16, headers: &[(&str, &str)], body: Value| {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        conforms::check("GET", "/users", status, &headers.collect(), &body)
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

// Fails when an event or a payload is taken as an array of its fields, which serde's derive reads as well.
#[tokio::test]
async fn an_object_is_not_taken_as_an_array() {
    let app = App::new().await;
    let event = example("users.Created");
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

// Fails when an operation asks for another scope than the door does, or a server that asks for none says that it does.
#[test]
fn the_document_says_what_a_caller_needs() {
    let asked = document(&domains::ALL, true);
    let needs = |path: &str, method: &str| asked["paths"][path][method]["security"].clone();
    let scope = |scope: &str| json!([{"token": [scope]}]);
    assert_eq!(needs("/users", "get"), scope("users:read"));
    assert_eq!(needs("/users/{id}", "get"), scope("users:read"));
    assert_eq!(needs("/users", "post"), scope("users:write"));
    assert_eq!(needs("/events", "post"), json!([{"token": []}]));
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
