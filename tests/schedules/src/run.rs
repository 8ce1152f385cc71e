//! Runs one schedule from its seed to its verdict.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use crate::check::{self, Seen};
use crate::plan::{Plan, Program};
use crate::record::Outcome;
use crate::rng::Rng;
use crate::template::Template;
use crate::world::World;
use crate::{client, drain, faults, operator, transaction};

/// A schedule that takes longer is slow, although each wait was within its limit.
const SLOW_THRESHOLD: Duration = Duration::from_secs(25);

/// What a schedule found.
#[derive(Debug)]
pub struct Verdict {
    pub problems: Vec<String>,
    /// It took long although it found nothing: a reason to look at its logs.
    pub is_slow: bool,
    /// Numbers of the run, for its line in the log.
    pub summary: String,
}

/// Runs the schedule of a seed in a new folder.
pub async fn run(seed: u64, template: Arc<Template>, folder: &Path) -> Result<Verdict> {
    let begin = Instant::now();
    std::fs::create_dir_all(folder.join("dumps"))?;
    if let Some((uid, gid)) = crate::programs::server_user()? {
        for folder in [folder.to_owned(), folder.join("dumps")] {
            std::os::unix::fs::chown(folder, Some(uid), Some(gid))?;
        }
    }
    let plan = Plan::new(seed);
    std::fs::write(folder.join("schedule.txt"), format!("{plan:#?}\n"))?;
    let world = Arc::new(World::start(plan, template, folder).await?);
    let started = begin.elapsed();
    let mut supervisors = JoinSet::new();
    for host in &world.hosts {
        let (host, world) = (Arc::clone(host), Arc::clone(&world));
        supervisors
            .spawn(async move { host.supervise(&world.template.program, &world.folder).await });
    }
    let ended = run_to_end(&world).await;
    world.hosts.iter().for_each(|host| host.stop());
    while let Some(done) = supervisors.join_next().await {
        done??;
    }
    let mut problems = ended?;
    let drained = begin.elapsed();
    let cluster = world.primary();
    let attempts = world.recorder.attempts();
    let observed = Seen {
        attempts: &attempts,
        losses: &world.recorder.losses(),
        history: &world.template.events,
        stale_from: world.recorder.stale_from(),
    };
    problems.extend(check::check(&mut cluster.connect().await?, &observed).await?);
    problems.extend(logged(folder)?);
    let mut text = world.recorder.notes();
    for attempt in &attempts {
        writeln!(text, "{attempt:?}")?;
    }
    text.push_str(&problems.join("\n"));
    std::fs::write(folder.join("what_happened.txt"), text)?;
    let with_status = |wanted: &[u16]| {
        let is_wanted = |outcome: &Outcome| matches!(outcome, Outcome::Response { status, .. } if wanted.contains(status));
        attempts
            .iter()
            .filter(|attempt| is_wanted(&attempt.outcome))
            .count()
    };
    let summary = format!(
        "{} tries ({} stored, {} unavailable), {:.1} s to start, {:.1} s in total",
        attempts.len(),
        with_status(&[200, 201]),
        with_status(&[503]),
        started.as_secs_f32(),
        drained.as_secs_f32(),
    );
    if let Some(standby) = &world.standby {
        standby.abandon().await?;
    }
    cluster.abandon().await?;
    Ok(Verdict {
        problems,
        is_slow: drained > SLOW_THRESHOLD,
        summary,
    })
}

/// Clients, transactions and faults at once, then the drain.
async fn run_to_end(world: &Arc<World>) -> Result<Vec<String>> {
    let mut scheduled = JoinSet::new();
    for host in &world.hosts {
        if host.plan.program == Program::CatchUp {
            let rng = Rng::new(world.plan.seed);
            scheduled.spawn(drain::invoke_on_schedule(Arc::clone(host), rng));
        }
    }
    let mut tasks = JoinSet::new();
    for actions in &world.plan.clients {
        tasks.spawn(client::run(Arc::clone(world), actions.clone()));
    }
    for plan in &world.plan.transactions {
        tasks.spawn(transaction::run(Arc::clone(world), plan.clone()));
    }
    tasks.spawn(operator::run(Arc::clone(world), world.plan.orders.clone()));
    let faults = faults::run(Arc::clone(world), world.plan.faults.clone()).await;
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    faults?;
    world.recorder.note("the faults are over");
    let problems = drain::drain(world).await.context("drain");
    world.recorder.note("drained");
    problems
}

/// Panics other than that of the domain's fold, and internal errors, each once.
fn logged(folder: &Path) -> Result<BTreeSet<String>> {
    let mut problems = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let name = path.file_name().unwrap_or_default().display().to_string();
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.contains("panicked at") {
                let message = lines.next().unwrap_or_default();
                if !message
                    .contains("assertion `left != right` failed: the fold of this deposit panics")
                {
                    problems.insert(format!("{name}: {line} {message}"));
                }
            } else if let Some((_, error)) = line.split_once(" 500: ") {
                let end = error.find(" request.id").or_else(|| error.find("\",\""));
                let error = &error[..end.unwrap_or(error.len())];
                problems.insert(format!("{name}: 500: {error}"));
            }
        }
    }
    Ok(problems)
}
