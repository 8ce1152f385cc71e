//! The connection pool, and database errors as one small enum that all layers share.

pub mod login;
mod pool;
mod session;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor, PgConnection};

pub use self::login::{Login, NoLogin, Role};
pub use self::pool::{Connection, Pool, PoolSettings, Transaction};
pub use self::session::{Pooler, Session};

/// How often a request is tried on another connection because its own turned out to be dead.
const STALE_CONNECTIONS: u32 = 3;

/// What can go wrong between us and Postgres, as far as a caller can act on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// Postgres cannot be reached, shuts down or has no connection left. Try again later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Postgres starts up, or wakes from a pause: it takes connections in a quarter of a minute. Try again then.
    #[error("the database is waking up")]
    Waking(#[source] sqlx::Error),
    /// Postgres does not take the login: a wrong password, an unknown user or database.
    #[error("the database refused the login")]
    Refused(#[source] sqlx::Error),
    /// No TLS could be agreed on with the database.
    #[error(
        "the database's certificate cannot be verified, or it speaks no TLS: name the authority's certificates with \
         sslrootcert (PGSSLROOTCERT), and the host as its certificate does"
    )]
    Untrusted(#[source] sqlx::Error),
    /// There is nothing to log in with.
    #[error("no login for the database: {0}")]
    NoLogin(#[from] NoLogin),
    /// The login may not act as the host's role.
    #[error(
        "the login cannot act as {role}: run `migrate up`, then `grant {role} to` the user that this host logs in as"
    )]
    Role {
        /// The role's name.
        role: &'static str,
        /// What Postgres said.
        #[source]
        source: sqlx::Error,
    },
    /// The statements of one client reached the session of another one.
    #[error("a pooler in transaction mode stands before the database; set DB_POOLER=transaction")]
    Pooler(#[source] sqlx::Error),
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

    /// What is wrong when a connection cannot act as its host's role.
    fn of_role(role: Role, error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        // Insufficient privilege, and a role that is not there.
        if matches!(code.as_deref(), Some("42501" | "22023")) {
            return Self::Role {
                role: role.name(),
                source: error,
            };
        }
        error.into()
    }

    /// Whether Postgres cannot be had for now, so that the same request may succeed later.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::Waking(_)
                | Self::Refused(_)
                | Self::Untrusted(_)
                | Self::NoLogin(_)
        )
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
                sqlx::Error::Tls(_) => Self::Untrusted(error),
                // A handshake that fails over a certificate is an error of the stream beneath.
                sqlx::Error::Io(ref io) if io.kind() == std::io::ErrorKind::InvalidData => {
                    Self::Untrusted(error)
                }
                sqlx::Error::Io(_)
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
            "25P03" | "53300" | "57P01" | "57P02" | "57P05" => Self::Unavailable(error),
            "57P03" => Self::Waking(error),
            "28000" | "28P01" | "3D000" => Self::Refused(error),
            // A statement's name is taken or unknown: it went to another session than the one before.
            "42P05" | "26000" => Self::Pooler(error),
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
                Some("53300")
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
pub(crate) async fn heal_log(connection: &mut Session) -> Result<(), sqlx::Error> {
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

/// Connects. A login that is refused is asked for again once: its password was rotated.
pub(crate) async fn log_in<T>(
    login: &dyn Login,
    application: &'static str,
    connect: impl AsyncFn(PgConnectOptions) -> Result<T, sqlx::Error>,
) -> Result<T, DbError> {
    let connect = async |refused| -> Result<T, DbError> {
        let options = login.options(refused).await?.application_name(application);
        // A pooler knows no such parameter, and no Postgres that we run on needs it.
        Ok(connect(options.extra_float_digits(None)).await?)
    };
    match connect(false).await {
        Err(DbError::Refused(_)) if login.may_change() => connect(true).await,
        connected => connected,
    }
}

/// One connection beside the pool, for what belongs to a session: migrations hold a lock, a listener listens.
///
/// # Errors
///
/// [`DbError::Unavailable`], mostly; [`DbError::Pooler`] when the session is not its own.
pub async fn connect(login: &dyn Login) -> Result<PgConnection, DbError> {
    let connect = async || {
        log_in(login, "foldlog migrate", async |options| {
            PgConnection::connect_with(&options).await
        })
        .await
    };
    let mut connection = connect().await?;
    // What this session remembers is there for nobody else; unless a pooler gives the server to whoever comes next.
    let mark = uuid::Uuid::now_v7().to_string();
    sqlx::query("select set_config('foldlog.session', $1, false)")
        .persistent(false)
        .bind(&mark)
        .execute(&mut connection)
        .await?;
    let mut other = connect().await?;
    let seen: Option<String> =
        sqlx::query_scalar("select current_setting('foldlog.session', true)")
            .persistent(false)
            .fetch_one(&mut other)
            .await?;
    // A goodbye; without one the server would notice all the same.
    let _ = other.close().await;
    if seen.as_deref() == Some(&mark) {
        let why = "another connection is in the same session";
        return Err(DbError::Pooler(sqlx::Error::Protocol(why.to_owned())));
    }
    Ok(connection)
}

/// Within a transaction: what follows can be undone by itself.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn savepoint(connection: &mut Session) -> Result<(), DbError> {
    connection.execute(sqlx::raw_sql("savepoint part")).await?;
    Ok(())
}

/// Keeps what was done since the [`savepoint`].
///
/// # Errors
///
/// Any [`DbError`].
pub async fn release(connection: &mut Session) -> Result<(), DbError> {
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
pub async fn undo(connection: &mut Session) -> Result<(), DbError> {
    connection
        .execute(sqlx::raw_sql(
            "rollback to savepoint part; release savepoint part",
        ))
        .await?;
    Ok(())
}
