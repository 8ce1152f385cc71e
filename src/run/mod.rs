//! Start-up that all hosts share: configuration, logs, pool and `Foldlog`; and the two plain programs, `listener` and
//! `migrate`.

mod error;
mod migrate;

use std::io::Write;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "lambda")]
pub(crate) use self::error::error_chain;
pub use self::error::{HostError, exit};
pub use self::migrate::{Migration, migrate, migrate_database};
use crate::app::{BuildError, Foldlog};
use crate::config::{Config, DatabaseLogin, Environment};
use crate::db::{Login, Pool, PoolSettings, Pooler, Role};
use crate::domain::{AnyProjection, Domains};
use crate::projection::Listener;
use crate::{db, telemetry};

/// Connections of a long-running process for one role, at most.
pub(crate) const MAX_CONNECTIONS: usize = 24;

/// Reads the file `.env`, if there is one, in builds with the feature `local`. Variables that are already set take precedence.
///
/// # Errors
///
/// If the file cannot be read or parsed.
pub fn read_env_file() -> Result<(), HostError> {
    #[cfg(feature = "local")]
    match dotenvy::dotenv() {
        Err(dotenvy::Error::LineParse(..)) => return Err(HostError::EnvFileSyntax),
        Err(dotenvy::Error::Io(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(HostError::EnvFile(error));
        }
        _ => {}
    }
    Ok(())
}

/// Reads the configuration and checks it against the domains. `host_problem` is what the host itself found invalid.
///
/// # Errors
///
/// Names every invalid variable and what to set instead.
pub fn read_config(domains: Domains, host_problem: Option<String>) -> Result<Config, HostError> {
    let mut env = Environment::from_process();
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
    if let Some(problem) = host_problem {
        env.reject(problem);
    }
    Ok(env.finish(config)?)
}

/// How the connections of a configuration log in.
///
/// # Errors
///
/// If the configuration names no database, or its URL or certificates are invalid.
pub fn login(config: &Config) -> Result<Arc<dyn Login>, HostError> {
    match &config.database.login {
        None => Err(HostError::NoDatabase),
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
            Err(HostError::NoAwsFeature)
        }
    }
}

/// Builds the [`Foldlog`] of a configuration, which works as `role` on at most `size` connections.
///
/// # Errors
///
/// If a domain cannot be served, or `INLINE` names an unknown projection.
pub fn build_foldlog(
    config: &Config,
    domains: Domains,
    login: Arc<dyn Login>,
    role: Role,
    size: usize,
) -> Result<Foldlog, HostError> {
    let role = match role {
        Role::Command if !config.projection.inline.is_empty() => Role::CommandInline,
        role => role,
    };
    let pool = Pool::open(PoolSettings {
        login,
        size,
        pooler: config.database.pooler,
        role: Some(role),
        schema: config.database.schema.clone(),
    });
    Ok(Foldlog::builder()
        .domains(domains)
        .inline(config.projection.inline.clone())
        .state_cache_bytes(config.append.state_cache_bytes)
        .build(pool)?)
}

/// A listener for the views of a [`Foldlog`]; `stop` ends it.
#[must_use]
pub fn listener(
    config: &Config,
    foldlog: &Foldlog,
    login: Arc<dyn Login>,
    stop: CancellationToken,
) -> Listener {
    Listener {
        login,
        pool: foldlog.pool.clone(),
        views: foldlog.views.clone(),
        batch_size: config.projection.batch_size,
        stop,
    }
}

/// Projects until SIGTERM or SIGINT, and then finishes its batch. If the database is unavailable, it waits.
///
/// # Errors
///
/// If the configuration is invalid, or a pooler in transaction mode answers instead of Postgres.
pub async fn listen(domains: Domains) -> Result<(), HostError> {
    read_env_file()?;
    telemetry::init(telemetry::Format::Text);
    let config = read_config(domains, None)?;
    let login = direct_login(&config)?;
    let foldlog = build_foldlog(
        &config,
        domains,
        Arc::clone(&login),
        Role::Projection,
        MAX_CONNECTIONS,
    )?;
    // An unavailable database may come back; a pooler never becomes a session.
    if let Err(error @ db::DbError::Pooler(_)) = db::connect(&*login).await {
        return Err(HostError::PoolerDetected(error));
    }
    listener(&config, &foldlog, login, stop_signal()?)
        .run()
        .await;
    Ok(())
}

/// A token that SIGTERM or SIGINT cancels.
///
/// # Errors
///
/// If the process cannot receive signals.
pub fn stop_signal() -> Result<CancellationToken, HostError> {
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

/// Writes to standard output. The reader may have closed it (`migrate status | head -1`), so errors are ignored.
pub fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The login of a program that needs a session: migrations hold a session lock, and a listener runs LISTEN.
fn direct_login(config: &Config) -> Result<Arc<dyn Login>, HostError> {
    if config.database.pooler != Pooler::None {
        return Err(HostError::DirectConnectionRequired);
    }
    login(config)
}
