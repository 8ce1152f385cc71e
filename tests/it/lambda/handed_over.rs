//! `POST /projections` on Lambda: the command function hands verbs over to the catch-up function, and the query function shows what
//! they have answered.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::function::{CATCH_UP, COMMAND, Function, QUERY};
use super::wire::{Gateway, Request};
use crate::bins::program::PASSWORD;
use crate::support::TestDb;
use crate::support::created;
use crate::support::events::append;
use crate::support::poll::wait_until;
use crate::support::runtime_api::in_ms;

/// The part of Lambda's API that the command function calls: it invokes the catch-up function with the payload, and answers before that
/// function does.
async fn lambda(catch_up: Arc<Function>) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let routes = Router::new().fallback(invoke).with_state(catch_up);
    tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
    url
}

async fn invoke(
    State(catch_up): State<Arc<Function>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    assert_eq!(headers["x-amz-invocation-type"], "Event");
    let payload: Value = serde_json::from_slice(&body).unwrap();
    // The answer, or the error, of an asynchronous invocation reaches no one.
    tokio::spawn(async move { catch_up.api.try_invoke(&payload, in_ms(60_000)).await });
    StatusCode::ACCEPTED
}

async fn send(function: &Function, request: Request) -> (u64, Value) {
    let answer = function.invoke(&request.event(Gateway::HttpApi)).await;
    let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    (answer["statusCode"].as_u64().unwrap(), body)
}

/// Fails when a verb that is handed over is not done, when its answer or its error is nowhere to be seen, or when a payload that is
/// not a verb is handed over.
#[tokio::test]
async fn a_verb_is_handed_over_and_its_answer_can_be_read() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let catch_up = Arc::new(Function::start(&db.options, CATCH_UP, &[]).await);
    let url = lambda(Arc::clone(&catch_up)).await;
    let env = [
        ("CATCH_UP_FUNCTION", "catch-up"),
        ("AWS_ENDPOINT_URL", &*url),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", PASSWORD),
    ];
    let command = Function::start(&db.options, COMMAND, &env).await;
    let query = Function::start(&db.options, QUERY, &[]).await;
    let operate = async |payload: &Value| {
        let request = Request::new("POST", "/projections");
        let request = request.with_header("content-type", "application/json");
        send(&command, request.sending(payload.to_string())).await
    };
    let users = async || {
        send(&query, Request::new("GET", "/projections/users"))
            .await
            .1
    };
    let handed_over = (202, json!({"result": "Handed over"}));

    assert_eq!(operate(&json!({})).await, handed_over);
    wait_until("the event is folded", async || {
        users().await["lag_events"] == 0
    })
    .await;
    db.run("update users set username = 'eve'").await;
    for (payload, member, expected) in [
        (json!({"verify": "users"}), "/verification/differ", json!(1)),
        (
            json!({"reproject": "users", "max_changes": 0}),
            "/reprojection/state",
            json!("refused"),
        ),
        (json!({"preview": "users"}), "/preview/differ", json!(1)),
        (json!({"status": true}), "/remaining", json!(0)),
        (json!({"cancel": "users"}), "/cancelled", json!(true)),
    ] {
        assert_eq!(operate(&payload).await, handed_over);
        let verb = payload
            .as_object()
            .unwrap()
            .keys()
            .find(|key| *key != "max_changes");
        let verb = verb.unwrap();
        wait_until("the answer is there", async || {
            !users().await["last_results"][verb].is_null()
        })
        .await;
        let shown = users().await;
        let result = &shown["last_results"][verb]["result"];
        assert_eq!(result.pointer(member), Some(&expected), "{shown}");
        if verb == "preview" {
            assert_eq!(shown["reprojection"]["state"], "refused");
            let changes = &result["preview"]["differences"][0]["changes"];
            assert_eq!(changes["username"], json!(["eve", "ada"]));
        }
    }
    let skip = json!({"skip": {"domain": "users", "event_id": Uuid::nil(), "reason": "a typo"}});
    assert_eq!(operate(&skip).await, handed_over);
    wait_until("the error is there", async || {
        let error = users().await["last_results"]["skip"]["result"]["error"].clone();
        error
            .as_str()
            .is_some_and(|text| text.contains("no aggregate"))
    })
    .await;
    for (payload, status) in [
        (json!({"sing": true}), 400),
        (json!({"retry": "nothing"}), 404),
    ] {
        assert_eq!(operate(&payload).await.0, status);
    }
    command.end().await;
    query.end().await;
}
