//! Queries as a session sends them.

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgStatement};
use sqlx::{Execute, Postgres, SqlStr};
use tracing::Span;

/// A query as a session sends it.
pub(super) struct Statement {
    sql: SqlStr,
    arguments: Result<Option<PgArguments>, BoxDynError>,
    /// Whether the server may keep it under a name.
    named: bool,
}

impl Statement {
    pub(super) const fn new(
        sql: SqlStr,
        arguments: Result<Option<PgArguments>, BoxDynError>,
        named: bool,
    ) -> Self {
        Self {
            sql,
            arguments,
            named,
        }
    }

    /// A span for the statement. It is at debug level, so at info level it costs one comparison. Its field is the first line of the
    /// statement's file, which says what the statement does; bound values are never part of it.
    pub(super) fn span(&self) -> Span {
        tracing::debug_span!("statement", db.summary = summary(self.sql.as_str()))
    }
}

fn summary(sql: &str) -> &str {
    let first = sql.lines().next().unwrap_or_default();
    first.trim_start_matches("--").trim()
}

impl Execute<'_, Postgres> for Statement {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        std::mem::replace(&mut self.arguments, Ok(None))
    }

    fn persistent(&self) -> bool {
        self.named
    }
}
