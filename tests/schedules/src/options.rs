//! The command line, and the loop over the seeds.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::plan::Plan;
use crate::run::{self, Verdict};
use crate::template::Template;

const USAGE: &str = "usage: schedules [--seeds COUNT] [--first SEED] [--jobs COUNT] [--folder PATH] [--log FILE] [--keep] [--until-failure] [--skip FAULT]…";

/// How many problems of a seed are printed; its folder has all of them.
const MAX_SHOWN_LINES: usize = 8;

#[derive(Debug)]
struct Options {
    seeds: u64,
    first: u64,
    jobs: u64,
    /// Where the clusters are.
    folder: PathBuf,
    /// One line per seed is appended to this file; seeds that it has are skipped.
    log: Option<PathBuf>,
    /// Keeps the folders of all seeds, and not only of those that failed.
    keep: bool,
    /// Starts no further seed once one has failed.
    until_failure: bool,
    /// Faults whose schedules are skipped, such as one that is known to fail.
    skip: Vec<String>,
}

impl Options {
    fn skips(&self, seed: u64) -> bool {
        let faults = format!("{:?}", Plan::new(seed).faults);
        self.skip.iter().any(|name| faults.contains(name))
    }
}

/// Runs the schedules; fails if one of them found something.
pub fn main(arguments: &[String]) -> ExitCode {
    match parse(arguments).and_then(|options| run_all(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print(&format!("schedules: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        seeds: 10,
        first: 1,
        jobs: 2,
        folder: std::env::temp_dir().join(format!("foldlog-schedules-{}", std::process::id())),
        log: None,
        keep: false,
        until_failure: false,
        skip: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| USAGE.to_owned());
        match name.as_str() {
            "--seeds" => options.seeds = value()?.parse()?,
            "--first" => options.first = value()?.parse()?,
            "--jobs" => options.jobs = value()?.parse()?,
            "--folder" => options.folder = value()?.into(),
            "--log" => options.log = Some(value()?.into()),
            "--keep" => options.keep = true,
            "--skip" => options.skip.push(value()?.clone()),
            "--until-failure" => options.until_failure = true,
            _ => bail!("{USAGE}"),
        }
    }
    Ok(options)
}

fn run_all(options: &Options) -> Result<bool> {
    std::fs::create_dir_all(&options.folder)?;
    if let Some((uid, gid)) = crate::programs::server_user()? {
        std::os::unix::fs::chown(&options.folder, Some(uid), Some(gid))?;
    }
    let begin = Instant::now();
    let template = Arc::new(Runtime::new()?.block_on(Template::create(&options.folder))?);
    let done = read_done(options.log.as_deref())?;
    let next = AtomicU64::new(options.first);
    let job = || -> Result<(u64, Vec<u64>)> {
        let runtime = Runtime::new()?;
        let (mut count, mut failed) = (0, Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= options.first + options.seeds {
                return Ok((count, failed));
            }
            if done.contains(&seed) || options.skips(seed) {
                continue;
            }
            count += 1;
            let is_good = runtime.block_on(async {
                let mut terminate = signal(SignalKind::terminate())?;
                tokio::select! {
                    is_good = run_seed(seed, options, &template) => is_good,
                    // Dropping the schedule kills its processes, which would otherwise outlive this one.
                    _ = terminate.recv() => bail!("terminated"),
                    _ = tokio::signal::ctrl_c() => bail!("interrupted"),
                }
            })?;
            if !is_good {
                failed.push(seed);
                if options.until_failure {
                    next.store(u64::MAX / 2, Ordering::SeqCst);
                }
            }
        }
    };
    let (mut count, mut failed) = (0, Vec::new());
    std::thread::scope(|scope| -> Result<()> {
        let jobs: Vec<_> = (0..options.jobs).map(|_| scope.spawn(job)).collect();
        for job in jobs {
            let ended = job
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            count += ended.0;
            failed.extend(ended.1);
        }
        Ok(())
    })?;
    failed.sort_unstable();
    let seconds = begin.elapsed().as_secs();
    print(&format!("{count} seeds in {seconds} s; failed: {failed:?}"));
    if failed.is_empty() && !options.keep {
        std::fs::remove_dir_all(&options.folder)?;
    }
    Ok(failed.is_empty())
}

async fn run_seed(seed: u64, options: &Options, template: &Arc<Template>) -> Result<bool> {
    let folder = options.folder.join(format!("seed-{seed}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let verdict = run::run(seed, Arc::clone(template), &folder)
        .await
        .unwrap_or_else(|error| Verdict {
            problems: vec![format!("the schedule could not be run: {error:#}")],
            is_slow: false,
            summary: String::new(),
        });
    let is_good = verdict.problems.is_empty();
    let line = if is_good {
        format!(
            "seed {seed}: ok{}, {}",
            if verdict.is_slow { ", SLOW" } else { "" },
            verdict.summary
        )
    } else {
        let shown = &verdict.problems[..verdict.problems.len().min(MAX_SHOWN_LINES)];
        let problems = shown.join("\n    ");
        format!(
            "seed {seed}: FAILED, {}; see {}\n    {problems}",
            verdict.summary,
            folder.display()
        )
    };
    print(&line);
    if let Some(log) = &options.log {
        let mut log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)?;
        writeln!(log, "{line}")?;
    }
    if is_good && !options.keep && !verdict.is_slow {
        std::fs::remove_dir_all(&folder)?;
    }
    if folder.exists() && !options.keep {
        remove_clusters(&folder)?;
    }
    Ok(is_good)
}

/// The schedule and the logs of a failed seed are kept; its data directories are large.
fn remove_clusters(folder: &Path) -> Result<()> {
    for name in ["primary", "standby", "moved"] {
        let place = folder.join(name);
        if place.exists() {
            std::fs::remove_dir_all(place)?;
        }
    }
    Ok(())
}

fn read_done(log: Option<&Path>) -> Result<Vec<u64>> {
    let Some(log) = log.filter(|log| log.exists()) else {
        return Ok(Vec::new());
    };
    let text = std::fs::read_to_string(log)?;
    let seeds = text.lines().filter_map(|line| {
        let (seed, _) = line.strip_prefix("seed ")?.split_once(':')?;
        seed.parse().ok()
    });
    Ok(seeds.collect())
}

fn print(line: &str) {
    // The reader may have closed the stream.
    let _ = writeln!(std::io::stdout(), "{line}");
}
