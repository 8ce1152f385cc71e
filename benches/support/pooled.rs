//! What a pooler in transaction mode costs.

#[path = "../../tests/it/support/bouncer.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod bouncer;
#[path = "../../tests/it/support/poll.rs"]
mod poll;

use std::process::Command;
use std::sync::Arc;

use foldlog::command;
use foldlog::db::{Pooler, Role};
use foldlog::engine::Engine;
use foldlog::event::{AggregateId, ExpectedVersion};
use foldlog::query::{self, Consistency};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::Mutex;

use super::support::{Bench, Scale, created, median, rate, report, run};
use super::{append, catch_up_here, engine};
use bouncer::Bouncer;

/// Clients of a pooler, and the server connections that it has for them; 20 is PgBouncer's own default.
const CLIENTS: usize = 32;
const SERVERS: usize = 20;

/// Appends and reads behind a PgBouncer in transaction mode, and the same on connections of one's own.
pub async fn measure(scale: Scale) {
    let found = Command::new("scripts/find-pgbouncer.sh").output().unwrap();
    if !found.status.success() {
        println!("behind a pooler: not measured, there is no PgBouncer");
        return;
    }
    let bench = Bench::new("pooler").await;
    let rows: Vec<_> = (0..scale.events(10_000)).map(|_| created()).collect();
    let ids: Arc<[AggregateId]> = rows.iter().map(|event| event.aggregate_id).collect();
    let engine_here = bench.engine(8);
    for chunk in rows.chunks(1000) {
        command::execute(&engine_here, chunk, ExpectedVersion::Any, None)
            .await
            .unwrap();
    }
    catch_up_here(&engine_here).await;
    engine_here.pool.close();
    let more = format!("default_pool_size = {SERVERS}");
    let bouncer = Bouncer::start_with(&bench.options, &more).await;

    let (mut direct, mut pooled) = (Rates::default(), Rates::default());
    for _ in 0..scale.turns {
        let here = (bench.options.clone(), Pooler::None);
        direct.add(here, scale, &ids).await;
        let behind = (bouncer.options(), Pooler::Transaction);
        pooled.add(behind, scale, &ids).await;
    }
    println!(
        "{CLIENTS} clients without a pooler: {:.0} times `select 1`, {:.0} appends, {:.0} reads a second",
        median(direct.nothing.clone()),
        median(direct.appends.clone()),
        median(direct.reads.clone())
    );
    for (what, pooled, direct, wanted) in [
        (
            "one `select 1` in one round trip",
            pooled.nothing,
            direct.nothing,
            "-",
        ),
        ("appends", pooled.appends, direct.appends, "0.6"),
        ("reads of a row", pooled.reads, direct.reads, "0.6"),
    ] {
        let ratios = pooled.iter().zip(&direct).map(|(a, b)| a / b).collect();
        let what = format!("{what}: behind PgBouncer ÷ direct");
        report(&what, median(pooled), "/s", ratios, wanted);
    }
    bench.drop().await;
}

/// What was done in a second, a turn each.
#[derive(Default)]
struct Rates {
    /// What the pooler itself takes: no client of it can do better than with one statement in one message.
    nothing: Vec<f64>,
    appends: Vec<f64>,
    reads: Vec<f64>,
}

impl Rates {
    async fn add(
        &mut self,
        (login, pooler): (PgConnectOptions, Pooler),
        scale: Scale,
        ids: &Arc<[AggregateId]>,
    ) {
        self.nothing.push(nothing_a_second(&login, scale).await);
        let login = Arc::new(login);
        let command = engine(Arc::clone(&login), pooler, Role::Command, CLIENTS).await;
        self.appends.push(appends_a_second(&command, scale).await);
        command.pool.close();
        let query = engine(login, pooler, Role::Query, CLIENTS).await;
        self.reads.push(reads_a_second(&query, scale, ids).await);
        query.pool.close();
    }
}

async fn nothing_a_second(login: &PgConnectOptions, scale: Scale) -> f64 {
    let login = login.clone().extra_float_digits(None);
    let mut open: Vec<Arc<Mutex<PgConnection>>> = Vec::new();
    for _ in 0..CLIENTS {
        open.push(Arc::new(Mutex::new(login.connect().await.unwrap())));
    }
    rate(CLIENTS, scale.turn, move |task| {
        let connection = Arc::clone(&open[task]);
        async move { run(&mut *connection.lock().await, "select 1").await }
    })
    .await
}

async fn appends_a_second(engine: &Engine, scale: Scale) -> f64 {
    let engine = engine.clone();
    rate(CLIENTS, scale.turn, move |_| {
        let engine = engine.clone();
        async move { append(&engine, created()).await }
    })
    .await
}

async fn reads_a_second(engine: &Engine, scale: Scale, ids: &Arc<[AggregateId]>) -> f64 {
    let (engine, ids) = (engine.clone(), Arc::clone(ids));
    rate(CLIENTS, scale.turn, move |_| {
        let (engine, ids) = (engine.clone(), Arc::clone(&ids));
        async move {
            let id = ids[usize::from(rand::random::<u16>()) % ids.len()];
            query::get(&engine, &engine.views[0], id, Consistency::Eventual)
                .await
                .unwrap();
        }
    })
    .await
}
