//! Creating view tables. A view is disposable and follows from its projection's code, so its table is created from
//! there and not by a migration.

use sqlx::{Connection as _, Executor, PgConnection, Row};

use super::View;
use super::create::create;
use crate::db::{DbError, Pooler, Schema, Session};
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
    /// The DDL created more than a table and its indexes, which a second generation of the view would create again.
    #[error(
        "the new definition of the view `{0}` must create a table with its indexes, and nothing else: create types and functions \
         in a migration"
    )]
    OtherObjects(&'static str, #[source] DbError),
    /// The name of the view leaves no room for the number of a generation.
    #[error(
        "the name of the view `{0}` is too long for a new definition: 57 bytes leave room for the number of a generation"
    )]
    LongName(&'static str),
    /// The DDL did not create the table that the view needs.
    #[error(
        "the definition of the view `{0}` must create a table of that name with the columns id, version and {1}"
    )]
    Missing(&'static str, String),
    /// Existing rows break a rule over all rows.
    #[error(
        "{1}: existing rows break this rule of the view `{0}`; correct them before you fold the view inline"
    )]
    Broken(&'static str, &'static str),
    /// The index of a rule is on another table, for example on one that was the view's table before it was renamed.
    #[error(
        "{rule}: the index of this rule of the view `{view}` is on the table `{table}`; run `alter index {schema}.{rule} rename \
         to {rule}_old` and migrate again"
    )]
    RuleElsewhere {
        /// The view.
        view: &'static str,
        /// The rule.
        rule: &'static str,
        /// The table that has the index.
        table: String,
        /// The schema of both tables.
        schema: String,
    },
}

/// Creates the tables of `views` that do not exist yet in `schema`, and the indexes of each view's set rules if `inline`
/// names the view. All or none; processes that do this at the same time wait for each other. Returns the projections whose rows a build
/// with another fold has written: they have to be reprojected.
///
/// # Errors
///
/// See [`DefineError`].
pub async fn define(
    connection: &mut PgConnection,
    schema: &Schema,
    views: &[View],
    inline: &Inline,
) -> Result<Vec<&'static str>, DefineError> {
    let mut transaction = connection.begin().await.map_err(DbError::from)?;
    let mut session = Session::in_transaction(&mut transaction, schema.clone(), Pooler::None);
    sqlx::query(include_str!("sql/lock_definitions.sql"))
        .execute(&mut session)
        .await
        .map_err(DbError::from)?;
    // A view's DDL names no schema, so its table is created in the first one of the path. The login's own path follows,
    // for types of extensions.
    sqlx::query(include_str!("sql/prepend_search_path.sql"))
        .bind(schema.name())
        .execute(&mut session)
        .await
        .map_err(DbError::from)?;
    let mut changed = Vec::new();
    for view in views {
        let own = create(&mut session, view).await?;
        let view = &own.generation;
        if own.fold_changed {
            tracing::warn!(
                projection = view.name(),
                "the fold of the projection {0} has changed since its rows were written: reproject {0}",
                view.name()
            );
            changed.push(view.name());
        }
        let mut rule_created = false;
        for rule in view.projection.set_rules() {
            rule_created |=
                create_rule(&mut session, view, rule, inline.contains(view.name())).await?;
        }
        // No append folds into a generation before it has all rows.
        if own.is_live && !view.projection.set_rules().is_empty() {
            guard(&mut session, view, rule_created).await?;
        }
    }
    transaction.commit().await.map_err(DbError::from)?;
    Ok(changed)
}

/// Lets the projection look at the whole log again if it folds more types than before: their older events lie behind the
/// settled snapshot.
pub(super) async fn widen(session: &mut Session<'_>, view: &View) -> Result<(), DefineError> {
    let types = view.projection.block();
    let widened = sqlx::query(include_str!("sql/widen_types.sql"))
        .bind(view.lock_domain())
        .bind(types.start)
        .bind(types.end)
        .fetch_optional(&mut *session)
        .await
        .map_err(DbError::from)?;
    if widened.is_some() {
        tracing::info!(
            projection = view.name(),
            "the projection {} folds more event types than before and reads the log from its beginning",
            view.name()
        );
    }
    Ok(())
}

/// Creates the index of a rule if the view is folded inline; returns whether it did.
async fn create_rule(
    session: &mut Session<'_>,
    view: &View,
    rule: &SetRule,
    inline: bool,
) -> Result<bool, DefineError> {
    let found = sqlx::query(include_str!("sql/find_rule.sql"))
        .bind(view.sql.rule_index(rule))
        .fetch_optional(&mut *session)
        .await
        .map_err(DbError::from)?;
    let found = match found {
        None => None,
        Some(row) => {
            let table: String = row.try_get("on_table").map_err(DbError::from)?;
            let definition: Option<String> = row.try_get("definition").map_err(DbError::from)?;
            Some((table, definition))
        }
    };
    match found {
        Some((table, _)) if table == view.lock_domain() && !inline => {
            // INLINE belongs to this process and the index to the database: another host may rely on the rule, so it stays.
            tracing::warn!(
                projection = view.name(),
                db.constraint = rule.name,
                "INLINE does not name {0}, but its rule {1} stays; run `drop index {2}.{1}` if no host folds {0} inline any more",
                view.name(),
                rule.name,
                session.schema().name()
            );
            return Ok(false);
        }
        _ if !inline => return Ok(false),
        Some((table, _)) if table != view.lock_domain() => {
            return Err(DefineError::RuleElsewhere {
                view: view.name(),
                rule: rule.name,
                table,
                schema: session.schema().name().to_owned(),
            });
        }
        Some((_, definition)) if definition.as_deref() == Some(rule.unique_on) => return Ok(false),
        // An earlier build had another definition of the rule.
        Some(_) => {
            let sql = sqlx::raw_sql(view.sql.drop_set_rule(rule));
            session.execute(sql).await.map_err(DbError::from)?;
        }
        None => {}
    }
    match session
        .execute(sqlx::raw_sql(view.sql.set_rule(rule)))
        .await
        .map_err(DbError::from)
    {
        Ok(_) => Ok(true),
        Err(DbError::Conflict { .. }) => Err(DefineError::Broken(view.name(), rule.name)),
        Err(error) => Err(error.into()),
    }
}

/// Refuses inline appends until the view has all rows that the log had when the index of a rule was created, and ends that
/// once the view has them.
async fn guard(
    session: &mut Session<'_>,
    view: &View,
    rule_created: bool,
) -> Result<(), DefineError> {
    let types = view.projection.block();
    let behind: bool = sqlx::query_scalar(include_str!("sql/view_is_behind.sql"))
        .bind(view.lock_domain())
        .bind(types.start)
        .bind(types.end)
        .fetch_one(&mut *session)
        .await
        .map_err(DbError::from)?;
    if !behind {
        let sql = sqlx::raw_sql(view.sql.drop_guard());
        session.execute(sql).await.map_err(DbError::from)?;
    }
    if !rule_created {
        return Ok(());
    }
    let log_end: Option<String> = sqlx::query_scalar(include_str!("sql/read_log_end.sql"))
        .fetch_optional(&mut *session)
        .await
        .map_err(DbError::from)?;
    if let Some(log_end) = log_end {
        let sql = sqlx::raw_sql(view.sql.create_guard(&types, &log_end));
        session.execute(sql).await.map_err(DbError::from)?;
        tracing::info!(
            projection = view.name(),
            "appends that fold {} inline are refused until the view has all events before now",
            view.name()
        );
    }
    Ok(())
}
