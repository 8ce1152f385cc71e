//! Append throughput through the library and over HTTP, as ratios to a bare insert of the same row, and the cost of the doorbell
//! trigger.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program that prints what it measured"
)]

mod support;

use std::sync::Arc;

use foldlog::command;
use foldlog::db::Session;
use foldlog::domain::domain;
use foldlog::domains::users::Users;
use foldlog::event::ExpectedVersion;
use foldlog::http::{self, AppState, Auth};
use foldlog::store;
use sqlx::types::Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use support::{Bench, Scale, created, median, rate, report};

/// Inserts the same row into the same table without any look-up or check. (The doorbell trigger is measured separately.)
const BARE_INSERT: &str = "insert into events (id, aggregate_id, version, type_id, payload, metadata, txid, created_at) \
                           values ($1, $2, 1, $3, $4, $5, pg_current_xact_id(), statement_timestamp())";

#[tokio::main]
async fn main() {
    let scale = Scale::from_args();
    let bench = Bench::new("append").await;
    for connections in [8, 32] {
        let (mut bare, mut statement, mut library, mut over_http, mut no_trigger) =
            (vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..scale.turns {
            bare.push(bare_insert(&bench, connections, scale).await);
            statement.push(statement_alone(&bench, connections, scale).await);
            library.push(through_library(&bench, connections, scale).await);
            over_http.push(through_http(&bench, connections, scale).await);
            bench
                .run("alter table events disable trigger events_doorbell")
                .await;
            no_trigger.push(through_library(&bench, connections, scale).await);
            bench
                .run("alter table events enable trigger events_doorbell")
                .await;
        }
        let ratio = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>();
        println!(
            "{connections} connections: bare insert {:.0}/s",
            median(bare.clone())
        );
        report(
            "the append statement alone ÷ bare insert",
            median(statement.clone()),
            "events/s",
            ratio(&statement, &bare),
            "-",
        );
        report(
            "append through the library ÷ bare insert",
            median(library.clone()),
            "events/s",
            ratio(&library, &bare),
            "0.8",
        );
        report(
            "append over HTTP ÷ bare insert",
            median(over_http.clone()),
            "events/s",
            ratio(&over_http, &bare),
            "0.5",
        );
        report(
            "append with the doorbell trigger, no listener asleep ÷ without",
            median(library.clone()),
            "events/s",
            ratio(&library, &no_trigger),
            "0.9",
        );
    }
    bench.drop().await;
}

async fn bare_insert(bench: &Bench, connections: usize, scale: Scale) -> f64 {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Arc::new(Mutex::new(bench.connect().await)));
    }
    rate(connections, scale.turn, move |task| {
        let connection = open[task].clone();
        async move {
            let event = created();
            sqlx::query(BARE_INSERT)
                .bind(event.id.0)
                .bind(event.aggregate_id.0)
                .bind(event.type_id.0)
                .bind(&event.payload)
                .bind(Json(&event.metadata))
                .execute(&mut *connection.lock().await)
                .await
                .unwrap();
        }
    })
    .await
}

/// The append statement on the same kind of connections as the bare insert; the difference to the library is the cost of the pool
/// and the rules.
async fn statement_alone(bench: &Bench, connections: usize, scale: Scale) -> f64 {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Arc::new(Mutex::new(Session::from(bench.connect().await))));
    }
    rate(connections, scale.turn, move |task| {
        let connection = open[task].clone();
        async move {
            let event = created();
            let expected = [(event.aggregate_id, 0)].into();
            let prepared = domain::<Users>().prepare(&event).unwrap();
            store::append(&mut *connection.lock().await, &[prepared], &expected)
                .await
                .unwrap();
        }
    })
    .await
}

async fn through_library(bench: &Bench, connections: usize, scale: Scale) -> f64 {
    let foldlog = bench.warm_foldlog(connections).await;
    let rate = rate(connections, scale.turn, {
        let foldlog = foldlog.clone();
        move |_| {
            let foldlog = foldlog.clone();
            async move {
                command::execute(&foldlog, &[created()], ExpectedVersion::Any, None)
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    foldlog.pool.close();
    rate
}

/// The client is minimal, because it runs on the same cores: it writes a request to a socket and reads the response.
async fn through_http(bench: &Bench, connections: usize, scale: Scale) -> f64 {
    let foldlog = bench.warm_foldlog(connections).await;
    let state = AppState {
        foldlog: foldlog.clone(),
        cors_origins: [].into(),
        auth: Auth::None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        axum::serve(listener, http::router(state.clone(), state))
            .await
            .unwrap();
    });
    let mut sockets = Vec::new();
    for _ in 0..connections {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        sockets.push(Arc::new(Mutex::new(socket)));
    }
    let rate = rate(connections, scale.turn, move |task| {
        let socket = sockets[task].clone();
        async move {
            let event = created();
            let body = serde_json::json!({
                "id": event.id, "aggregate_id": event.aggregate_id, "type_id": event.type_id, "payload": event.payload,
            })
            .to_string();
            let request = format!(
                "POST /users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut socket = socket.lock().await;
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 1024];
            let read = socket.read(&mut answer).await.unwrap();
            assert!(answer[..read].starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer[..read]));
        }
    })
    .await;
    server.abort();
    foldlog.pool.close();
    rate
}
