//! Start-up, shared by all hosts: environment, logs, pool, engine; and the two plain binaries, `listener` and `migrate`.

use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::domain::Domains;
use crate::engine::Engine;
use crate::projection::Listener;
use crate::{db, migrations, telemetry};

/// Connections of one process.
const CONNECTIONS: usize = 32;

const USAGE: &str = "usage: migrate up | down | status | create -n NAME";

/// The engine that a configuration asks for.
///
/// # Errors
///
/// When a domain cannot be served or `INLINE` names none.
pub fn engine(
    config: &Config,
    domains: Domains,
    options: PgConnectOptions,
) -> anyhow::Result<Engine> {
    Ok(Engine::new(
        db::Pool::new(options, CONNECTIONS),
        domains,
        config.inline.clone(),
    )?)
}

/// The listener of an engine.
#[must_use]
pub fn listener(
    config: &Config,
    engine: &Engine,
    options: PgConnectOptions,
    stop: CancellationToken,
) -> Listener {
    Listener {
        options,
        pool: engine.pool.clone(),
        views: engine.views.clone(),
        batch_size: config.batch_size,
        stop,
    }
}

/// The whole of `bin/listener.rs`: projects until SIGTERM or SIGINT, then finishes its batch.
///
/// # Errors
///
/// When the environment is not right. A database that is away is waited for.
pub async fn listen(domains: Domains) -> anyhow::Result<()> {
    telemetry::start();
    let config = Config::from_env()?;
    let options = options(&config)?;
    let engine = engine(&config, domains, options.clone())?;
    listener(&config, &engine, options, stop_signal()?)
        .run()
        .await;
    Ok(())
}

/// The whole of `bin/migrate.rs`: the verb and its arguments, without the program's name.
///
/// # Errors
///
/// When the arguments or the environment are not right, or the database refuses.
pub async fn migrate(
    domains: Domains,
    arguments: impl Iterator<Item = String>,
) -> anyhow::Result<()> {
    telemetry::start();
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments.as_slice() {
        ["create", "-n", name] => {
            let pair = migrations::create(Path::new("migrations"), name)?;
            pair.map(|path| format!("created {}\n", path.display()))
                .concat()
        }
        ["up"] => {
            let (config, mut connection) = direct().await?;
            let engine = engine(&config, domains, options(&config)?)?;
            migrations::up(&mut connection, &engine.views, engine.inline()).await?;
            migrations::status(&mut connection).await?
        }
        ["down"] => match migrations::down(&mut direct().await?.1).await? {
            Some(name) => format!("reverted {name}\n"),
            None => "nothing to revert\n".to_owned(),
        },
        ["status"] => migrations::status(&mut direct().await?.1).await?,
        _ => bail!(USAGE),
    };
    print(&answer);
    Ok(())
}

/// What cancels when the process is asked to end.
///
/// # Errors
///
/// When signals cannot be received.
pub fn stop_signal() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(stop)
}

/// How a program ends: an error is one sentence on standard error, with what led to it.
#[expect(
    clippy::print_stderr,
    reason = "the answer of a command line program, not a log"
)]
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foldlog: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says something to the person who started the program.
#[expect(
    clippy::print_stdout,
    reason = "the answer of a command line program, not a log"
)]
pub fn print(text: &str) {
    print!("{text}");
}

fn options(config: &Config) -> anyhow::Result<PgConnectOptions> {
    let Some(url) = &config.database_url else {
        bail!("set DATABASE_URL, like postgres://user:password@host:5432/database");
    };
    // The parser's own message may quote the URL, and with it the password.
    PgConnectOptions::from_str(url.expose()).map_err(|_| {
        anyhow::anyhow!("DATABASE_URL is no Postgres URL; it should be like postgres://user:password@host:5432/database")
    })
}

async fn direct() -> anyhow::Result<(Config, sqlx::PgConnection)> {
    let config = Config::from_env()?;
    let connection = db::connect(&options(&config)?)
        .await
        .context("no connection to the database")?;
    Ok((config, connection))
}
