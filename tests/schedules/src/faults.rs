//! Carries out the faults of a schedule.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use crate::clock::pause;
use crate::cluster::Cluster;
use crate::plan::{CrashKind, Fault, TimedFault};
use crate::ports;
use crate::world::World;

/// Ends all sessions of foldlog.
pub const TERMINATE: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'foldlog%'";

/// Carries out all faults, one after the other; each starts at its time, or when the one before has been carried out.
pub async fn run(world: Arc<World>, faults: Vec<TimedFault>) -> Result<()> {
    let mut background = JoinSet::new();
    for TimedFault { at_ms, fault } in faults {
        let wait = Duration::from_millis(at_ms).saturating_sub(world.recorder.now());
        pause(u64::try_from(wait.as_millis())?).await;
        world.recorder.note(&format!("{fault:?}"));
        carry_out(&world, &fault, &mut background)
            .await
            .with_context(|| format!("{fault:?}"))?;
    }
    while let Some(done) = background.join_next().await {
        done??;
    }
    Ok(())
}

async fn carry_out(
    world: &Arc<World>,
    fault: &Fault,
    background: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let host = |index: usize| Arc::clone(&world.hosts[index]);
    match *fault {
        Fault::Kill {
            host: index,
            down_ms,
        } => host(index).kill(down_ms),
        Fault::Replace { host: index } => host(index).signal(Signal::SIGTERM),
        Fault::Freeze { host: index, ms } => {
            let host = host(index);
            host.freeze();
            background.spawn(async move {
                pause(ms).await;
                host.thaw();
                Ok(())
            });
        }
        Fault::Cut { host: index } => host(index).link.cut(),
        Fault::Silence { host: index } => host(index).link.silence(),
        Fault::Refuse { host: index, ms } => {
            let host = host(index);
            host.link.refuse(true);
            host.link.cut();
            background.spawn(async move {
                pause(ms).await;
                host.link.refuse(false);
                Ok(())
            });
        }
        Fault::CutPooler => world.pooler_link.cut(),
        Fault::KillPooler => {
            for pooler in world.poolers.lock().await.iter_mut() {
                pooler.restart().await?;
            }
        }
        Fault::TerminateBackends => world.primary().execute(TERMINATE).await?,
        Fault::LockTable { table, ms } => {
            let cluster = world.primary();
            background.spawn(async move {
                // A crash or a restore may end it.
                let _ = lock_table(&cluster, table, ms).await;
                Ok(())
            });
        }
        Fault::DeleteFrom { table } => {
            // A session that holds a lock on it may be frozen.
            let delete = format!("set lock_timeout = '2s'; delete from {table}");
            if let Err(error) = world.primary().execute(&delete).await {
                world.recorder.note(&format!("{delete}: {error:#}"));
            }
        }
        Fault::Crash { kind, down_ms } => crash(world, kind, down_ms).await?,
        Fault::RestoreInPlace { after_ms } => restore_in_place(world, after_ms).await?,
        Fault::RestoreHistory => {
            let dump = world.template.dump.clone();
            world.primary().restore(&dump).await?;
            world
                .recorder
                .loss("another log was restored", Duration::ZERO);
        }
        Fault::MoveToNewCluster => move_to_new_cluster(world).await?,
        Fault::SwitchOver => switch_over(world).await?,
        Fault::FailOver { lag_ms } => fail_over(world, lag_ms).await?,
        Fault::Misroute { host: index, ms } => {
            let (world, host) = (Arc::clone(world), host(index));
            let standby = world.standby.clone().context("there is no standby")?;
            world.recorder.reads_may_be_stale();
            world.route(&host, standby.port);
            host.link.cut();
            world.pooler_link.cut();
            background.spawn(async move {
                pause(ms).await;
                world.route(&host, world.primary().port);
                // The connections that the host has made stay open. Those of a pooler do not: they are not foldlog's, and the
                // pooler would keep them for an hour.
                if host.plan.pooler.is_some() {
                    world.pooler_link.cut();
                }
                Ok(())
            });
        }
    }
    Ok(())
}

async fn lock_table(cluster: &Cluster, table: &str, ms: u64) -> Result<()> {
    let mut connection = cluster.connect().await?;
    let lock = format!(
        "begin; set local lock_timeout = '2s'; lock table {table} in access exclusive mode"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
        .execute(&mut connection)
        .await?;
    pause(ms).await;
    sqlx::raw_sql("rollback").execute(&mut connection).await?;
    Ok(())
}

async fn crash(world: &World, kind: CrashKind, down_ms: u64) -> Result<()> {
    let cluster = world.primary();
    if world.plan.synchronous_commit {
        return cluster.crash(kind, down_ms).await;
    }
    let safe_until = world.recorder.now();
    cluster.flush().await?;
    // Commits of this span exist only in the memory of the server.
    pause(300).await;
    cluster.crash(kind, down_ms).await?;
    world
        .recorder
        .loss("a crash with asynchronous commits", safe_until);
    Ok(())
}

async fn restore_in_place(world: &World, after_ms: u64) -> Result<()> {
    let safe_until = world.recorder.now();
    let cluster = world.primary();
    let dump = world.folder.join("dumps/in_place.dump");
    cluster.dump(&dump).await?;
    pause(after_ms).await;
    cluster.restore(&dump).await?;
    world
        .recorder
        .loss("an older dump was restored", safe_until);
    Ok(())
}

async fn move_to_new_cluster(world: &World) -> Result<()> {
    let safe_until = world.recorder.now();
    let dump = world.folder.join("dumps/move.dump");
    let old = world.primary();
    old.dump(&dump).await?;
    let (place, parameters) = (world.folder.join("moved"), world.parameters());
    let new = Cluster::copy(&world.template.empty, place, ports::free()?, &parameters).await?;
    new.start().await?;
    new.restore(&dump).await?;
    old.abandon().await?;
    world.switch_to(Arc::new(new));
    world.cut_all();
    world
        .recorder
        .loss("the log moved to another cluster", safe_until);
    Ok(())
}

async fn switch_over(world: &World) -> Result<()> {
    let standby = world.standby.clone().context("there is no standby")?;
    let primary = world.primary();
    world.refuse_all(true);
    world.cut_all();
    // Sessions of the schedule itself, such as slow transactions, still commit until the primary has stopped.
    let safe_until = world.recorder.now();
    standby.receive_from(&primary).await?;
    primary.stop().await?;
    standby.promote().await?;
    world.switch_to(standby);
    world.refuse_all(false);
    world.recorder.loss("a standby was promoted", safe_until);
    Ok(())
}

async fn fail_over(world: &World, lag_ms: u64) -> Result<()> {
    let standby = world.standby.clone().context("there is no standby")?;
    let replication = world.replication.as_ref().context("there is no standby")?;
    let primary = world.primary();
    let safe_until = world.recorder.now();
    standby.receive_from(&primary).await?;
    replication.refuse(true);
    replication.cut();
    pause(lag_ms).await;
    primary.abandon().await?;
    standby.promote().await?;
    world.switch_to(standby);
    world.cut_all();
    world
        .recorder
        .loss("a standby that was behind was promoted", safe_until);
    Ok(())
}
