//! What the past of one long aggregate costs: each read folds its events from the first one on.
//!
//! `cargo bench --bench past` needs a minute; `-- --smoke` runs everything once with few events.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program that prints what it measured"
)]

mod support;

use std::time::Instant;

use foldlog::Foldlog;
use foldlog::domains::users::Users;
use foldlog::event::{AggregateId, Version};
use foldlog::projection::{self, Budget};
use foldlog::query::Moment;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use support::{Bench, Scale, median, report};

/// The events of the aggregate. Each changes its username.
const EVENT_COUNT: i64 = 10_000;
const PAGE_SIZE: u16 = 100;
const USER: AggregateId = AggregateId(Uuid::from_u128(1));

#[tokio::main]
async fn main() {
    let scale = Scale::from_args();
    let events = scale.events(EVENT_COUNT);
    let bench = Bench::new("past").await;
    fill(&bench, events).await;
    let foldlog = bench.warm_foldlog(2).await;
    let view = foldlog.view("users").unwrap();
    projection::catch_up(&foldlog.pool, view, 1000, &Budget::default())
        .await
        .unwrap();
    bench.run("vacuum analyze").await;
    let newest = Version(i32::try_from(events).unwrap());
    let later = OffsetDateTime::now_utc() + time::Duration::days(1);
    let mut connection = bench.connect().await;
    for what in READS {
        let (mut times, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..=scale.turns {
            let begun = Instant::now();
            assert_eq!(select(&mut connection).await, events);
            let select_time = begun.elapsed();
            let begun = Instant::now();
            Box::pin(read(&foldlog, what, newest, later)).await;
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            ratios.push(begun.elapsed().as_secs_f64() / select_time.as_secs_f64());
        }
        // The first turn prepares the statements.
        let (times, ratios) = (times.split_off(1), ratios.split_off(1));
        let what = format!("{what}, {events} events ÷ their plain select");
        report(&what, median(times), "ms", ratios, "at most 4");
    }
    foldlog.pool.close();
    drop(connection);
    bench.drop().await;
}

const READS: [&str; 6] = [
    "row at a version",
    "row as of a time",
    "first page of the history",
    "last page of the history",
    "diff of the last two versions",
    "blame",
];

async fn read(foldlog: &Foldlog, what: &str, newest: Version, later: OffsetDateTime) {
    let before = Version(newest.0 - 1);
    match what {
        "row at a version" => {
            let row = foldlog.get::<Users>(USER).version(newest).await.unwrap();
            assert_eq!(row.unwrap().1, newest);
        }
        "row as of a time" => {
            let row = foldlog.get::<Users>(USER).as_of(later).await.unwrap();
            assert_eq!(row.unwrap().1, newest);
        }
        "first page of the history" => {
            let page = foldlog.history::<Users>(USER).limit(PAGE_SIZE).await;
            assert_eq!(page.unwrap().events[0].event.version, Version(1));
        }
        "last page of the history" => {
            let history = foldlog.history::<Users>(USER).newest_first();
            let page = history.limit(PAGE_SIZE).await.unwrap();
            assert_eq!(page.events[0].event.version, newest);
        }
        "diff of the last two versions" => {
            let diff = foldlog.diff::<Users>(USER, before, newest).await.unwrap();
            assert_eq!(diff.changes.len(), 1);
        }
        _ => {
            let blamed = foldlog.blame::<Users>(USER, Moment::Newest).await.unwrap();
            assert_eq!(blamed.fields["username"].setter.version, newest);
        }
    }
}

async fn fill(bench: &Bench, events: i64) {
    let id = USER;
    bench
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload, metadata)
             select (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(random()::text), 1, 19))::uuid, '{id}', n,
                 case n when 1 then 1000 else 1002 end,
                 case n
                     when 1 then jsonb_build_object('id', '{id}', 'username', 'user 1', 'email', 'ada@example.org')
                     else jsonb_build_object('username', 'user ' || n || ' of the example')
                 end,
                 jsonb_build_object('actor', 'ada')
             from generate_series(1, {events}) n
             order by n"
        ))
        .await;
}

/// Reads the events without decoding them; returns how many there are.
async fn select(connection: &mut PgConnection) -> i64 {
    let rows = sqlx::query("select * from events where aggregate_id = $1 order by version")
        .bind(USER.0)
        .fetch_all(connection)
        .await
        .unwrap();
    i64::try_from(rows.len()).unwrap()
}
