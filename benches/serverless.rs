//! The cost of running as a Lambda function: start, request, catch-up, and a pooler in front of the database.
//!
//! `cargo bench --all-features --bench serverless` measures all of it; `-- start`, `-- request`, `-- catch-up` and
//! `-- pooler` measure one part.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program that prints what it measured"
)]

#[path = "support/direct.rs"]
mod direct;
#[path = "support/function.rs"]
mod function;
#[path = "support/pooled.rs"]
mod pooled;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use foldlog::Foldlog;
use foldlog::command;
use foldlog::db::{Pool, PoolSettings, Pooler, Role, Schema};
use foldlog::domains;
use foldlog::event::{ExpectedVersion, UntypedEvent};
use foldlog::projection::{self, Budget};
use foldlog::view::Inline;
use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use direct::Direct;
use function::{Function, Gateway};
use support::{Bench, Scale, created, fill, median, report};

const COMMAND: &str = env!("CARGO_BIN_EXE_command");
const QUERY: &str = env!("CARGO_BIN_EXE_query");
const CATCH_UP: &str = env!("CARGO_BIN_EXE_catch_up");

/// The default of the hosts.
const BATCH_SIZE: u32 = 2000;

#[tokio::main]
async fn main() {
    if direct::run_if_baseline().await {
        return;
    }
    let scale = Scale::from_args();
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    if wanted("start") {
        starts(scale).await;
    }
    if wanted("request") {
        Box::pin(requests(scale)).await;
    }
    if wanted("catch-up") {
        Box::pin(catch_up(scale)).await;
    }
    if wanted("pooler") {
        Box::pin(pooled::measure(scale)).await;
    }
}

/// Measures the time from the start of a process to its first response, compared with a minimal function.
async fn starts(scale: Scale) {
    let bench = Bench::new("start").await;
    let url = url(&bench.options);
    fill(&bench, 0, 100).await;
    catch_up_here(&bench.foldlog(2)).await;
    let hello = function::hello();
    let starts = if scale.smoke { 1 } else { 40 };
    let (mut least, mut query, mut command) = (vec![], vec![], vec![]);
    let (list, append) = (
        Gateway::new("GET", "/users").event(None),
        Gateway::new("POST", "/users"),
    );
    for _ in 0..starts {
        least.push(start(&hello, &url, list.clone(), 200).await);
        query.push(start(Path::new(QUERY), &url, list.clone(), 200).await);
        let event = append.event(Some(&body(&created())));
        command.push(start(Path::new(COMMAND), &url, event, 201).await);
    }
    println!(
        "{starts} starts each: hello after `select 1` {:.1} ms",
        median(least.clone())
    );
    for (name, times) in [("query", query), ("command", command)] {
        let ratios = times.iter().zip(&least).map(|(a, b)| a / b).collect();
        report(
            &format!("start of {name} to its first answer ÷ of hello"),
            median(times),
            "ms",
            ratios,
            "at most 50 ms and 2",
        );
    }
    bench.drop().await;
}

/// Measures one start, in milliseconds.
async fn start(program: &Path, url: &str, event: Bytes, status: u16) -> f64 {
    let mut function = Function::start(program, url).await;
    let answered = function.invoke(event).await;
    answered.expect(status);
    function.end().await;
    answered.since_start.as_secs_f64() * 1000.0
}

/// Measures sequential requests to a warm function, compared with the same requests to the same routes served by axum. Each server is
/// a process with its own client, and logs one line per request.
async fn requests(scale: Scale) {
    let bench = Bench::new("request").await;
    let url = url(&bench.options);
    let user = created();
    let foldlog = bench.foldlog(2);
    append(&foldlog, user.clone()).await;
    catch_up_here(&foldlog).await;
    foldlog.pool.close();
    let mut direct = Direct::start(&url).await;
    let mut query = Function::start(Path::new(QUERY), &url).await;
    let mut command = Function::start(Path::new(COMMAND), &url).await;
    let mut least = Function::start(&function::hello(), &url).await;

    let get = Request {
        method: "GET",
        path: format!("/users/{}", user.aggregate_id),
        status: 200,
        body: || None,
    };
    let post = Request {
        method: "POST",
        path: "/users".to_owned(),
        status: 201,
        body: || Some(body(&created())),
    };
    let (mut gets, mut posts) = (Turns::default(), Turns::default());
    let mut hello = vec![];
    // The first turn is a warm-up and is not counted.
    for turn in 0..=scale.turns {
        let there = requested(&mut direct, scale, &get).await;
        let here = invoked(&mut query, scale, &get).await;
        gets.add(turn, there, here);
        let there = requested(&mut direct, scale, &post).await;
        let here = invoked(&mut command, scale, &post).await;
        posts.add(turn, there, here);
        hello.push(invoked(&mut least, scale, &get).await);
    }
    println!(
        "hello after `select 1` in a function: {:.0}/s, {:.0} µs per event",
        median(hello.iter().map(|(rate, _)| *rate).collect()),
        median(hello.iter().map(|(_, time)| *time).collect())
    );
    gets.report("GET of a row");
    posts.report("POST of an event");
    for function in [query, command, least] {
        function.end().await;
    }
    direct.end().await;
    bench.drop().await;
}

/// The rate per second, and the median duration in microseconds.
type Measured = (f64, f64);

/// The measurements of axum and of a function, by turn.
#[derive(Default)]
struct Turns {
    axum: Vec<Measured>,
    function: Vec<Measured>,
}

impl Turns {
    fn add(&mut self, turn: usize, axum: Measured, function: Measured) {
        if turn > 0 {
            self.axum.push(axum);
            self.function.push(function);
        }
    }

    fn report(&self, what: &str) {
        let values = |turns: &[Measured], which: fn(&Measured) -> f64| {
            turns.iter().map(which).collect::<Vec<f64>>()
        };
        let ratio = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a / b).collect();
        let (axum, function) = (values(&self.axum, |m| m.0), values(&self.function, |m| m.0));
        println!(
            "{what} from axum: {:.0}/s, {:.0} µs",
            median(axum.clone()),
            median(values(&self.axum, |m| m.1))
        );
        report(
            &format!("{what}: sequential requests, function ÷ axum"),
            median(function.clone()),
            "/s",
            ratio(function, axum),
            "0.7",
        );
        let (axum, function) = (values(&self.axum, |m| m.1), values(&self.function, |m| m.1));
        report(
            &format!("{what}: duration, axum ÷ function"),
            median(function.clone()),
            "µs",
            ratio(axum, function),
            "0.7",
        );
    }
}

struct Request {
    method: &'static str,
    path: String,
    status: u16,
    body: fn() -> Option<String>,
}

async fn requested(direct: &mut Direct, scale: Scale, request: &Request) -> Measured {
    let (begun, mut times) = (Instant::now(), vec![]);
    while begun.elapsed() < scale.turn {
        let body = (request.body)();
        let Request {
            method,
            path,
            status,
            ..
        } = request;
        times.push(direct.request(method, path, body, *status).await);
    }
    measured(begun, &times)
}

async fn invoked(function: &mut Function, scale: Scale, request: &Request) -> Measured {
    let gateway = Gateway::new(request.method, &request.path);
    let (begun, mut times) = (Instant::now(), vec![]);
    while begun.elapsed() < scale.turn {
        let answered = function
            .invoke(gateway.event((request.body)().as_deref()))
            .await;
        answered.expect(request.status);
        times.push(answered.after);
    }
    measured(begun, &times)
}

fn measured(begun: Instant, times: &[Duration]) -> Measured {
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    let times = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    (rate, median(times))
}

/// Compares the function, which catches up a backlog in one invocation, with the local host.
async fn catch_up(scale: Scale) {
    let bench = Bench::new("backlog").await;
    let events = scale.events(100_000);
    fill(&bench, 0, events).await;
    let (mut here, mut invoked) = (vec![], vec![]);
    for turn in 0..scale.turns {
        // The order alternates, so that neither benefits from being second.
        for function in [turn % 2 == 0, turn % 2 != 0] {
            let copy = bench.copy().await;
            let seconds = if function {
                invoked_catch_up(&copy, events).await
            } else {
                local_catch_up(&copy, events).await
            };
            #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
            let per_second = events as f64 / seconds;
            if function {
                invoked.push(per_second);
            } else {
                here.push(per_second);
            }
            copy.drop().await;
        }
    }
    println!(
        "{events} events as the local host catches up: {:.0}/s",
        median(here.clone())
    );
    let ratios = invoked.iter().zip(&here).map(|(a, b)| a / b).collect();
    report(
        "catch-up by the function ÷ by the local host",
        median(invoked),
        "events/s",
        ratios,
        "0.95",
    );
    bench.drop().await;
}

/// Measures the invocation of a warm function, which already has one open connection.
async fn invoked_catch_up(bench: &Bench, events: i64) -> f64 {
    let mut function = Function::start(Path::new(CATCH_UP), &url(&bench.options)).await;
    let answered = function.invoke(function::catch_up()).await;
    let users = &answered.answer["projections"]["users"];
    assert_eq!(
        (&users["applied"], &users["done"]),
        (&json!(events), &json!(true)),
        "{}",
        answered.answer
    );
    function.end().await;
    answered.after.as_secs_f64()
}

async fn local_catch_up(bench: &Bench, events: i64) -> f64 {
    let (time, applied) = direct::time_to_catch_up(&url(&bench.options)).await;
    assert_eq!(applied, events.to_string());
    time.as_secs_f64()
}

async fn catch_up_here(foldlog: &Foldlog) {
    let caught_up = projection::catch_up(
        &foldlog.pool,
        &foldlog.views[0],
        BATCH_SIZE,
        &Budget::default(),
    )
    .await;
    assert!(caught_up.unwrap().done);
}

async fn append(foldlog: &Foldlog, event: UntypedEvent) {
    command::execute(foldlog, &[event], ExpectedVersion::Any, None)
        .await
        .unwrap();
}

/// Returns a `Foldlog` with all connections open, so that the benchmark does not measure connecting.
async fn connected_foldlog(
    login: Arc<PgConnectOptions>,
    pooler: Pooler,
    role: Role,
    size: usize,
) -> Foldlog {
    let pool = Pool::open(PoolSettings {
        login,
        size,
        pooler,
        role: Some(role),
        schema: Schema::default(),
    });
    let foldlog = Foldlog::new(pool, domains::ALL, Inline::new()).unwrap();
    let open = (0..size).map(|_| foldlog.pool.acquire());
    drop(futures_util::future::try_join_all(open).await.unwrap());
    foldlog
}

/// Builds the JSON body of a request that appends this event.
fn body(event: &UntypedEvent) -> String {
    json!({
        "id": event.id, "aggregate_id": event.aggregate_id, "type_id": event.type_id, "payload": event.payload,
    })
    .to_string()
}

fn url(options: &PgConnectOptions) -> String {
    options.to_url_lossy().to_string()
}
