//! What a command function does for the views after an append has committed: `AFTER_APPEND`.
//!
//! Without a listener a view lags by up to the interval of the schedule, a minute or two. A command function can
//! therefore invoke the catch-up function, or catch up itself before it responds. A failure of either never fails the
//! append: it is logged, and the schedule catches up later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::catch_up;
use super::hand_over::InvokeFunction;
use super::single_flight::SingleFlight;
use crate::app::Foldlog;
use crate::config::{AfterAppend, Config};
use crate::db::{Pool, Role};
use crate::domain::Domains;
use crate::projection::{self, Budget};
use crate::run::{self, HostError};
use crate::telemetry::millis;

/// How long a response waits for the views to catch up.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer the batch in progress may take.
const BATCH_GRACE_PERIOD: Duration = Duration::from_secs(1);
/// How long a response waits until the catch-up function is invoked.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(1);
/// An append is answered within this time, even if the work after it is unfinished: gateways time out after 29 seconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(27);

/// The work after an append, if `AFTER_APPEND` asks for any.
#[derive(Clone)]
pub(super) struct AfterAppendHook(Option<Arc<SharedWork>>);

struct SharedWork {
    work: Work,
    single_flight: SingleFlight,
}

enum Work {
    CatchUp {
        foldlog: Box<Foldlog>,
        batch_size: u32,
    },
    Invoke(Arc<InvokeFunction>),
}

impl AfterAppendHook {
    /// `catch_up_function` is necessary for `AFTER_APPEND=invoke`; the configuration was checked for that.
    pub(super) fn new(
        config: &Config,
        domains: Domains,
        catch_up_function: Option<&Arc<InvokeFunction>>,
    ) -> Result<Self, HostError> {
        let work = match (config.projection.after_append, catch_up_function) {
            (AfterAppend::None, _) | (AfterAppend::Invoke, None) => return Ok(Self(None)),
            (AfterAppend::Invoke, Some(function)) => Work::Invoke(Arc::clone(function)),
            (AfterAppend::CatchUp, _) => {
                let login = run::login(config)?;
                let size = catch_up::max_connections(domains);
                Work::CatchUp {
                    foldlog: Box::new(run::build_foldlog(
                        config,
                        domains,
                        login,
                        Role::Projection,
                        size,
                    )?),
                    batch_size: config.projection.batch_size,
                }
            }
        };
        let single_flight = SingleFlight::default();
        Ok(Self(Some(Arc::new(SharedWork {
            work,
            single_flight,
        }))))
    }

    /// The connection pool of the work, if it has one.
    pub(super) fn pool(&self) -> Option<&Pool> {
        match &self.0.as_ref()?.work {
            Work::CatchUp { foldlog, .. } => Some(&foldlog.pool),
            Work::Invoke(_) => None,
        }
    }

    /// A router that does the work after each append.
    pub(super) fn wrap(self, router: Router) -> Router {
        match self.0 {
            None => router,
            Some(shared) => router.layer(middleware::from_fn_with_state(shared, run_after_append)),
        }
    }
}

async fn run_after_append(
    State(shared): State<Arc<SharedWork>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let response = next.run(request).await;
    // Only a new event is answered with 201.
    if response.status() != StatusCode::CREATED {
        return response;
    }
    let remaining = RESPONSE_TIMEOUT.saturating_sub(started.elapsed());
    let work = shared.single_flight.run(|| shared.work.run());
    if timeout(remaining, work).await.is_err() {
        tracing::warn!(
            duration_ms = millis(started.elapsed()),
            "no time was left to update the views after a slow append; the schedule updates them"
        );
    }
    response
}

impl Work {
    async fn run(&self) {
        match self {
            Self::CatchUp {
                foldlog,
                batch_size,
            } => catch_up_all(foldlog, *batch_size).await,
            Self::Invoke(function) => match timeout(INVOKE_TIMEOUT, function.invoke("{}")).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("catch-up was not invoked: {error}"),
                Err(_) => tracing::warn!("catch-up was not invoked within {INVOKE_TIMEOUT:?}"),
            },
        }
    }
}

async fn catch_up_all(foldlog: &Foldlog, batch_size: u32) {
    let all = foldlog.views.iter().map(|view| async move {
        let until = Instant::now() + CATCH_UP_TIMEOUT;
        let budget = Budget {
            until: Some(until),
            abort_at: Some(until + BATCH_GRACE_PERIOD),
            ..Budget::default()
        };
        if let Err(error) = projection::catch_up(&foldlog.pool, view, batch_size, &budget).await {
            let name = view.name();
            tracing::warn!(
                projection = name,
                "{name} did not catch up after an append: {error}"
            );
        }
    });
    let limit = CATCH_UP_TIMEOUT + 2 * BATCH_GRACE_PERIOD;
    if timeout(limit, join_all(all)).await.is_err() {
        tracing::warn!("the views did not catch up within {limit:?} after an append");
    }
}
