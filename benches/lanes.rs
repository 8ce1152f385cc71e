//! Several workers on one projection: how they share a backlog, how much faster they are on a network with latency, a large transaction in
//! short invocations, many parked aggregates, and memory.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark is a program that prints what it measured"
)]

mod support;

use std::time::{Duration, Instant};

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::domains;
use foldlog::projection::{self, Budget};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use support::{Bench, Scale, fill, median};

/// How long a packet takes in each direction.
const NETWORK_DELAY: Duration = Duration::from_millis(1);

#[tokio::main]
async fn main() {
    let scale = Scale::from_args();
    network(scale).await;
    shares(scale).await;
    large_transaction(scale).await;
    parked(scale).await;
    large_events(scale).await;
}

async fn reset(bench: &Bench) {
    bench
        .run("truncate locker, users, settled; delete from parked")
        .await;
}

/// Catches up with this many workers at once, each with one connection; returns the time and the events of each.
async fn catch_up(options: &PgConnectOptions, workers: usize, batch: u32) -> (f64, Vec<u64>) {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        let pool = Pool::new(options.clone(), 1);
        let foldlog = Foldlog::builder()
            .domains(domains::ALL)
            .build(pool)
            .unwrap();
        tasks.spawn(async move {
            let view = &foldlog.views[0];
            let budget = Budget::default();
            projection::catch_up(&foldlog.pool, view, batch, &budget)
                .await
                .unwrap()
                .applied
        });
    }
    let shares = tasks.join_all().await;
    (begun.elapsed().as_secs_f64(), shares)
}

/// With 1 ms in each direction: the time of 2, 4 and 8 workers ÷ the time of one.
async fn network(scale: Scale) {
    let bench = Bench::new("network").await;
    let events = scale.events(20_000);
    fill(&bench, 0, events).await;
    let options = delayed(&bench.options);
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..scale.turns.min(3) {
        for (times, workers) in times.iter_mut().zip([1, 2, 4, 8]) {
            let (time, shares) = catch_up(&options, workers, 100).await;
            assert_eq!(shares.iter().sum::<u64>(), events.unsigned_abs());
            times.push(time);
            reset(&bench).await;
        }
    }
    for (index, (workers, wanted)) in [(2, 0.55), (4, 0.32), (8, 0.2)].iter().enumerate() {
        let ratios: Vec<f64> = times[index + 1]
            .iter()
            .zip(&times[0])
            .map(|(many, one)| many / one)
            .collect();
        println!(
            "{workers} workers, 1 ms each way, batches of 100: {:.2} s ÷ {:.2} s of one: {:.2} (wanted at most {wanted})",
            median(times[index + 1].clone()),
            median(times[0].clone()),
            median(ratios),
        );
    }
    bench.drop().await;
}

/// On real cores: how two and four workers share a backlog of one transaction.
async fn shares(scale: Scale) {
    let bench = Bench::new("shares").await;
    let events = scale.events(100_000);
    fill(&bench, 0, events).await;
    for workers in [1, 2, 4] {
        let (time, shares) = catch_up(&bench.options, workers, 2000).await;
        println!(
            "{workers} workers without delay: {:.0} events/s, shares {shares:?}",
            events as f64 / time
        );
        reset(&bench).await;
    }
    bench.drop().await;
}

/// 300,000 events of one transaction, in invocations of 2 s: alone, and two at once.
async fn large_transaction(scale: Scale) {
    let bench = Bench::new("transaction").await;
    let events = scale.events(300_000);
    bench
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload) \
             select gen_random_uuid(), u.id, 1, 1000, \
                 jsonb_build_object('id', u.id, 'username', 'ada', 'email', u.id || '@example.org') \
             from (select gen_random_uuid() as id from generate_series(1, {events})) u"
        ))
        .await;
    for workers in [1_usize, 2] {
        let hosts: Vec<Foldlog> = (0..workers).map(|_| bench.foldlog(2)).collect();
        let mut applied = vec![Vec::new(); workers];
        let mut done = false;
        while !done {
            let mut tasks = JoinSet::new();
            for (index, host) in hosts.iter().enumerate() {
                let host = host.clone();
                tasks.spawn(async move {
                    let now = Instant::now();
                    let budget = Budget {
                        until: Some(now + Duration::from_millis(1500)),
                        abort_at: Some(now + Duration::from_millis(1750)),
                        ..Budget::default()
                    };
                    let view = &host.views[0];
                    let pass = projection::catch_up(&host.pool, view, 2000, &budget).await;
                    (index, pass.unwrap())
                });
            }
            for (index, pass) in tasks.join_all().await {
                applied[index].push(pass.applied);
                done |= pass.done;
            }
        }
        let totals: Vec<u64> = applied.iter().map(|passes| passes.iter().sum()).collect();
        println!(
            "{events} events of one transaction, {workers} at once: totals {totals:?}, by invocation {applied:?}"
        );
        reset(&bench).await;
    }
    bench.drop().await;
}

/// The rate with 20,000 parked aggregates, each with an event that is passed over.
async fn parked(scale: Scale) {
    let bench = Bench::new("parked").await;
    let (events, parked) = (scale.events(100_000), scale.events(20_000));
    fill(&bench, 0, events).await;
    for count in [0, parked] {
        bench
            .run(&format!(
                "insert into parked (lock_domain, aggregate_id, event_id, version, error, next_try) \
                 select 'users', gen_random_uuid(), gen_random_uuid(), 1, 'x', now() + interval '1 day' \
                 from generate_series(1, {count})"
            ))
            .await;
        let mut rates = Vec::new();
        for _ in 0..scale.turns {
            bench.run("truncate locker, users, settled").await;
            let foldlog = bench.foldlog(4);
            let begun = Instant::now();
            let budget = Budget::default();
            let pass = projection::catch_up(&foldlog.pool, &foldlog.views[0], 2000, &budget).await;
            assert!(pass.unwrap().done);
            rates.push(events as f64 / begun.elapsed().as_secs_f64());
        }
        println!("{count} parked aggregates: {:.0} events/s", median(rates));
    }
    bench.drop().await;
}

/// Peak memory over 1,200 events with 1 MiB of metadata each.
async fn large_events(scale: Scale) {
    let bench = Bench::new("large_events").await;
    let events = scale.events(1_200);
    bench
        .run(&format!(
            "insert into events (id, aggregate_id, version, type_id, payload, metadata) \
             select gen_random_uuid(), u.id, 1, 1000, \
                 jsonb_build_object('id', u.id, 'username', 'ada', 'email', u.id || '@example.org'), \
                 jsonb_build_object('text', repeat('x', 1048576)) \
             from (select gen_random_uuid() as id from generate_series(1, {events})) u"
        ))
        .await;
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let foldlog = bench.foldlog(4);
    let budget = Budget::default();
    let pass = projection::catch_up(&foldlog.pool, &foldlog.views[0], 2000, &budget).await;
    assert!(pass.unwrap().done);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    println!(
        "peak memory over {events} events of 1 MiB: {} (wanted at most 256 MiB)",
        peak.unwrap()
    );
    bench.drop().await;
}

/// Options that reach the server through a proxy that delays each packet. The proxy listens on a Unix socket, because sqlx
/// prefers the socket of the options to their host.
fn delayed(options: &PgConnectOptions) -> PgConnectOptions {
    let folder = std::env::temp_dir().join(format!("foldlog-delayed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!(".s.PGSQL.{}", options.get_port()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(path).unwrap();
    let server = options.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (client_read, client_write) = client.into_split();
            if let Some(folder) = server.get_socket() {
                let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                let (read, write) = UnixStream::connect(path).await.unwrap().into_split();
                forward(client_read, write);
                forward(read, client_write);
            } else {
                let address = (server.get_host().to_owned(), server.get_port());
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (read, write) = stream.into_split();
                forward(client_read, write);
                forward(read, client_write);
            }
        }
    });
    options.clone().socket(folder)
}

/// Forwards bytes, each chunk [`NETWORK_DELAY`] after it was read.
fn forward(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
) {
    let (sender, mut chunks) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let due = tokio::time::Instant::now() + NETWORK_DELAY;
            if sender.send((due, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            if to.write_all(&chunk).await.is_err() {
                break;
            }
        }
        // A closed connection reaches the other side.
        drop(to.shutdown().await);
        sleep(NETWORK_DELAY).await;
    });
}
