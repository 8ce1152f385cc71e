//! Connections: logins and roles, sessions, the pool; errors as one enum; and healing a restored log.

mod begin;
mod error;
mod health;
pub mod login;
mod pool;
mod pooler;
mod retry;
mod schema;
mod session;
mod share;
mod sqlstate;
mod statement;
mod transaction;
mod url;

use std::convert::identity;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

pub use self::error::DbError;
pub use self::login::{Login, LoginError, Role};
pub use self::pool::{Pool, PoolSettings};
pub use self::pooler::Pooler;
pub use self::retry::{RetryPolicy, Retryable};
pub use self::schema::{Schema, SchemaError};
pub use self::session::Session;
pub use self::share::Share;
pub use self::transaction::{Connection, Transaction};

/// How long [`connect`] may take. A database that was paused needs some 15 s to resume. Without a limit, a host whose network
/// drops its packets silently would never start, and never end for a supervisor to start it again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);

/// Checks a log that was restored or replicated, and raises its offset when the cluster's transaction counter is behind it.
pub(crate) async fn heal_log(connection: &mut Session<'_>) -> Result<(), sqlx::Error> {
    let behind: Option<bool> = match sqlx::query_scalar(include_str!("sql/log_is_behind.sql"))
        .fetch_one(&mut *connection)
        .await
    {
        Ok(behind) => behind,
        // Not migrated yet (the function or the schema does not exist), so no log exists that could be behind.
        Err(error) if matches!(sqlstate::code(&error).as_deref(), Some("42883" | "3F000")) => None,
        Err(error) => return Err(error),
    };
    // A host that only reads needs no new ids, and its role may not raise them.
    if behind == Some(true) && connection.role() != Some(Role::Query) {
        let healed = sqlx::query_scalar::<_, Option<i64>>(include_str!("sql/heal_log.sql"))
            .fetch_one(connection)
            .await;
        match healed {
            // The row of `log` was deleted.
            Ok(None) => return Err(sqlx::Error::RowNotFound),
            Ok(Some(offset)) => tracing::warn!(
                log.offset = offset,
                "the log comes from another cluster: {offset} is added to its transaction ids"
            ),
            // A login of the application's own that only reads.
            Err(error) if sqlstate::code(&error).as_deref() == Some("42501") => {
                tracing::warn!(
                    "the log comes from another cluster, and this login may not check it"
                );
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Connects to Postgres itself, with the settings of every session.
pub(crate) async fn log_in<T>(
    login: &dyn Login,
    application: &'static str,
    connect: impl AsyncFn(PgConnectOptions) -> Result<T, sqlx::Error>,
) -> Result<T, DbError> {
    log_in_with(login, application, login::session_options, connect).await
}

/// Connects with the options that `prepare` returns. If Postgres rejects the login, asks for the options once more, because the
/// password may have been rotated.
async fn log_in_with<T>(
    login: &dyn Login,
    application: &'static str,
    prepare: fn(PgConnectOptions) -> PgConnectOptions,
    connect: impl AsyncFn(PgConnectOptions) -> Result<T, sqlx::Error>,
) -> Result<T, DbError> {
    let connect = async |refused| -> Result<T, DbError> {
        let options = login.options(refused).await?.application_name(application);
        // Poolers reject this startup parameter. The options of a session or a transaction set it instead.
        Ok(connect(prepare(options.extra_float_digits(None))).await?)
    };
    match connect(false).await {
        Err(DbError::Refused(_)) if login.may_change() => connect(true).await,
        connected => connected,
    }
}

/// Opens a connection outside of the pool, for work that needs a session: migrations hold a session lock. Its statements run
/// READ COMMITTED, and without a time limit, because a migration may take long.
///
/// # Errors
///
/// [`DbError::Pooler`] if a pooler shares the session with other connections; [`DbError::Unavailable`] if the server does not
/// answer within `CONNECT_TIMEOUT`; otherwise any [`DbError`].
pub async fn connect(login: &dyn Login) -> Result<PgConnection, DbError> {
    connect_within(login, CONNECT_TIMEOUT).await
}

async fn connect_within(login: &dyn Login, limit: Duration) -> Result<PgConnection, DbError> {
    match timeout(limit, connect_and_check(login)).await {
        Ok(connected) => connected,
        Err(_) => Err(health::timed_out().into()),
    }
}

async fn connect_and_check(login: &dyn Login) -> Result<PgConnection, DbError> {
    let connect = async || {
        log_in_with(login, "foldlog migrate", identity, async |options| {
            PgConnection::connect_with(&options).await
        })
        .await
    };
    let mut connection = connect().await?;
    // A session setting is private. If a second connection can read it, a transaction-mode pooler is in between.
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
    // If this fails, the server notices the closed socket.
    let _ = other.close().await;
    if seen.as_deref() == Some(&mark) {
        let why = "another connection is in the same session";
        return Err(DbError::Pooler(sqlx::Error::Protocol(why.to_owned())));
    }
    // Only now, because a pooler would pass it on to another client.
    sqlx::query(include_str!("sql/set_transaction_defaults.sql"))
        .persistent(false)
        .fetch_one(&mut connection)
        .await?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Fails when a host waits without a limit for a server that accepts the connection and never answers.
    #[tokio::test]
    async fn connecting_to_a_silent_server_fails_after_the_limit() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(silent.local_addr().unwrap().port());
        let connected = connect_within(&options, Duration::from_millis(50)).await;
        assert!(
            matches!(connected, Err(DbError::Unavailable(_))),
            "{:?}",
            connected.err()
        );
    }
}
