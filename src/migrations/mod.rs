//! Migrations: what can never be rebuilt. Views follow from the code and are created after them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sqlx::PgConnection;
use sqlx::migrate::{Migrate, MigrationType, Migrator};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::db::Schema;
use crate::view::{self, Inline, View};

static MIGRATOR: Migrator = sqlx::migrate!();

/// sqlx's own table of what was applied.
const LEDGER: &str = "_sqlx_migrations";

/// Applies what is missing, then creates the views that are not there yet. It takes a session lock, so two that run at
/// once take turns, and it needs a direct connection.
///
/// # Errors
///
/// A migration that fails leaves nothing of itself behind; a changed view says what to do.
pub async fn up(
    connection: &mut PgConnection,
    schema: &Schema,
    views: &[View],
    inline: &Inline,
) -> anyhow::Result<()> {
    MIGRATOR
        .run_direct(None, connection, false)
        .await
        .context("a migration failed")?;
    view::define(connection, schema, views, inline).await?;
    Ok(())
}

/// The checksums of all migrations, which together identify the schema.
#[cfg(feature = "local")]
pub(crate) fn checksums() -> impl Iterator<Item = &'static [u8]> {
    MIGRATOR.iter().map(|migration| &*migration.checksum)
}

/// Reverts the newest migration; its name, or `None` when there is none.
///
/// # Errors
///
/// When the `.down.sql` fails; nothing of it is kept then.
pub async fn down(connection: &mut PgConnection) -> anyhow::Result<Option<String>> {
    let applied = applied(connection).await?;
    let Some(newest) = applied.last() else {
        return Ok(None);
    };
    let before = applied.iter().rev().nth(1).copied().unwrap_or(0);
    MIGRATOR
        .undo(connection, before)
        .await
        .context("a migration could not be reverted")?;
    Ok(Some(name(*newest)))
}

/// A line a migration: its state, its version and its name.
///
/// # Errors
///
/// When the database fails.
pub async fn status(connection: &mut PgConnection) -> anyhow::Result<String> {
    let applied = applied(connection).await?;
    let mut lines = String::new();
    for migration in ups() {
        let state = if applied.contains(&migration.version) {
            "applied"
        } else {
            "pending"
        };
        writeln!(lines, "{state}  {}", name(migration.version))?;
    }
    for unknown in applied
        .iter()
        .filter(|version| ups().all(|m| m.version != **version))
    {
        writeln!(lines, "unknown  {unknown} (of a newer foldlog)")?;
    }
    Ok(lines)
}

/// Writes an empty pair of files, `<timestamp>_<name>.up.sql` and `.down.sql`; their paths.
///
/// # Errors
///
/// When the name is no lower-case identifier, or `folder` is not there.
pub fn create(folder: &Path, name: &str) -> anyhow::Result<[PathBuf; 2]> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        bail!(
            "a migration's name is of lower-case letters, digits and underscores, like add_archive"
        );
    }
    if !folder.is_dir() {
        bail!(
            "there is no folder {}; run this where the project's Cargo.toml is",
            folder.display()
        );
    }
    let stamp = OffsetDateTime::now_utc().format(format_description!(
        "[year][month][day][hour][minute][second]"
    ))?;
    let path = |direction: &str| folder.join(format!("{stamp}_{name}.{direction}.sql"));
    let pair = [path("up"), path("down")];
    for (path, says) in pair.iter().zip([
        "-- What this adds, and why.\n",
        "-- Undoes the other file.\n",
    ]) {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)?;
        std::io::Write::write_all(&mut file, says.as_bytes())?;
    }
    Ok(pair)
}

/// Reads only: a database that nothing was applied to is left as it is.
async fn applied(connection: &mut PgConnection) -> anyhow::Result<Vec<i64>> {
    let is_there: bool = sqlx::query_scalar(include_str!("sql/ledger_exists.sql"))
        .bind(LEDGER)
        .fetch_one(&mut *connection)
        .await?;
    if !is_there {
        return Ok(Vec::new());
    }
    let applied = connection.list_applied_migrations(LEDGER).await?;
    Ok(applied
        .into_iter()
        .map(|migration| migration.version)
        .collect())
}

fn ups() -> impl Iterator<Item = &'static sqlx::migrate::Migration> {
    MIGRATOR
        .iter()
        .filter(|m| m.migration_type != MigrationType::ReversibleDown)
}

fn name(version: i64) -> String {
    let description = ups()
        .find(|m| m.version == version)
        .map_or("", |m| &*m.description);
    format!("{version} {description}")
}
