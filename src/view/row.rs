//! One row, as clients see it.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sqlx::Row;
use sqlx::types::Json;

use super::View;
use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version};

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
    let Some(row) = sqlx::query(view.sql.get())
        .bind(id.0)
        .fetch_optional(connection)
        .await?
    else {
        return Ok(None);
    };
    let Json(json): Json<Box<RawValue>> = row.try_get("viewed")?;
    ViewRow::new(view, id, Version(row.try_get("viewed_version")?), &json).map(Some)
}
