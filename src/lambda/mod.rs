//! The functions: the same routers behind an API gateway, catch-up on a schedule, and migrations. Each binary of `bin/`
//! calls one function of this module.
//!
//! A cold start reads the environment and opens one connection, while there is CPU to spare for it: no AWS client, no look
//! at the database but what a connection needs.

mod after_append;
mod catch_up;
mod deadline;
mod gateway;
mod metrics;
mod migrate;
mod running;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use axum::Router;
use lambda_runtime::Runtime;
use tokio::runtime::Builder;

pub use self::catch_up::{Worker, catch_up};
pub use self::migrate::migrate;
use crate::config::Config;
use crate::db::{Pool, Role};
use crate::domain::Domains;
use crate::engine::Engine;
use crate::http::{AppState, Auth};
use crate::{run, telemetry};

/// What the runtime needs; it panics without.
const GIVEN: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
];

/// How many requests the runtime gives to one process at once; nothing but where functions run on instances of one's own.
const AT_ONCE: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// How long the start of a function waits for its first connection. A database that wakes up takes longer, and the
/// request that then finds none is told so.
const FIRST_CONNECTION: Duration = Duration::from_secs(1);

/// The whole of `bin/command.rs`: appends.
///
/// # Errors
///
/// When this is no function, or the environment is not right.
pub async fn command(
    domains: Domains,
    router: impl FnOnce(AppState) -> Router,
) -> anyhow::Result<()> {
    let config = begin(domains)?;
    let login = run::login(&config)?;
    let after = after_append::AfterAppend::new(&config, domains)?;
    let engine = run::engine(&config, domains, login, Role::Command, connections())?;
    let mut pools = vec![engine.pool.clone()];
    pools.extend(after.pool().cloned());
    let router = after.around(router(state(&config, engine)?));
    serve(router, &pools).await
}

/// The whole of `bin/query.rs`: reads.
///
/// # Errors
///
/// When this is no function, or the environment is not right.
pub async fn query(
    domains: Domains,
    router: impl FnOnce(AppState) -> Router,
) -> anyhow::Result<()> {
    let config = begin(domains)?;
    let login = run::login(&config)?;
    let engine = run::engine(&config, domains, login, Role::Query, connections())?;
    let pool = engine.pool.clone();
    serve(router(state(&config, engine)?), &[pool]).await
}

/// Runs the program of a function that serves requests: on one thread where it is given one request at a time, so that
/// none of its parts has to be woken on another.
#[must_use]
pub fn main(program: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let mut runtime = if at_once() > 1 {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    match runtime.enable_all().build() {
        Ok(runtime) => run::exit(runtime.block_on(program)),
        Err(error) => run::exit(Err(error.into())),
    }
}

/// Whether this process was started by Lambda, or by what stands for it.
#[must_use]
pub fn is_function() -> bool {
    env::var_os(GIVEN[0]).is_some()
}

/// The environment of a function, once it is clear that this is one.
fn begin(domains: Domains) -> anyhow::Result<Config> {
    if let Some(missing) = GIVEN.iter().find(|name| env::var_os(name).is_none()) {
        bail!(
            "this is a Lambda function, and {missing} is not set: `cargo run` serves the same routes without Lambda, and \
             `cargo lambda watch --features lambda` runs the functions on this machine"
        );
    }
    run::read_env_file()?;
    telemetry::start();
    run::config(domains, None)
}

fn state(config: &Config, engine: Engine) -> anyhow::Result<AppState> {
    let auth = Auth::new(&config.http.auth)?;
    auth.warn_if_open("this function");
    Ok(AppState {
        engine,
        cors_origins: config.http.cors_origins.clone().into(),
        auth,
    })
}

async fn serve(router: Router, pools: &[Pool]) -> anyhow::Result<()> {
    connect(&pools[0]).await;
    running::until_stopped(Runtime::new(gateway::adapter(router)), pools).await
}

/// Opens a connection before the first event is asked for: Lambda gives a starting function more CPU than it gives it later.
async fn connect(pool: &Pool) {
    match tokio::time::timeout(FIRST_CONNECTION, pool.acquire()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!("no connection at the start: {error}"),
        Err(_) => tracing::warn!("no connection within {FIRST_CONNECTION:?} at the start"),
    }
}

/// As many connections as there may be requests at once: one, but where the runtime offers more.
fn connections() -> usize {
    at_once().clamp(2, run::CONNECTIONS)
}

fn at_once() -> usize {
    let at_once = env::var(AT_ONCE).ok();
    at_once.and_then(|text| text.parse().ok()).unwrap_or(1)
}
