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
use crate::domain::Domains;
use crate::engine::Engine;
use crate::http::AppState;
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
    router: impl FnOnce(AppState) -> Router,
) -> anyhow::Result<()> {
    run::read_env_file()?;
    telemetry::start();
    let settings = Settings::from_env();
    let also = settings.as_ref().err().map(ToString::to_string);
    let (config, settings) = (run::config(domains, also)?, settings?);
    let stop = run::stop_signal()?;
    let socket = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "{} cannot be listened on; set APP_SERVER_PORT to another port",
            config.listen
        )
    })?;
    let starting = async {
        let server = Arc::new(postgres::find_or_start(&settings).await?);
        let engine = start(&config, domains, &server).await?;
        anyhow::Ok((server, engine))
    };
    // Whoever asks it to end while a Postgres is being brought does not wait for that.
    let Some(started) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let (server, engine) = started?;
    run::print(&greeting(socket.local_addr()?, &engine, &server));
    let pool = engine.pool.clone();
    let listener = run::listener(&config, &engine, server.options(), stop.clone());
    let listener = tokio::spawn(listener.run());
    let supervisor = tokio::spawn(Arc::clone(&server).supervise(stop.clone()));
    let state = AppState {
        engine,
        cors_origins: config.cors_origins.into(),
    };
    serve_http(socket, router(state), stop).await?;
    listener.await?;
    supervisor.await?;
    // A server that is stopped below waits for nobody's connection then. One that is away cannot be waited for.
    pool.close();
    server.stop_if_last().await?;
    Ok(())
}

/// Migrates, and makes the engine.
async fn start(config: &Config, domains: Domains, server: &Server) -> anyhow::Result<Engine> {
    let engine = run::engine(config, domains, server.options())?;
    let mut connection = db::connect(&server.options())
        .await
        .context("no connection to the database")?;
    migrations::up(&mut connection, &engine.views, engine.inline()).await?;
    Ok(engine)
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
fn greeting(address: SocketAddr, engine: &Engine, server: &Server) -> String {
    let domain = engine
        .domains
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
