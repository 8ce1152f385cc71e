//! Creates the tables of views: that of the first generation of a view, and that of a generation with another definition, which a
//! reprojection fills later. A generation with the same definition is created by the reprojection itself.

use sqlx::{Executor, Row};

use super::define::widen;
use super::{DefineError, View, definition, statements};
use crate::db::{DbError, Session};

/// Postgres cuts off what follows in a name.
const MAX_NAME_BYTES: usize = 63;

/// What `views` records about a generation.
struct Known {
    name: String,
    definition_hash: String,
    fold_hash: Option<String>,
    state: String,
    serves: bool,
    newest_number: i32,
}

/// The generation with a view's own definition.
pub(super) struct Own {
    pub generation: View,
    /// It is not live if the definition has changed: then it waits to be filled, and the one before it goes on serving the code that
    /// has its definition.
    pub is_live: bool,
    /// Whether a build with another fold has written its rows.
    pub fold_changed: bool,
}

/// Finds or creates the generation with the view's own definition.
pub(super) async fn create(session: &mut Session<'_>, view: &View) -> Result<Own, DefineError> {
    let generations = list(session, view).await?;
    let own = generations
        .iter()
        .filter(|known| known.definition_hash == *view.definition_hash && known.state != "dropped")
        .max_by_key(|known| (known.serves, known.state == "live"));
    if let Some(known) = own
        && !drop_missing(session, view, known).await?
    {
        let generation = view.generation(&known.name);
        widen(session, &generation).await?;
        return Ok(Own {
            fold_changed: is_fold_changed(session, &generation, known).await?,
            is_live: known.state == "live",
            generation,
        });
    }
    let is_first = generations.is_empty();
    let generation = if is_first {
        run_definition(session, view).await?;
        view.generation(view.name())
    } else {
        create_next(session, view, &generations).await?
    };
    session
        .execute(sqlx::raw_sql(generation.sql.grants()))
        .await
        .map_err(DbError::from)?;
    let types = view.projection.block();
    sqlx::query(include_str!("sql/insert_definition.sql"))
        .bind(generation.lock_domain())
        .bind(view.projection.definition())
        .bind(types.start)
        .bind(types.end)
        .bind(&*view.definition_hash)
        .bind(if is_first { "live" } else { "filling" })
        .bind(view.fold_hash())
        .execute(session)
        .await
        .map_err(DbError::from)?;
    Ok(Own {
        generation,
        is_live: is_first,
        fold_changed: false,
    })
}

/// Gives the generation up if a person has dropped its table: its claims say that its rows are folded, so an empty table in its place would
/// look as if all aggregates had ended. Returns whether it did.
async fn drop_missing(
    session: &mut Session<'_>,
    view: &View,
    known: &Known,
) -> Result<bool, DefineError> {
    let missing = sqlx::query(include_str!("sql/drop_missing.sql"))
        .bind(&known.name)
        .fetch_optional(session)
        .await
        .map_err(DbError::from)?;
    if missing.is_some() {
        tracing::warn!(
            projection = view.name(),
            "the table {} is missing: reproject {}",
            known.name,
            view.name()
        );
    }
    Ok(missing.is_some())
}

/// Compares the fold that has written the rows of a generation with that of this build. The rows of an earlier build, which recorded no
/// fold, count as written by this one: only a later change can be noticed.
async fn is_fold_changed(
    session: &mut Session<'_>,
    generation: &View,
    known: &Known,
) -> Result<bool, DefineError> {
    let Some(fold_hash) = &known.fold_hash else {
        sqlx::query(include_str!("sql/set_fold_hash.sql"))
            .bind(generation.lock_domain())
            .bind(generation.fold_hash())
            .execute(session)
            .await
            .map_err(DbError::from)?;
        return Ok(false);
    };
    Ok(known.serves && fold_hash != generation.fold_hash())
}

/// The generations of a view. Those that an earlier build recorded get the hash of their definition.
async fn list(session: &mut Session<'_>, view: &View) -> Result<Vec<Known>, DefineError> {
    let rows = sqlx::query(include_str!("sql/list_generations.sql"))
        .bind(view.name())
        .fetch_all(&mut *session)
        .await
        .map_err(DbError::from)?;
    let mut generations = Vec::with_capacity(rows.len());
    for row in rows {
        let name: String = row.try_get("name").map_err(DbError::from)?;
        let recorded: Option<&str> = row.try_get("definition_hash").map_err(DbError::from)?;
        let ddl: &str = row.try_get("definition").map_err(DbError::from)?;
        let definition_hash = definition::hash(ddl);
        if recorded != Some(&definition_hash) {
            sqlx::query(include_str!("sql/set_definition_hash.sql"))
                .bind(&name)
                .bind(&definition_hash)
                .execute(&mut *session)
                .await
                .map_err(DbError::from)?;
        }
        generations.push(Known {
            name,
            definition_hash,
            fold_hash: row.try_get("fold_hash").map_err(DbError::from)?,
            state: row.try_get("state").map_err(DbError::from)?,
            serves: row.try_get("serves").map_err(DbError::from)?,
            newest_number: row.try_get("newest_number").map_err(DbError::from)?,
        });
    }
    Ok(generations)
}

/// Creates the table of the next generation. Its DDL names the table and the indexes of the first one, so it runs in a schema of its
/// own, from which the table is moved.
async fn create_next(
    session: &mut Session<'_>,
    view: &View,
    generations: &[Known],
) -> Result<View, DefineError> {
    let numbers = generations.iter().map(|known| known.newest_number);
    let newest = numbers.max().unwrap_or(1);
    let generation = view.generation(&format!("{}#{}", view.name(), newest + 1));
    if generation.lock_domain().len() > MAX_NAME_BYTES {
        return Err(DefineError::LongName(view.name()));
    }
    let path: String = sqlx::query_scalar(include_str!("sql/read_search_path.sql"))
        .fetch_one(&mut *session)
        .await
        .map_err(DbError::from)?;
    session
        .execute(sqlx::raw_sql(generation.sql.create_schema()))
        .await
        .map_err(DbError::from)?;
    sqlx::query(include_str!("sql/prepend_search_path.sql"))
        .bind(generation.lock_domain())
        .execute(&mut *session)
        .await
        .map_err(DbError::from)?;
    run_definition(session, view).await?;
    sqlx::query(include_str!("sql/restore_search_path.sql"))
        .bind(path)
        .execute(&mut *session)
        .await
        .map_err(DbError::from)?;
    sqlx::query(include_str!("sql/adopt_generation.sql"))
        .bind(view.name())
        .bind(generation.lock_domain())
        .execute(session)
        .await
        .map_err(|error| DefineError::OtherObjects(view.name(), error.into()))?;
    tracing::info!(
        projection = view.name(),
        "the view {0} has a new table {1}, which is empty until {0} is reprojected",
        view.name(),
        generation.lock_domain()
    );
    Ok(generation)
}

/// Runs the DDL of a view, and checks that it created a table with the columns of the row type in the first schema of the search
/// path.
async fn run_definition(session: &mut Session<'_>, view: &View) -> Result<(), DefineError> {
    let ddl = sqlx::raw_sql(statements::definition(view.projection.definition()));
    session.execute(ddl).await.map_err(DbError::from)?;
    let columns: Vec<String> = sqlx::query(include_str!("sql/read_columns.sql"))
        .bind(view.name())
        .fetch_all(&mut *session)
        .await
        .and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect())
        .map_err(DbError::from)?;
    let mut wanted = ["id", "version"]
        .into_iter()
        .chain(view.sql.columns().iter().map(String::as_str));
    if wanted.all(|name| columns.iter().any(|column| column == name)) {
        return Ok(());
    }
    let names = view.sql.columns().join(", ");
    Err(DefineError::Missing(view.name(), names))
}
