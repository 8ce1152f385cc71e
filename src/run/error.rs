//! Why a host did not start, or stopped before it was asked to.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::{error, io};

use crate::app::BuildError;
use crate::config::ConfigError;
use crate::db::DbError;
use crate::db::login::UrlError;

/// The error of a layer that this module does not import.
type BoxError = Box<dyn error::Error + Send + Sync>;

/// Why a host did not start, or stopped before it was asked to. The text tells the operator what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Environment variables are missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file `.env` cannot be parsed. Its content is not repeated: it may hold a password.
    #[error("the file .env has a line that is not NAME=value or NAME='a value'")]
    EnvFileSyntax,
    /// The file `.env` exists and cannot be read.
    #[error("cannot read the file .env")]
    EnvFile(#[source] io::Error),
    /// No variable names the database.
    #[error("DATABASE_URL is not set: set it to postgres://user:password@host:5432/database")]
    NoDatabase,
    /// This build has no AWS client.
    #[error(
        "DB_SECRET_ARN and DB_IAM_AUTH need a build with the cargo feature `aws`; set DATABASE_URL instead"
    )]
    NoAwsFeature,
    /// `DATABASE_URL` or the certificates are invalid.
    #[error(transparent)]
    DatabaseUrl(#[from] UrlError),
    /// A domain or projection cannot be served.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The settings of `AUTH=jwt` cannot be used.
    #[error(transparent)]
    Auth(BoxError),
    /// No connection at start.
    #[error("cannot connect to the database")]
    Connect(#[source] DbError),
    /// The configuration names a pooler, and the program needs a session.
    #[error(
        "migrate and listener need a direct connection, because they hold session locks: unset DB_POOLER, and use the \
         address of Postgres itself"
    )]
    DirectConnectionRequired,
    /// A pooler answered, and the program needs a session.
    #[error(
        "migrate and listener need a direct connection, because they hold session locks, but a pooler answered: use the \
         address of Postgres itself"
    )]
    PoolerDetected(#[source] DbError),
    /// A migration failed, or a view cannot be created.
    #[error(transparent)]
    Migration(BoxError),
    /// The arguments of `migrate` are not understood.
    #[error("usage: migrate up | down | status | setup-database | create -n NAME")]
    MigrateUsage,
    /// The package of the web client was not generated, or is stale.
    #[error(transparent)]
    Client(BoxError),
    /// A function was started outside Lambda.
    #[error(
        "this program is a Lambda function, and {0} is not set: run `cargo run` to serve the same routes without Lambda, \
         or `cargo lambda watch --features lambda` to run the functions locally"
    )]
    NotLambda(&'static str),
    /// The Lambda runtime stopped.
    #[error("the Lambda runtime has stopped")]
    LambdaRuntime(#[source] BoxError),
    /// The address of the local server is taken or not allowed.
    #[error("cannot listen on {address}: set APP_SERVER_PORT to another port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason of the operating system.
        source: io::Error,
    },
    /// The local Postgres cannot be found, started or stopped.
    #[error(transparent)]
    LocalPostgres(BoxError),
    /// The operating system refused signals, threads or a socket.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl HostError {
    /// A failed connection of `migrate`, the listener or the local host.
    pub(crate) fn from_connect(error: DbError) -> Self {
        match error {
            error @ DbError::Pooler(_) => Self::PoolerDetected(error),
            error => Self::Connect(error),
        }
    }
}

/// Ends a program: an error becomes one line on standard error, with its causes.
pub fn exit(result: Result<(), HostError>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let line = error_chain(&error);
    // Standard error may be closed; then there is nowhere left to write.
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("foldlog: {line}\n"));
    ExitCode::FAILURE
}

/// An error and its causes on one line.
pub(crate) fn error_chain(error: &dyn error::Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    chain.split_whitespace().collect::<Vec<_>>().join(" ")
}
