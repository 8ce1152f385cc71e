//! Load from several clients, and what it cost.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx_of_peers::postgres::{PgPool, PgPoolOptions};

/// Connections are opened and statements prepared before the measurement begins.
const WARM_UP_PERIOD: Duration = Duration::from_millis(400);

/// How many clients, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub clients: usize,
    turn: Duration,
}

/// What the clients did.
#[derive(Debug)]
pub struct Measured {
    /// With the warm-up, to which the CPU time of Postgres is related.
    total: u64,
    /// Microseconds of this process for each.
    cpu: u64,
    per_second: f64,
}

impl Load {
    pub fn new(clients: usize, seconds: f64) -> Self {
        Self {
            clients,
            turn: Duration::from_secs_f64(seconds),
        }
    }

    /// Runs `work` repeatedly in each client; its argument is the client's number.
    pub async fn run<F: Future<Output = Result<()>> + Send>(
        self,
        work: impl Fn(usize) -> F + Send + Sync + 'static,
    ) -> Result<Measured> {
        let (work, done, stop) = (
            Arc::new(work),
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut running = tokio::task::JoinSet::new();
        for client in 0..self.clients {
            let (work, done, stop) = (work.clone(), done.clone(), stop.clone());
            running.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    work(client).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            });
        }
        tokio::time::sleep(WARM_UP_PERIOD).await;
        let (begun, before, cpu) = (Instant::now(), done.load(Ordering::Relaxed), cpu_time()?);
        tokio::time::sleep(self.turn).await;
        let count = done.load(Ordering::Relaxed) - before;
        let per_second = count as f64 / begun.elapsed().as_secs_f64();
        let cpu = (cpu_time()? - cpu) / 1000 / count.max(1);
        stop.store(true, Ordering::Relaxed);
        while let Some(client) = running.join_next().await {
            client??;
        }
        Ok(Measured {
            total: done.load(Ordering::Relaxed),
            cpu,
            per_second,
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:.0}", self.total, self.cpu, self.per_second)
    }
}

/// A pool of the peers' version of sqlx, with all connections open.
pub async fn pool(url: &str, connections: usize) -> Result<PgPool> {
    let connections = u32::try_from(connections)?;
    let options = PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections);
    Ok(options.connect(url).await?)
}

/// Nanoseconds that the threads of this process have run.
fn cpu_time() -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let statistics = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let running = statistics.split(' ').next().unwrap_or_default();
        total += running.parse::<u64>()?;
    }
    Ok(total)
}
