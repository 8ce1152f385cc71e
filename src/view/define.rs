//! Creating view tables. A view is disposable and follows from its projection's code, so its table is created from
//! there and not by a migration.

use sqlx::{Executor, PgConnection, Row};

use super::{View, statements};
use crate::db::DbError;
use crate::domain::SetRule;

/// The names of the projections that are folded in the append's own transaction.
pub type Inline = std::collections::BTreeSet<String>;

/// Why a view could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefineError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The code's definition is not the one that the table was created from.
    #[error(
        "the definition of the view `{0}` has changed since its table was created. A view can be built again from the \
         events: stop what projects it, run `drop table {0}; delete from views where name = '{0}'; delete from locker \
         where lock_domain = '{0}'; delete from settled where lock_domain = '{0}'; delete from parked where lock_domain \
         = '{0}';`, and migrate again"
    )]
    Changed(&'static str),
    /// The DDL does not say what it must.
    #[error(
        "the definition of the view `{0}` must create a table of that name with the columns id, version and {1}"
    )]
    Missing(&'static str, String),
    /// Rows that are there already break a rule over all rows.
    #[error(
        "{1}: rows that are there already break this rule of the view `{0}`; mend them before it is folded inline"
    )]
    Broken(&'static str, &'static str),
}

/// Creates the tables of `views` that are not there yet, and keeps each view's set rules where it is folded inline.
/// All or none; two that run at once take turns.
///
/// # Errors
///
/// See [`DefineError`].
pub async fn define(
    connection: &mut PgConnection,
    views: &[View],
    inline: &Inline,
) -> Result<(), DefineError> {
    let mut transaction = sqlx::Connection::begin(connection)
        .await
        .map_err(DbError::from)?;
    sqlx::query(include_str!("sql/lock_definitions.sql"))
        .execute(&mut *transaction)
        .await
        .map_err(DbError::from)?;
    for view in views {
        create(&mut transaction, view).await?;
        for rule in view.projection.set_rules() {
            keep_rule(&mut transaction, view, rule, inline.contains(view.name())).await?;
        }
    }
    transaction.commit().await.map_err(DbError::from)?;
    Ok(())
}

async fn create(connection: &mut PgConnection, view: &View) -> Result<(), DefineError> {
    let known: Option<String> = sqlx::query_scalar(include_str!("sql/find_definition.sql"))
        .bind(view.name())
        .fetch_optional(&mut *connection)
        .await
        .map_err(DbError::from)?;
    match known {
        Some(known) if known == view.projection.definition() => return Ok(()),
        Some(_) => return Err(DefineError::Changed(view.name())),
        None => {}
    }
    let ddl = sqlx::raw_sql(statements::definition(view.projection.definition()));
    connection.execute(ddl).await.map_err(DbError::from)?;
    let columns: Vec<String> = sqlx::query(include_str!("sql/read_columns.sql"))
        .bind(view.name())
        .fetch_all(&mut *connection)
        .await
        .and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect())
        .map_err(DbError::from)?;
    let wanted = || {
        ["id", "version"]
            .into_iter()
            .chain(view.sql.columns().iter().map(String::as_str))
    };
    if !wanted().all(|name| columns.iter().any(|column| column == name)) {
        return Err(DefineError::Missing(
            view.name(),
            view.sql.columns().join(", "),
        ));
    }
    connection
        .execute(sqlx::raw_sql(view.sql.grants()))
        .await
        .map_err(DbError::from)?;
    sqlx::query(include_str!("sql/insert_definition.sql"))
        .bind(view.name())
        .bind(view.projection.definition())
        .execute(connection)
        .await
        .map_err(DbError::from)?;
    Ok(())
}

async fn keep_rule(
    connection: &mut PgConnection,
    view: &View,
    rule: &SetRule,
    inline: bool,
) -> Result<(), DefineError> {
    let there: bool = sqlx::query_scalar(include_str!("sql/index_exists.sql"))
        .bind(rule.name)
        .fetch_one(&mut *connection)
        .await
        .map_err(DbError::from)?;
    if there && !inline {
        // INLINE is this process's, the index is the database's: another host may promise the rule, so it stays.
        tracing::warn!(
            projection = view.name(),
            db.constraint = rule.name,
            "INLINE does not name {0}, but its rule {1} stays; run `drop index {1}` if no host folds {0} inline any more",
            view.name(),
            rule.name
        );
    }
    if there || !inline {
        return Ok(());
    }
    match connection
        .execute(sqlx::raw_sql(view.sql.set_rule(rule)))
        .await
        .map_err(DbError::from)
    {
        Ok(_) => Ok(()),
        Err(DbError::Conflict { .. }) => Err(DefineError::Broken(view.name(), rule.name)),
        Err(error) => Err(error.into()),
    }
}
