//! Talking to our server: how to reach it, whether it answers, and the database that it must have.

use std::fmt;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _};

/// The port names the socket and nothing else, as no server of ours listens on TCP.
pub(super) const PORT: u16 = 5432;
/// What Postgres calls its socket.
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// The superuser and the database.
pub(super) const NAME: &str = "foldlog";

const FACTS: &str =
    "select current_setting('server_version'), setting from pg_config where name = 'BINDIR'";
const HAS_DATABASE: &str = "select exists (select from pg_database where datname = 'foldlog')";
const CREATE_DATABASE: &str = "create database foldlog";

/// What it takes to connect.
#[derive(Clone)]
pub(super) struct Access {
    /// The folder of the socket.
    pub(super) socket: PathBuf,
    pub(super) password: String,
}

/// What a server says about itself.
#[derive(Debug)]
pub(super) struct Facts {
    version: String,
    bin_dir: String,
}

impl Access {
    /// Options for the database `foldlog`.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options_for(NAME)
    }

    fn options_for(&self, database: &str) -> PgConnectOptions {
        // Everything that PG* variables could change is set: those are meant for other servers.
        PgConnectOptions::new_without_pgpass()
            .host("localhost")
            .socket(&self.socket)
            .port(PORT)
            .username(NAME)
            .password(&self.password)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The same as a URL that sqlx and libpq understand.
    pub(super) fn url(&self) -> String {
        format!(
            "postgres://{NAME}:{}@{}:{PORT}/{NAME}",
            self.password,
            percent_encoded(&self.socket)
        )
    }

    /// Asks the server who it is; the inner error says why it does not answer (yet).
    ///
    /// That a server answers at all is proof that it is ours: with SCRAM, it has to know the password as well.
    ///
    /// # Errors
    /// When it will not help to ask again.
    pub(super) async fn ask(&self) -> anyhow::Result<Result<Facts, sqlx::Error>> {
        let answer = async {
            let mut connection = self.connect("postgres").await?;
            let (version, bin_dir): (String, String) =
                sqlx::query_as(FACTS).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok(Facts { version, bin_dir })
        };
        match answer.await {
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| code.starts_with("28")) =>
            {
                Err(anyhow::anyhow!(
                    "the server on {} refuses the password that is kept for it: bring back the data directory's file `password`, or name another LOCAL_DATA_DIR",
                    self.socket.display()
                ))
            }
            answer => Ok(answer),
        }
    }

    /// Creates the database `foldlog` unless it exists. Under the start lock, so nobody else does at the same time.
    pub(super) async fn ensure_database(&self) -> anyhow::Result<()> {
        let work = async {
            let mut connection = self.connect("postgres").await?;
            if !sqlx::query_scalar::<_, bool>(HAS_DATABASE)
                .fetch_one(&mut connection)
                .await?
            {
                sqlx::query(CREATE_DATABASE)
                    .execute(&mut connection)
                    .await?;
            }
            connection.close().await
        };
        work.await.context("cannot create the database `foldlog`")
    }

    async fn connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        // A slow `create database` is no slow statement of the user's to be warned about.
        self.options_for(database)
            .disable_statement_logging()
            .connect()
            .await
    }
}

impl fmt::Debug for Access {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Distributions add their own version in brackets.
        let version = self.version.split_whitespace().next().unwrap_or_default();
        write!(f, "Postgres {version} ({})", self.bin_dir)
    }
}

fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_and_the_options_say_the_same() {
        let access = Access {
            socket: PathBuf::from("/tmp/with space/ünï?&"),
            password: "abc123".to_owned(),
        };
        let parsed: PgConnectOptions = access.url().parse().unwrap();
        assert_eq!(parsed.get_socket(), access.options().get_socket());
        assert_eq!(parsed.get_socket(), Some(&access.socket));
        assert_eq!(
            (
                parsed.get_username(),
                parsed.get_database(),
                parsed.get_port()
            ),
            (NAME, Some(NAME), PORT)
        );
        assert!(!format!("{access:?}").contains("abc123"));
    }
}
