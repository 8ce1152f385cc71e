//! Append throughput through the library and over HTTP, as ratios to a bare insert of the same row by as many connections, and
//! the cost of the doorbell trigger.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program that prints what it measured"
)]

mod support;

use std::sync::Arc;

use foldlog::STATE_CACHE_BYTES;
use foldlog::command;
use foldlog::db::Session;
use foldlog::domain::domain;
use foldlog::domains::users::{UserEvent, Users};
use foldlog::event::{AggregateId, ExpectedVersion, NewEvent, Version};
use foldlog::http::{self, AppState, Auth, Operations};
use foldlog::store;
use sqlx::types::Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use uuid::Uuid;

use support::{Bench, Scale, created, median, rate, report};

/// Inserts the same row into the same table without any look-up or check. (The doorbell trigger is measured separately.)
const BARE_INSERT: &str = "insert into events (id, aggregate_id, version, type_id, payload, metadata, txid, created_at) \
                           values ($1, $2, 1, $3, $4, $5, pg_current_xact_id(), statement_timestamp())";

/// The connections of a host's pool for appends.
const MAX_HOST_CONNECTIONS: usize = 24;

/// The aggregates that exist before further events are appended to them.
const EXISTING_COUNT: usize = 10_000;

#[tokio::main]
async fn main() {
    let scale = Scale::from_args();
    let bench = Bench::new("append").await;
    let existing = create_existing(&bench, scale).await;
    for clients in [8, 32, 64] {
        let mut rates: [Vec<f64>; 7] = Default::default();
        for _ in 0..scale.turns {
            let mut turn = [0.0; 7];
            turn[0] = bare_insert(&bench, clients, scale).await;
            turn[1] = statement_alone(&bench, clients, scale).await;
            turn[2] = through_library(&bench, clients, scale).await;
            turn[3] = to_existing(&bench, &existing, clients, STATE_CACHE_BYTES, scale).await;
            turn[4] = to_existing(&bench, &existing, clients, 0, scale).await;
            turn[5] = through_http(&bench, clients, scale).await;
            bench
                .run("alter table events disable trigger events_doorbell")
                .await;
            turn[6] = through_library(&bench, clients, scale).await;
            bench
                .run("alter table events enable trigger events_doorbell")
                .await;
            for (rates, rate) in rates.iter_mut().zip(turn) {
                rates.push(rate);
            }
        }
        println!(
            "{clients} clients: bare insert {:.0}/s",
            median(rates[0].clone())
        );
        let show = |what, row: usize, base: usize, wanted| {
            let ratios = rates[row].iter().zip(&rates[base]).map(|(a, b)| a / b);
            report(
                what,
                median(rates[row].clone()),
                "events/s",
                ratios.collect(),
                wanted,
            );
        };
        let (library, http) = if clients == 64 {
            ("-", "1.3")
        } else {
            ("0.9", "-")
        };
        show("the append statement alone ÷ bare insert", 1, 0, "-");
        show("append through the library ÷ bare insert", 2, 0, library);
        show("the same to existing aggregates ÷ bare insert", 3, 0, "-");
        show(
            "existing aggregates without remembered states ÷ bare insert",
            4,
            0,
            "-",
        );
        show("append over HTTP ÷ bare insert", 5, 0, http);
        show(
            "append with the doorbell trigger, no listener asleep ÷ without",
            2,
            6,
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
            let expected = [(event.aggregate_id, Version(0).into())].into();
            let prepared = domain::<Users>().prepare(&event).unwrap();
            store::append(&mut *connection.lock().await, &[prepared], &expected, false)
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

/// Creates the aggregates to which [`to_existing`] appends.
async fn create_existing(bench: &Bench, scale: Scale) -> Arc<[AggregateId]> {
    let foldlog = bench.foldlog(1);
    let count = if scale.smoke { 100 } else { EXISTING_COUNT };
    let created: Vec<_> = (0..count).map(|_| created()).collect();
    for events in created.chunks(command::MAX_EVENTS) {
        command::execute(&foldlog, events, ExpectedVersion::Any, None)
            .await
            .unwrap();
    }
    foldlog.pool.close();
    created.iter().map(|event| event.aggregate_id).collect()
}

/// Appends to aggregates chosen at random, whose state the rules need.
async fn to_existing(
    bench: &Bench,
    existing: &Arc<[AggregateId]>,
    clients: usize,
    state_cache_bytes: usize,
    scale: Scale,
) -> f64 {
    let foldlog = bench
        .warm_foldlog_with(clients, |builder| {
            builder.state_cache_bytes(state_cache_bytes)
        })
        .await;
    let rate = rate(clients, scale.turn, {
        let (foldlog, existing) = (foldlog.clone(), Arc::clone(existing));
        move |_| {
            let (foldlog, existing) = (foldlog.clone(), Arc::clone(&existing));
            async move {
                let (at, name) = Uuid::new_v4().as_u64_pair();
                #[expect(clippy::cast_possible_truncation, reason = "any aggregate will do")]
                let id = existing[at as usize % existing.len()];
                let renamed = UserEvent::UsernameChanged {
                    username: format!("user {name:032x} of the example, renamed"),
                };
                let event = NewEvent::new(id, renamed).encode().unwrap();
                command::execute(&foldlog, &[event], ExpectedVersion::Any, None)
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
async fn through_http(bench: &Bench, clients: usize, scale: Scale) -> f64 {
    let foldlog = bench.warm_foldlog(clients.min(MAX_HOST_CONNECTIONS)).await;
    let state = AppState {
        foldlog: foldlog.clone(),
        cors_origins: [].into(),
        auth: Auth::None,
        operations: Operations::None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        axum::serve(listener, http::router(state.clone(), state))
            .await
            .unwrap();
    });
    let mut sockets = Vec::new();
    for _ in 0..clients {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        sockets.push(Arc::new(Mutex::new(socket)));
    }
    let rate = rate(clients, scale.turn, move |task| {
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
