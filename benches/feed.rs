//! What reading the past costs: the feed beside `COPY`, and a page as of a time beside a live page.
//!
//! `cargo bench --bench feed` needs some minutes; `-- --smoke` runs everything once with little data.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program that prints what it measured"
)]

mod support;

use std::time::{Duration, Instant};

use foldlog::Foldlog;
use foldlog::domains::users::Users;
use foldlog::http::{AppState, Auth, Operations, query_router};
use foldlog::query::FeedCursor;
use futures_util::StreamExt as _;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use tokio::net::TcpListener;

use support::{Bench, Scale, fill, median, report};

/// The events of the smaller and the larger log.
const LOG_SIZE: [i64; 2] = [10_000, 1_000_000];
const PAGE_SIZE: u16 = 100;
/// How many pages one turn reads.
const PAGE_COUNT: u32 = 50;

#[tokio::main]
async fn main() {
    let scale = Scale::from_args();
    let mut flat = Vec::new();
    for size in LOG_SIZE {
        let bench = Bench::new("feed").await;
        fill(&bench, 0, scale.events(size)).await;
        bench.run("vacuum analyze events").await;
        let foldlog = bench.warm_foldlog(4).await;
        catch_up(&foldlog).await;
        bench.run("vacuum analyze").await;
        flat.push(past_pages(&foldlog, scale, size).await);
        if size == LOG_SIZE[1] {
            feed(&bench, &foldlog, scale, false).await;
            feed(&bench, &foldlog, scale, true).await;
        }
        foldlog.pool.close();
        bench.drop().await;
    }
    let ratio = flat[1] / flat[0];
    println!("a page as of a time at 1 M events ÷ at 10 k events: {ratio:.2}, wanted 0.5–1.5");
}

async fn catch_up(foldlog: &Foldlog) {
    let view = foldlog.view("users").unwrap();
    let budget = foldlog::projection::Budget::default();
    foldlog::projection::catch_up(&foldlog.pool, view, 1000, &budget)
        .await
        .unwrap();
}

/// Pages of users as of a time after all events, beside pages of the view, in milliseconds.
async fn past_pages(foldlog: &Foldlog, scale: Scale, size: i64) -> f64 {
    let later = OffsetDateTime::now_utc() + time::Duration::days(1);
    let (mut times, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..scale.turns {
        let live = pages(foldlog, None).await;
        let past = pages(foldlog, Some(later)).await;
        times.push(past);
        ratios.push(past / live);
    }
    let what = format!("page of {PAGE_SIZE} as of a time, {size} events ÷ live page");
    report(&what, median(times.clone()), "ms", ratios, "at most 10");
    median(times)
}

/// The mean time of a page, in milliseconds. The pages are spread over all aggregates.
async fn pages(foldlog: &Foldlog, time: Option<OffsetDateTime>) -> f64 {
    let (begun, mut after, mut count) = (Instant::now(), None, 0_u32);
    while count < PAGE_COUNT {
        let list = foldlog.list::<Users>().limit(PAGE_SIZE);
        let list = match time {
            Some(time) => list.as_of(time),
            None => list,
        };
        let list = match after {
            Some(cursor) => list.starting_after(cursor),
            None => list,
        };
        let page = list.await.unwrap();
        assert!(!page.rows.is_empty());
        (after, count) = (page.next, count + 1);
    }
    begun.elapsed().as_secs_f64() * 1000.0 / f64::from(count)
}

/// Events per second of one reader, in process or over HTTP, beside a `COPY` of the same events.
async fn feed(bench: &Bench, foldlog: &Foldlog, scale: Scale, http: bool) {
    let events = scale.events(LOG_SIZE[1]);
    let url = serve(foldlog).await;
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..scale.turns {
        let begun = Instant::now();
        let copied = copy(&mut bench.connect().await).await;
        assert_eq!(copied, events);
        let copy_time = begun.elapsed();
        let begun = Instant::now();
        let read = if http {
            read_http(&url).await
        } else {
            read_typed(foldlog).await
        };
        assert_eq!(read, events);
        rates.push(per_second(read, begun.elapsed()));
        ratios.push(copy_time.as_secs_f64() / begun.elapsed().as_secs_f64());
    }
    let how = if http { "over HTTP" } else { "in process" };
    let what = format!("feed, one reader {how} ÷ COPY");
    report(&what, median(rates), "events/s", ratios, "at least 0.3");
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(events: i64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// Reads the log with `COPY`; returns the number of events.
async fn copy(connection: &mut PgConnection) -> i64 {
    let mut rows = 0;
    let mut out = connection
        .copy_out_raw("copy events to stdout")
        .await
        .unwrap();
    while let Some(bytes) = out.next().await {
        let lines = bytes.unwrap().split(|byte| *byte == b'\n').count() - 1;
        rows += i64::try_from(lines).unwrap();
    }
    drop(out);
    connection.ping().await.unwrap();
    rows
}

async fn read_typed(foldlog: &Foldlog) -> i64 {
    let (mut cursor, mut read) = (FeedCursor::BEGINNING, 0);
    loop {
        let page = foldlog
            .feed()
            .starting_after(cursor)
            .limit(1000)
            .await
            .unwrap();
        if page.events.is_empty() {
            return read;
        }
        read += i64::try_from(page.events.len()).unwrap();
        cursor = page.next.unwrap();
    }
}

async fn read_http(url: &str) -> i64 {
    let client = reqwest::Client::new();
    let (mut after, mut read) = (String::new(), 0);
    loop {
        let request = client.get(format!("{url}/events?limit=1000{after}"));
        let body = request.send().await.unwrap().text().await.unwrap();
        let events = body.matches("\"created_at\":").count();
        if events == 0 {
            return read;
        }
        read += i64::try_from(events).unwrap();
        let next = body.rsplit_once("\"next\":\"").unwrap().1;
        after = format!("&after={}", next.split('"').next().unwrap());
    }
}

/// Serves the routes that read; returns the address.
async fn serve(foldlog: &Foldlog) -> String {
    let state = AppState {
        foldlog: foldlog.clone(),
        cors_origins: [].into(),
        auth: Auth::None,
        operations: Operations::None,
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let routes = query_router(state);
    tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
    url
}
