//! Hosts for AWS Lambda: the HTTP routers behind an API gateway, catch-up on a schedule, and migrations.
//!
//! A cold start reads the configuration and opens one connection, while Lambda gives the process extra CPU. It creates no
//! AWS client, and runs no query beyond those of a new connection.

mod after_append;
mod catch_up;
mod gateway;
mod hand_over;
mod metrics;
mod migrate;
mod served_lag;
mod shutdown;
mod single_flight;

use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use lambda_runtime::Runtime;
use tokio::runtime::Builder;

pub use self::catch_up::{Worker, catch_up};
use self::hand_over::InvokeFunction;
pub use self::migrate::migrate;
use crate::app::Foldlog;
use crate::config::Config;
use crate::db::{Pool, Role};
use crate::domain::Domains;
use crate::http::{self, AppState, Auth, Operations};
use crate::run::{self, HostError};
use crate::telemetry;
use crate::view::View;

/// The variables that the Lambda runtime panics without.
const REQUIRED_ENV: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
];

/// How many requests Lambda sends to one process concurrently; set only for functions on managed instances.
const MAX_CONCURRENCY_ENV: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// How long a starting function waits for its first connection. A database that resumes takes longer; the request that
/// arrives meanwhile is answered with 503.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves appends until Lambda stops the process.
///
/// # Errors
///
/// If this process is not a Lambda function, or the configuration is invalid.
pub async fn command(
    domains: Domains,
    router: impl FnOnce(AppState) -> Router,
) -> Result<(), HostError> {
    let config = init(domains)?;
    let login = run::login(&config)?;
    let catch_up_function = config.projection.catch_up_function.clone();
    let catch_up_function = catch_up_function.map(|name| Arc::new(InvokeFunction::new(name)));
    let after_append =
        after_append::AfterAppendHook::new(&config, domains, catch_up_function.as_ref())?;
    let foldlog = run::build_foldlog(&config, domains, login, Role::Command, max_connections())?
        .serving_one_request_at_a_time();
    let mut pools = vec![foldlog.pool.clone()];
    pools.extend(after_append.pool().cloned());
    let mut state = app_state(&config, foldlog)?;
    if let Some(function) = catch_up_function {
        state.operations = Operations::HandedOver(function);
    }
    let router = after_append.wrap(router(state));
    serve(with_base_path(router, &config), &pools).await
}

/// Serves reads until Lambda stops the process.
///
/// # Errors
///
/// If this process is not a Lambda function, or the configuration is invalid.
pub async fn query(
    domains: Domains,
    router: impl FnOnce(AppState) -> Router,
) -> Result<(), HostError> {
    let config = init(domains)?;
    let login = run::login(&config)?;
    let foldlog = run::build_foldlog(&config, domains, login, Role::Query, max_connections())?;
    let pool = foldlog.pool.clone();
    let views = foldlog.views.iter().map(View::name).collect();
    let router = served_lag::wrap(router(app_state(&config, foldlog)?), views, pool.clone());
    serve(with_base_path(router, &config), &[pool]).await
}

/// Runs a function that serves HTTP to its end. A process that gets one request at a time runs on one thread, so that no
/// task has to be woken on another.
#[must_use]
pub fn block_on(function: impl Future<Output = Result<(), HostError>>) -> ExitCode {
    let mut runtime = if max_concurrency() > 1 {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    match runtime.enable_all().build() {
        Ok(runtime) => run::exit(runtime.block_on(function)),
        Err(error) => run::exit(Err(error.into())),
    }
}

/// Whether Lambda, or a local replacement of its Runtime API, started this process.
#[must_use]
pub fn is_function() -> bool {
    env::var_os(REQUIRED_ENV[0]).is_some()
}

/// Starts logging and reads the configuration, if this process is a function.
fn init(domains: Domains) -> Result<Config, HostError> {
    if let Some(missing) = REQUIRED_ENV.iter().find(|name| env::var_os(name).is_none()) {
        return Err(HostError::NotLambda(missing));
    }
    run::read_env_file()?;
    telemetry::init(telemetry::Format::Json);
    run::read_config(domains, None)
}

fn app_state(config: &Config, foldlog: Foldlog) -> Result<AppState, HostError> {
    let auth = Auth::new(&config.http.auth).map_err(|error| HostError::Auth(error.into()))?;
    auth.warn_if_open("this function");
    Ok(AppState {
        foldlog,
        cors_origins: config.http.cors_origins.clone().into(),
        auth,
        operations: Operations::None,
    })
}

fn with_base_path(router: Router, config: &Config) -> Router {
    http::with_base_path(router, config.http.base_path.as_deref())
}

async fn serve(router: Router, pools: &[Pool]) -> Result<(), HostError> {
    warm_up(&pools[0]).await;
    shutdown::run_until_shutdown(Runtime::new(gateway::service(router)), pools).await
}

/// Opens a connection before the first invocation: Lambda gives a starting function more CPU than a running one.
async fn warm_up(pool: &Pool) {
    match tokio::time::timeout(WARM_UP_TIMEOUT, pool.acquire()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!("no database connection at start: {error}"),
        Err(_) => tracing::warn!("no database connection within {WARM_UP_TIMEOUT:?} at start"),
    }
}

/// One connection per concurrent request, but at least two.
fn max_connections() -> usize {
    max_concurrency().clamp(2, run::MAX_CONNECTIONS)
}

fn max_concurrency() -> usize {
    let value = env::var(MAX_CONCURRENCY_ENV).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(1)
}
