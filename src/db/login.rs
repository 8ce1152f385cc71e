//! How a new connection logs in: the source of its credentials, TLS, and the role that it works as.

use std::fmt;
use std::future::ready;
use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

pub use super::url::{UrlError, from_url};

/// The source of the options of new connections. They may change while the process runs: passwords are rotated and tokens
/// expire.
pub trait Login: fmt::Debug + Send + Sync {
    /// The options for a new connection. `refused` says that Postgres rejected the last ones, so cached credentials must be
    /// fetched again.
    fn options(&self, refused: bool) -> BoxFuture<'_, Result<PgConnectOptions, LoginError>>;

    /// Whether the options may differ after Postgres has rejected them.
    fn may_change(&self) -> bool {
        true
    }
}

/// Why the connection options cannot be determined. The text is for the log and contains no secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoginError(pub String);

impl Login for PgConnectOptions {
    fn options(&self, _: bool) -> BoxFuture<'_, Result<PgConnectOptions, LoginError>> {
        ready(Ok(self.clone())).boxed()
    }

    fn may_change(&self) -> bool {
        false
    }
}

/// The least-privilege role that a host sets after it has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Inserts and reads events, reads views.
    Command,
    /// Command that folds inline: writes views, too.
    CommandInline,
    /// Reads.
    Query,
    /// Reads events, writes views, locker, settled and parked.
    Projection,
}

impl Role {
    /// Its name in Postgres.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "foldlog_command",
            Self::CommandInline => "foldlog_command_inline",
            Self::Query => "foldlog_query",
            Self::Projection => "foldlog_projection",
        }
    }

    /// Whether a session of the role of this name has the privileges of this role, and not much more.
    pub(super) fn is_covered_by(self, role: &str) -> bool {
        match self {
            // One login has one default role, and a command host may also project.
            Self::Command | Self::Projection => {
                [self.name(), Self::CommandInline.name()].contains(&role)
            }
            Self::CommandInline | Self::Query => self.name() == role,
        }
    }
}

/// The settings of every session, spelled as Postgres shows them. The first three hold whatever the defaults of the database
/// and of the login are: under a stricter isolation level, a statement that loses a race raises an error. `jit` is off because
/// it compiles for longer than a statement runs. `enable_seqscan` is off because a plan must not depend on statistics that do
/// not exist yet: on tables that are new, restored or known to be empty, Postgres plans to read all of `events`, and a connection
/// keeps such a plan while the table grows. Every statement has an index for each table that grows, and Postgres still scans the
/// others. Plans are generic, because Postgres would plan each call of a statement that takes arrays, which costs more than
/// running it for a few events. With `extra_float_digits` below 1, Postgres rounds the numbers of a row that it returns as JSON, and
/// the next fold would write them back. The limits end, on the server's side, what a host that vanished left open.
pub(super) const SESSION_SETTINGS: [(&str, &str); 10] = [
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("extra_float_digits", "1"),
    ("statement_timeout", "30s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
];

/// Settings of the connection between Postgres and a direct client. A client that is frozen, or whose network is cut, while
/// Postgres sends it rows would otherwise keep its locks for as long as the kernel resends: some 15 minutes. No other timeout
/// ends a session that waits for its client to read. They have no effect on a Unix socket.
///
/// A session that waits for notifications is idle for as long as no event is appended, and must not end for that.
const CONNECTION_SETTINGS: [(&str, &str); 5] = [
    ("idle_session_timeout", "0"),
    ("tcp_user_timeout", "10s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// The startup options of a direct session. They cost no round trip. A transaction-mode pooler rejects them, which is wanted:
/// a `set role` would be accepted and leak to the pooler's next client.
pub(super) fn session_options(options: PgConnectOptions) -> PgConnectOptions {
    options
        .options(SESSION_SETTINGS)
        .options(CONNECTION_SETTINGS)
}

/// Requires TLS with a verified certificate and host name, unless the host is this machine or `PGSSLMODE` names a mode. Without the check
/// of the host name, an attacker on the network could present any valid certificate.
pub(crate) fn require_verified_tls(options: PgConnectOptions) -> PgConnectOptions {
    let has_mode = std::env::var("PGSSLMODE").is_ok_and(|mode| mode.parse::<PgSslMode>().is_ok());
    if is_local(&options) || has_mode {
        return options;
    }
    options.ssl_mode(PgSslMode::VerifyFull)
}

/// Fails if the file with the certificates cannot be read. Otherwise every connection would fail with a TLS error.
pub(crate) fn check_certificates(
    options: &PgConnectOptions,
    named: Option<String>,
) -> Result<(), UrlError> {
    let verifies = matches!(
        options.get_ssl_mode(),
        PgSslMode::VerifyCa | PgSslMode::VerifyFull
    );
    match named.or_else(|| std::env::var("PGSSLROOTCERT").ok()) {
        Some(file) if verifies && !file.starts_with("-----BEGIN") => {
            match std::fs::File::open(&file) {
                Ok(_) => Ok(()),
                Err(_) => Err(UrlError::NoCertificates(file)),
            }
        }
        _ => Ok(()),
    }
}

/// Whether the connection stays on this machine.
pub(crate) fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
