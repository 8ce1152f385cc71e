//! Queries as a session sends them.

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgStatement};
use sqlx::{Execute, Postgres, SqlStr};

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
