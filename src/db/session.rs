//! A connection as foldlog's statements use it: foldlog's own, direct or through a transaction-mode pooler, or a
//! caller's, inside the caller's transaction. Every statement goes through a [`Session`], which adds what the connection
//! needs, so that no other module has to know which kind it has.
//!
//! - It puts the configured schema into the statement; see [`Schema`].
//! - Behind a transaction-mode pooler (older `PgBouncers`, RDS Proxy) nothing may outlive a transaction. Each statement there
//!   runs within one, and unnamed: another client may have prepared another statement under the same name on the same server
//!   connection, and the pooler would run that one. This costs round trips, so it must be configured.
//! - A pooler that tracks named statements costs no more round trips than a direct connection; see [`Pooler::Prepared`].

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Either, Error, Execute, Executor, PgConnection, Postgres, SqlStr};
use tracing::Instrument as _;

use super::health::Health;
use super::statement::Statement;
use super::{DbError, Pooler, Role, Schema, begin, schema};

/// A connection for foldlog's statements. It is an sqlx [`Executor`].
#[derive(Debug)]
pub struct Session<'c> {
    connection: Handle<'c>,
    schema: Schema,
    pooler: Pooler,
    role: Option<Role>,
    /// Whether a transaction is open, or may be because its begin or end was given up.
    open: bool,
    health: Health,
}

#[derive(Debug)]
enum Handle<'c> {
    Owned(PgConnection),
    Borrowed(&'c mut PgConnection),
}

impl Handle<'_> {
    fn get(&mut self) -> &mut PgConnection {
        match self {
            Self::Owned(connection) => connection,
            Self::Borrowed(connection) => connection,
        }
    }
}

impl Session<'static> {
    /// A session over a direct connection of the caller's that works as its login's own role.
    #[must_use]
    pub fn new(connection: PgConnection, schema: Schema) -> Self {
        Self::with_role(connection, schema, Pooler::None, None, Health::default())
    }

    pub(super) const fn with_role(
        connection: PgConnection,
        schema: Schema,
        pooler: Pooler,
        role: Option<Role>,
        health: Health,
    ) -> Self {
        Self {
            connection: Handle::Owned(connection),
            schema,
            pooler,
            role,
            open: false,
            health,
        }
    }
}

impl<'c> Session<'c> {
    /// A session inside the transaction that is open on `connection`. It begins and ends no transaction and changes no
    /// setting; what it writes is committed or rolled back with the caller's own writes. The caller's login needs the
    /// privileges of the role that the statements are meant for. `pooler` says what `connection` goes through.
    ///
    /// The caller's transaction should be READ COMMITTED, Postgres's default: with a stricter isolation level, an append
    /// that loses a race fails with every retry in the same transaction.
    #[must_use]
    pub fn in_transaction(
        connection: &'c mut PgConnection,
        schema: Schema,
        pooler: Pooler,
    ) -> Self {
        Self {
            connection: Handle::Borrowed(connection),
            schema,
            pooler,
            role: None,
            open: true,
            health: Health::default(),
        }
    }

    /// The schema that the statements name.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        self.open(begin::several_statements(self.pooler, self.role))
            .await
    }

    async fn open(&mut self, begin: &'static str) -> Result<(), Error> {
        self.open = true;
        self.run_raw(begin).await
    }

    /// Ends the transaction with `commit` or `rollback`.
    pub(super) async fn end(&mut self, how: &'static str) -> Result<(), Error> {
        self.run_raw(how).await?;
        self.open = false;
        Ok(())
    }

    /// Sets a savepoint, to which [`Self::rollback_to_savepoint`] returns if a later statement fails.
    ///
    /// # Errors
    ///
    /// Any [`DbError`].
    pub async fn savepoint(&mut self) -> Result<(), DbError> {
        Ok(self.run_raw("savepoint foldlog").await?)
    }

    /// Removes the last savepoint and keeps what was written since.
    ///
    /// # Errors
    ///
    /// Any [`DbError`].
    pub async fn release_savepoint(&mut self) -> Result<(), DbError> {
        Ok(self.run_raw("release savepoint foldlog").await?)
    }

    /// Undoes what was written since the last savepoint, and removes it.
    ///
    /// # Errors
    ///
    /// Any [`DbError`].
    pub async fn rollback_to_savepoint(&mut self) -> Result<(), DbError> {
        let undo = "rollback to savepoint foldlog; release savepoint foldlog";
        Ok(self.run_raw(undo).await?)
    }

    /// Checks deferred constraints now, and those of the rest of the transaction after each statement.
    ///
    /// # Errors
    ///
    /// [`DbError::Conflict`] if a row violates one; otherwise any [`DbError`].
    pub async fn check_deferred_constraints(&mut self) -> Result<(), DbError> {
        Ok(self.run_raw("set constraints all immediate").await?)
    }

    async fn run_raw(&mut self, sql: &'static str) -> Result<(), Error> {
        let Self {
            connection, health, ..
        } = self;
        let ran = connection.get().execute(sqlx::raw_sql(sql));
        health.watch(ran).await.map(drop)
    }

    /// Whether the connection can serve another request: no error said that it is at fault, no transaction is open or may be, and
    /// no statement was given up.
    pub(super) fn is_reusable(&self) -> bool {
        self.health.is_good() && !self.open
    }

    /// Whether a statement runs whose caller has given it up.
    pub(super) const fn is_busy(&self) -> bool {
        self.health.is_busy()
    }

    /// Suspects the pool's other connections if the caller of the running statement has given it up.
    pub(super) fn suspect_others_if_busy(&self) {
        self.health.suspect_others_if_busy();
    }

    /// Waits until the server has answered everything that it was sent: the end of a failed statement may still be under way.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        self.connection().flush().await
    }

    /// The role that the statements run as; `None` is the login's own role.
    pub(super) const fn role(&self) -> Option<Role> {
        self.role
    }

    /// Asks the server whether it still answers.
    pub(super) async fn ping(&mut self) -> Result<(), Error> {
        self.connection().ping().await
    }

    /// Says goodbye to the server, if the connection is foldlog's own.
    pub(super) async fn close(self) -> Result<(), Error> {
        match self.connection {
            Handle::Owned(connection) => connection.close().await,
            Handle::Borrowed(_) => Ok(()),
        }
    }

    fn connection(&mut self) -> &mut PgConnection {
        self.connection.get()
    }

    /// Prepares a query for sending: qualifies it with the schema, and leaves it unnamed behind a pooler that does not track names.
    fn statement<'q>(&self, mut query: impl Execute<'q, Postgres>) -> Statement {
        let named = self.pooler.keeps_names() && query.persistent();
        let arguments = query.take_arguments();
        let sql = self.schema.qualify(query.sql());
        let sql = match (self.pooler, self.health.plan_number()) {
            (Pooler::Prepared, number @ 1..) => schema::append_number(&sql, number),
            (Pooler::None | Pooler::Transaction | Pooler::Prepared, _) => sql,
        };
        Statement::new(sql, arguments, named)
    }

    /// Runs one statement in a transaction of its own.
    async fn run_single(
        &mut self,
        statement: Statement,
    ) -> Result<Vec<Either<PgQueryResult, PgRow>>, Error> {
        self.open(begin::single_statement(self.role)).await?;
        let Self {
            connection, health, ..
        } = self;
        let rows = connection.get().fetch_many(statement).try_collect();
        let answer = health.watch(rows).await;
        let end = if answer.is_ok() { "commit" } else { "rollback" };
        let ended = self.end(end).await;
        let answer = answer?;
        ended?;
        Ok(answer)
    }
}

/// A direct connection to a foldlog in the schema `public`.
impl From<PgConnection> for Session<'static> {
    fn from(connection: PgConnection) -> Self {
        Self::new(connection, Schema::default())
    }
}

impl<'c> Executor<'c> for &'c mut Session<'_> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let statement = self.statement(query);
        let span = statement.span();
        if self.pooler.keeps_names() || self.open {
            let Session {
                connection, health, ..
            } = self;
            return health.watch_rows(connection.get().fetch_many(statement), span);
        }
        // The rows of foldlog's statements are bounded, so they are kept until the transaction has ended.
        self.run_single(statement)
            .instrument(span)
            .map_ok(|answer| stream::iter(answer).map(Ok))
            .try_flatten_stream()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if self.pooler.keeps_names() {
            let statement = self.statement(query);
            let span = statement.span();
            let Session {
                connection, health, ..
            } = self;
            let row = connection.get().fetch_optional(statement);
            return health.watch(row).instrument(span).boxed();
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
        let sql = self.schema.qualify(sql);
        self.connection().prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        let sql = self.schema.qualify(sql);
        self.connection().describe(sql)
    }
}
