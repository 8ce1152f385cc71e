//! Clients that hold connections: half a head, half a body, no request at all. The clock of these tests is tokio's, which moves on
//! as soon as all tasks wait.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use foldlog::http;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const MAX_CONNECTIONS: usize = 4;

/// A server with few connections. It needs no database.
async fn served() -> (String, CancellationToken) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let routes = Router::new()
        .route("/health", get(|| async { "up" }))
        .route("/users", post(async |body: Bytes| body.len().to_string()));
    let stop = CancellationToken::new();
    tokio::spawn(http::serve_at_most(
        MAX_CONNECTIONS,
        socket,
        routes,
        stop.clone(),
    ));
    (address, stop)
}

async fn connect(address: &str, sent: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(sent.as_bytes()).await.unwrap();
    client
}

/// What the server sends until it closes the connection, and how long that took.
async fn heard(client: &mut TcpStream) -> (String, Duration) {
    let (started, mut all) = (Instant::now(), Vec::new());
    // A reset is a close, too.
    let _ = client.read_to_end(&mut all).await;
    (String::from_utf8(all).unwrap(), started.elapsed())
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

// Fails when a head that never ends, in a first or in a later request, keeps its connection for more than 30 s, or when an idle
// connection is closed while a load balancer still uses it.
#[tokio::test(start_paused = true)]
async fn a_request_head_must_arrive_within_30_seconds() {
    let (address, _stop) = served().await;
    let kept = HEALTH.replace("connection: close\r\n", "");
    for (sent, at_least, at_most) in [
        (String::new(), 29, 31),
        ("GET /hea".to_owned(), 29, 31),
        (format!("{kept}GET /health HTTP/1.1\r\nx: "), 29, 76),
        (kept, 74, 76),
    ] {
        let mut client = connect(&address, &sent).await;
        let (_, took) = heard(&mut client).await;
        let seconds = took.as_secs();
        assert!((at_least..=at_most).contains(&seconds), "{sent:?} {took:?}");
    }
}

// Fails when clients that hold all connections keep a health check from its answer.
#[tokio::test(start_paused = true)]
async fn health_answers_while_clients_hold_every_connection() {
    let (address, _stop) = served().await;
    let body = "POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab";
    for sent in ["", "GET /hea", body] {
        let mut held = Vec::new();
        for _ in 0..5 * MAX_CONNECTIONS {
            held.push(connect(&address, sent).await);
        }
        let mut client = connect(&address, HEALTH).await;
        let (answer, _) = heard(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{sent:?}: {answer:?}");
    }
}

// Fails when a request that is complete is cut off for a new connection, or when a stop does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_requests_and_closes_idle_connections() {
    let (address, stop) = served().await;
    let mut idle = connect(&address, "").await;
    let head = "POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n";
    let mut busy = connect(&address, head).await;
    let mut other = connect(&address, HEALTH).await;
    assert!(heard(&mut other).await.0.ends_with("up"));
    stop.cancel();
    heard(&mut idle).await;
    busy.write_all(b"abc").await.unwrap();
    let (answer, _) = heard(&mut busy).await;
    assert!(answer.ends_with("\r\n\r\n3"), "{answer:?}");
}
