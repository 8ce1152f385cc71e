//! Start-up, shared by all hosts: environment, logs, pool, engine; and the two plain binaries, `listener` and `migrate`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

#[cfg(feature = "local")]
use anyhow::Context as _;
use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DatabaseLogin, Environment};
use crate::db::{Login, Pool, PoolSettings, Pooler, Role};
use crate::domain::{AnyProjection, Domains};
use crate::engine::{BuildError, Engine};
use crate::projection::Listener;
use crate::{db, migrations, telemetry};

/// Connections of a long-lived process for one role.
pub(crate) const CONNECTIONS: usize = 24;

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
    let mut env = Environment::of_process();
    let config = Config::read(&mut env);
    let names: Vec<_> = domains.projections().map(AnyProjection::name).collect();
    for name in &config.projection.inline {
        if !names.contains(&name.as_str()) {
            let error = BuildError::NoProjection(name.clone(), names.join(", "));
            env.reject(error.to_string());
        }
    }
    if config.database.login.is_some()
        && let Err(error) = login(&config)
    {
        env.reject(error.to_string());
    }
    also.into_iter().for_each(|problem| env.reject(problem));
    Ok(env.finish(config)?)
}

/// How the connections of a configuration log in.
///
/// # Errors
///
/// When it says nothing of a database, or what it says cannot be.
pub fn login(config: &Config) -> anyhow::Result<Arc<dyn Login>> {
    match &config.database.login {
        None => bail!("set DATABASE_URL, like postgres://user:password@host:5432/database"),
        Some(DatabaseLogin::Url(url)) => Ok(Arc::new(db::login::from_url(url.expose())?)),
        #[cfg(feature = "aws")]
        Some(DatabaseLogin::Secret { arn, address }) => {
            Ok(Arc::new(crate::aws::SecretLogin::new(arn, address)?))
        }
        #[cfg(feature = "aws")]
        Some(DatabaseLogin::Iam { address, user }) => {
            Ok(Arc::new(crate::aws::IamLogin::new(address, user)?))
        }
        #[cfg(not(feature = "aws"))]
        Some(DatabaseLogin::Secret { .. } | DatabaseLogin::Iam { .. }) => {
            bail!("DB_SECRET_ARN and DB_IAM_AUTH need a build with the feature `aws`")
        }
    }
}

/// The engine that a configuration asks for, working as `role` on at most `size` connections.
///
/// # Errors
///
/// When a domain cannot be served or `INLINE` names none.
pub fn engine(
    config: &Config,
    domains: Domains,
    login: Arc<dyn Login>,
    role: Role,
    size: usize,
) -> anyhow::Result<Engine> {
    let pooler = if config.database.transaction_pooler {
        Pooler::Transaction
    } else {
        Pooler::None
    };
    let role = match role {
        Role::Command if !config.projection.inline.is_empty() => Role::CommandInline,
        role => role,
    };
    let pool = Pool::open(PoolSettings {
        login,
        size,
        pooler,
        role: Some(role),
    });
    Ok(Engine::new(
        pool,
        domains,
        config.projection.inline.clone(),
    )?)
}

/// The listener of an engine.
#[must_use]
pub fn listener(
    config: &Config,
    engine: &Engine,
    login: Arc<dyn Login>,
    stop: CancellationToken,
) -> Listener {
    Listener {
        login,
        pool: engine.pool.clone(),
        views: engine.views.clone(),
        batch_size: config.projection.batch_size,
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
    let login = direct(&config)?;
    let engine = engine(
        &config,
        domains,
        Arc::clone(&login),
        Role::Projection,
        CONNECTIONS,
    )?;
    // A database that is away is waited for; one that can never serve is not.
    if let Err(error @ db::DbError::Pooler(_)) = db::connect(&*login).await {
        return Err(of_login(error));
    }
    listener(&config, &engine, login, stop_signal()?)
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
        [verb] => match verb.parse() {
            Ok(verb) => migrate_database(&config(domains, None)?, domains, verb).await?,
            Err(()) => bail!(USAGE),
        },
        _ => bail!(USAGE),
    };
    print(&answer);
    Ok(())
}

/// What is to be done with the migrations of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Apply what is missing, and create the views that are not there.
    Up,
    /// Revert the newest.
    Down,
    /// Only say what is applied.
    Status,
}

impl std::str::FromStr for Migration {
    type Err = ();

    fn from_str(verb: &str) -> Result<Self, ()> {
        match verb {
            "up" => Ok(Self::Up),
            "down" => Ok(Self::Down),
            "status" => Ok(Self::Status),
            _ => Err(()),
        }
    }
}

/// Migrates the database that the configuration names, over a direct connection; a line for each migration.
///
/// # Errors
///
/// When the database refuses, or only a pooler can be reached.
pub async fn migrate_database(
    config: &Config,
    domains: Domains,
    verb: Migration,
) -> anyhow::Result<String> {
    let login = direct(config)?;
    let mut connection = db::connect(&*login).await.map_err(of_login)?;
    match verb {
        Migration::Up => {
            let engine = engine(config, domains, login, Role::Query, 1)?;
            migrations::up(&mut connection, &engine.views, engine.inline()).await?;
            migrations::status(&mut connection).await
        }
        Migration::Down => Ok(match migrations::down(&mut connection).await? {
            Some(name) => format!("reverted {name}\n"),
            None => "nothing to revert\n".to_owned(),
        }),
        Migration::Status => migrations::status(&mut connection).await,
    }
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

/// The login for what needs a session of its own: migrations take a lock that a session holds, and a listener listens.
fn direct(config: &Config) -> anyhow::Result<Arc<dyn Login>> {
    if config.database.transaction_pooler {
        bail!(
            "migrate and listener need a session of their own, which a pooler in transaction mode cannot give: point them \
             at Postgres itself, without DB_POOLER"
        );
    }
    login(config)
}

/// What to tell whoever started the program when there is no connection.
pub(crate) fn of_login(error: db::DbError) -> anyhow::Error {
    match error {
        error @ db::DbError::Pooler(_) => anyhow::anyhow!(
            "migrate and listener need a session of their own, but there is a pooler before the database ({error}): point \
             them at Postgres itself"
        ),
        error => anyhow::Error::new(error).context("no connection to the database"),
    }
}
