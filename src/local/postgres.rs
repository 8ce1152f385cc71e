//! The Postgres of the all-in-one host: the server of `DATABASE_URL`, or one that this machine runs.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

pub use local_postgres::ManagedPostgres;
use local_postgres::SettingNames;
use sqlx::postgres::PgConnectOptions;
use thiserror::Error;

/// The superuser and the database of a local server.
const NAME: &str = "foldlog";

/// Which server to use.
#[derive(Clone)]
pub enum Settings {
    /// `DATABASE_URL`: a server that is not managed here.
    Url(String),
    /// A server that is found or downloaded, started and stopped.
    Managed(local_postgres::Settings),
}

/// A server to connect to.
pub enum Server {
    /// The server of `DATABASE_URL`.
    External(PgConnectOptions),
    /// A server that was started here or that this process shares with others.
    Managed(ManagedPostgres),
}

/// Why no server can be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// `DATABASE_URL` cannot be parsed. It is not repeated, because it may contain a password.
    #[error(
        "DATABASE_URL is not a Postgres URL, which looks like postgres://user:password@host:5432/database"
    )]
    InvalidUrl,
    /// `LOCAL_POSTGRES` has another value than `bring`.
    #[error(
        "LOCAL_POSTGRES={0} is invalid: remove it, or set it to `bring` to download a Postgres instead of using an \
         installed one"
    )]
    UnknownSource(String),
    /// The data has no default place.
    #[error("there is no home directory for the data: set LOCAL_DATA_DIR to a folder")]
    NoHome,
    /// The managed server cannot be started or stopped.
    #[error(transparent)]
    Managed(#[from] local_postgres::Error),
}

impl Settings {
    /// Reads `DATABASE_URL`, and if it is not set: `LOCAL_DATA_DIR` (by default `/var/lib/foldlog` for root, else
    /// `~/.local/share/foldlog`), `FOLDLOG_PG_BIN` (the folder with `initdb` and `postgres` to use) and `LOCAL_POSTGRES`
    /// (`bring` ignores installed servers and downloads one). An empty variable counts as not set.
    ///
    /// # Errors
    /// If a variable has an invalid value, or if `LOCAL_DATA_DIR` is not set and the environment names no home directory.
    pub fn from_env() -> Result<Self, ServerError> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ServerError> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut settings = managed(get, PathBuf::new())?;
        if let Some(url) = get("DATABASE_URL") {
            let url = url.into_string().map_err(|_| ServerError::InvalidUrl)?;
            return Ok(Self::Url(url));
        }
        settings.data_dir = get("LOCAL_DATA_DIR")
            .map(PathBuf::from)
            .or_else(|| local_postgres::Settings::default_data_dir(NAME))
            .ok_or(ServerError::NoHome)?;
        Ok(Self::Managed(settings))
    }

    /// A managed server with its data in `data_dir`. Reads `FOLDLOG_PG_BIN` and `LOCAL_POSTGRES` like
    /// [`from_env`](Self::from_env), but neither `DATABASE_URL` nor `LOCAL_DATA_DIR`.
    ///
    /// # Errors
    /// If `LOCAL_POSTGRES` has an invalid value.
    pub fn managed(data_dir: impl Into<PathBuf>) -> Result<local_postgres::Settings, ServerError> {
        let get = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        managed(get, data_dir.into())
    }
}

fn managed(
    get: impl Fn(&str) -> Option<OsString>,
    data_dir: PathBuf,
) -> Result<local_postgres::Settings, ServerError> {
    let download_only = match get("LOCAL_POSTGRES") {
        None => false,
        Some(value) if value == "bring" => true,
        Some(value) => {
            let value = value.to_string_lossy().into_owned();
            return Err(ServerError::UnknownSource(value));
        }
    };
    Ok(local_postgres::Settings {
        name: NAME.to_owned(),
        bin_dir: get("FOLDLOG_PG_BIN").map(PathBuf::from),
        download_only,
        setting_names: SettingNames {
            data_dir: "LOCAL_DATA_DIR",
            bin_dir: "FOLDLOG_PG_BIN",
            download_only: "LOCAL_POSTGRES=bring",
            other_server: Some("set DATABASE_URL"),
        },
        ..local_postgres::Settings::new(data_dir)
    })
}

impl fmt::Debug for Settings {
    /// Without the URL, which contains a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(_) => f.write_str("Url(…)"),
            Self::Managed(settings) => settings.fmt(f),
        }
    }
}

impl Server {
    /// Starts or joins the managed server. The server of a URL is not contacted: the pool finds out whether it is up.
    ///
    /// # Errors
    /// If the URL is invalid or the managed server cannot be started.
    pub async fn start(settings: Settings) -> Result<Self, ServerError> {
        match settings {
            Settings::Url(url) => match url.parse() {
                Ok(options) => Ok(Self::External(options)),
                // The parser's error may repeat parts of the URL, and with them the password.
                Err(_) => Err(ServerError::InvalidUrl),
            },
            Settings::Managed(settings) => {
                Ok(Self::Managed(ManagedPostgres::start(settings).await?))
            }
        }
    }

    /// How to connect.
    pub fn connect_options(&self) -> PgConnectOptions {
        match self {
            Self::External(options) => options.clone(),
            Self::Managed(postgres) => postgres.connect_options(),
        }
    }

    /// One line for people, without secrets.
    pub fn description(&self) -> String {
        let options = match self {
            Self::External(options) => options,
            Self::Managed(postgres) => return postgres.description().to_owned(),
        };
        let host = match options.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        let port = options.get_port();
        format!("Postgres at {host}:{port}/{database}, from DATABASE_URL")
    }

    /// Restarts the managed server whenever its process is gone, until `shutdown` completes.
    pub async fn supervise(&self, shutdown: impl Future<Output = ()>) {
        match self {
            Self::External(_) => {}
            Self::Managed(postgres) => postgres.supervise(shutdown).await,
        }
    }

    /// Stops the managed server unless another process uses it. Close the pools first.
    ///
    /// # Errors
    /// If the server does not stop in time.
    pub async fn stop_if_unused(&self) -> Result<(), ServerError> {
        if let Self::Managed(postgres) = self {
            postgres.stop_if_unused().await?;
        }
        Ok(())
    }
}

impl fmt::Debug for Server {
    /// Without the options, which contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.description()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Settings, ServerError> {
        Settings::from_lookup(|name| {
            let variable = variables.iter().find(|(key, _)| *key == name);
            variable.map(|(_, value)| OsString::from(value))
        })
    }

    async fn start(url: &str) -> Result<Server, ServerError> {
        Server::start(from(&[("DATABASE_URL", url)])?).await
    }

    /// Fails when a variable is ignored, or an empty one is used.
    #[test]
    fn variables_of_the_local_server_are_read_and_empty_ones_are_ignored() {
        let settings = from(&[
            ("DATABASE_URL", ""),
            ("LOCAL_DATA_DIR", "/d"),
            ("LOCAL_POSTGRES", "bring"),
            ("FOLDLOG_PG_BIN", "/b"),
        ]);
        let Settings::Managed(settings) = settings.unwrap() else {
            panic!("an empty DATABASE_URL was used");
        };
        assert_eq!(settings.data_dir, PathBuf::from("/d"));
        assert_eq!(settings.bin_dir, Some(PathBuf::from("/b")));
        assert!(settings.download_only);
    }

    /// Fails when a typo in `LOCAL_POSTGRES` goes unnoticed, also beside a `DATABASE_URL` that makes it irrelevant.
    #[test]
    fn an_unknown_value_of_local_postgres_is_rejected() {
        let error = from(&[
            ("LOCAL_POSTGRES", "docker"),
            ("DATABASE_URL", "postgres://a@h/d"),
        ]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("LOCAL_POSTGRES=docker") && error.contains("`bring`"),
            "{error}"
        );
    }

    /// Fails when `DATABASE_URL` does not take precedence, or when its password gets into a text for people.
    #[tokio::test]
    async fn the_server_of_database_url_is_described_without_its_password() {
        let url = "postgres://ada:s3cret@db.example:6432/events?sslmode=disable";
        let settings = from(&[("DATABASE_URL", url), ("LOCAL_DATA_DIR", "/d")]).unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
        let server = Server::start(settings).await.unwrap();
        let description = "Postgres at db.example:6432/events, from DATABASE_URL";
        assert_eq!(server.description(), description);
        assert!(!format!("{server:?}").contains("s3cret"));
        server.supervise(std::future::pending()).await;
        server.stop_if_unused().await.unwrap();
    }

    /// Fails when the error repeats parts of the URL, which may be the password.
    #[tokio::test]
    async fn an_invalid_database_url_is_rejected_without_being_repeated() {
        let error = start("postgres://ada:s3cret@db:notaport/x")
            .await
            .unwrap_err();
        let error = format!("{error:#}");
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
