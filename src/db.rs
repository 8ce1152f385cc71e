//! The connection pool, and database errors as one small enum that all layers share.

mod pool;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor, PgConnection};

pub use self::pool::{Connection, Pool, Transaction};

/// How often a request is tried on another connection because its own turned out to be dead.
const STALE_CONNECTIONS: u32 = 3;

/// What can go wrong between us and Postgres, as far as a caller can act on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// Postgres cannot be reached, shuts down or has no connection left. Try again later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Somebody else was at the same rows (deadlock, serialization). Nothing was stored; try again now.
    #[error("the transaction lost against another one")]
    Contended(#[source] sqlx::Error),
    /// A lock or a statement took longer than its limit. Nothing was stored; try again later.
    #[error("a lock or a statement took too long")]
    TimedOut(#[source] sqlx::Error),
    /// A unique, foreign key, check or not-null constraint refused a row.
    #[error("constraint {constraint} refused a row")]
    Conflict {
        /// The constraint's name; empty where Postgres names none (not-null).
        constraint: String,
        /// What Postgres said. It quotes values: not for clients, not for logs.
        #[source]
        source: sqlx::Error,
    },
    /// The data does not fit a column, an index or a trigger of the table (a number too big, a text with a NUL).
    #[error("a value does not fit its column (SQLSTATE {code})")]
    Data {
        /// The five-character SQLSTATE.
        code: String,
        /// What Postgres said. It quotes values: not for clients, not for logs.
        #[source]
        source: sqlx::Error,
    },
    /// Anything else is a mistake of ours or of the installation: a missing table, a missing grant.
    #[error("the database refused a statement{}", .0.as_database_error().and_then(sqlx::error::DatabaseError::code).map(|c| format!(" (SQLSTATE {c})")).unwrap_or_default())]
    Other(#[source] sqlx::Error),
}

impl DbError {
    /// Whether the same transaction may succeed when it is tried again at once.
    #[must_use]
    pub const fn is_contended(&self) -> bool {
        matches!(self, Self::Contended(_))
    }

    /// Whether the rows themselves are at fault, so that trying again cannot help.
    #[must_use]
    pub const fn is_about_rows(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Data { .. })
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
                other => Self::Other(other),
            };
        };
        let code = database.code().unwrap_or_default().into_owned();
        match code.as_str() {
            "40001" | "40P01" => Self::Contended(error),
            "55P03" | "57014" => Self::TimedOut(error),
            // Connection failure, shutdown, cannot connect now, too many connections, idle transaction ended.
            "25P03" | "53300" | "57P01" | "57P02" | "57P03" | "57P05" => Self::Unavailable(error),
            _ if code.starts_with("08") => Self::Unavailable(error),
            _ if code.starts_with("23") => {
                let constraint = database.constraint().unwrap_or_default().to_owned();
                Self::Conflict {
                    constraint,
                    source: error,
                }
            }
            // 22 a value, 54 a limit (an index row that is too long), 21 and 44 a row that is not what a statement or a view
            // takes, 38, 39 and P0001 what a function or a trigger of the view raised.
            _ if code == "P0001"
                || ["21", "22", "38", "39", "44", "54"]
                    .iter()
                    .any(|class| code.starts_with(class)) =>
            {
                Self::Data {
                    code,
                    source: error,
                }
            }
            _ => Self::Other(error),
        }
    }
}

/// An error that another connection may not have.
pub trait Stale {
    /// Whether the connection broke under the statement. What the statement did is not known, so only what may be done
    /// twice may be tried again: a read, or an append, whose events have ids.
    fn is_stale(&self) -> bool;
}

impl Stale for DbError {
    fn is_stale(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => false,
            // A server that is full or starts up says so on every connection.
            Self::Unavailable(error) => !matches!(
                error
                    .as_database_error()
                    .and_then(sqlx::error::DatabaseError::code)
                    .as_deref(),
                Some("53300" | "57P03")
            ),
            _ => false,
        }
    }
}

/// Tries that are left when connections turn out to be dead: after a restart of Postgres, a fail-over or a thaw, the
/// pool is full of connections that only their next statement can tell to be dead.
#[derive(Debug)]
pub struct Tries(u32);

impl Default for Tries {
    fn default() -> Self {
        Self(STALE_CONNECTIONS)
    }
}

impl Tries {
    /// Whether to do the work again because of this error; the pool's other connections are doubted then.
    pub fn again(&mut self, pool: &Pool, error: &impl Stale) -> bool {
        if !error.is_stale() {
            return false;
        }
        pool.doubt();
        let again = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        again
    }
}

/// Raises the log's offset when the cluster's transaction counter is behind the log.
pub(crate) async fn heal_log(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let behind: Option<bool> = match sqlx::query_scalar(include_str!("db/log_is_behind.sql"))
        .fetch_one(&mut *connection)
        .await
    {
        Ok(behind) => behind,
        // Not migrated yet: there is no log that could be behind.
        Err(error)
            if error
                .as_database_error()
                .is_some_and(|e| e.code().as_deref() == Some("42883")) =>
        {
            None
        }
        Err(error) => return Err(error),
    };
    if behind == Some(true) {
        let offset: i64 = sqlx::query_scalar(include_str!("db/heal_log.sql"))
            .fetch_one(connection)
            .await?;
        tracing::warn!(
            log.offset = offset,
            "the log was restored from another cluster: its transaction ids are now offset by {offset}"
        );
    }
    Ok(())
}

/// One connection beside the pool, for what belongs to a session: the listener's key and its LISTEN.
///
/// # Errors
///
/// [`DbError::Unavailable`], mostly.
pub async fn connect(options: &PgConnectOptions) -> Result<PgConnection, DbError> {
    Ok(PgConnection::connect_with(&options.clone().application_name("foldlog listener")).await?)
}

/// Within a transaction: what follows can be undone by itself.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn savepoint(connection: &mut PgConnection) -> Result<(), DbError> {
    connection.execute(sqlx::raw_sql("savepoint part")).await?;
    Ok(())
}

/// Keeps what was done since the [`savepoint`].
///
/// # Errors
///
/// Any [`DbError`].
pub async fn release(connection: &mut PgConnection) -> Result<(), DbError> {
    connection
        .execute(sqlx::raw_sql("release savepoint part"))
        .await?;
    Ok(())
}

/// Undoes what was done since the [`savepoint`].
///
/// # Errors
///
/// Any [`DbError`].
pub async fn undo(connection: &mut PgConnection) -> Result<(), DbError> {
    connection
        .execute(sqlx::raw_sql(
            "rollback to savepoint part; release savepoint part",
        ))
        .await?;
    Ok(())
}
