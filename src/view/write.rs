//! Writes and deletes view rows.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::View;
use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version};

/// Inserts or replaces rows in one statement.
///
/// # Errors
///
/// [`DbError::Conflict`] and [`DbError::Data`] when the table rejects a row; otherwise any [`DbError`].
pub async fn upsert(
    connection: &mut Session<'_>,
    view: &View,
    rows: &[(AggregateId, Version, &RawValue)],
) -> Result<(), DbError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(view.sql.upsert())
        .bind(json_array(rows))
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes no rows, which fails if the table or the installation is at fault rather than a row.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn check_writable(connection: &mut Session<'_>, view: &View) -> Result<(), DbError> {
    sqlx::query(view.sql.upsert())
        .bind("[]")
        .execute(connection)
        .await?;
    Ok(())
}

/// Deletes the rows of these aggregates.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn delete(
    connection: &mut Session<'_>,
    view: &View,
    ids: &[AggregateId],
) -> Result<(), DbError> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(view.sql.delete())
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// Rows as the JSON array that the statements of a view take: `[{"id":…,"version":…,<fields of the row>}, …]`. Each row is already the text of a JSON object, so `id` and
/// `version` are inserted into that text instead of parsing and serializing the row again.
#[must_use]
pub fn json_array(rows: &[(AggregateId, Version, &RawValue)]) -> String {
    let mut json = String::with_capacity(rows.iter().map(|(_, _, row)| row.get().len() + 80).sum());
    json.push('[');
    for (index, (id, version, row)) in rows.iter().enumerate() {
        let fields = row.get().trim().strip_prefix('{').unwrap_or("}");
        let comma = if index == 0 { "" } else { "," };
        // Every row type has at least one field (`View::new` checks it), so a comma is needed before it. Writing to a String
        // cannot fail.
        let _ = write!(
            json,
            "{comma}{{\"id\":\"{id}\",\"version\":{version},{fields}"
        );
    }
    json.push(']');
    json
}
