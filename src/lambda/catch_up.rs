//! The catch-up function: runs on a schedule, after an append, or by hand. One field of the payload is the verb.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout_at};

use super::deadline::Deadline;
use super::metrics::{self, Metrics, Reporter};
use super::shutdown::run_until_shutdown;
use super::verb::Verb;
use super::{init, warm_up};
use crate::app::Foldlog;
use crate::db::Role;
use crate::domain::Domains;
use crate::projection::status::{self, MAX_COUNTED_EVENTS, ProjectionState, ProjectionStatus};
use crate::projection::{self, CatchUp, ProjectionError, RetryReport};
use crate::run::{self, HostError};
use crate::telemetry::millis;
use crate::view::View;

/// How many projections run concurrently.
pub(super) const MAX_CONCURRENT_PROJECTIONS: usize = 4;

/// How long to retry while the database is unavailable: a paused database needs about half of it to resume.
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause before each retry.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The result of an invocation for one projection.
#[derive(Default)]
struct Report {
    applied: u64,
    status: ProjectionStatus,
    done: bool,
    /// How a retry ended. Only after `retry`.
    retried: Option<RetryReport>,
}

/// Serves catch-up invocations until Lambda stops the process.
///
/// # Errors
///
/// If this process is not a Lambda function, or the configuration is invalid.
pub async fn catch_up(domains: Domains) -> Result<(), HostError> {
    let config = init(domains)?;
    let login = run::login(&config)?;
    let size = max_connections(domains);
    let worker = Worker {
        foldlog: run::build_foldlog(&config, domains, login, Role::Projection, size)?,
        batch_size: config.projection.batch_size,
    };
    let pool = worker.foldlog.pool.clone();
    warm_up(&pool).await;
    let worker = Arc::new(worker);
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let worker = Arc::clone(&worker);
        async move { worker.handle(event.payload, event.context.deadline).await }
    });
    run_until_shutdown(Runtime::new(handler), &[pool]).await
}

/// Two connections for each concurrent projection: with a backlog, two workers share it.
pub(super) fn max_connections(domains: Domains) -> usize {
    2 * domains
        .projections()
        .count()
        .min(MAX_CONCURRENT_PROJECTIONS)
}

/// Handles invocations of the catch-up function.
#[derive(Debug)]
pub struct Worker {
    /// The `Foldlog` whose views it projects.
    pub foldlog: Foldlog,
    /// Events per batch, at most.
    pub batch_size: u32,
}

impl Worker {
    /// Does what the payload asks for, and stops in time before the deadline (milliseconds since 1970).
    ///
    /// # Errors
    ///
    /// If the payload is not a verb, or a projection failed. In the second case the message holds the results of all
    /// projections.
    pub async fn handle(
        self: Arc<Self>,
        payload: Value,
        deadline_ms: u64,
    ) -> Result<Value, Diagnostic> {
        let deadline = Deadline::from_epoch_ms(deadline_ms);
        let verb = Verb::parse(payload)?;
        if let Verb::Retry(name) = &verb
            && self.foldlog.view(name).is_none()
        {
            return Err(self.unknown_projection(name));
        }
        let response = Arc::clone(&self).run_all(Arc::new(verb), deadline).await;
        // A database that pauses without connections can do so until the next invocation.
        self.foldlog.pool.close_idle().await;
        response
    }

    /// Runs all projections that the verb applies to. If one fails, the others run to their end and report their results,
    /// but the invocation fails.
    async fn run_all(
        self: Arc<Self>,
        verb: Arc<Verb>,
        deadline: Deadline,
    ) -> Result<Value, Diagnostic> {
        let slots = Arc::new(Semaphore::new(MAX_CONCURRENT_PROJECTIONS));
        let views = self.foldlog.views.iter().map(View::name).enumerate();
        let tasks: Vec<_> = views
            .filter(|(_, name)| !matches!(&*verb, Verb::Retry(which) if which != name))
            .map(|(index, name)| {
                let (worker, verb) = (Arc::clone(&self), Arc::clone(&verb));
                let slots = Arc::clone(&slots);
                let run = async move {
                    let _slot = slots.acquire().await;
                    let view = &worker.foldlog.views[index];
                    worker.run_with_retry(view, &verb, deadline).await
                };
                let limited = timeout_at(deadline.respond_by.into(), run);
                (name, tokio::spawn(limited))
            })
            .collect();
        let (mut reports, mut failed) = (Map::new(), false);
        for (name, task) in tasks {
            let error = match task.await {
                Ok(Ok(Ok(report))) => {
                    reports.insert(name.to_owned(), report.to_json(&verb));
                    continue;
                }
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => "no time was left before the deadline".to_owned(),
                // The panic handler has written the message and the place to standard error.
                Err(_) => "the projection panicked".to_owned(),
            };
            tracing::error!(projection = name, "projection {name} failed: {error}");
            metrics::write(Metrics::unmeasured(name));
            reports.insert(name.to_owned(), json!({ "error": error }));
            failed = true;
        }
        let response = json!({ "projections": reports });
        if failed {
            return Err(Diagnostic {
                error_type: "ProjectionFailed".to_owned(),
                error_message: response.to_string(),
            });
        }
        Ok(response)
    }

    /// Runs one projection, retries while the database is unavailable, and writes the metrics.
    async fn run_with_retry(
        &self,
        view: &View,
        verb: &Verb,
        deadline: Deadline,
    ) -> Result<Report, ProjectionError> {
        let (name, started) = (view.name(), Instant::now());
        let retry_until = deadline.stop_at.min(started + RESUME_TIMEOUT);
        let mut attempt = 1;
        let report = loop {
            match self.run(view, verb, deadline).await {
                Err(ProjectionError::Db(error))
                    if error.is_unavailable() && Instant::now() + RETRY_DELAY < retry_until =>
                {
                    tracing::warn!(
                        projection = name,
                        attempt,
                        "projection {name} waits for the database: {error}"
                    );
                    self.foldlog.pool.mark_suspect();
                    sleep(RETRY_DELAY).await;
                    attempt += 1;
                }
                result => break result?,
            }
        };
        let status = &report.status;
        let lag = status
            .lag_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        tracing::info!(
            projection = name,
            lag.events = status.lag_events,
            lag.ms = lag.map(millis),
            parked.count = status.parked,
            duration_ms = millis(started.elapsed()),
            "projection {name} applied {} events, {} remain",
            report.applied,
            status.lag_events.map_or_else(
                || "an unknown number".to_owned(),
                |events| events.to_string()
            ),
        );
        metrics::write(Metrics {
            projection: name,
            status: report.status,
            reporter: Reporter::Worker {
                applied: report.applied,
            },
        });
        Ok(report)
    }

    /// Does what the verb asks for, then measures what remains.
    async fn run(
        &self,
        view: &View,
        verb: &Verb,
        deadline: Deadline,
    ) -> Result<Report, ProjectionError> {
        let (pool, budget) = (&self.foldlog.pool, deadline.budget());
        let mut report = Report::default();
        let mut counted = CatchUp::default();
        match verb {
            Verb::CatchUp => {
                let pass = projection::catch_up(pool, view, self.batch_size, &budget).await?;
                report.applied = pass.applied;
                if let (true, Some(parked)) = (pass.done, pass.parked) {
                    // The next invocation measures the events that arrived during this one.
                    report.status = ProjectionStatus::current(parked);
                    report.done = true;
                    return Ok(report);
                }
                counted = pass;
            }
            Verb::Retry(_) => {
                let retried = projection::retry(pool, view, &budget).await?;
                report.applied = retried.applied;
                report.retried = Some(retried);
            }
            Verb::Status(_) => {}
        }
        // What was applied is reported even if the time does not suffice to measure what remains.
        let abort_at = deadline.abort_at;
        report.status = status::measure_until(pool, view, MAX_COUNTED_EVENTS, abort_at).await?;
        // An aborted pass leaves no time for that, but has counted for a moment.
        report.status.lag_events = report.status.lag_events.or(counted.remaining);
        report.status.parked = report.status.parked.or(counted.parked);
        report.done = report.status.state == ProjectionState::Current;
        Ok(report)
    }

    fn unknown_projection(&self, name: &str) -> Diagnostic {
        let known: Vec<_> = self.foldlog.views.iter().map(View::name).collect();
        Diagnostic {
            error_type: "UnknownProjection".to_owned(),
            error_message: format!(
                "unknown projection `{name}`: use one of {}",
                known.join(", ")
            ),
        }
    }
}

impl Report {
    /// The part of the invocation's response about this projection. An unknown figure is null.
    fn to_json(&self, verb: &Verb) -> Value {
        let status = &self.status;
        let mut json = json!({
            "applied": self.applied,
            "remaining": status.lag_events,
            "parked": status.parked,
            "done": self.done,
        });
        if *verb != Verb::CatchUp {
            json["lag_seconds"] = json!(status.lag_seconds);
        }
        if matches!(verb, Verb::Status(_)) {
            json["state"] = json!(status.state);
        }
        if let Some(retried) = &self.retried {
            json["unparked"] = json!(retried.unparked);
            json["failed"] = json!(retried.failed);
        }
        json
    }
}
