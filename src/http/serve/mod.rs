//! Serves a router on a socket, with limits that a client cannot exceed: how long a request's head may take, how long a
//! connection may be idle, and how many connections there are. `axum::serve` has none of them, so that clients that send
//! half a head would use up all file descriptors.

mod connections;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::{Request, Response};
use futures_util::{StreamExt as _, stream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use self::connections::{ClientConnection, ClientConnections, ObservedStream, Phase};

/// The pause after the socket could not accept a connection, for example because no file descriptor is left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Connections, at most.
const MAX_CONNECTIONS: usize = 1000;
/// File descriptors that are left for the database, logs and files.
const RESERVED_DESCRIPTOR_COUNT: usize = 128;
/// Connections, at least, however few descriptors there are.
const MIN_CONNECTIONS: usize = 16;
/// The limit of descriptors where it cannot be read: the smallest default of common systems.
const DEFAULT_DESCRIPTORS: usize = 256;

/// When the server stops: an extension of each request, for those that wait for something.
#[derive(Clone, Debug)]
pub(super) struct Stop(pub CancellationToken);

/// Serves `router` until `stop`, and then until the running requests have completed. The head of a request has to arrive
/// within 30 s. The number of connections is limited by the process's file descriptors; when all are in use, the one that
/// has waited longest for the rest of a request is closed for a new one.
///
/// ```no_run
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example(router: axum::Router) -> std::io::Result<()> {
/// let socket = tokio::net::TcpListener::bind("127.0.0.1:7755").await?;
/// foldlog::http::serve(socket, router, CancellationToken::new()).await;
/// # Ok(())
/// # }
/// ```
pub async fn serve(socket: TcpListener, router: Router, stop: CancellationToken) {
    serve_at_most(max_connections(), socket, router, stop).await;
}

/// As [`serve`], with this many connections at most.
pub async fn serve_at_most(
    max_connections: usize,
    socket: TcpListener,
    router: Router,
    stop: CancellationToken,
) {
    let connections = ClientConnections::default();
    let tasks = TaskTracker::new();
    let mut number = 0;
    while let Some(accepted) = stop
        .run_until_cancelled(accept(&socket, &connections))
        .await
    {
        let room = connections.make_room(max_connections);
        if stop.run_until_cancelled(room).await.is_none() {
            break;
        }
        number += 1;
        let connection = connections.add(number);
        let (router, stop, connections) = (router.clone(), stop.clone(), connections.clone());
        tasks.spawn(async move {
            serve_connection(accepted, router, &connection, stop).await;
            connections.remove(number);
        });
    }
    tasks.close();
    tasks.wait().await;
}

fn max_connections() -> usize {
    descriptor_limit()
        .saturating_sub(RESERVED_DESCRIPTOR_COUNT)
        .clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

/// The process's limit of open files.
fn descriptor_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| {
        let values = line.strip_prefix("Max open files")?;
        values.split_whitespace().next()?.parse().ok()
    });
    soft.unwrap_or(DEFAULT_DESCRIPTORS)
}

/// The next connection. An error is of one connection, or passes when a descriptor is free again.
async fn accept(socket: &TcpListener, connections: &ClientConnections) -> TcpStream {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                connections.close_longest_waiting();
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    connection: &Arc<ClientConnection>,
    stop: CancellationToken,
) {
    let io = TokioIo::new(ObservedStream {
        stream,
        connection: Arc::clone(connection),
    });
    let service = service_fn(|mut request: Request<Incoming>| {
        let (mut router, connection) = (router.clone(), Arc::clone(connection));
        request.extensions_mut().insert(Stop(stop.clone()));
        async move { Ok::<_, Infallible>(respond(&mut router, request, &connection).await) }
    });
    let mut builder = http1::Builder::new();
    // The limit here includes the idle time, and other than hyper's it distinguishes the two.
    builder.header_read_timeout(None);
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // An error is the client's: it hung up or sent something other than HTTP.
            _ = serving.as_mut() => return,
            () = connection.wait_until_overdue() => return,
            () = connection.closed.notified() => return,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn respond(
    router: &mut Router,
    request: Request<Incoming>,
    connection: &Arc<ClientConnection>,
) -> Response<Body> {
    let request = if request.body().is_end_stream() {
        connection.enter(Phase::Responding);
        request.map(Body::new)
    } else {
        connection.enter(Phase::Body);
        let connection = Arc::clone(connection);
        request.map(|body| {
            let complete = stream::poll_fn(move |_| {
                connection.enter(Phase::Responding);
                Poll::Ready(None)
            });
            Body::from_stream(Body::new(body).into_data_stream().chain(complete))
        })
    };
    let response = router.call(request).await;
    connection.enter(Phase::Idle);
    response.unwrap_or_else(|never| match never {})
}
