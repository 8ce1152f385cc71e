//! What operators ask for: catch up, measure, retry, skip. The catch-up function and `POST /projections` accept the same
//! payloads, and this module does what they say.

pub mod database;
mod deadline;
mod record;
mod report;
mod skip;
mod verb;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::sleep;

pub use self::deadline::Deadline;
pub use self::report::Report;
use self::report::VerifiedCounts;
pub use self::skip::Skip;
pub use self::verb::{Verb, VerbError};
use crate::app::Foldlog;
use crate::db::{DbError, Pool};
use crate::event::AggregateId;
use crate::projection::reproject::{self, ReprojectOptions, ReprojectionState};
use crate::projection::status::{self, MAX_COUNTED_EVENTS, ProjectionState, ProjectionStatus};
use crate::projection::{
    self, Budget, CatchUp, ProjectionError, RetryReport, SkipError, preview, verify,
};
use crate::telemetry::millis;
use crate::view::View;

/// How many projections run concurrently.
pub const MAX_CONCURRENT_PROJECTIONS: usize = 4;

/// How long to retry while the database is unavailable: a paused database needs about half of it to resume.
const RESUME_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause before each retry.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Does what verbs say, with a login of the role `foldlog_projection`.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The `Foldlog` whose views it projects.
    pub foldlog: Foldlog,
    /// Events per batch, at most.
    pub batch_size: u32,
}

/// Gives payloads to another process that has an [`Operator`].
pub trait HandOver: std::fmt::Debug + Send + Sync {
    /// Hands over a payload and does not wait for what follows.
    fn hand_over(&self, payload: String) -> BoxFuture<'_, Result<(), HandOverError>>;
}

/// A payload could not be handed over.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct HandOverError(pub Box<dyn std::error::Error + Send + Sync>);

/// Why a verb failed for a projection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperateError {
    /// The projection failed.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// An event could not be skipped.
    #[error(transparent)]
    Skip(SkipError),
    /// The aggregate to retry is not parked.
    #[error("the aggregate {0} is not parked in the projection")]
    NotParked(AggregateId),
    /// The time was up before there was a result.
    #[error("no time was left before the deadline")]
    OutOfTime,
    /// The code panicked.
    #[error("the projection panicked")]
    Panicked,
}

impl OperateError {
    /// Whether the verb does not fit the state of the projection. Its sender has to change it; nothing is wrong here.
    const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Skip(_)
                | Self::NotParked(_)
                | Self::Projection(
                    ProjectionError::OtherFold(_)
                        | ProjectionError::Cancelled(_)
                        | ProjectionError::SnapshotLost(_)
                        | ProjectionError::VerifyReplaced(_)
                        | ProjectionError::BreaksRule(_)
                )
        )
    }
}

impl From<SkipError> for OperateError {
    fn from(error: SkipError) -> Self {
        match error {
            SkipError::Projection(error) => Self::Projection(error),
            error => Self::Skip(error),
        }
    }
}

impl From<DbError> for OperateError {
    fn from(error: DbError) -> Self {
        Self::Projection(error.into())
    }
}

/// None of the projections has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown projection `{name}`: use one of {known}")]
pub struct UnknownProjectionError {
    name: String,
    known: String,
}

impl UnknownProjectionError {
    /// The error for a name that none of the projections has.
    #[must_use]
    pub fn new(foldlog: &Foldlog, name: &str) -> Self {
        let known: Vec<_> = foldlog.views.iter().map(View::name).collect();
        Self {
            name: name.to_owned(),
            known: known.join(", "),
        }
    }
}

impl Verb {
    /// Checks that the projection of the verb exists.
    ///
    /// # Errors
    ///
    /// If it does not; the message lists all projections.
    pub fn check_projection(&self, foldlog: &Foldlog) -> Result<(), UnknownProjectionError> {
        match self.projection() {
            Some(name) if foldlog.view(name).is_none() => {
                Err(UnknownProjectionError::new(foldlog, name))
            }
            _ => Ok(()),
        }
    }
}

impl Operator {
    /// Does what the verb says for each projection that it is about. If one fails, the others run to their end.
    pub async fn run(
        &self,
        verb: &Verb,
        deadline: Deadline,
    ) -> Vec<(&'static str, Result<Report, OperateError>)> {
        let slots = Arc::new(Semaphore::new(MAX_CONCURRENT_PROJECTIONS));
        let views = self.foldlog.views.iter().map(View::name).enumerate();
        let tasks: Vec<_> = views
            .filter(|(_, name)| verb.projection().is_none_or(|which| which == *name))
            .map(|(index, name)| {
                let (operator, verb) = (self.clone(), verb.clone());
                let slots = Arc::clone(&slots);
                // A task, because the answer is recorded even if the caller has gone.
                let task = tokio::spawn(async move {
                    let (runner, verb_to_run) = (operator.clone(), verb.clone());
                    let run = async move {
                        let _slot = slots.acquire().await;
                        let view = &runner.foldlog.views[index];
                        runner.run_with_retry(view, &verb_to_run, deadline).await
                    };
                    let result = deadline.finish(run).await;
                    let view = &operator.foldlog.views[index];
                    operator.record(view, &verb, &result, deadline).await;
                    result
                });
                (name, task)
            })
            .collect();
        let mut results = Vec::with_capacity(tasks.len());
        for (name, task) in tasks {
            let result = task.await.unwrap_or(Err(OperateError::Panicked));
            match &result {
                Ok(_) => {}
                Err(error) if error.is_refusal() => {
                    tracing::info!(
                        projection = name,
                        "projection {name} refused a verb: {error}"
                    );
                }
                Err(error) => {
                    tracing::error!(projection = name, "projection {name} failed: {error}");
                }
            }
            results.push((name, result));
        }
        results
    }

    /// Runs one projection, and retries while the database is unavailable.
    async fn run_with_retry(
        &self,
        view: &View,
        verb: &Verb,
        deadline: Deadline,
    ) -> Result<Report, OperateError> {
        let (name, started) = (view.name(), Instant::now());
        let retry_until = deadline.stop_at.min(started + RESUME_TIMEOUT);
        let mut attempt = 1;
        let report = loop {
            match Box::pin(self.run_verb(view, verb, deadline)).await {
                Err(OperateError::Projection(ProjectionError::Db(error)))
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
        Ok(report)
    }

    /// Does what the verb says, then measures what remains.
    async fn run_verb(
        &self,
        view: &View,
        verb: &Verb,
        deadline: Deadline,
    ) -> Result<Report, OperateError> {
        let (pool, budget) = (&self.foldlog.pool, deadline.budget());
        let mut report = Report::default();
        let (mut counted, mut finished) = (CatchUp::default(), None);
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
            Verb::Retry { aggregate_id, .. } => {
                let retried = retry(pool, view, *aggregate_id, &budget).await?;
                report.applied = retried.applied;
                report.retried = Some(retried);
            }
            Verb::Skip(skip) => {
                let event = (skip.event_id, skip.aggregate_id);
                let by = (skip.actor.as_deref(), &*skip.reason);
                let skipped = projection::skip(pool, view, event, by, &budget).await?;
                report.applied = skipped.applied;
                report.skipped = Some(skipped);
            }
            Verb::Reproject { max_changes, .. } => {
                let options = ReprojectOptions {
                    max_changes: *max_changes,
                };
                let run = reproject::reproject(pool, view, self.batch_size, options, &budget);
                let reprojection = Box::pin(run).await?;
                report.answer("generation", reprojection.generation);
                report.answer("reprojection", reprojection);
                finished = Some(matches!(
                    reprojection.state,
                    ReprojectionState::Live | ReprojectionState::Refused
                ));
            }
            Verb::Preview(_) => {
                let preview = preview::preview(pool, view, preview::DEFAULT_LISTED, &budget);
                let preview = Box::pin(preview).await?;
                finished = Some(preview.complete);
                report.answer("preview", preview);
            }
            Verb::Cancel(_) => {
                let removed = Box::pin(reproject::cancel(pool, view, &budget)).await?;
                report.answer("cancelled", removed.is_some());
                finished = Some(removed.unwrap_or(true));
            }
            Verb::Verify { options, .. } => {
                let verified = Box::pin(verify::verify(pool, view, *options, &budget)).await?;
                finished = Some(verified.complete);
                report.answer("differences", &verified.differences);
                report.answer("verification", VerifiedCounts::from(&verified));
            }
            Verb::Status => {}
        }
        // What was applied is reported even if the time does not suffice to measure what remains.
        let abort_at = deadline.abort_at;
        let measured = status::measure_until(pool, view, MAX_COUNTED_EVENTS, abort_at).await;
        report.status = match measured {
            // The verb has done its work, and a client that sends it again gets an error: an event that was skipped cannot be skipped.
            Err(error) if !matches!(verb, Verb::CatchUp | Verb::Status) => {
                tracing::warn!(
                    projection = view.name(),
                    "the projection {} was not measured after the verb: {error}",
                    view.name()
                );
                ProjectionStatus::default()
            }
            measured => measured?,
        };
        // An aborted pass leaves no time for that, but has counted for a moment.
        report.status.lag_events = report.status.lag_events.or(counted.remaining);
        report.status.parked = report.status.parked.or(counted.parked);
        report.done = finished.unwrap_or(report.status.state == ProjectionState::Current);
        Ok(report)
    }
}

/// Retries one parked aggregate, or all of them.
async fn retry(
    pool: &Pool,
    view: &View,
    aggregate_id: Option<AggregateId>,
    budget: &Budget,
) -> Result<RetryReport, OperateError> {
    let Some(id) = aggregate_id else {
        return Ok(projection::retry(pool, view, budget).await?);
    };
    let retried = projection::retry_one(pool, view, id, budget).await?;
    retried.ok_or(OperateError::NotParked(id))
}
