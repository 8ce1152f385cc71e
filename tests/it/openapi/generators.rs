//! What programs that generate code from the document need of it.

use foldlog::domains;
use foldlog::http::document;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::accounts::Accounts;
use crate::support::app::{App, send};
use crate::support::conforms::{operations, resolve};
use crate::support::db::DOMAINS;
use crate::support::json::created;

/// The largest integer up to which JavaScript has every integer.
const MAX_SAFE_INTEGER: u64 = 9_007_199_254_740_991;

fn users_document() -> Value {
    document(&domains::ALL, true)
}

fn schema<'a>(document: &'a Value, name: &str) -> &'a Value {
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "{name} does not exist");
    schema
}

fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// Calls `visit` for each object in a document, except in examples.
fn visit_objects(value: &Value, visit: &mut dyn FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            visit(value);
            let schemas = members.iter().filter(|(name, _)| *name != "examples");
            schemas.for_each(|(_, value)| visit_objects(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| visit_objects(item, visit)),
        _ => {}
    }
}

// Fails when the properties of a schema are in another order than the fields in the code, or those of a row in another order than in
// a response: generated types and the console's columns would have it, too.
#[tokio::test]
async fn properties_are_in_the_declared_order() {
    let document = users_document();
    let created_schema = schema(&document, "users.event.Created");
    assert_eq!(
        keys(&created_schema["properties"]),
        ["id", "aggregate_id", "type_id", "payload", "metadata"]
    );
    assert_eq!(
        keys(&created_schema["properties"]["payload"]["properties"]),
        ["id", "username", "email", "password"]
    );
    assert_eq!(
        keys(&schema(&document, "EventSaved")["properties"]),
        [
            "result",
            "aggregate_id",
            "version",
            "position",
            "created_at"
        ]
    );
    let app = App::new().await;
    let id = Uuid::now_v7();
    app.append("/users", &created(id, "ada")).await;
    let row = app.read(&format!("/users/{id}?consistency=strong")).await;
    assert_eq!(row.status, 200, "{row:?}");
    let documented = schema(&document, "users.row");
    assert_eq!(keys(&documented["properties"]), keys(&row.body));
    assert_eq!(documented["required"], json!(keys(&row.body)));
}

// Fails when one value is written as an enumeration, of which a generator makes a constant.
#[test]
fn a_single_value_is_a_constant_and_not_an_enumeration() {
    let document = users_document();
    visit_objects(&document, &mut |object| {
        let values = object["enum"].as_array();
        assert!(values.is_none_or(|values| values.len() > 1), "{object}");
    });
    let created = schema(&document, "users.event.Created");
    let type_id = json!({"type": "integer", "const": 1000});
    assert_eq!(created["properties"]["type_id"], type_id);
    let problem = schema(&document, "ProblemDeleted");
    assert_eq!(
        problem["properties"]["status"],
        json!({"type": "integer", "const": 410})
    );
}

// Fails when doc comments of events, their fields, rows or columns are lost.
#[test]
fn doc_comments_are_descriptions() {
    let document = users_document();
    let created = schema(&document, "users.event.Created");
    assert_eq!(created["description"], "The first event of a user.");
    let payload = &created["properties"]["payload"]["properties"];
    assert_eq!(payload["username"]["description"], "1 to 100 characters.");
    // Also where the field is an option of a type with a schema of its own.
    assert_eq!(
        payload["password"]["description"],
        "1 to 1000 characters; only their hash is stored."
    );
    let row = schema(&document, "users.row");
    assert_eq!(row["description"], "A user.");
    let columns = &row["properties"];
    assert_eq!(
        columns["username"]["description"],
        "The name that others see."
    );
}

// Fails when a program has to guess from a schema's name which event, domain or column it describes.
#[test]
fn the_extension_says_what_the_schemas_of_a_domain_are() {
    let document = document(&DOMAINS, true);
    let extension = |name: &str| schema(&document, name)["x-foldlog"].clone();
    assert_eq!(
        extension("users.event.Created"),
        json!({"domain": "users", "event": "Created", "kind": "event"})
    );
    assert_eq!(
        extension("users.row"),
        json!({"domain": "users", "kind": "row", "hidden": ["password_hash"], "title": "username"})
    );
    for (name, kind) in [
        ("event", "events"),
        ("page", "page"),
        ("rule", "rule"),
        ("broken_rule", "problem"),
        ("dry_run", "dry_run"),
    ] {
        let expected = json!({"domain": "accounts", "kind": kind});
        assert_eq!(extension(&format!("accounts.{name}")), expected);
    }
    let events = schema(&document, "users.event")["oneOf"]
        .as_array()
        .unwrap();
    let events = events
        .iter()
        .map(|event| &resolve(&document, event)["x-foldlog"]["kind"]);
    assert!(events.into_iter().all(|kind| kind == "event"));
}

// Fails when an operation repeats a problem, a header or a precondition: every domain makes the document longer by all of them.
#[test]
fn operations_refer_to_problems_headers_and_preconditions() {
    let document = document(&DOMAINS, true);
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            if status.as_str() >= "400" {
                assert_eq!(keys(response), ["$ref"], "{place} {status}");
            }
            let headers = &resolve(&document, response)["headers"];
            assert_eq!(keys(&headers["X-Request-Id"]), ["$ref"], "{place} {status}");
        }
        if path == "/openapi.json" {
            continue;
        }
        for parameter in operation["parameters"].as_array().unwrap() {
            let name = resolve(&document, parameter)["name"].as_str().unwrap();
            if ["If-Match", "If-None-Match", "id"].contains(&name) {
                assert_eq!(keys(parameter), ["$ref"], "{place} {name}");
            }
        }
    }
}

// Fails when an operation has the parameter X-Request-Id, which every generated function would take; or when a client is not told
// that it may send it, and which body has one type of answer.
#[test]
fn the_description_says_what_no_operation_has_to() {
    let document = users_document();
    for (path, method, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().unwrap() {
            let name = &resolve(&document, parameter)["name"];
            assert_ne!(name, "X-Request-Id", "{method} {path}");
        }
    }
    let description = document["info"]["description"].as_str().unwrap();
    assert!(description.contains("X-Request-Id"));
    assert!(description.contains("a typed client sends arrays only"));
}

// Fails when the answer to an array of one event is another one than to an array: generated clients send arrays, so that their type
// does not depend on what they sent.
#[tokio::test]
async fn an_array_of_one_event_is_answered_as_an_array() {
    let app = App::new().await;
    let event = created(Uuid::now_v7(), "ada");
    for status in [201, 200] {
        let answer = app.append("/users", &json!([event])).await;
        assert_eq!(
            (answer.status, &answer.body["result"]),
            (status, &json!("Events saved"))
        );
    }
}

// Fails when the document names no server, or a tag lacks its description.
#[test]
fn the_document_has_a_server_and_describes_the_tags_of_all_operations() {
    let document = document(&DOMAINS, true);
    assert_eq!(document["servers"], json!([{"url": "/"}]));
    let tags = document["tags"].as_array().unwrap();
    let names: Vec<&Value> = tags.iter().map(|tag| &tag["name"]).collect();
    assert_eq!(
        names,
        ["users", "accounts", "events", "projections", "system"]
    );
    assert!(tags.iter().all(|tag| {
        tag["description"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    }));
    for (path, method, operation) in operations(&document) {
        let tag = &operation["tags"][0];
        assert!(names.contains(&tag), "{method} {path}: {tag}");
    }
    for path in ["/health", "/openapi.json"] {
        assert_eq!(document["paths"][path]["get"]["tags"], json!(["system"]));
    }
}

// Fails when a program cannot tell from a hash whether the document has changed, or when the hash depends on the server.
#[test]
fn the_hash_of_the_document_depends_on_the_domains_only() {
    let hash = |document: &Value| document["x-foldlog"]["hash"].clone();
    let secured = document(&domains![Accounts], true);
    let open = document(&domains![Accounts], false);
    assert_ne!(secured, open);
    assert_eq!(hash(&secured), hash(&open));
    assert!(hash(&open).as_str().is_some_and(|hash| hash.len() == 32));
    assert_ne!(hash(&open), hash(&users_document()));
    assert_eq!(hash(&users_document()), hash(&users_document()));
}

// Fails when a client has to read the whole document to see whether it has changed.
#[tokio::test]
async fn the_document_has_an_etag_that_begins_with_its_hash() {
    let app = App::new().await;
    let document = app.read("/openapi.json").await;
    let tag = document.header("etag").to_owned();
    let hash = document.body["x-foldlog"]["hash"].as_str().unwrap();
    // This server has no authentication, so its document is another one than the one that is hashed.
    assert!(tag.starts_with(&format!("\"{hash}-")), "{tag}");
    assert_eq!(document.header("cache-control"), "no-cache");
    let head = send(app.request(Method::HEAD, "/openapi.json")).await;
    assert_eq!((head.status, head.header("etag")), (200, &*tag));
    let conditional = async |tags: &str| {
        let request = app.request(Method::GET, "/openapi.json");
        send(request.header("if-none-match", tags)).await.status
    };
    assert_eq!(conditional(&tag).await, 304);
    assert_eq!(conditional(&format!("\"x\", W/{tag}")).await, 304);
    assert_eq!(conditional(&format!("\"{hash}\"")).await, 200);
}

// Fails when a schema of foldlog allows integers that JavaScript rounds.
#[test]
fn integers_of_shared_schemas_are_exact_in_javascript() {
    let document = users_document();
    assert_eq!(schema(&document, "Position")["maximum"], MAX_SAFE_INTEGER);
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        visit_objects(schema, &mut |object| {
            let maximum = object["maximum"].as_u64().unwrap_or_default();
            assert!(maximum <= MAX_SAFE_INTEGER, "{name}: {object}");
        });
    }
}

// Fails when code that knows no projection by name cannot read `GET /health`, or does not know that something is wrong.
#[test]
fn health_is_described_for_any_projection() {
    let document = users_document();
    let health = &schema(&document, "Health")["properties"];
    assert_eq!(health["status"]["enum"], json!(["up", "degraded"]));
    assert_eq!(
        health["projections"]["additionalProperties"],
        json!({"$ref": "#/components/schemas/ProjectionStatus"})
    );
    assert!(health["projections"]["properties"].is_null());
}

// Fails when examples have one text for everything.
#[test]
fn examples_have_texts_that_fit_the_names_of_the_fields() {
    let document = users_document();
    let example = &schema(&document, "users.event.Created")["examples"][0]["payload"];
    assert_eq!(example["username"], "ada");
    assert_eq!(example["email"], "ada@example.org");
    assert_eq!(example["password"], "correct horse battery staple");
}
