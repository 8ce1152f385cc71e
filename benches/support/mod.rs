//! Support for the benchmarks: a database, load from several connections, and ratios to a baseline.
//!
//! Machines are noisy, so a benchmark alternates with its baseline, and the result is the median of the ratios of adjacent turns.

#![allow(
    clippy::allow_attributes,
    dead_code,
    reason = "each benchmark uses a part of this module"
)]

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldlog::db::Pool;
use foldlog::domains;
use foldlog::domains::users::UserEvent;
use foldlog::event::{AggregateId, NewEvent, UntypedEvent};
use foldlog::local::postgres::{ManagedPostgres, Settings};
use foldlog::migrations;
use foldlog::{Foldlog, FoldlogBuilder};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

/// How much to measure: `cargo bench -- --smoke` runs everything once with little data, to check that it still works.
#[derive(Clone, Copy)]
pub struct Scale {
    pub turns: usize,
    pub turn: Duration,
    pub smoke: bool,
}

impl Scale {
    pub fn from_args() -> Self {
        let smoke = std::env::args().any(|argument| argument == "--smoke");
        if smoke {
            Self {
                turns: 1,
                turn: Duration::from_millis(200),
                smoke,
            }
        } else {
            Self {
                turns: 5,
                turn: Duration::from_secs(3),
                smoke,
            }
        }
    }

    /// Returns `full`, or a hundredth of it in a smoke run.
    pub fn events(self, full: i64) -> i64 {
        if self.smoke { full / 100 } else { full }
    }
}

/// A new, migrated database on the server of `BENCH_DATABASE_URL`, or on one that is found or downloaded.
pub struct Bench {
    pub options: PgConnectOptions,
    pub admin: PgConnectOptions,
    name: String,
}

impl Bench {
    pub async fn new(label: &str) -> Self {
        let admin = if let Ok(url) = std::env::var("BENCH_DATABASE_URL") {
            PgConnectOptions::from_str(&url).unwrap()
        } else {
            let settings = Settings::managed("/var/tmp/foldlog-bench")
                .unwrap()
                .parameter("shared_buffers", "1GB")
                .parameter("max_wal_size", "4GB");
            let server = ManagedPostgres::start(settings).await.unwrap();
            let options = server.connect_options();
            std::mem::forget(server);
            options
        };
        let name = format!("foldlog_bench_{label}");
        let mut connection = PgConnection::connect_with(&admin).await.unwrap();
        run(
            &mut connection,
            &format!("drop database if exists {name} with (force)"),
        )
        .await;
        run(&mut connection, &format!("create database {name}")).await;
        let options = admin.clone().database(&name);
        let bench = Self {
            options,
            admin,
            name,
        };
        let foldlog = bench.foldlog(1);
        migrations::up(
            &mut bench.connect().await,
            foldlog.pool.schema(),
            &foldlog.views,
            foldlog.inline(),
        )
        .await
        .unwrap();
        bench
    }

    pub fn foldlog(&self, connections: usize) -> Foldlog {
        self.foldlog_with(connections, |builder| builder)
    }

    fn foldlog_with(
        &self,
        connections: usize,
        set: impl FnOnce(FoldlogBuilder) -> FoldlogBuilder,
    ) -> Foldlog {
        let pool = Pool::new(self.options.clone(), connections);
        let builder = Foldlog::builder().domains(domains::ALL);
        set(builder).build(pool).unwrap()
    }

    /// Returns a `Foldlog` with all connections open, so that the benchmark does not measure connecting.
    pub async fn warm_foldlog(&self, connections: usize) -> Foldlog {
        self.warm_foldlog_with(connections, |builder| builder).await
    }

    /// As [`Self::warm_foldlog`], with other settings.
    pub async fn warm_foldlog_with(
        &self,
        connections: usize,
        set: impl FnOnce(FoldlogBuilder) -> FoldlogBuilder,
    ) -> Foldlog {
        let foldlog = self.foldlog_with(connections, set);
        let open = (0..connections).map(|_| foldlog.pool.acquire());
        let open = futures_util::future::try_join_all(open).await.unwrap();
        drop(open);
        foldlog
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options).await.unwrap()
    }

    pub async fn run(&self, sql: &str) {
        run(&mut self.connect().await, sql).await;
    }

    /// Copies this database; it must have no open connections.
    pub async fn copy(&self) -> Self {
        let name = format!("{}_copy", self.name);
        let mut connection = PgConnection::connect_with(&self.admin).await.unwrap();
        for statement in [
            format!("drop database if exists {name} with (force)"),
            format!("create database {name} template {}", self.name),
            // Otherwise Postgres would write the pages of the copy during the measurement.
            "checkpoint".to_owned(),
        ] {
            run(&mut connection, &statement).await;
        }
        Self {
            options: self.admin.clone().database(&name),
            admin: self.admin.clone(),
            name,
        }
    }

    pub async fn drop(self) {
        let mut connection = PgConnection::connect_with(&self.admin).await.unwrap();
        run(
            &mut connection,
            &format!("drop database if exists {} with (force)", self.name),
        )
        .await;
    }
}

pub async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// Builds an event of about 150 bytes that creates a user.
pub fn created() -> UntypedEvent {
    let id = Uuid::now_v7();
    let payload = UserEvent::Created {
        id,
        username: format!("user {id}"),
        email: format!("{id}@example.org"),
        password: None,
    };
    NewEvent::new(AggregateId(id), payload).encode().unwrap()
}

/// Inserts events of users: ten per user and a thousand per transaction, with time-ordered ids like those of the library. Calls with
/// different labels create different users.
pub async fn fill(bench: &Bench, label: i64, events: i64) {
    bench
        .run(&format!(
            "do $$
             declare first bigint; users bigint := greatest(10, least(1000, {events} / 10));
             begin
                 for first in 0..{events} - 1 by 1000 loop
                     insert into events (id, aggregate_id, version, type_id, payload, txid)
                     select (lpad(to_hex(1700000000000 + {label} + n), 12, '0') || '7' || substr(md5(random()::text), 1, 19))::uuid, id, version, case version when 1 then 1000 else 1002 end,
                         case version
                             when 1 then jsonb_build_object('id', id, 'username', 'user ' || n, 'email', n || '@example.org')
                             else jsonb_build_object('username', 'user ' || n || ' of the example')
                         end,
                         pg_current_xact_id()
                     from (
                         select n, 1 + n % (users * 10) / users as version,
                             md5(concat('user ', {label}, '/', n / (users * 10), '/', n % users))::uuid as id
                         from generate_series(first, least(first + 999, {events} - 1)) as n
                     ) as event
                     order by n;
                     commit;
                 end loop;
             end $$"
        ))
        .await;
    bench.run("analyze events").await;
}

/// Runs `work` repeatedly in several tasks for the duration of a turn; returns how often it ran per second.
pub async fn rate<F: Future<Output = ()> + Send>(
    tasks: usize,
    turn: Duration,
    work: impl Fn(usize) -> F + Send + Sync + 'static,
) -> f64 {
    let (work, done, stop) = (
        Arc::new(work),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (work, done, stop) = (work.clone(), done.clone(), stop.clone());
        running.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                work(task).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(turn).await;
    stop.store(true, Ordering::Relaxed);
    running.join_all().await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let done = done.load(Ordering::Relaxed) as f64;
    done / begun.elapsed().as_secs_f64()
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints one line of the result.
pub fn report(what: &str, value: f64, unit: &str, ratios: Vec<f64>, wanted: &str) {
    let (low, high) = ratios
        .iter()
        .fold((f64::MAX, 0.0_f64), |(l, h), r| (l.min(*r), h.max(*r)));
    println!(
        "{what:<62} {value:>10.1} {unit:<9} ratio {:>6.2} ({low:.2}–{high:.2}), wanted {wanted}",
        median(ratios)
    );
}
