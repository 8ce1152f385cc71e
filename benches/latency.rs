//! Latency from commit to visible in the view, with the listener asleep and awake, as ratios to a bare NOTIFY round trip.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program that prints what it measured"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::Foldlog;
use foldlog::command;
use foldlog::event::ExpectedVersion;
use foldlog::projection::Listener;
use foldlog::query::{self, Consistency};
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;

use support::{Bench, Scale, created, run};

#[tokio::main]
async fn main() {
    let scale = Scale::from_args();
    let bench = Bench::new("latency").await;
    let foldlog = bench.foldlog(8);
    let samples = if scale.smoke { 5 } else { 300 };
    let stop = CancellationToken::new();
    let listener = Listener {
        login: Arc::new(bench.options.clone()),
        pool: foldlog.pool.clone(),
        views: foldlog.views.clone(),
        batch_size: 2000,
        stop: stop.clone(),
    };
    let listener = tokio::spawn(listener.run());
    time_until_visible(&foldlog).await;
    let (mut notify, mut asleep, mut awake) = (vec![], vec![], vec![]);
    for _ in 0..scale.turns {
        notify.extend(round_trips(&bench, samples).await);
        for _ in 0..samples / 5 {
            // Long enough for the listener to fall asleep.
            tokio::time::sleep(Duration::from_millis(60)).await;
            asleep.push(time_until_visible(&foldlog).await);
        }
        let (busy, appending) = keep_awake(&foldlog);
        for _ in 0..samples / 5 {
            tokio::time::sleep(Duration::from_millis(3)).await;
            awake.push(time_until_visible(&foldlog).await);
        }
        busy.cancel();
        appending.await.unwrap();
    }
    let (n50, n99) = percentiles(notify);
    println!("a bare NOTIFY round trip: p50 {n50:.2} ms, p99 {n99:.2} ms");
    for (state, times) in [("asleep", asleep), ("awake", awake)] {
        let (p50, p99) = percentiles(times);
        println!(
            "commit to visible, listener {state}: p50 {p50:.2} ms (ratio {:.1}), p99 {p99:.2} ms (ratio {:.1}), wanted at most 3",
            p50 / n50,
            p99 / n99
        );
    }
    stop.cancel();
    listener.await.unwrap();
    foldlog.pool.close();
    bench.drop().await;
}

/// Appends a user and reads its row until it appears; returns the time since the append returned, in milliseconds.
async fn time_until_visible(foldlog: &Foldlog) -> f64 {
    let event = created();
    command::execute(
        foldlog,
        std::slice::from_ref(&event),
        ExpectedVersion::Any,
        None,
    )
    .await
    .unwrap();
    let begun = Instant::now();
    while query::get(
        foldlog,
        &foldlog.views[0],
        event.aggregate_id,
        Consistency::Eventual,
    )
    .await
    .is_err()
    {}
    begun.elapsed().as_secs_f64() * 1000.0
}

/// Appends every few milliseconds, so that the listener never falls asleep.
fn keep_awake(foldlog: &Foldlog) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let (foldlog, stop) = (foldlog.clone(), CancellationToken::new());
    let stopped = stop.clone();
    let appending = tokio::spawn(async move {
        while !stopped.is_cancelled() {
            command::execute(&foldlog, &[created()], ExpectedVersion::Any, None)
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    });
    (stop, appending)
}

/// Measures round trips between two sessions: one notifies, the other notifies back.
async fn round_trips(bench: &Bench, samples: usize) -> Vec<f64> {
    let pool = sqlx::PgPool::connect_with(bench.options.clone())
        .await
        .unwrap();
    let (mut here, mut there) = (
        PgListener::connect_with(&pool).await.unwrap(),
        PgListener::connect_with(&pool).await.unwrap(),
    );
    here.listen("bench_here").await.unwrap();
    there.listen("bench_there").await.unwrap();
    let mut answering = bench.connect().await;
    let answers = tokio::spawn(async move {
        for _ in 0..samples {
            there.recv().await.unwrap();
            run(&mut answering, "notify bench_here").await;
        }
    });
    let mut asking = bench.connect().await;
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        let begun = Instant::now();
        run(&mut asking, "notify bench_there").await;
        here.recv().await.unwrap();
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    answers.await.unwrap();
    drop(here);
    pool.close().await;
    times
}

fn percentiles(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
