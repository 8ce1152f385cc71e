//! The all-in-one host: HTTP, the listener, and a Postgres that is found or downloaded.

pub mod postgres;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::postgres::{Server, ServerError, Settings};
use crate::config::Config;
use crate::db::{Pool, Role};
use crate::domain::Domains;
use crate::http::{self, AppState, Auth, Operations};
use crate::operate::Operator;
use crate::run::{self, HostError};
use crate::{db, migrations, telemetry};

/// How long running requests may take to complete after a stop signal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves HTTP and projects until SIGTERM or SIGINT. Then running requests complete, the listener finishes its batch, and a
/// managed Postgres stops unless another process uses it.
///
/// # Errors
///
/// If a setting is invalid, if no Postgres is available, or if the address is taken.
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
        let server = Server::start(settings).await;
        let server = Arc::new(server.map_err(local_postgres)?);
        start(&config, domains, &server).await?;
        Ok::<_, HostError>(server)
    };
    // A stop signal also interrupts a download or a start of Postgres.
    let Some(started) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let server = started?;
    run::print(&greeting(socket.local_addr()?, domains, &server));
    // Each host uses its own role, as in production, so that a missing privilege is noticed in development.
    let build = |role, size| {
        let login = Arc::new(server.connect_options());
        run::build_foldlog(&config, domains, login, role, size)
    };
    let command = build(Role::Command, run::MAX_CONNECTIONS)?;
    let query = build(Role::Query, run::MAX_CONNECTIONS)?;
    let projection = build(Role::Projection, 2 * domains.projections().count())?;
    let pools = [&command, &query, &projection].map(|foldlog| foldlog.pool.clone());
    let listener = run::listener(
        &config,
        &projection,
        Arc::new(server.connect_options()),
        stop.clone(),
    );
    let listener = tokio::spawn(listener.run());
    let supervisor = tokio::spawn({
        let (server, stop) = (Arc::clone(&server), stop.clone());
        async move { server.supervise(stop.cancelled()).await }
    });
    let base_path = config.http.base_path;
    let origins: Arc<[String]> = config.http.cors_origins.into();
    let operator = Operator {
        foldlog: projection,
        batch_size: config.projection.batch_size,
    };
    let [command, query] = [command, query].map(|foldlog| AppState {
        foldlog,
        cors_origins: Arc::clone(&origins),
        auth: auth.clone(),
        operations: Operations::InProcess(operator.clone()),
    });
    let router = router(command, query);
    #[cfg(feature = "console")]
    let router = http::with_console(router, &config.console);
    let router = http::with_base_path(router, base_path.as_deref());
    serve_http(socket, router, stop).await;
    listener.await.map_err(std::io::Error::from)?;
    supervisor.await.map_err(std::io::Error::from)?;
    // Closes the connections before the server stops, without waiting for a server that is unreachable.
    pools.iter().for_each(Pool::close);
    server.stop_if_unused().await.map_err(local_postgres)?;
    Ok(())
}

fn local_postgres(error: ServerError) -> HostError {
    HostError::LocalPostgres(error.into())
}

/// Migrates the database and creates the views.
async fn start(config: &Config, domains: Domains, server: &Server) -> Result<(), HostError> {
    let login = Arc::new(server.connect_options());
    let mut connection = db::connect(&*login)
        .await
        .map_err(HostError::from_connect)?;
    let foldlog = run::build_foldlog(config, domains, login, Role::Query, 1)?;
    let migrated = migrations::up(
        &mut connection,
        foldlog.pool.schema(),
        &foldlog.views,
        foldlog.inline(),
    )
    .await;
    // The log names the projections that have to be reprojected.
    migrated
        .map(drop)
        .map_err(|error| HostError::Migration(error.into()))
}

/// Serves until `stop`, and then until the running requests have completed, for at most [`DRAIN_TIMEOUT`].
async fn serve_http(socket: TcpListener, router: Router, stop: CancellationToken) {
    let drain_timeout = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        }
    };
    tokio::select! {
        () = http::serve(socket, router, stop) => {}
        () = drain_timeout => {
            tracing::warn!("requests were still running {DRAIN_TIMEOUT:?} after the stop signal");
        }
    }
}

/// The first lines of output: the address, the Postgres, and what to try.
fn greeting(address: SocketAddr, domains: Domains, server: &Server) -> String {
    let domain = domains
        .iter()
        .next()
        .map_or("users", |domain| domain.name());
    let console = if cfg!(feature = "console") {
        format!(", or open http://{address}/ in a browser")
    } else {
        String::new()
    };
    format!(
        "foldlog listens on http://{address}\n\
         {}\n\
         try: curl http://{address}/{domain}{console}\n",
        server.description()
    )
}
