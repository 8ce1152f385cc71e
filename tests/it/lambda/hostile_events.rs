//! Events of gateways whose client sent something odd: no event may fail an invocation.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::function::{COMMAND, Function, QUERY};
use super::gateways::{assert_all_alike, served};
use super::wire::{GATEWAYS, Gateway, Request};
use crate::support::TestDb;
use crate::support::app::ORIGIN;
use crate::support::json::created;
use foldlog::http;
use uuid::Uuid;

/// Texts that have broken a parser of hosts, paths, queries, headers or bodies.
const ODD: [&str; 24] = [
    "",
    " ",
    "1.2.3.4.5",
    "0x7f.1.2.3.4",
    "[::1",
    "]",
    "host:port",
    "user@host:99999",
    "a b",
    "a/b?c#d",
    "%",
    "%zz",
    "%00",
    "%ff%fe",
    "..",
    "/../..//",
    "ä\u{202e}",
    "\u{fffd}",
    "\0",
    "\r\nx: y",
    "{\"a\":[\\",
    "====",
    "not base64!",
    "xn--\u{7f}",
];

/// Fails when the host of a request, which a client chooses freely, decides whether the request is answered.
#[tokio::test]
async fn any_host_is_answered_as_on_a_socket() {
    let db = TestDb::new().await;
    let address = served(&db, http::query_router).await;
    let query = Function::start(&db.options, QUERY, &[("CORS_ORIGINS", ORIGIN)]).await;
    let printable = |text: &&&str| text.bytes().all(|byte| byte >= b' ' && byte != 0x7f);
    for host in ODD.iter().filter(printable) {
        let mut request = Request::new("GET", "/users");
        request.headers[0].1 = (*host).to_owned();
        let heard = assert_all_alike(&request, &address, &query).await;
        assert_eq!(heard.status, 200, "{host}");
    }
    query.end().await;
}

/// An odd value for any field of an event.
fn odd_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        prop::sample::select(&ODD).prop_map(ToOwned::to_owned),
        ".{0,20}"
    ];
    let leaf = prop_oneof![
        8 => text.prop_map(Value::String),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any::<i64>().prop_map(|number| json!(number)),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::hash_map(".{0,8}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The fields that a client has an influence on, in any of the shapes.
const FIELDS: [&str; 18] = [
    "/path",
    "/rawPath",
    "/rawQueryString",
    "/httpMethod",
    "/requestContext/http/method",
    "/requestContext/http/path",
    "/requestContext/path",
    "/requestContext/domainName",
    "/requestContext/stage",
    "/headers/host",
    "/headers/x-request-id",
    "/multiValueHeaders/host",
    "/queryStringParameters",
    "/multiValueQueryStringParameters",
    "/headers",
    "/multiValueHeaders",
    "/body",
    "/isBase64Encoded",
];

/// Fails when an event with odd values makes the function panic, fails the invocation, or is answered with a server error.
#[tokio::test]
async fn no_event_of_a_gateway_fails_an_invocation() {
    let db = TestDb::new().await;
    let query = Function::start(&db.options, QUERY, &[]).await;
    let command = Function::start(&db.options, COMMAND, &[]).await;
    let event = created(Uuid::now_v7(), "ada").to_string();
    let post = Request::new("POST", "/users").with_header("content-type", "application/json");
    let requests = [
        (&query, Request::new("GET", "/users").asking("limit=1")),
        (&command, post.sending(event)),
    ];
    let mut runner = TestRunner::deterministic();
    let fields = prop::collection::vec((prop::sample::select(&FIELDS), odd_value()), 1..4);
    for round in 0..60 {
        for gateway in GATEWAYS {
            let (function, request) = &requests[round % 2];
            let mut event = request.event(gateway);
            event["cookies"] = odd_value().new_tree(&mut runner).unwrap().current();
            for (pointer, value) in fields.new_tree(&mut runner).unwrap().current() {
                if let Some(field) = event.pointer_mut(pointer) {
                    *field = value;
                }
            }
            // The gateway itself says which shape it is.
            let is_version_1 = matches!(gateway, Gateway::RestApi);
            if is_version_1 && !event["httpMethod"].is_string() {
                event["httpMethod"] = json!("?!");
            }
            let answer = function.invoke(&event).await;
            let status = answer["statusCode"].as_u64().unwrap();
            assert!((200..500).contains(&status), "{event} → {answer}");
            assert!(answer.to_string().contains("x-request-id"), "{answer}");
        }
    }
    query.end().await;
    command.end().await;
}

/// Fails when a route is not served below the base path of a custom domain, when a path that only looks like one loses its
/// beginning, or when the OpenAPI document names another server.
#[tokio::test]
async fn every_route_is_served_below_the_base_path_of_a_custom_domain() {
    let db = TestDb::new().await;
    let query = Function::start(&db.options, QUERY, &[("BASE_PATH", "/v1")]).await;
    for gateway in GATEWAYS {
        for (path, status) in [
            ("/v1/users", 200),
            ("/users", 200),
            ("/v1/health", 200),
            ("/v1", 404),
            ("/v10/users", 404),
            ("/v1/v1/users", 404),
        ] {
            let answer = query
                .invoke(&Request::new("GET", path).event(gateway))
                .await;
            assert_eq!(answer["statusCode"], status, "{gateway:?} {path}: {answer}");
        }
        let request = Request::new("GET", "/v1/openapi.json");
        let answer = query.invoke(&request.event(gateway)).await;
        let document: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        let stage = match gateway {
            Gateway::RestApi | Gateway::HttpApiWithStage => "/prod",
            _ => "",
        };
        assert_eq!(document["servers"], json!([{"url": format!("{stage}/v1")}]));
    }
    query.end().await;
}
