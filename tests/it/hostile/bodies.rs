//! Malformed bodies, and bodies with too many events.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::event_with;
use crate::support::app::{App, send};
use crate::support::json::{created, event};

// Fails when a body that cannot be parsed is a 5xx, overflows the stack (nesting), or is stored in part.
#[tokio::test]
async fn a_malformed_body_returns_400_with_the_position() {
    let app = App::new().await;
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    let good = event_with("metadata", "{}");
    for body in [
        String::new(),
        " ".to_owned(),
        "{".to_owned(),
        "}".to_owned(),
        "null".to_owned(),
        "7".to_owned(),
        "\"event\"".to_owned(),
        "[[]]".to_owned(),
        "[null]".to_owned(),
        "{}".to_owned(),
        format!("{good}{good}"),
        format!("{good} trailing"),
        format!("[{good},]"),
        format!("[{good}"),
        format!("\u{feff}{good}"),
        good.replace('"', "'"),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        event_with("payload", &deep("[", "]")),
        event_with("metadata", &deep("{\"a\":", "}")),
        event_with("payload", "{\"username\": \"\\ud800\"}"),
        event_with("payload", "{\"username\": \"\\udc00x\"}"),
        event_with("metadata", "{\"\\ud800\\ud800\": 1}"),
        event_with("metadata", "{\"a\": 1e4000}"),
        event_with("metadata", "{\"a\": 1, \"b\": {\"c\": 1, \"\\u0063\": 2}}"),
        event_with("payload", "{\"a\": {}, \"a\": {}}"),
        event_with("metadata", "{\"a\": NaN}"),
        event_with("metadata", "{\"a\": 01}"),
        event_with("metadata", "{\"a\": \"tab\there\"}"),
    ] {
        let answer = app.append_raw("/users", body.clone()).await;
        let detail = answer.problem(400, "malformed");
        assert!(
            detail.contains("line") && detail.contains("column"),
            "{body:.80}: {detail}"
        );
        assert!(detail.len() < 300, "{detail}");
    }
    for body in [
        &b"\xff\xfe{}"[..],
        b"{\"id\": \"\xc3\x28\"}",
        b"\x00",
        b"\x1f\x8b\x08\x00",
    ] {
        app.append_raw("/users", body)
            .await
            .problem(400, "malformed");
    }
    assert_eq!(app.stored().await, 0);
}

// Fails when a client is not told which field of a payload does not match its type.
#[tokio::test]
async fn a_payload_of_the_wrong_type_returns_422_with_the_field() {
    let app = App::new().await;
    let user = Uuid::now_v7();
    for (field, value) in [("username", json!(7)), ("password", json!(["x"]))] {
        let mut payload = json!({"id": user, "username": "ada", "email": "ada@example.org"});
        payload[field] = value;
        let answer = app.append("/users", &event(user, 1000, payload)).await;
        let detail = answer.problem(422, "unprocessable");
        assert!(detail.contains(&format!("`{field}`: ")), "{detail}");
    }
}

// Fails when a body with another content type is read as JSON: browsers send forms across origins without a preflight.
#[tokio::test]
async fn another_content_type_returns_415() {
    let app = App::new().await;
    let request = || {
        app.request(Method::POST, "/users")
            .body(created(Uuid::now_v7(), "ada").to_string())
    };
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonp",
        "json",
        "",
        "*/*",
    ] {
        let answer = send(request().header("content-type", kind)).await;
        let detail = answer.problem(415, "wrong-media-type");
        assert!(
            detail.contains("Content-Type must be application/json"),
            "{detail}"
        );
    }
    send(request()).await.problem(415, "wrong-media-type");
    for kind in [
        "application/json; charset=utf-16",
        "application/json; charset=ISO-8859-1",
        "application/json; a=b; charset=\"latin1\"",
    ] {
        let answer = send(request().header("content-type", kind)).await;
        let detail = answer.problem(415, "wrong-media-type");
        assert!(detail.contains("UTF-8"), "{detail}");
    }
    let twice = request()
        .header("content-type", "application/json")
        .header("content-type", "text/plain");
    send(twice).await.problem(415, "wrong-media-type");
    assert_eq!(app.stored().await, 0);
    for kind in [
        "application/json",
        "application/json; charset=\"UTF-8\"",
        "Application/JSON; charset=utf-8",
        "application/cloudevents+json",
    ] {
        assert_eq!(
            send(request().header("content-type", kind)).await.status,
            201,
            "{kind}"
        );
    }
}

// Fails when a compressed body is read as JSON, or when the client does not learn that no content coding is accepted.
#[tokio::test]
async fn a_body_with_a_content_coding_returns_415_with_accept_encoding() {
    let app = App::new().await;
    let request = |codings: &str| {
        let event = created(Uuid::now_v7(), "ada").to_string();
        let request = app.request(Method::POST, "/users").body(event);
        request
            .header("content-type", "application/json")
            .header("content-encoding", codings)
    };
    for codings in [
        "gzip",
        "GZIP",
        "br",
        "x-unknown",
        "identity, gzip",
        "gzip, gzip",
        "deflate ,",
    ] {
        let answer = send(request(codings)).await;
        let detail = answer.problem(415, "wrong-media-type");
        assert!(detail.contains("Content-Encoding"), "{detail}");
        assert_eq!(answer.header("accept-encoding"), "identity", "{codings}");
    }
    let zipped = app
        .request(Method::POST, "/events")
        .body(b"\x1f\x8b\x08\x00".to_vec());
    let zipped = zipped.header("content-encoding", "gzip");
    send(zipped).await.problem(415, "wrong-media-type");
    assert_eq!(app.stored().await, 0);
    for codings in ["", "identity", "Identity", " identity ,"] {
        assert_eq!(send(request(codings)).await.status, 201, "{codings:?}");
    }
}

// Fails when the server closes the connection while the client is still sending: the client sees a broken pipe instead of
// the response.
#[tokio::test]
async fn an_oversized_body_returns_413_before_the_connection_closes() {
    let app = App::new().await;
    let large = event_with(
        "metadata",
        &json!({"a": "x".repeat(2 * 1024 * 1024)}).to_string(),
    );
    for _ in 0..3 {
        let answer = app.append_raw("/users", large.clone()).await;
        let detail = answer.problem(413, "too-large");
        assert!(detail.contains("1048576 bytes"), "{detail}");
    }
    // The client writes everything before it reads, with and without a length; the body exceeds the socket buffers.
    let large = event_with(
        "metadata",
        &json!({"a": "x".repeat(7 * 1024 * 1024)}).to_string(),
    );
    let length = format!("content-length: {}\r\n\r\n{large}", large.len());
    let chunk = format!(
        "transfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    for rest in [length, chunk] {
        let answer = over_a_socket(&app, &rest, false).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    assert_eq!(app.stored().await, 0);
    let fits = event_with(
        "metadata",
        &json!({"a": "x".repeat(1024 * 1024 - 1000)}).to_string(),
    );
    assert_eq!(app.append_raw("/users", fits).await.status, 201);
}

// Fails when the number of events per request is not limited to 1000, or may be 0.
#[tokio::test]
async fn too_many_events_return_413_and_an_empty_array_400() {
    let app = App::new().await;
    let events =
        |count: usize| -> Value { (0..count).map(|_| created(Uuid::now_v7(), "ada")).collect() };
    let answer = app.append("/users", &events(1001)).await;
    let detail = answer.problem(413, "too-large");
    assert!(
        detail.contains("1001") && detail.contains("at most 1000"),
        "{detail}"
    );
    let answer = app.append("/users", &events(0)).await;
    assert_eq!(answer.problem(400, "malformed"), "send at least one event");
    assert_eq!(app.stored().await, 0);
    assert_eq!(app.append("/users", &events(1000)).await.status, 201);
}

// Fails when an unknown parameter is ignored: a misspelled `dry_run` would store what was only to be tried.
#[tokio::test]
async fn an_unknown_query_parameter_of_an_append_returns_400() {
    let app = App::new().await;
    for path in [
        "/users?dryrun=true",
        "/events?dry-run=true",
        "/users?DRY_RUN=true",
        "/users?x=1",
    ] {
        let answer = app.append(path, &created(Uuid::now_v7(), "ada")).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains("unknown parameter"), "{detail}");
    }
    assert_eq!(app.stored().await, 0);
}

/// Posts to /users over a plain socket, writes everything before it reads, and returns the whole response. With `goes` the
/// client closes its side of the connection, and may get no response.
async fn over_a_socket(app: &App, rest: &str, goes: bool) -> String {
    let mut socket = TcpStream::connect(app.url.trim_start_matches("http://"))
        .await
        .unwrap();
    let head = "POST /users HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(rest.as_bytes()).await.unwrap();
    if goes {
        socket.shutdown().await.unwrap();
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

// Fails when a client that disconnects in the middle of its body leaves an event behind.
#[tokio::test]
async fn a_truncated_body_stores_no_event() {
    let app = App::new().await;
    let event = event_with("metadata", "{}");
    let rest = format!("content-length: {}\r\n\r\n{event}", event.len() + 1);
    let answer = over_a_socket(&app, &rest, true).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    assert_eq!(app.stored().await, 0);
}
