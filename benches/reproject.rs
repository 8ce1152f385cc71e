//! Reprojection: compared with set-based SQL that does the same in the database, with a catch-up of the same backlog, and with reads and
//! appends that run beside it; and verify, compared with it.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program that prints what it measured"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use foldlog::Foldlog;
use foldlog::command;
use foldlog::event::{AggregateId, ExpectedVersion};
use foldlog::projection::reproject::{ReprojectOptions, ReprojectionState, reproject};
use foldlog::projection::verify::{VerifyOptions, verify};
use foldlog::projection::{self, Budget};
use foldlog::query::{self, Consistency};
use sqlx::Row as _;
use uuid::Uuid;

use support::{Bench, Scale, created, fill, median, rate, report};

const BATCH_SIZE: u32 = 2000;

/// What a database expert would write once: the rows and the claims of all users, in one statement each.
const SET_BASED: &str = "
    drop table if exists by_sql;
    delete from locker where lock_domain = 'by_sql';
    create table by_sql (like empty_users including all);
    insert into by_sql (id, version, username, email)
    select aggregate_id, max(version), (array_agg(payload->>'username' order by version desc))[1],
        (array_agg(payload->>'email' order by version) filter (where type_id = 1000))[1]
    from events where type_id >= 1000 and type_id < 2000 group by aggregate_id;
    insert into locker select id, aggregate_id, 'by_sql' from events where type_id >= 1000 and type_id < 2000";

#[tokio::main]
async fn main() {
    let scale = Scale::from_args();
    rates(scale).await;
    beside(scale).await;
}

/// Compares a reprojection with set-based SQL, with a catch-up and with a verification.
async fn rates(scale: Scale) {
    let bench = Bench::new("reproject").await;
    let events = scale.events(1_000_000);
    fill(&bench, 0, events).await;
    bench
        .run("create table empty_users (like users including all)")
        .await;
    let foldlog = bench.foldlog(4);
    let begun = Instant::now();
    catch_up(&foldlog).await;
    let caught_up = begun.elapsed().as_secs_f64();
    let (mut ours, mut by_sql, mut verified) = (vec![], vec![], vec![]);
    for _ in 0..scale.turns.min(3) {
        clean(&bench).await;
        by_sql.push(seconds(|| bench.run(SET_BASED)).await);
        clean(&bench).await;
        ours.push(seconds(|| to_the_end(&foldlog)).await);
        verified.push(
            seconds(|| async {
                let view = &foldlog.views[0];
                let found = verify(
                    &foldlog.pool,
                    view,
                    VerifyOptions::default(),
                    &Budget::default(),
                )
                .await
                .unwrap();
                assert_eq!((found.differ, found.complete), (0, true));
            })
            .await,
        );
        bench
            .run("update views set retired_at = retired_at - interval '2 minutes'")
            .await;
        catch_up(&foldlog).await;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    let per_second = events as f64 / median(ours.clone());
    let ratio = |other: &[f64]| {
        other
            .iter()
            .zip(&ours)
            .map(|(b, a)| b / a)
            .collect::<Vec<_>>()
    };
    report(
        &format!("reprojection of {events} events ÷ set-based SQL"),
        per_second,
        "events/s",
        ratio(&by_sql),
        "0.4",
    );
    report(
        "the same ÷ catch-up of the same backlog",
        per_second,
        "events/s",
        ours.iter().map(|seconds| caught_up / seconds).collect(),
        "4",
    );
    report(
        "verify ÷ reprojection",
        median(verified.clone()),
        "s",
        ours.iter().zip(&verified).map(|(a, b)| a / b).collect(),
        "1",
    );
    bench.drop().await;
}

/// Measures reads and appends while a reprojection runs, and without one.
async fn beside(scale: Scale) {
    let bench = Bench::new("beside").await;
    let events = scale.events(500_000);
    fill(&bench, 0, events).await;
    let foldlog = bench.warm_foldlog(12).await;
    catch_up(&foldlog).await;
    let rows = sqlx::query("select id from users order by id limit 1000")
        .fetch_all(&mut bench.connect().await)
        .await
        .unwrap();
    let ids: Arc<[Uuid]> = rows.iter().map(|row| row.get(0)).collect();
    let load = async || {
        let (foldlog, ids) = (foldlog.clone(), ids.clone());
        rate(4, scale.turn, move |task| {
            let (foldlog, ids) = (foldlog.clone(), ids.clone());
            async move {
                if task % 2 == 0 {
                    command::execute(&foldlog, &[created()], ExpectedVersion::Any, None)
                        .await
                        .unwrap();
                } else {
                    let id =
                        ids[usize::try_from(created().id.0.as_u128() % 1000).unwrap() % ids.len()];
                    let view = &foldlog.views[0];
                    query::get(&foldlog, view, AggregateId(id), Consistency::Eventual)
                        .await
                        .unwrap();
                }
            }
        })
        .await
    };
    let (mut with, mut without) = (vec![], vec![]);
    for _ in 0..scale.turns {
        without.push(load().await);
        let stop = Arc::new(AtomicBool::new(false));
        let other = bench.foldlog(3);
        let reprojections = {
            let stop = stop.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    to_the_end(&other).await;
                }
            })
        };
        with.push(load().await);
        stop.store(true, Ordering::Relaxed);
        reprojections.await.unwrap();
    }
    report(
        "reads and appends during a reprojection ÷ without",
        median(with.clone()),
        "/s",
        with.iter().zip(&without).map(|(a, b)| a / b).collect(),
        "0.6",
    );
    bench.drop().await;
}

/// Removes the claims of the SQL, and leaves neither dead rows nor dirty pages to the next turn.
async fn clean(bench: &Bench) {
    for statement in [
        "delete from locker where lock_domain = 'by_sql'",
        "vacuum locker",
        "checkpoint",
    ] {
        bench.run(statement).await;
    }
}

async fn seconds(work: impl AsyncFn()) -> f64 {
    let begun = Instant::now();
    work().await;
    begun.elapsed().as_secs_f64()
}

async fn catch_up(foldlog: &Foldlog) {
    let view = &foldlog.views[0];
    let result = projection::catch_up(&foldlog.pool, view, BATCH_SIZE, &Budget::default())
        .await
        .unwrap();
    assert!(result.done, "{result:?}");
}

async fn to_the_end(foldlog: &Foldlog) {
    let view = &foldlog.views[0];
    loop {
        let options = ReprojectOptions::default();
        let reached = reproject(&foldlog.pool, view, BATCH_SIZE, options, &Budget::default())
            .await
            .unwrap();
        if reached.state == ReprojectionState::Live {
            break;
        }
    }
}
