#![doc = include_str!("../README.md")]

#[cfg(not(unix))]
compile_error!("local_postgres needs Unix: it relies on Unix sockets, file modes and signals");

mod binaries;
mod connection;
mod data_dir;
mod download;
mod lock;
mod pid_file;
mod process;
mod server;
mod server_user;
mod settings;

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;

pub use self::download::PackageManager;
pub use self::settings::{SettingNames, Settings};

use self::connection::Connection;
use self::data_dir::DataDir;
use self::lock::{StartLock, UsageLock};

/// How often [`ManagedPostgres::supervise`] checks the server's process, which reads one or two small files.
const SUPERVISE_INTERVAL: Duration = Duration::from_millis(500);
/// The longest pause of [`ManagedPostgres::supervise`] after a failed start.
const MAX_SUPERVISE_INTERVAL: Duration = Duration::from_secs(30);

/// A running Postgres server that this process uses, perhaps together with other processes.
///
/// Dropping it leaves the server running, and the next [`start`](Self::start) joins it. Call
/// [`stop_if_unused`](Self::stop_if_unused) to shut the server down.
pub struct ManagedPostgres {
    settings: Settings,
    data_dir: DataDir,
    connection: Connection,
    description: String,
    /// `None` after [`ManagedPostgres::stop_if_unused`].
    usage: Mutex<Option<UsageLock>>,
}

/// Why the server cannot be used: one sentence that says what to do, followed by the end of the server's log if Postgres
/// itself failed to start.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Error(anyhow::Error);

impl ManagedPostgres {
    /// Joins the server that runs on the data directory, or starts one, and creates the database if it is missing.
    ///
    /// The first start downloads 14 to 55 MB if no Postgres is installed; the download is logged.
    ///
    /// # Errors
    /// If no Postgres is installed or can be downloaded, if the data directory belongs to another user or to another major
    /// version of Postgres, or if the server does not start.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let data_dir = DataDir::open(&settings)?;
        let start_lock = StartLock::acquire(&data_dir.root).await?;
        let usage = UsageLock::acquire(&data_dir.root, &start_lock)?;
        let connection = data_dir.connection()?;
        let (version, origin) = match server::join(&data_dir, &connection).await? {
            Some(version) => (version, "already running"),
            None => (
                server::start(&settings, &data_dir, &connection).await?,
                "started by this process",
            ),
        };
        connection.ensure_database().await?;
        let description = format!("{version}, data in {}, {origin}", data_dir.root.display());
        Ok(Self {
            settings,
            data_dir,
            connection,
            description,
            usage: Mutex::new(Some(usage)),
        })
    }

    /// Options to connect as superuser to the database, both named [`Settings::name`].
    pub fn connect_options(&self) -> PgConnectOptions {
        self.connection.options()
    }

    /// The same as a URL that sqlx and libpq understand. It contains the password, so do not log it.
    pub fn url(&self) -> String {
        self.connection.url()
    }

    /// One line for people, without secrets: version, programs, data directory, and whether this process started the server.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Starts the server again if its process is gone, for example after `kill -9` or when the system ran out of memory.
    ///
    /// Returns true if this call started it; always false after [`stop_if_unused`](Self::stop_if_unused).
    ///
    /// # Errors
    /// If the server does not start.
    pub async fn ensure_running(&self) -> Result<bool, Error> {
        if self.data_dir.running_server().is_some() {
            return Ok(false);
        }
        let _start_lock = StartLock::acquire(&self.data_dir.root).await?;
        if self.usage.lock().await.is_none() {
            return Ok(false);
        }
        let connection = self.data_dir.connection()?;
        if server::join(&self.data_dir, &connection).await?.is_some() {
            return Ok(false);
        }
        server::start(&self.settings, &self.data_dir, &connection).await?;
        Ok(true)
    }

    /// Keeps the server running until `shutdown` completes: calls [`ensure_running`](Self::ensure_running) twice a second.
    ///
    /// Several processes may supervise one server. A lock ensures that only one of them starts it.
    pub async fn supervise(&self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut interval = SUPERVISE_INTERVAL;
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(interval) => {}
            }
            match self.ensure_running().await {
                Ok(restarted) => {
                    if restarted {
                        tracing::warn!("the local Postgres was gone and has been started again");
                    }
                    interval = SUPERVISE_INTERVAL;
                }
                Err(error) => {
                    interval = (interval * 2).min(MAX_SUPERVISE_INTERVAL);
                    let seconds = interval.as_secs();
                    tracing::error!("the local Postgres is gone, next try in {seconds} s: {error}");
                }
            }
        }
    }

    /// Ends this process's use of the server, and shuts the server down if no other process uses it.
    ///
    /// Returns true if it shut the server down. Open connections are cut, so close connection pools first.
    ///
    /// # Errors
    /// If the server does not stop in time or the locks of the data directory cannot be read.
    pub async fn stop_if_unused(&self) -> Result<bool, Error> {
        let start_lock = StartLock::acquire(&self.data_dir.root).await?;
        let Some(usage) = self.usage.lock().await.take() else {
            return Ok(false);
        };
        let stopped = usage.release(&start_lock)? && server::stop(&self.data_dir).await?;
        Ok(stopped)
    }
}

impl fmt::Debug for ManagedPostgres {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedPostgres")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}
