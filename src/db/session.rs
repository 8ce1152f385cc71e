//! A connection as all statements of ours use it: direct, or through a pooler that hands the server out by transaction.
//!
//! Behind such a pooler (PgBouncer in transaction mode, RDS Proxy) nothing may outlive a transaction. Each statement there
//! runs within one, unnamed, because a name that another client gave means another statement: with cached statements a
//! pooler was seen to run other clients' plans. It costs round trips, so it is asked for, and done here once, instead of
//! in every place that has a statement.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Either, Error, Execute, Executor, PgConnection, Postgres, SqlStr};

use super::Role;

/// Begins every transaction of ours. READ COMMITTED is asked for, whatever the database's default: under REPEATABLE READ a
/// blind claim raises instead of skipping. The limit ends, on the server's side, what a worker that vanished or was frozen
/// left open; as `set local` it passes through a transaction-mode pooler and leaks to nobody.
macro_rules! begin {
    ($($more:expr),*) => {
        concat!(
            "begin isolation level read committed; \
             set local idle_in_transaction_session_timeout = '10s'"
            $(, $more)*
        )
    };
}

/// A transaction of several statements, which holds what the first ones took while the others run. Plans are made for any
/// values: a planner that knows how small a backlog is sorts all of it for each batch, instead of walking the index.
macro_rules! begin_work {
    ($role:literal) => {
        begin!(
            "; set local lock_timeout = '5s'; \
             set local statement_timeout = '60s'; \
             set local jit = off; \
             set local plan_cache_mode = force_generic_plan",
            $role
        )
    };
}

/// What stands between us and Postgres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing, or a pooler that gives each client a server connection for as long as it stays.
    #[default]
    None,
    /// A pooler that hands the server out by transaction.
    Transaction,
}

/// A connection that knows what it may leave behind.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    pooler: Pooler,
    role: Option<Role>,
    /// A transaction is open, or may be.
    open: bool,
}

impl Session {
    pub(super) const fn new(connection: PgConnection, pooler: Pooler, role: Option<Role>) -> Self {
        Self {
            connection,
            pooler,
            role,
            open: false,
        }
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        // The session's role is the pooler's; a transaction may have its own.
        self.open(match (self.pooler, self.role) {
            (Pooler::Transaction, Some(Role::Command)) => {
                begin_work!("; set local role foldlog_command")
            }
            (Pooler::Transaction, Some(Role::CommandInline)) => {
                begin_work!("; set local role foldlog_command_inline")
            }
            (Pooler::Transaction, Some(Role::Query)) => {
                begin_work!("; set local role foldlog_query")
            }
            (Pooler::Transaction, Some(Role::Projection)) => {
                begin_work!("; set local role foldlog_projection")
            }
            (Pooler::None, _) | (_, None) => begin_work!(""),
        })
        .await
    }

    /// Begins a transaction for one statement, which is planned as it would be outside of one.
    async fn begin_alone(&mut self) -> Result<(), Error> {
        self.open(match self.role {
            Some(Role::Command) => begin!("; set local role foldlog_command"),
            Some(Role::CommandInline) => begin!("; set local role foldlog_command_inline"),
            Some(Role::Query) => begin!("; set local role foldlog_query"),
            Some(Role::Projection) => begin!("; set local role foldlog_projection"),
            None => begin!(),
        })
        .await
    }

    async fn open(&mut self, begin: &'static str) -> Result<(), Error> {
        self.open = true;
        self.connection.execute(sqlx::raw_sql(begin)).await?;
        Ok(())
    }

    /// Ends it.
    pub(super) async fn end(&mut self, how: &'static str) -> Result<(), Error> {
        self.connection.execute(sqlx::raw_sql(how)).await?;
        self.open = false;
        Ok(())
    }

    /// Whether a transaction may be open on it: somebody gave up in between.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the server has answered everything that it was sent.
    pub(super) fn is_at_rest(&mut self) -> bool {
        matches!(self.connection.flush().now_or_never(), Some(Ok(())))
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    pub(super) fn into_inner(self) -> PgConnection {
        self.connection
    }

    /// Runs one statement, in a transaction of its own where it needs one.
    async fn alone<'q, E: Execute<'q, Postgres> + 'q>(
        &mut self,
        query: E,
    ) -> Result<Vec<Either<PgQueryResult, PgRow>>, Error> {
        self.begin_alone().await?;
        let answer = self
            .connection
            .fetch_many(Unnamed(query))
            .try_collect()
            .await;
        let end = if answer.is_ok() { "commit" } else { "rollback" };
        let ended = self.end(end).await;
        let answer = answer?;
        ended?;
        Ok(answer)
    }
}

/// A connection of the caller's own, used directly.
impl From<PgConnection> for Session {
    fn from(connection: PgConnection) -> Self {
        Self::new(connection, Pooler::None, None)
    }
}

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.pooler {
            Pooler::None => self.connection.fetch_many(query),
            Pooler::Transaction if self.open => self.connection.fetch_many(Unnamed(query)),
            // What a statement of ours answers is bounded, so it may be held until the transaction has ended.
            Pooler::Transaction => self
                .alone(query)
                .map_ok(|answer| stream::iter(answer).map(Ok))
                .try_flatten_stream()
                .boxed(),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if self.pooler == Pooler::None {
            return self.connection.fetch_optional(query);
        }
        let mut answer = self.fetch_many(query);
        async move {
            let mut first = None;
            while let Some(item) = answer.try_next().await? {
                first = first.or(item.right());
            }
            Ok(first)
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        self.connection.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        self.connection.describe(sql)
    }
}

/// A statement that the connection is not to give a name.
struct Unnamed<E>(E);

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Unnamed<E> {
    fn sql(self) -> SqlStr {
        self.0.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.0.statement()
    }

    fn take_arguments(
        &mut self,
    ) -> Result<Option<sqlx::postgres::PgArguments>, sqlx::error::BoxDynError> {
        self.0.take_arguments()
    }

    fn persistent(&self) -> bool {
        false
    }
}
