//! Start-up, shared by all hosts: environment, logs, pool, engine; and the two plain binaries, `listener` and `migrate`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, bail};
use sqlx::postgres::PgConnectOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::domain::{AnyProjection, Domains};
use crate::engine::{BadEngine, Engine};
use crate::projection::Listener;
use crate::{db, migrations, telemetry};

/// Connections of one process.
const CONNECTIONS: usize = 32;

const USAGE: &str = "usage: migrate up | down | status | create -n NAME";

/// Reads the file `.env` in local runs, where there is one. What the environment says already comes first.
///
/// # Errors
///
/// When the file cannot be read. What is in it is not repeated: it may hold a password.
pub fn read_env_file() -> anyhow::Result<()> {
    #[cfg(feature = "local")]
    match dotenvy::dotenv() {
        Err(dotenvy::Error::LineParse(..)) => {
            bail!("the file .env has a line that is not like NAME=value or NAME='a value'")
        }
        Err(error) if !error.not_found() => {
            return Err(error).context("the file .env cannot be read");
        }
        _ => {}
    }
    Ok(())
}

/// The environment, with everything that is not right about it named at once; `also` is what the host itself found.
///
/// # Errors
///
/// Names every variable that is not right, and what it should be.
pub fn config(domains: Domains, also: Option<String>) -> anyhow::Result<Config> {
    let config = Config::from_env_and(|config| {
        let names = || domains.projections().map(AnyProjection::name);
        let url = config.database_url.is_some();
        let url = url.then(|| options(config)).and_then(Result::err);
        let unknown = config
            .inline
            .iter()
            .filter(|inline| !names().any(|name| name == *inline));
        let known = names().collect::<Vec<_>>().join(", ");
        unknown
            .map(|name| BadEngine::NoProjection(name.clone(), known.clone()).to_string())
            .chain(url.map(|error| error.to_string()))
            .chain(also)
            .collect()
    })?;
    Ok(config)
}

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
    read_env_file()?;
    telemetry::start();
    let config = config(domains, None)?;
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
    read_env_file()?;
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
            let (config, mut connection) = direct(domains).await?;
            let engine = engine(&config, domains, options(&config)?)?;
            migrations::up(&mut connection, &engine.views, engine.inline()).await?;
            migrations::status(&mut connection).await?
        }
        ["down"] => match migrations::down(&mut direct(domains).await?.1).await? {
            Some(name) => format!("reverted {name}\n"),
            None => "nothing to revert\n".to_owned(),
        },
        ["status"] => migrations::status(&mut direct(domains).await?.1).await?,
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

/// How a program ends: an error is one line on standard error, with what led to it.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("{error:#}");
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            // Where nobody reads it, nothing can be said.
            let _ = writeln!(std::io::stderr(), "foldlog: {line}");
            ExitCode::FAILURE
        }
    }
}

/// Says something to the person who started the program, who may have stopped reading (`migrate status | head -1`).
pub fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
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

async fn direct(domains: Domains) -> anyhow::Result<(Config, sqlx::PgConnection)> {
    let config = config(domains, None)?;
    let connection = db::connect(&options(&config)?)
        .await
        .context("no connection to the database")?;
    Ok((config, connection))
}
