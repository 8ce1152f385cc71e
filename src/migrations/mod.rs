//! Migrations: tables, functions and roles that cannot be rebuilt. Views follow from the code, and [`up`] creates them after
//! the migrations.
//!
//! - Migrations run with foldlog's schema as their only search path, so a file names no schema and can touch nothing
//!   outside of it.
//! - The ledger is the table `foldlog_migrations` in that schema. An application's own sqlx migrations, whose ledger is
//!   `_sqlx_migrations`, and foldlog's never see each other's rows.
//! - Settings of the whole database change only if nothing but foldlog lives in it; see `sql/owns_database.sql`.

mod error;
mod ledger;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::{Connection as _, PgConnection, SqlSafeStr as _};
use time::OffsetDateTime;
use time::macros::format_description;

pub use self::error::MigrationError;
use crate::db::{DbError, Pooler, Schema, Session};
use crate::view::{self, Inline, View};

static MIGRATOR: LazyLock<Vec<Migration>> = LazyLock::new(|| {
    let embedded = sqlx::migrate!();
    embedded
        .migrations
        .iter()
        .map(with_unix_line_ends)
        .collect()
});

/// The migration that changes settings of the whole database.
const SETTINGS_VERSION: i64 = 20_261_124_000_006;

/// The tables that the migrations create.
#[rustfmt::skip]
const TABLES: [&str; 12] = [
    "log", "events", "locker", "settled", "parked", "views", "slices", "skipped", "verifications", "differences", "verify_ranges", "verb_results",
];

/// Applies the pending migrations, then creates the views that do not exist yet, and the schema before both. A session lock
/// makes processes that migrate at the same time wait for each other, so the connection must be direct. Returns the projections whose
/// rows a build with another fold has written: they have to be reprojected.
///
/// ```no_run
/// use foldlog::{Foldlog, migrations};
/// use sqlx::{Connection as _, PgConnection, SqlSafeStr as _};
///
/// # async fn example(foldlog: Foldlog) -> Result<(), Box<dyn std::error::Error>> {
/// // A login that may create tables; the one of the application does not need this privilege.
/// let mut connection = PgConnection::connect("postgres://owner@localhost/bank").await?;
/// migrations::up(&mut connection, foldlog.pool.schema(), &foldlog.views, foldlog.inline()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// A migration that fails leaves nothing of itself behind. The error of a changed view says what to do.
pub async fn up(
    connection: &mut PgConnection,
    schema: &Schema,
    views: &[View],
    inline: &Inline,
) -> Result<Vec<&'static str>, MigrationError> {
    if !ledger::exists(connection, schema).await? {
        ledger::reject_new_log(connection, schema).await?;
    }
    ledger::reject_foreign_tables(connection, schema).await?;
    let owns_database = owns_database(connection, schema).await?;
    let apply = async |connection: &mut PgConnection| {
        ledger::take_over(connection, schema).await?;
        let mut migrator = migrator(schema);
        migrator.set_ignore_missing(ledger::accepts_this_build(connection, schema).await?);
        Ok(migrator.run_direct(None, connection, false).await?)
    };
    run_locked(connection, schema, owns_database, apply).await?;
    Ok(view::define(connection, schema, views, inline).await?)
}

/// The checksums of all migrations, which together identify the schema.
#[cfg(feature = "local")]
pub(crate) fn checksums() -> impl Iterator<Item = &'static [u8]> {
    MIGRATOR.iter().map(|migration| &*migration.checksum)
}

/// Reverts the newest migration. Returns its name, or `None` if none is applied.
///
/// # Errors
///
/// If the `.down.sql` fails; nothing of it is kept then.
pub async fn down(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Option<String>, MigrationError> {
    let applied = ledger::applied(connection, schema).await?;
    let Some(newest) = applied.last() else {
        return Ok(None);
    };
    let before = applied.iter().rev().nth(1).copied().unwrap_or(0);
    let owns_database = owns_database(connection, schema).await?;
    let revert = async |connection: &mut PgConnection| {
        ledger::take_over(connection, schema).await?;
        Ok(migrator(schema).undo(connection, before).await?)
    };
    run_locked(connection, schema, owns_database, revert).await?;
    Ok(Some(name(*newest)))
}

/// One line per migration: its state, its version and its name. Reads only.
///
/// # Errors
///
/// If the database fails.
pub async fn status(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<String, MigrationError> {
    let applied = ledger::applied(connection, schema).await?;
    let mut lines = String::new();
    for migration in ups() {
        let state = if applied.contains(&migration.version) {
            "applied"
        } else {
            "pending"
        };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{state}  {}", name(migration.version));
    }
    for unknown in applied
        .iter()
        .filter(|version| ups().all(|m| m.version != **version))
    {
        let _ = writeln!(lines, "unknown  {unknown} (of a newer foldlog)");
    }
    Ok(lines)
}

/// Applies the settings of the whole database, which [`up`] leaves alone if anything but foldlog lives in it: `jit` off,
/// TCP keepalives, limits for the roles, and no right for everyone to create objects in foldlog's schema. foldlog works
/// without them; they let the server notice vanished clients sooner.
///
/// # Errors
///
/// If the schema does not exist, or the login does not own the database.
pub async fn setup_database(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<(), MigrationError> {
    run_locked(connection, schema, true, async |connection| {
        for migration in ups().filter(|m| m.version == SETTINGS_VERSION) {
            let mut transaction = connection.begin().await.map_err(DbError::from)?;
            sqlx::Executor::execute(&mut *transaction, migration.sql.clone())
                .await
                .map_err(DbError::from)?;
            transaction.commit().await.map_err(DbError::from)?;
        }
        Ok(())
    })
    .await
}

/// Writes an empty pair of files, `<timestamp>_<name>.up.sql` and `.down.sql`; returns their paths.
///
/// # Errors
///
/// If the name is not a lower-case identifier, or `folder` does not exist.
pub fn create(folder: &Path, name: &str) -> Result<[PathBuf; 2], MigrationError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(MigrationError::Name);
    }
    if !folder.is_dir() {
        return Err(MigrationError::Folder(folder.to_owned()));
    }
    let stamp = OffsetDateTime::now_utc()
        .format(format_description!(
            "[year][month][day][hour][minute][second]"
        ))
        .map_err(std::io::Error::other)?;
    let path = |direction: &str| folder.join(format!("{stamp}_{name}.{direction}.sql"));
    let pair = [path("up"), path("down")];
    for (path, comment) in pair.iter().zip([
        "-- What this adds, and why.\n",
        "-- Undoes the other file.\n",
    ]) {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)?;
        std::io::Write::write_all(&mut file, comment.as_bytes())?;
    }
    Ok(pair)
}

/// Runs `work` under the session lock of sqlx's migrators, with foldlog's schema as the only search path, and restores the
/// connection's own search path afterwards.
async fn run_locked<T>(
    connection: &mut PgConnection,
    schema: &Schema,
    database_settings: bool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, MigrationError>,
) -> Result<T, MigrationError> {
    connection.lock().await?;
    let result = run_in_schema(connection, schema, database_settings, work).await;
    connection.unlock().await?;
    result
}

async fn run_in_schema<T>(
    connection: &mut PgConnection,
    schema: &Schema,
    database_settings: bool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, MigrationError>,
) -> Result<T, MigrationError> {
    let exists: bool = sqlx::query_scalar(include_str!("sql/schema_exists.sql"))
        .bind(schema.name())
        .fetch_one(&mut *connection)
        .await
        .map_err(DbError::from)?;
    // Only if it does not exist: `if not exists` alone would need the right to create schemas all the same.
    if !exists {
        connection
            .create_schema_if_not_exists(&format!("\"{}\"", schema.name()))
            .await?;
    }
    let search_path: String = sqlx::query_scalar(include_str!("sql/read_search_path.sql"))
        .fetch_one(&mut *connection)
        .await
        .map_err(DbError::from)?;
    let own_path = format!("\"{}\"", schema.name());
    set_path(connection, &own_path, database_settings).await?;
    let result = work(connection).await;
    set_path(connection, &search_path, false).await?;
    result
}

async fn set_path(
    connection: &mut PgConnection,
    search_path: &str,
    database_settings: bool,
) -> Result<(), DbError> {
    sqlx::query(include_str!("sql/set_search_path.sql"))
        .bind(search_path)
        .bind(if database_settings { "on" } else { "off" })
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether foldlog may change settings of the whole database without being asked to.
async fn owns_database(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<bool, MigrationError> {
    let mut transaction = connection.begin().await.map_err(DbError::from)?;
    let mut session = Session::in_transaction(&mut transaction, schema.clone(), Pooler::None);
    let mut tables: Vec<String> = TABLES.map(ToOwned::to_owned).into();
    tables.push(ledger::TABLE.to_owned());
    let views_exist: bool = sqlx::query_scalar(include_str!("sql/views_exist.sql"))
        .fetch_one(&mut session)
        .await
        .map_err(DbError::from)?;
    if views_exist {
        let views: Vec<String> = sqlx::query_scalar(include_str!("sql/list_views.sql"))
            .fetch_all(&mut session)
            .await
            .map_err(DbError::from)?;
        tables.extend(views);
    }
    let owns: bool = sqlx::query_scalar(include_str!("sql/owns_database.sql"))
        .bind(schema.name())
        .bind(tables)
        .fetch_one(&mut session)
        .await
        .map_err(DbError::from)?;
    transaction.commit().await.map_err(DbError::from)?;
    Ok(owns)
}

/// sqlx's migrator over foldlog's files, with foldlog's ledger. It takes no lock, because [`run_locked`] has it.
fn migrator(schema: &Schema) -> Migrator {
    let mut migrator = Migrator::with_migrations(MIGRATOR.clone());
    migrator.dangerous_set_table_name(format!("\"{}\".{}", schema.name(), ledger::TABLE));
    migrator.set_locking(false);
    migrator
}

fn ups() -> impl Iterator<Item = &'static Migration> {
    MIGRATOR
        .iter()
        .filter(|m| m.migration_type != MigrationType::ReversibleDown)
}

/// The version and the name of each migration that this build knows, in their order.
pub(crate) fn list_known() -> impl Iterator<Item = (i64, String)> {
    ups().map(|migration| (migration.version, name(migration.version)))
}

/// The newest migration that this build knows.
fn newest() -> i64 {
    ups().map(|m| m.version).max().unwrap_or_default()
}

/// The migration as a checkout with Unix line endings has it. The ledger's checksums are of those, and a checkout on Windows
/// embeds other bytes.
fn with_unix_line_ends(migration: &Migration) -> Migration {
    let sql = migration.sql.as_str();
    if !sql.contains('\r') {
        return migration.clone();
    }
    // Leaked, because sqlx takes only a static text without an assertion that it is safe; this runs once per process.
    let sql: &'static str = sql.replace("\r\n", "\n").leak();
    Migration::new(
        migration.version,
        migration.description.clone(),
        migration.migration_type,
        sql.into_sql_str(),
        migration.no_tx,
    )
}

fn name(version: i64) -> String {
    let description = ups()
        .find(|m| m.version == version)
        .map_or("", |m| &*m.description);
    format!("{version} {description}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a checkout with Windows line endings has other checksums than the ledger of a database that was migrated from
    /// another checkout.
    #[test]
    fn windows_line_ends_do_not_change_a_migration() {
        for embedded in ups() {
            let windows: &'static str = embedded.sql.as_str().replace('\n', "\r\n").leak();
            let windows = Migration {
                sql: windows.into_sql_str(),
                ..embedded.clone()
            };
            assert_eq!(with_unix_line_ends(&windows).checksum, embedded.checksum);
        }
    }
}
