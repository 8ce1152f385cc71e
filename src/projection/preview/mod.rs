//! Preview: compares a generation that is filled with the live one, before it goes live.
//!
//! Rows at the same version were folded from the same events, so what differs between them is what the new fold changes. Rows at different
//! versions are not compared: one of the generations is behind, and the next batch changes that. If only one of the generations has
//! a row, the claims of the other one tell whether it has folded the row's last event.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::ProjectionError;
use super::budget::Budget;
use crate::db::Pool;
use crate::event::{AggregateId, Version};
use crate::view::{self, Changes, ShownFields, View};

/// How many rows one statement compares.
const MAX_PAGE_ROWS: i64 = 1000;

/// How many differences a preview lists if the caller does not say.
pub const DEFAULT_LISTED: usize = 20;

/// What would change if the generation went live.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Preview {
    /// The number of the generation that is compared with the live one.
    pub generation: u32,
    /// The rows that were compared, of both generations together.
    pub rows: u64,
    /// The rows that differ, with those that only one of them has.
    pub differ: u64,
    /// The rows of which one of the generations has not folded all events yet.
    pub behind: u64,
    /// The first rows that differ, field by field, without secrets.
    pub differences: Vec<RowDifference>,
    /// Whether all rows were compared. The time may not suffice for that.
    pub complete: bool,
}

/// A row in which two generations differ.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RowDifference {
    /// The aggregate.
    pub id: AggregateId,
    /// The version of both rows, or of the only one.
    pub version: Version,
    /// The fields that differ: the value in the live generation and in the new one.
    pub changes: Changes,
}

/// Compares the generation that a reprojection has filled with the live one, and lists the first `listed` differences.
///
/// # Errors
///
/// [`ProjectionError::Cancelled`] if no filled generation waits to go live; otherwise any [`ProjectionError`].
pub async fn preview(
    pool: &Pool,
    view: &View,
    listed: usize,
    budget: &Budget,
) -> Result<Preview, ProjectionError> {
    let name: Option<String> = sqlx::query_scalar(include_str!("../sql/list_filled.sql"))
        .bind(view.name())
        .bind(&*view.definition_hash)
        .fetch_optional(&mut *pool.acquire().await?)
        .await?;
    let Some(name) = name else {
        return Err(ProjectionError::Cancelled(view.name()));
    };
    compare(pool, view, &view.generation(&name), listed, budget).await
}

/// Counts the rows that differ; `None` if the time did not suffice.
pub(super) async fn count(
    pool: &Pool,
    view: &View,
    generation: &View,
    budget: &Budget,
) -> Result<Option<u64>, ProjectionError> {
    let preview = compare(pool, view, generation, 0, budget).await?;
    Ok(preview.complete.then_some(preview.differ))
}

async fn compare(
    pool: &Pool,
    view: &View,
    generation: &View,
    listed: usize,
    budget: &Budget,
) -> Result<Preview, ProjectionError> {
    let live: String = sqlx::query_scalar(include_str!("sql/find_live.sql"))
        .bind(view.name())
        .fetch_one(&mut *pool.acquire().await?)
        .await?;
    let live = view.generation(&live);
    let mut preview = Preview {
        generation: view::generation_number(generation.lock_domain()),
        ..Preview::default()
    };
    let (mut first, mut after) = (Uuid::nil(), None);
    while !budget.is_spent() {
        let sql = generation
            .sql
            .fill_beside(include_str!("sql/compare.sql"), &live.sql);
        let rows = sqlx::query(sql)
            .bind(first)
            .bind(after)
            .bind(MAX_PAGE_ROWS)
            .bind(live.lock_domain())
            .bind(generation.lock_domain())
            .fetch_all(&mut *pool.acquire().await?)
            .await?;
        for row in &rows {
            let id: Uuid = row.try_get("id")?;
            (first, after) = (id, Some(id));
            preview.rows += 1;
            if row.try_get("is_behind")? {
                preview.behind += 1;
            } else if row.try_get("differs")? {
                preview.differ += 1;
                if preview.differences.len() < listed {
                    preview
                        .differences
                        .push(difference(view, AggregateId(id), row)?);
                }
            }
        }
        if i64::try_from(rows.len()).unwrap_or(MAX_PAGE_ROWS) < MAX_PAGE_ROWS {
            preview.complete = true;
            break;
        }
    }
    Ok(preview)
}

fn difference(view: &View, id: AggregateId, row: &PgRow) -> Result<RowDifference, sqlx::Error> {
    let side = |column: &str| -> Result<ShownFields, sqlx::Error> {
        let json: Option<Json<Box<RawValue>>> = row.try_get(column)?;
        Ok(shown(view, json.as_ref().map(|Json(json)| &**json)))
    };
    Ok(RowDifference {
        id,
        version: Version(row.try_get("version")?),
        changes: view::changes(&side("live")?, &side("new")?),
    })
}

/// The fields of a row as clients see them. The row of another definition may not match this build's row type; then only the fields
/// that contain no secret in this build are shown.
fn shown(view: &View, row: Option<&RawValue>) -> ShownFields {
    view::shown_fields(view, row).unwrap_or_else(|_| {
        let fields = row.and_then(|row| serde_json::from_str(row.get()).ok());
        let mut fields: BTreeMap<String, Box<RawValue>> = fields.unwrap_or_default();
        fields.retain(|name, _| view.filter_columns().any(|column| column == name));
        fields
    })
}
