//! What operators see of the database itself: Postgres, the migrations, the roles, transactions that have been open for long, and settings
//! that differ from those of docs/OPERATIONS.md. No request needs any of it. So a part that cannot be read is unknown, and the others
//! are reported all the same.

mod privileges;
mod settings;

use std::time::{Duration, Instant};

use serde::Serialize;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use tokio::time::timeout_at;
use utoipa::ToSchema;

use self::privileges::NEEDED;
pub use self::settings::Deviation;
use crate::db::{DbError, Pool, Role};
use crate::migrations;

/// The most transactions that are listed.
const MAX_TRANSACTIONS: i64 = 20;

/// What operators see of the database. A part that could not be read is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct DatabaseReport {
    /// What this process has connected to, and as whom.
    #[schema(required, inline)]
    pub connection: Option<DatabaseConnection>,
    /// The roles that hosts work as.
    #[schema(required, inline)]
    pub roles: Option<Vec<HostRole>>,
    /// Which migrations are applied.
    #[schema(required, inline)]
    pub migrations: Option<AppliedMigrations>,
    /// Transactions that have been open for more than 10 seconds.
    #[schema(required, inline)]
    pub open_transactions: Option<OpenTransactions>,
    /// The settings that differ from the recommended ones.
    #[schema(required, inline)]
    pub settings: Option<Vec<Deviation>>,
}

impl DatabaseReport {
    /// Whether every part could be read.
    pub(crate) const fn is_complete(&self) -> bool {
        self.connection.is_some()
            && self.roles.is_some()
            && self.migrations.is_some()
            && self.open_transactions.is_some()
            && self.settings.is_some()
    }
}

/// A connection of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DatabaseConnection {
    /// The version of Postgres.
    pub postgres: String,
    /// The name that this process logs in with.
    pub login: String,
    /// The role that it works as.
    pub role: String,
}

/// A role that hosts work as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HostRole {
    /// Its name.
    pub name: String,
    /// Whether it exists.
    pub is_present: bool,
    /// The privileges that foldlog has granted and that it no longer has, such as `select on events`; null if it does not exist.
    #[schema(required)]
    pub lacks: Option<Vec<String>>,
}

/// Which migrations are applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AppliedMigrations {
    /// How many are applied.
    pub applied: usize,
    /// How many this build knows.
    pub expected: usize,
    /// Those that this build knows and that are not applied.
    pub pending: Vec<String>,
    /// The versions of those that are applied and that this build does not know: a newer build has migrated.
    pub newer: Vec<i64>,
}

/// Transactions that have been open for long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenTransactions {
    /// The oldest, at most 20.
    #[schema(inline)]
    pub result: Vec<OpenTransaction>,
    /// How many sessions the owner of the schema may not look at; any of them may have a transaction open.
    pub hidden: u64,
}

/// A transaction that has been open for long. Its statement is not shown, because it may contain secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenTransaction {
    /// The process id of its session; null if the transaction is prepared.
    #[schema(required)]
    pub pid: Option<i32>,
    /// What the client calls itself.
    #[schema(required)]
    pub application_name: Option<String>,
    /// The state of the session, such as `idle in transaction`, or `prepared`.
    #[schema(required)]
    pub state: Option<String>,
    /// When it began.
    #[serde(serialize_with = "crate::event::time::serialize")]
    pub since: OffsetDateTime,
    /// Whether it has written, so that the newer events of the feed wait for it.
    pub has_written: bool,
}

/// Reads what operators see of the database, until `deadline`, with the transactions that have been open for longer than `open_for`.
pub async fn report(pool: &Pool, open_for: Duration, deadline: Instant) -> DatabaseReport {
    let mut report = DatabaseReport::default();
    if let Some((connection, roles)) = read_until(deadline, "roles", read_roles(pool)).await {
        (report.connection, report.roles) = (connection, Some(roles));
    }
    report.migrations = read_until(deadline, "migrations", read_migrations(pool)).await;
    report.open_transactions =
        read_until(deadline, "transactions", read_transactions(pool, open_for)).await;
    report.settings = read_until(deadline, "settings", settings::read_deviations(pool)).await;
    report
}

/// The result of a part, if it is there in time.
async fn read_until<T>(
    deadline: Instant,
    part: &str,
    read: impl Future<Output = Result<T, DbError>>,
) -> Option<T> {
    let failure = match timeout_at(deadline.into(), read).await {
        Ok(Ok(part)) => return Some(part),
        Ok(Err(error)) => error.to_string(),
        Err(elapsed) => elapsed.to_string(),
    };
    // Consoles ask every few seconds, and a database that was not migrated yet is no error of this process.
    tracing::debug!("the {part} of the database are not reported: {failure}");
    None
}

async fn read_roles(pool: &Pool) -> Result<(Option<DatabaseConnection>, Vec<HostRole>), DbError> {
    let roles = [
        Role::Command,
        Role::CommandInline,
        Role::Query,
        Role::Projection,
    ]
    .map(|role| role.name().to_owned());
    let needed = || NEEDED.iter().flat_map(privileges::Needed::each);
    let rows = sqlx::query(include_str!("sql/read_roles.sql"))
        .bind(roles)
        .bind(needed().map(|(role, ..)| role).collect::<Vec<_>>())
        .bind(needed().map(|(_, name, _)| name).collect::<Vec<_>>())
        .bind(needed().map(|(.., object)| object).collect::<Vec<_>>())
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let connection = rows.first().map(decode_connection).transpose()?;
    let roles = rows.iter().map(decode_role).collect::<Result<_, _>>()?;
    Ok((connection, roles))
}

fn decode_connection(row: &PgRow) -> Result<DatabaseConnection, sqlx::Error> {
    let postgres: String = row.try_get("postgres")?;
    Ok(DatabaseConnection {
        // Distributions append the name of their package.
        postgres: postgres.split(' ').next().unwrap_or_default().to_owned(),
        login: row.try_get("login")?,
        role: row.try_get("host_role")?,
    })
}

fn decode_role(row: &PgRow) -> Result<HostRole, sqlx::Error> {
    Ok(HostRole {
        name: row.try_get("name")?,
        is_present: row.try_get("is_present")?,
        lacks: row.try_get("lacks")?,
    })
}

async fn read_migrations(pool: &Pool) -> Result<AppliedMigrations, DbError> {
    let applied: Vec<i64> = sqlx::query_scalar(include_str!("sql/read_ledger.sql"))
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let known: Vec<(i64, String)> = migrations::list_known().collect();
    let is_known = |version: &i64| known.iter().any(|(known, _)| known == version);
    let pending = known
        .iter()
        .filter(|(version, _)| !applied.contains(version));
    Ok(AppliedMigrations {
        applied: applied.len(),
        expected: known.len(),
        pending: pending.map(|(_, name)| name.clone()).collect(),
        newer: applied
            .iter()
            .copied()
            .filter(|version| !is_known(version))
            .collect(),
    })
}

async fn read_transactions(pool: &Pool, open_for: Duration) -> Result<OpenTransactions, DbError> {
    type Row = (
        Option<i64>,
        Option<i32>,
        Option<String>,
        Option<String>,
        Option<OffsetDateTime>,
        Option<bool>,
    );
    let rows: Vec<Row> = sqlx::query_as(include_str!("sql/read_open_transactions.sql"))
        .bind(i64::try_from(open_for.as_millis()).unwrap_or(i64::MAX))
        .bind(MAX_TRANSACTIONS)
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let hidden = rows.iter().find_map(|row| row.0).unwrap_or_default();
    let transactions =
        rows.into_iter()
            .filter_map(|(_, pid, application_name, state, since, has_written)| {
                Some(OpenTransaction {
                    pid,
                    application_name,
                    state,
                    since: since?,
                    has_written: has_written?,
                })
            });
    Ok(OpenTransactions {
        result: transactions.collect(),
        hidden: hidden.unsigned_abs(),
    })
}
