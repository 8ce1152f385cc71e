//! The all-in-one host: HTTP, the listener, and a Postgres that it finds or brings.

pub mod postgres;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::postgres::{Server, Settings};
use crate::config::Config;
use crate::db::{Pool, Role};
use crate::domain::Domains;
use crate::http::{AppState, Auth};
use crate::run::{self, HostError};
use crate::{db, migrations, telemetry};

/// How long requests under way may take to end once the server is asked to.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs everything until SIGTERM or SIGINT: then requests under way end, the listener finishes its batch, and the
/// Postgres that was started here stops with the last process that uses it.
///
/// # Errors
///
/// When the environment is not right, no Postgres can be had, or the address is taken.
pub async fn serve(
    domains: Domains,
    router: impl FnOnce(AppState, AppState) -> Router,
) -> Result<(), HostError> {
    run::read_env_file()?;
    telemetry::init(telemetry::Format::Text);
    let settings = Settings::from_env();
    let also = settings.as_ref().err().map(ToString::to_string);
    let config = run::read_config(domains, also)?;
    let settings = settings.map_err(local_postgres)?;
    let auth = Auth::new(&config.http.auth).map_err(|error| HostError::Auth(error.into()))?;
    if !config.http.listen.ip().is_loopback() {
        auth.warn_if_open(&config.http.listen.to_string());
    }
    let stop = run::stop_signal()?;
    let address = config.http.listen;
    let socket = TcpListener::bind(address)
        .await
        .map_err(|source| HostError::Listen { address, source })?;
    let starting = async {
        let server = postgres::find_or_start(&settings).await;
        let server = Arc::new(server.map_err(local_postgres)?);
        start(&config, domains, &server).await?;
        Ok::<_, HostError>(server)
    };
    // Whoever asks it to end while a Postgres is being brought does not wait for that.
    let Some(started) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let server = started?;
    run::print(&greeting(socket.local_addr()?, domains, &server));
    // Each works as a role of its own, here as in the cloud, so that what one may not do fails here first.
    let engine = |role, size| {
        let login = Arc::new(server.options());
        run::engine(&config, domains, login, role, size)
    };
    let command = engine(Role::Command, run::MAX_CONNECTIONS)?;
    let query = engine(Role::Query, run::MAX_CONNECTIONS)?;
    let projection = engine(Role::Projection, 2 * domains.projections().count())?;
    let pools = [&command, &query, &projection].map(|engine| engine.pool.clone());
    let listener = run::listener(
        &config,
        &projection,
        Arc::new(server.options()),
        stop.clone(),
    );
    let listener = tokio::spawn(listener.run());
    let supervisor = tokio::spawn(Arc::clone(&server).supervise(stop.clone()));
    let origins: Arc<[String]> = config.http.cors_origins.into();
    let [command, query] = [command, query].map(|engine| AppState {
        engine,
        cors_origins: Arc::clone(&origins),
        auth: auth.clone(),
    });
    serve_http(socket, router(command, query), stop).await?;
    listener.await.map_err(std::io::Error::from)?;
    supervisor.await.map_err(std::io::Error::from)?;
    // A server that is stopped below waits for nobody's connection then. One that is away cannot be waited for.
    pools.iter().for_each(Pool::close);
    server.stop_if_last().await.map_err(local_postgres)?;
    Ok(())
}

fn local_postgres(error: anyhow::Error) -> HostError {
    HostError::LocalPostgres(error.into())
}

/// Migrates the database and creates the views.
async fn start(config: &Config, domains: Domains, server: &Server) -> Result<(), HostError> {
    let login = Arc::new(server.options());
    let mut connection = db::connect(&*login)
        .await
        .map_err(HostError::from_connect)?;
    let engine = run::engine(config, domains, login, Role::Query, 1)?;
    let migrated = migrations::up(
        &mut connection,
        engine.pool.schema(),
        &engine.views,
        engine.inline(),
    )
    .await;
    migrated.map_err(|error| HostError::Migration(error.into()))
}

/// Serves until `stop`, and then until the requests under way have ended, but not for ever.
async fn serve_http(
    socket: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), HostError> {
    let late = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        }
    };
    let server = axum::serve(socket, router).with_graceful_shutdown(stop.cancelled_owned());
    tokio::select! {
        ended = server.into_future() => ended?,
        () = late => tracing::warn!("requests were still under way after {DRAIN:?}"),
    }
    Ok(())
}

/// The first lines: where it listens, which Postgres it uses, and something to try.
fn greeting(address: SocketAddr, domains: Domains, server: &Server) -> String {
    let domain = domains
        .iter()
        .next()
        .map_or("users", |domain| domain.name());
    format!(
        "foldlog listens on http://{address}\n\
         {}\n\
         try: curl http://{address}/{domain}\n",
        server.description()
    )
}
