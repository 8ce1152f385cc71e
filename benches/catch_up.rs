//! Catch-up throughput: one worker compared with the claims alone, with other designs, and with itself on a larger log.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program that prints what it measured"
)]

mod support;

use std::collections::HashMap;
use std::time::Instant;

use foldlog::Foldlog;
use foldlog::db::Session;
use foldlog::event::{AggregateId, RecordedEvent, Version};
use foldlog::projection::{self, Budget};
use foldlog::store;
use foldlog::view::{self, View};
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::types::Json;

use support::{Bench, Scale, fill, median, report};

const BATCH_SIZE: u32 = 2000;
const CLAIM: &str = include_str!("../tests/fixtures/sql/old_claim.sql");

#[tokio::main]
async fn main() {
    let scale = Scale::from_args();
    rates(scale).await;
    sizes(scale).await;
    search(scale).await;
}

/// Compares one worker with claims alone, with a checkpoint instead of claims, and with one event at a time.
async fn rates(scale: Scale) {
    let bench = Bench::new("catch_up").await;
    let events = scale.events(200_000);
    fill(&bench, 0, events).await;
    let foldlog = bench.foldlog(4);
    let (mut ours, mut claims, mut checkpoint, mut seed) = (vec![], vec![], vec![], vec![]);
    for _ in 0..scale.turns {
        claims.push(per_second(events, || claim_only(&foldlog, events)).await);
        reset(&bench).await;
        checkpoint.push(per_second(events, || with_checkpoint(&bench, &foldlog, events)).await);
        reset(&bench).await;
        let some = events.min(2000);
        seed.push(per_second(some, || one_at_a_time(&bench, some)).await);
        reset(&bench).await;
        ours.push(per_second(events, || catch_up(&foldlog)).await);
        reset(&bench).await;
    }
    let ratio = |b: &[f64]| ours.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>();
    println!(
        "{events} events of {} aggregates: claim only {:.0}/s, checkpoint {:.0}/s, one at a time {:.0}/s",
        events / 10,
        median(claims.clone()),
        median(checkpoint.clone()),
        median(seed.clone())
    );
    let rate = median(ours.clone());
    report(
        "catch-up, one worker ÷ claim only",
        rate,
        "events/s",
        ratio(&claims),
        "0.5",
    );
    report(
        "catch-up, one worker ÷ one event at a time",
        rate,
        "events/s",
        ratio(&seed),
        "50",
    );
    report(
        "catch-up, one worker ÷ a checkpoint row instead of claims",
        rate,
        "events/s",
        ratio(&checkpoint),
        "0.6",
    );
    bench.drop().await;
}

/// Measures whether the rate falls or memory grows with the size of the log.
async fn sizes(scale: Scale) {
    let bench = Bench::new("sizes").await;
    let (small, large) = (scale.events(10_000), scale.events(1_000_000));
    let foldlog = bench.foldlog(4);
    fill(&bench, 0, small).await;
    let mut small_rates = vec![];
    for _ in 0..scale.turns {
        small_rates.push(per_second(small, || catch_up(&foldlog)).await);
        reset(&bench).await;
    }
    fill(&bench, small, large - small).await;
    let before = peak_memory(true);
    let large_rate = per_second(large, || catch_up(&foldlog)).await;
    let ratios = vec![large_rate / median(small_rates)];
    report(
        &format!("catch-up of {large} events ÷ of {small}"),
        large_rate,
        "events/s",
        ratios,
        "0.8",
    );
    println!(
        "peak memory of that catch-up: {} MiB (before it: {before} MiB), wanted at most 100 MiB",
        peak_memory(false)
    );
    bench.drop().await;
}

/// Measures finding 1,000 new events after many claimed ones, while another transaction is open all the time.
async fn search(scale: Scale) {
    let bench = Bench::new("search").await;
    let foldlog = bench.foldlog(4);
    let (small, large) = (scale.events(10_000), scale.events(3_000_000));
    let mut open = bench.connect().await;
    support::run(
        &mut open,
        "begin; create temp table keeps_a_transaction_open (n int)",
    )
    .await;
    let mut filled = 0;
    let mut rates = vec![];
    for size in [small, large] {
        fill(&bench, filled, size - filled).await;
        filled = size;
        claim_all_at_once(&bench).await;
        bench.run("analyze events; analyze locker").await;
        catch_up(&foldlog).await;
        let mut times = vec![];
        for _ in 0..scale.turns {
            fill(&bench, filled, 1000).await;
            filled += 1000;
            times.push(per_second(1000, || catch_up(&foldlog)).await);
        }
        println!(
            "1000 new events after {size}: {:.1} ms",
            1_000_000.0 / median(times.clone())
        );
        rates.push(median(times));
    }
    report(
        "finding and folding 1000 new events, after 3 M ÷ after 10 k",
        rates[1],
        "events/s",
        vec![rates[1] / rates[0]],
        "0.5",
    );
    bench.drop().await;
}

async fn per_second(events: i64, work: impl AsyncFn()) -> f64 {
    let begun = Instant::now();
    work().await;
    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    let events = events as f64;
    events / begun.elapsed().as_secs_f64()
}

async fn catch_up(foldlog: &Foldlog) {
    let result = projection::catch_up(
        &foldlog.pool,
        &foldlog.views[0],
        BATCH_SIZE,
        &Budget::default(),
    )
    .await
    .unwrap();
    assert!(result.done, "{result:?}");
}

/// Only finds and claims the events: the cost of the claims.
async fn claim_only(foldlog: &Foldlog, events: i64) {
    let mut last = ("1".to_owned(), 0_i64);
    let mut seen = 0;
    while seen < events {
        let mut transaction = foldlog.pool.begin().await.unwrap();
        let rows = sqlx::query(CLAIM)
            .bind("users")
            .bind(vec![last.0.clone()])
            .bind(vec![last.1])
            .bind(vec!["9000000000000000000".to_owned()])
            .bind("9000000000000000000:9000000000000000000:")
            .bind(1000_i16)
            .bind(2000_i16)
            .bind(i64::from(BATCH_SIZE))
            .fetch_all(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let events: Vec<&sqlx::postgres::PgRow> = rows
            .iter()
            .filter(|row| row.get::<Option<i64>, _>("position").is_some())
            .collect();
        let end = events.last().unwrap();
        last = (end.get("txid"), end.get("position"));
        seen += i64::try_from(events.len()).unwrap();
    }
}

/// The same loop as most peers run it: one worker, a checkpoint, no claims.
async fn with_checkpoint(bench: &Bench, foldlog: &Foldlog, events: i64) {
    bench.run("create table if not exists checkpoint (txid xid8, position bigint); truncate checkpoint; insert into checkpoint values ('1', 0)").await;
    let view = &foldlog.views[0];
    let mut seen = 0;
    while seen < events {
        let mut transaction = foldlog.pool.begin().await.unwrap();
        let rows = sqlx::query(
            "select e.id, e.aggregate_id, e.version, e.position, e.txid::text as txid, e.type_id, e.created_at, e.payload, \
             e.metadata from events e, checkpoint c where (e.txid, e.position) > (c.txid, c.position) \
             and e.type_id >= 1000 and e.type_id < 2000 order by e.txid, e.position limit $1",
        )
        .bind(i64::from(BATCH_SIZE))
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
        let end = rows.last().unwrap();
        let (txid, position): (String, i64) = (end.get("txid"), end.get("position"));
        let batch: Vec<RecordedEvent> = rows
            .iter()
            .map(|row| store::decode_event(row).unwrap())
            .collect();
        seen += i64::try_from(batch.len()).unwrap();
        fold(&mut transaction, view, batch).await;
        sqlx::query("update checkpoint set txid = $1::text::xid8, position = $2")
            .bind(txid)
            .bind(position)
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
}

async fn fold(connection: &mut Session<'_>, view: &View, mut batch: Vec<RecordedEvent>) {
    batch.sort_unstable_by_key(|event| (event.aggregate_id, event.version));
    let ids: Vec<AggregateId> = batch
        .chunk_by(|a, b| a.aggregate_id == b.aggregate_id)
        .map(|events| events[0].aggregate_id)
        .collect();
    let load = "select wanted.id as wanted_id, viewed.json as viewed from unnest($1::uuid[]) as wanted (id) \
                left join lateral (select to_json(v) as json from foldlog.\"{table}\" v where v.id = wanted.id) viewed on true";
    let rows = sqlx::query(view.sql.fill(load))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let stored: HashMap<AggregateId, Option<Json<Box<RawValue>>>> = rows
        .iter()
        .map(|row| (AggregateId(row.get("wanted_id")), row.get("viewed")))
        .collect();
    let folded: Vec<(AggregateId, Version, Box<RawValue>)> = batch
        .chunk_by(|a, b| a.aggregate_id == b.aggregate_id)
        .map(|events| {
            let id = events[0].aggregate_id;
            let row = stored[&id].as_ref().map(|json| &*json.0);
            (
                id,
                events.last().unwrap().version,
                view.projection.fold(row, events).row.unwrap(),
            )
        })
        .collect();
    let rows: Vec<_> = folded
        .iter()
        .map(|(id, version, json)| (*id, *version, &**json))
        .collect();
    view::upsert(connection, view, &rows).await.unwrap();
}

/// The usual hand-written loop: fetch one event, load the row, begin, upsert, claim, commit.
async fn one_at_a_time(bench: &Bench, events: i64) {
    let mut connection = bench.connect().await;
    let ids: Vec<(uuid::Uuid,)> =
        sqlx::query_as("select id from events order by txid, position limit $1")
            .bind(events)
            .fetch_all(&mut connection)
            .await
            .unwrap();
    for (id,) in ids {
        let event =
            sqlx::query("select aggregate_id, version, type_id, payload from events where id = $1")
                .bind(id)
                .fetch_one(&mut connection)
                .await
                .unwrap();
        let aggregate_id: uuid::Uuid = event.get("aggregate_id");
        let payload: serde_json::Value = event.get("payload");
        let row = sqlx::query("select username, email from users where id = $1")
            .bind(aggregate_id)
            .fetch_optional(&mut connection)
            .await
            .unwrap();
        let email = row.map_or_else(
            || payload["email"].as_str().unwrap_or("-").to_owned(),
            |row| row.get("email"),
        );
        let mut transaction = sqlx::Connection::begin(&mut connection).await.unwrap();
        sqlx::query(
            "insert into users (id, version, username, email) values ($1, $2, $3, $4) \
             on conflict (id) do update set version = excluded.version, username = excluded.username, email = excluded.email",
        )
        .bind(aggregate_id)
        .bind(event.get::<i32, _>("version"))
        .bind(payload["username"].as_str().unwrap())
        .bind(email)
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query(
            "insert into locker (event_id, aggregate_id, lock_domain) values ($1, $2, 'users')",
        )
        .bind(id)
        .bind(aggregate_id)
        .execute(&mut *transaction)
        .await
        .unwrap();
        transaction.commit().await.unwrap();
    }
}

/// Writes with one statement each what a catch-up would write; claiming 3 M events in batches would take minutes.
async fn claim_all_at_once(bench: &Bench) {
    bench
        .run(
            "insert into locker select id, aggregate_id, 'users' from events on conflict do nothing;
             insert into users (id, version, username, email)
             select distinct on (aggregate_id) aggregate_id, version, payload ->> 'username', '-' from events
             order by aggregate_id, version desc on conflict (id) do update set version = excluded.version;
             insert into settled (lock_domain, snapshot) values ('users', log_snapshot())
             on conflict (lock_domain, first) do update set snapshot = excluded.snapshot",
        )
        .await;
}

async fn reset(bench: &Bench) {
    bench
        .run("truncate locker, users, settled; delete from parked")
        .await;
}

/// Returns the peak resident memory of the process in MiB since the last reset.
fn peak_memory(reset: bool) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    if reset {
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
    }
    kib / 1024
}
