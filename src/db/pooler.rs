//! What stands between foldlog and Postgres, and what a connection through a pooler that tracks named statements verifies
//! before its first use.

use std::collections::BTreeSet;
use std::convert::identity;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::sqlstate::code;
use super::{DbError, Login, Role, Session, login};

/// How often two clients of a pooler take turns until [`verify_names`] concludes that each has a server session of its own.
/// Clients that share sessions meet in one of them long before, at the latest when they have used most of the sessions.
const MAX_TURNS: usize = 12;

/// What stands between foldlog and Postgres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing, or a pooler in session mode, which gives each client a server connection until the client disconnects.
    #[default]
    None,
    /// A pooler in transaction mode, which gives a client a server connection for one transaction at a time.
    Transaction,
    /// A pooler in transaction mode that tracks named statements: it prepares a client's statement on the server connection that
    /// executes it. The role and the settings of a statement are the defaults of the login.
    Prepared,
}

impl Pooler {
    /// Whether a statement may be prepared under a name and executed later, and therefore also outside of a transaction.
    pub(super) const fn keeps_names(self) -> bool {
        match self {
            Self::None | Self::Prepared => true,
            Self::Transaction => false,
        }
    }
}

/// What a session behind a pooler works with, as far as the pooler and the login decide it.
struct Defaults {
    /// The server process of the session.
    process: i32,
    /// Quoted as an identifier where it needs to be.
    login: String,
    role: String,
    /// `name = 'value'` for each of foldlog's settings that has another value.
    missing: Vec<String>,
}

impl Defaults {
    async fn read(session: &mut Session<'_>) -> Result<Self, sqlx::Error> {
        let (names, values): (Vec<_>, Vec<_>) = login::SESSION_SETTINGS.into_iter().unzip();
        let (process, login, role, missing) =
            sqlx::query_as(include_str!("sql/session_defaults.sql"))
                .bind(names)
                .bind(values)
                .fetch_one(session)
                .await?;
        Ok(Self {
            process,
            login,
            role,
            missing,
        })
    }
}

/// Verifies that the sessions of this login begin with foldlog's settings, and as `role`. Nothing else would set them for a
/// statement outside of a transaction.
///
/// # Errors
///
/// [`DbError::SessionDefaults`] with the statements that set what is missing; otherwise any [`DbError`].
pub(super) async fn verify_defaults(
    session: &mut Session<'_>,
    role: Option<Role>,
) -> Result<(), DbError> {
    let defaults = Defaults::read(session).await.map_err(misrouted)?;
    let login = defaults.login;
    let mut fixes = Vec::new();
    if let Some(role) = role
        && !role.is_covered_by(&defaults.role)
    {
        let name = role.name();
        fixes.push(format!("grant {name} to {login}"));
        fixes.push(format!("alter role {login} set role = {name}"));
    }
    let settings = defaults.missing.into_iter();
    fixes.extend(settings.map(|setting| format!("alter role {login} set {setting}")));
    if fixes.is_empty() {
        return Ok(());
    }
    Err(DbError::SessionDefaults {
        login,
        fixes: fixes.join("; "),
    })
}

/// Verifies that the pooler tracks named statements. `session` and a second client, which have sent no other statement yet, take
/// turns to execute one that both have prepared under the same name. One server session that has served both is the proof: a
/// pooler that forwards names would have reported a duplicate or unknown name there, or executed the statement of the other client.
/// Without a pooler, or in its session mode, each client has a server session of its own, which serves as well.
///
/// # Errors
///
/// [`DbError::UntrackedNames`] if the pooler forwards names; otherwise any [`DbError`].
pub(super) async fn verify_names(
    session: &mut Session<'_>,
    login: &dyn Login,
) -> Result<(), DbError> {
    let connect = async |options: PgConnectOptions| PgConnection::connect_with(&options).await;
    let mut other = super::log_in_with(login, "foldlog", identity, connect).await?;
    let (mut ours, mut others) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..MAX_TURNS {
        ours.insert(Defaults::read(session).await.map_err(misrouted)?.process);
        let process: i32 = sqlx::query_scalar(include_str!("sql/server_process.sql"))
            .fetch_one(&mut other)
            .await
            .map_err(misrouted)?;
        others.insert(process);
        if !ours.is_disjoint(&others) {
            break;
        }
    }
    // If this fails, the pooler notices the closed socket.
    let _ = other.close().await;
    Ok(())
}

/// The meaning of an error of a named statement behind a pooler: the statement, or another one of its name, was executed in
/// another session, or its result cannot be one of this statement.
fn misrouted(error: sqlx::Error) -> DbError {
    let is_misrouted = match &error {
        sqlx::Error::Database(_) => {
            let code = code(&error);
            let code = code.as_deref().unwrap_or_default();
            // Duplicate name, unknown name, and values that do not fit the statement of that name.
            ["42P05", "26000", "08P01", "22P03"].contains(&code)
        }
        sqlx::Error::Protocol(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_) => true,
        _ => false,
    };
    if is_misrouted {
        DbError::UntrackedNames(error)
    } else {
        error.into()
    }
}
