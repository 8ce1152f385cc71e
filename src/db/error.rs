//! Database errors as one enum that all layers share. It distinguishes what a caller can act on, by SQLSTATE and never by
//! message.

use std::borrow::Cow;

use super::{LoginError, Role};

/// The log was restored under open connections. The next connection checks it, and so does one that is suspect.
pub(super) const UNTRUSTED_LOG: &str = "FL001";

/// A view has not caught up since its table was created, so a rule over all of its rows cannot be checked.
pub(super) const INCOMPLETE_VIEW: &str = "FL002";

/// An error of the database, as far as a caller can act on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// Postgres cannot be reached, shuts down or has no connection left. Retry later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Postgres is starting, or resuming from a pause. It accepts connections in about 15 seconds; retry then.
    #[error("the database is waking up")]
    Waking(#[source] sqlx::Error),
    /// Postgres rejected the login: wrong password, unknown user or unknown database.
    #[error("the database rejected the login")]
    Refused(#[source] sqlx::Error),
    /// TLS could not be established with the database.
    #[error(
        "the database's certificate cannot be verified, or the database does not support TLS: set sslrootcert \
         (PGSSLROOTCERT) to the authority's certificates, and use the host name in the certificate"
    )]
    Untrusted(#[source] sqlx::Error),
    /// The credentials could not be obtained.
    #[error("no login for the database: {0}")]
    Login(#[from] LoginError),
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
    #[error(
        "a pooler in transaction mode is in front of the database; set DB_POOLER=transaction, or DB_POOLER=prepared if it \
         tracks named statements"
    )]
    Pooler(#[source] sqlx::Error),
    /// The pooler forwards the names of statements, although `DB_POOLER=prepared` says that it tracks them.
    #[error(
        "the pooler does not track named statements: set max_prepared_statements (PgBouncer 1.21 or newer), or set \
         DB_POOLER=transaction"
    )]
    UntrackedNames(#[source] sqlx::Error),
    /// The sessions of the login do not begin as `DB_POOLER=prepared` needs them.
    #[error(
        "DB_POOLER=prepared needs other defaults of the login {login}: run `{fixes}`, and then let the pooler open new server \
         connections (`reconnect` in PgBouncer's console)"
    )]
    SessionDefaults {
        /// The login's name.
        login: String,
        /// The statements that set the defaults.
        fixes: String,
    },
    /// Another transaction used the same rows (deadlock, serialization failure). Nothing was stored; retry immediately.
    #[error("the transaction lost against another one")]
    Contended(#[source] sqlx::Error),
    /// A lock or a statement took longer than its limit. Nothing was stored; retry later.
    #[error("a lock or a statement took too long")]
    TimedOut(#[source] sqlx::Error),
    /// A unique, foreign key, check or not-null constraint rejected a row.
    #[error("constraint {constraint} rejected a row")]
    Conflict {
        /// The constraint's name; empty if Postgres reports none (not-null).
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
    /// Any other error is a bug or a faulty installation, as a missing table or grant.
    #[error("the database rejected a statement{}", .0.as_database_error().and_then(sqlx::error::DatabaseError::code).map(|c| format!(" (SQLSTATE {c})")).unwrap_or_default())]
    Other(#[source] sqlx::Error),
}

impl DbError {
    /// Whether the same transaction may succeed if it is retried immediately.
    #[must_use]
    pub const fn is_contended(&self) -> bool {
        matches!(self, Self::Contended(_))
    }

    /// The reason why a connection that sends startup options cannot be opened.
    pub(super) fn into_session_error(self, role: Option<Role>) -> Self {
        match self {
            Self::Other(error) | Self::Data { source: error, .. } => Self::from_role(role, error),
            // 08P01 on startup options: the peer is a pooler, not Postgres.
            Self::Unavailable(error) if code(&error).as_deref() == Some("08P01") => {
                Self::Pooler(error)
            }
            other => other,
        }
    }

    /// The reason why a connection cannot act as its host's role.
    pub(super) fn from_role(role: Option<Role>, error: sqlx::Error) -> Self {
        match (role, code(&error).as_deref()) {
            // Insufficient privilege, and a role that does not exist.
            (Some(role), Some("42501" | "22023")) => Self::Role {
                role: role.name(),
                source: error,
            },
            _ => error.into(),
        }
    }

    /// Whether Postgres is unavailable for now, so that the same request may succeed later.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::Waking(_)
                | Self::Refused(_)
                | Self::Untrusted(_)
                | Self::Login(_)
        )
    }

    /// Whether the rows themselves are at fault, so that trying again cannot help.
    #[must_use]
    pub const fn is_about_rows(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Data { .. })
    }
}

/// The SQLSTATE of an error that Postgres reported.
pub(super) fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
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
            // Idle transaction or session ended, too many connections, shutdown.
            "25P03" | "53300" | "57P01" | "57P02" | "57P05" => Self::Unavailable(error),
            "57P03" => Self::Waking(error),
            // Raised by foldlog's own functions: the log comes from another cluster and is not checked yet, or a view that is
            // folded inline has not caught up since its table was created.
            UNTRUSTED_LOG | INCOMPLETE_VIEW => Self::Unavailable(error),
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
