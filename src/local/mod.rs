//! The all-in-one host: HTTP, the listener, and a Postgres that it finds or brings.

pub mod postgres;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::postgres::{Server, Settings};
use crate::config::Config;
use crate::db::{Pool, Role};
use crate::domain::Domains;
use crate::http::{AppState, Auth};
use crate::{db, migrations, run, telemetry};

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
) -> anyhow::Result<()> {
    run::read_env_file()?;
    telemetry::start();
    let settings = Settings::from_env();
    let also = settings.as_ref().err().map(ToString::to_string);
    let (config, settings) = (run::config(domains, also)?, settings?);
    let auth = Auth::new(&config.http.auth)?;
    if !config.http.listen.ip().is_loopback() {
        auth.warn_if_open(&config.http.listen.to_string());
    }
    let stop = run::stop_signal()?;
    let socket = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| {
            format!(
                "{} cannot be listened on; set APP_SERVER_PORT to another port",
                config.http.listen
            )
        })?;
    let starting = async {
        let server = Arc::new(postgres::find_or_start(&settings).await?);
        start(&config, domains, &server).await?;
        anyhow::Ok(server)
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
    let command = engine(Role::Command, run::CONNECTIONS)?;
    let query = engine(Role::Query, run::CONNECTIONS)?;
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
    listener.await?;
    supervisor.await?;
    // A server that is stopped below waits for nobody's connection then. One that is away cannot be waited for.
    pools.iter().for_each(Pool::close);
    server.stop_if_last().await?;
    Ok(())
}

/// Migrates.
async fn start(config: &Config, domains: Domains, server: &Server) -> anyhow::Result<()> {
    let login = Arc::new(server.options());
    let mut connection = db::connect(&*login).await.map_err(run::of_login)?;
    let engine = run::engine(config, domains, login, Role::Query, 1)?;
    migrations::up(&mut connection, &engine.views, engine.inline()).await
}

/// Serves until `stop`, and then until the requests under way have ended, but not for ever.
async fn serve_http(
    socket: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
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
