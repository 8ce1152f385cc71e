//! The cost of a pooler in transaction mode.

#[path = "../../tests/it/support/bouncer.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod bouncer;
#[path = "../../tests/it/support/poll.rs"]
mod poll;

use std::process::Command;
use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::command;
use foldlog::db::{Pooler, Role};
use foldlog::event::{AggregateId, ExpectedVersion};
use foldlog::query::{self, Consistency};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::Mutex;

use super::support::{Bench, Scale, created, median, rate, report, run};
use super::{append, catch_up_here, connected_foldlog};
use bouncer::{Bouncer, set_login_defaults};

/// Concurrent clients of the pooler.
const CLIENT_COUNT: usize = 32;

/// Server connections that the clients share: PgBouncer's default.
const SERVER_COUNT: usize = 20;

/// Compares appends and reads through a PgBouncer in transaction mode with the same on direct connections: as an older PgBouncer
/// needs it, and through one that tracks named statements.
pub async fn measure(scale: Scale) {
    let found = Command::new("scripts/find-pgbouncer.sh").output().unwrap();
    if !found.status.success() {
        println!("pooler: not measured, because PgBouncer is not installed");
        return;
    }
    let bench = Bench::new("pooler").await;
    let rows: Vec<_> = (0..scale.events(10_000)).map(|_| created()).collect();
    let ids: Arc<[AggregateId]> = rows.iter().map(|event| event.aggregate_id).collect();
    let foldlog_here = bench.foldlog(8);
    for chunk in rows.chunks(1000) {
        command::execute(&foldlog_here, chunk, ExpectedVersion::Any, None)
            .await
            .unwrap();
    }
    catch_up_here(&foldlog_here).await;
    foldlog_here.pool.close();
    let more = format!("default_pool_size = {SERVER_COUNT}");
    // One login for all, so one role for all, which appends and reads.
    set_login_defaults(&bench.options, Some(Role::CommandInline)).await;
    let bouncer = Bouncer::start_with(&bench.options, &more).await;
    let tracking = Bouncer::start_tracking(&bench.options, &more).await;

    let here = (bench.options.clone(), Pooler::None);
    let unnamed = (bouncer.options(), Pooler::Transaction);
    let named = tracking.as_ref();
    let named = named.map(|bouncer| (bouncer.options(), Pooler::Prepared));
    let (mut direct, mut in_transactions, mut by_name) =
        (Rates::default(), Rates::default(), Rates::default());
    for _ in 0..scale.turns {
        direct.add(here.clone(), scale, &ids).await;
        in_transactions.add(unnamed.clone(), scale, &ids).await;
        if let Some(named) = &named {
            by_name.add(named.clone(), scale, &ids).await;
        }
    }
    println!(
        "{CLIENT_COUNT} clients without a pooler: {:.0} times `select 1`, {:.0} appends, {:.0} reads a second",
        median(direct.select_one.clone()),
        median(direct.appends.clone()),
        median(direct.reads.clone())
    );
    in_transactions.report("DB_POOLER=transaction", &direct, "-");
    if named.is_some() {
        by_name.report("DB_POOLER=prepared", &direct, "0.6");
    }
    bench.drop().await;
}

/// Rates per second, by turn.
#[derive(Default)]
struct Rates {
    /// `select 1`, one message per statement: the upper bound for every client of the pooler.
    select_one: Vec<f64>,
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
        self.select_one.push(select_one_rate(&login, scale).await);
        let login = Arc::new(login);
        let foldlog = connected_foldlog(login, pooler, Role::CommandInline, CLIENT_COUNT).await;
        self.appends.push(append_rate(&foldlog, scale).await);
        self.reads.push(read_rate(&foldlog, scale, ids).await);
        foldlog.pool.close();
    }

    fn report(self, setting: &str, direct: &Self, wanted: &str) {
        for (what, pooled, direct, wanted) in [
            (
                "one `select 1` in one round trip",
                self.select_one,
                &direct.select_one,
                "-",
            ),
            ("appends", self.appends, &direct.appends, wanted),
            ("reads of a row", self.reads, &direct.reads, wanted),
        ] {
            let ratios = pooled.iter().zip(direct).map(|(a, b)| a / b).collect();
            let what = format!("{what}: {setting} ÷ direct");
            report(&what, median(pooled), "/s", ratios, wanted);
        }
    }
}

async fn select_one_rate(login: &PgConnectOptions, scale: Scale) -> f64 {
    let login = login.clone().extra_float_digits(None);
    let mut open: Vec<Arc<Mutex<PgConnection>>> = Vec::new();
    for _ in 0..CLIENT_COUNT {
        open.push(Arc::new(Mutex::new(login.connect().await.unwrap())));
    }
    rate(CLIENT_COUNT, scale.turn, move |task| {
        let connection = Arc::clone(&open[task]);
        async move { run(&mut *connection.lock().await, "select 1").await }
    })
    .await
}

async fn append_rate(foldlog: &Foldlog, scale: Scale) -> f64 {
    let foldlog = foldlog.clone();
    rate(CLIENT_COUNT, scale.turn, move |_| {
        let foldlog = foldlog.clone();
        async move { append(&foldlog, created()).await }
    })
    .await
}

async fn read_rate(foldlog: &Foldlog, scale: Scale, ids: &Arc<[AggregateId]>) -> f64 {
    let (foldlog, ids) = (foldlog.clone(), Arc::clone(ids));
    rate(CLIENT_COUNT, scale.turn, move |_| {
        let (foldlog, ids) = (foldlog.clone(), Arc::clone(&ids));
        async move {
            let id = ids[usize::from(rand::random::<u16>()) % ids.len()];
            query::get(&foldlog, &foldlog.views[0], id, Consistency::Eventual)
                .await
                .unwrap();
        }
    })
    .await
}
