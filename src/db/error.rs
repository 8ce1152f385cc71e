//! Database errors as one enum that all layers share. It distinguishes what a caller can act on, by SQLSTATE and never by
//! message; `sqlstate.rs` has the table.

use super::sqlstate::{self, Kind, MAX_DEAD_CONNECTIONS, reason};
use super::{LoginError, Role};

/// An error of the database, as far as a caller can act on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// Postgres cannot be reached, shuts down, has no connection left, or is a standby. Retry later.
    #[error("the database is not available{}", reason(.0))]
    Unavailable(#[source] sqlx::Error),
    /// Postgres answers, but cannot run the statement for now: its disk is full, a file is damaged, it lacks memory.
    #[error("the database cannot run the statement{}", reason(.0))]
    Impaired(#[source] sqlx::Error),
    /// Postgres is starting, or resuming from a pause. It accepts connections in about 15 seconds; retry then.
    #[error("the database is waking up")]
    Waking(#[source] sqlx::Error),
    /// Postgres rejected the login: wrong password, unknown user or unknown database.
    #[error("the database rejected the login{}", reason(.0))]
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
    /// A table, a column, a function or a privilege is missing: the database is not migrated, or was changed by hand.
    #[error(
        "the database is not set up for this build{}; run `migrate up` and `migrate status`",
        reason(.0)
    )]
    Installation(#[source] sqlx::Error),
    /// A row of a view does not match its row type: a value or a column was changed by hand, or by another build.
    #[error(
        "a row of a view does not match its row type; run `migrate up`, then verify and repair the projection"
    )]
    Unreadable(#[source] sqlx::Error),
    /// Another transaction used the same rows (deadlock, serialization failure). Nothing was stored; retry immediately.
    #[error("the transaction lost against another one{}", reason(.0))]
    Contended(#[source] sqlx::Error),
    /// A lock or a statement took longer than its limit. Nothing was stored; retry later.
    #[error("a lock or a statement took too long{}", reason(.0))]
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
    /// The data does not fit a column, or a function or a trigger of the application rejects it.
    #[error("a row was rejected{}", reason(source))]
    Data {
        /// The five-character SQLSTATE.
        code: String,
        /// What Postgres said. It quotes values: not for clients, not for logs.
        #[source]
        source: sqlx::Error,
    },
    /// A limit of Postgres is exceeded: a value too long for an index, or no transaction ids or no notifications left.
    #[error("the database reports a limit{}", reason(.0))]
    Limit(#[source] sqlx::Error),
    /// Any other error is a bug.
    #[error("the database rejected a statement{}", reason(.0))]
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
            Self::Other(error) | Self::Installation(error) | Self::Data { source: error, .. } => {
                Self::from_role(role, error)
            }
            // 08P01 on startup options: the peer is a pooler, not Postgres.
            Self::Unavailable(error) if sqlstate::code(&error).as_deref() == Some("08P01") => {
                Self::Pooler(error)
            }
            other => other,
        }
    }

    /// The reason why a connection cannot act as its host's role.
    pub(super) fn from_role(role: Option<Role>, error: sqlx::Error) -> Self {
        match (role, sqlstate::code(&error).as_deref()) {
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
                | Self::Impaired(_)
                | Self::Waking(_)
                | Self::Refused(_)
                | Self::Untrusted(_)
                | Self::Login(_)
        )
    }

    /// Whether the rows themselves are at fault, so that trying again cannot help.
    #[must_use]
    pub const fn is_about_rows(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. } | Self::Data { .. } | Self::Limit(_)
        )
    }

    /// Whether a value of one row may have raised the error, although most often it says something about the whole statement
    /// or the server: an input function of a type may look a table up (`regclass`), report a syntax error (`jsonpath`,
    /// `ltree`), a feature that is not supported (`xml`) or an internal error (`PostGIS`). Writing no rows at all tells: if that
    /// fails in the same way, the rows are not at fault.
    #[must_use]
    pub fn may_be_about_rows(&self) -> bool {
        match self {
            Self::Conflict { .. }
            | Self::Data { .. }
            | Self::Limit(_)
            | Self::Installation(_)
            | Self::Other(_) => true,
            Self::Impaired(error) => {
                matches!(sqlstate::code(error).as_deref(), Some("XX000" | "0A000"))
            }
            Self::Unavailable(_)
            | Self::Waking(_)
            | Self::Refused(_)
            | Self::Untrusted(_)
            | Self::Login(_)
            | Self::Role { .. }
            | Self::Pooler(_)
            | Self::UntrackedNames(_)
            | Self::SessionDefaults { .. }
            | Self::Unreadable(_)
            | Self::Contended(_)
            | Self::TimedOut(_) => false,
        }
    }

    /// How often a request that got this error may be repeated on another connection.
    pub(super) fn max_retries(&self) -> u32 {
        match self {
            Self::Unavailable(error) | Self::Impaired(error) | Self::Pooler(error)
                if !matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) =>
            {
                sqlstate::classify(error)
                    .map_or(MAX_DEAD_CONNECTIONS, |meaning| meaning.max_retries)
            }
            Self::Unavailable(_)
            | Self::Impaired(_)
            | Self::Pooler(_)
            | Self::Waking(_)
            | Self::Refused(_)
            | Self::Untrusted(_)
            | Self::Login(_)
            | Self::Role { .. }
            | Self::UntrackedNames(_)
            | Self::SessionDefaults { .. }
            | Self::Installation(_)
            | Self::Unreadable(_)
            | Self::Contended(_)
            | Self::TimedOut(_)
            | Self::Conflict { .. }
            | Self::Data { .. }
            | Self::Limit(_)
            | Self::Other(_) => 0,
        }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        let Some(code) = sqlstate::code(&error) else {
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
                // A row that a migration has inserted was deleted.
                sqlx::Error::RowNotFound => Self::Installation(error),
                other => Self::Other(other),
            };
        };
        match sqlstate::find(&code).kind {
            Kind::Unavailable => Self::Unavailable(error),
            Kind::Impaired => Self::Impaired(error),
            Kind::Waking => Self::Waking(error),
            Kind::Refused => Self::Refused(error),
            Kind::Pooler => Self::Pooler(error),
            Kind::Installation => Self::Installation(error),
            Kind::Contended => Self::Contended(error),
            Kind::TimedOut => Self::TimedOut(error),
            Kind::Conflict => {
                let database = error.as_database_error();
                let constraint = database.and_then(|error| error.constraint());
                Self::Conflict {
                    constraint: constraint.unwrap_or_default().to_owned(),
                    source: error,
                }
            }
            Kind::Data => Self::Data {
                code: code.into_owned(),
                source: error,
            },
            Kind::Limit => Self::Limit(error),
            Kind::Statement => Self::Other(error),
        }
    }
}
