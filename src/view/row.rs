//! One row, as clients see it.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::View;
use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version};

/// A row of a view as it is stored: the version of the last event folded into it, and its columns as a JSON object, secrets
/// included.
pub type StoredRow = (Version, Box<RawValue>);

/// Decodes the columns `viewed` and `viewed_version`, which every statement that reads view rows returns; `None` when the
/// aggregate has no row.
///
/// # Errors
///
/// When a column is missing or has another type.
pub fn decode_row(row: &PgRow) -> Result<Option<StoredRow>, sqlx::Error> {
    let version: Option<i32> = row.try_get("viewed_version")?;
    let json: Option<Json<Box<RawValue>>> = row.try_get("viewed")?;
    Ok(version
        .zip(json)
        .map(|(version, Json(json))| (Version(version), json)))
}

/// A row of a view without its secrets: `{id, …public columns, version}`.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewRow {
    /// The aggregate.
    pub id: AggregateId,
    /// The last event folded in.
    pub version: Version,
    /// The public columns, in the order of the row type's fields.
    pub columns: Vec<(String, Value)>,
}

impl ViewRow {
    /// The public part of a row, stored or just folded.
    ///
    /// # Errors
    ///
    /// When `json` is no object, which no row of a table is.
    pub fn new(
        view: &View,
        id: AggregateId,
        version: Version,
        json: &RawValue,
    ) -> Result<Self, DbError> {
        let mut all: Map<String, Value> = serde_json::from_str(json.get())
            .map_err(|e| DbError::Other(sqlx::Error::Decode(e.into())))?;
        let column = |name: &str| (name.to_owned(), all.remove(name).unwrap_or_default());
        Ok(Self {
            id,
            version,
            columns: view.shown_columns().map(column).collect(),
        })
    }
}

impl Serialize for ViewRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len() + 2))?;
        map.serialize_entry("id", &self.id)?;
        for (name, value) in &self.columns {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("version", &self.version)?;
        map.end()
    }
}

/// The row of one aggregate, as projected so far.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn get(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
) -> Result<Option<ViewRow>, DbError> {
    let row = sqlx::query(view.sql.get())
        .bind(id.0)
        .fetch_optional(connection)
        .await?;
    let stored = row.as_ref().map(decode_row).transpose()?.flatten();
    stored
        .map(|(version, json)| ViewRow::new(view, id, version, &json))
        .transpose()
}
