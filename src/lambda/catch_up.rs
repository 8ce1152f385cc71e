//! The catch-up function: runs on a schedule, after an append, or by hand. One field of the payload is the verb.

use std::sync::Arc;

use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use serde_json::{Map, Value, json};

use super::metrics::{self, Metrics, Reporter};
use super::shutdown::run_until_shutdown;
use super::{init, warm_up};
use crate::app::Foldlog;
use crate::db::Role;
use crate::domain::Domains;
use crate::operate::{Deadline, MAX_CONCURRENT_PROJECTIONS, Operator, Verb};
use crate::run::{self, HostError};

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
        let verb = Verb::parse(&payload).map_err(|error| diagnostic("UnknownVerb", &error))?;
        verb.check_projection(&self.foldlog)
            .map_err(|error| diagnostic("UnknownProjection", &error))?;
        let operator = Operator {
            foldlog: self.foldlog.clone(),
            batch_size: self.batch_size,
        };
        let (mut reports, mut failed) = (Map::new(), false);
        for (projection, result) in operator.run(&verb, deadline).await {
            let report = match &result {
                Ok(report) => {
                    let (status, applied) = (report.status, report.applied);
                    metrics::write(Metrics {
                        projection,
                        status,
                        reporter: Reporter::Worker { applied },
                    });
                    report.to_json(&verb)
                }
                Err(error) => {
                    metrics::write(Metrics::unmeasured(projection));
                    failed = true;
                    json!({ "error": error.to_string() })
                }
            };
            reports.insert(projection.to_owned(), report);
        }
        // A database that pauses without connections can do so until the next invocation.
        self.foldlog.pool.close_idle().await;
        let response = json!({ "projections": reports });
        if failed {
            return Err(diagnostic("ProjectionFailed", &response));
        }
        Ok(response)
    }
}

fn diagnostic(error_type: &str, message: &impl ToString) -> Diagnostic {
    Diagnostic {
        error_type: error_type.to_owned(),
        error_message: message.to_string(),
    }
}
