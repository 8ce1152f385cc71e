//! Connecting to the server: options and URL, whether it answers, and the database.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// The port is only a part of the socket's name: the server does not listen on TCP.
pub(crate) const PORT: u16 = 5432;
/// The name of the socket that Postgres creates for this port.
pub(crate) const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// The database that each cluster has.
const MAINTENANCE_DATABASE: &str = "postgres";

const SELECT_VERSION: &str =
    "select current_setting('server_version'), setting from pg_config where name = 'BINDIR'";
const DATABASE_EXISTS: &str = "select exists (select from pg_database where datname = $1)";

/// How to connect to the server of a data directory.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) socket_dir: PathBuf,
    pub(crate) password: String,
    /// The superuser and the database.
    pub(crate) name: String,
    /// What the calling program calls its data directory.
    pub(crate) data_dir_name: &'static str,
}

impl Connection {
    pub(crate) fn options(&self) -> PgConnectOptions {
        // Sets everything that PG* variables could change, because those are meant for other servers.
        PgConnectOptions::new_without_pgpass()
            .host("localhost")
            .socket(&self.socket_dir)
            .port(PORT)
            .username(&self.name)
            .password(&self.password)
            .database(&self.name)
            .ssl_mode(PgSslMode::Disable)
    }

    pub(crate) fn url(&self) -> String {
        let encode = |bytes| percent_encode(bytes, NON_ALPHANUMERIC);
        format!(
            "postgres://{name}:{}@{}:{PORT}/{name}",
            self.password,
            encode(self.socket_dir.as_os_str().as_bytes()),
            name = encode(self.name.as_bytes()),
        )
    }

    /// The server's version and programs for people, such as `Postgres 15.18 (/usr/lib/postgresql/15/bin)`.
    ///
    /// The inner error says why the server does not answer (yet). An answer proves that this is the right server, because
    /// with SCRAM the server has to know the password, too.
    pub(crate) async fn version(&self) -> anyhow::Result<Result<String, sqlx::Error>> {
        let answer = async {
            let mut connection = self.connect().await?;
            let (version, bin_dir): (String, String) = sqlx::query_as(SELECT_VERSION)
                .fetch_one(&mut connection)
                .await?;
            connection.close().await?;
            // Distributions append their own version in brackets.
            let version = version.split_whitespace().next().unwrap_or_default();
            Ok(format!("Postgres {version} ({bin_dir})"))
        };
        let answer = answer.await;
        // Class 28 is "invalid authorization": trying again will not help.
        if let Err(sqlx::Error::Database(error)) = &answer
            && error.code().is_some_and(|code| code.starts_with("28"))
        {
            bail!(
                "the server on {} rejects the stored password: restore the file `password` in the data directory, or set {} to another folder",
                self.socket_dir.display(),
                self.data_dir_name
            );
        }
        Ok(answer)
    }

    /// Creates the database unless it exists. The start lock keeps other processes from doing the same.
    pub(crate) async fn ensure_database(&self) -> anyhow::Result<()> {
        let create = async {
            let mut connection = self.connect().await?;
            let exists: bool = sqlx::query_scalar(DATABASE_EXISTS)
                .bind(&self.name)
                .fetch_one(&mut connection)
                .await?;
            if !exists {
                let name = self.name.replace('"', "\"\"");
                let statement = AssertSqlSafe(format!("create database \"{name}\""));
                sqlx::query(statement).execute(&mut connection).await?;
            }
            connection.close().await
        };
        create
            .await
            .with_context(|| format!("cannot create the database `{}`", self.name))
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        // Without logging: sqlx would warn the user about a slow `create database`.
        self.options()
            .database(MAINTENANCE_DATABASE)
            .disable_statement_logging()
            .connect()
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_and_the_options_are_equivalent() {
        let connection = Connection {
            socket_dir: PathBuf::from("/tmp/with space/ünï?&"),
            password: "abc123".to_owned(),
            name: "my-app".to_owned(),
            data_dir_name: "DATA_DIR",
        };
        let (from_url, options) = (connection.url().parse().unwrap(), connection.options());
        let parts = |options: &PgConnectOptions| {
            (
                options.get_socket().cloned(),
                options.get_username().to_owned(),
                options.get_database().map(str::to_owned),
                options.get_port(),
            )
        };
        assert_eq!(parts(&from_url), parts(&options));
        assert_eq!(from_url.get_socket(), Some(&connection.socket_dir));
        assert_eq!(from_url.get_username(), "my-app");
    }
}
