//! One row: with its secrets for the rules, and without them for clients.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::generation::answer_of;
use super::{FromServing, Serving, View};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version};

/// The version of the last event folded into a row, and its columns as a JSON object, with secrets.
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

/// The row of an aggregate, stored or just folded, with its secrets.
pub struct RawRow {
    /// The aggregate.
    pub id: AggregateId,
    /// The last event folded into the row.
    pub version: Version,
    json: Box<RawValue>,
}

impl RawRow {
    pub(crate) const fn new(id: AggregateId, version: Version, json: Box<RawValue>) -> Self {
        Self { id, version, json }
    }

    /// The row's columns as a JSON object.
    pub(crate) const fn json(&self) -> &RawValue {
        &self.json
    }

    /// Reads the row's columns into the row type.
    ///
    /// # Errors
    ///
    /// [`DbError::Unreadable`] when the row does not match the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DbError> {
        serde_json::from_str(self.json.get()).map_err(|_| mismatch())
    }

    /// Hides the secrets of the row.
    ///
    /// # Errors
    ///
    /// [`DbError::Unreadable`] when the row does not match the row type of the view.
    pub fn show(&self, view: &View) -> Result<ViewRow, DbError> {
        let (id, version) = (self.id, self.version);
        let shown = view
            .projection
            .show(id, version, &self.json, &view.secret_names);
        let json = shown.map_err(|_| mismatch())?;
        Ok(ViewRow { id, version, json })
    }
}

impl fmt::Debug for RawRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRow")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// serde's reason is dropped, because it may quote a value of the row.
pub(crate) fn mismatch() -> DbError {
    let reason = "a row of a view does not match its row type";
    DbError::Unreadable(sqlx::Error::Decode(reason.into()))
}

/// A row of a view without its secrets: `{id, …columns, version}`.
#[derive(Clone, Debug)]
pub struct ViewRow {
    /// The aggregate.
    pub id: AggregateId,
    /// The last event folded into the row.
    pub version: Version,
    /// The whole row as JSON.
    json: Box<RawValue>,
}

impl ViewRow {
    /// The row as JSON.
    #[must_use]
    pub fn json(&self) -> &RawValue {
        &self.json
    }
}

impl Serialize for ViewRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// Reads the row of one aggregate, as projected so far.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn get(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
) -> Result<FromServing<Option<RawRow>>, DbError> {
    loop {
        let serving = view.serving();
        let read = if serving.exists {
            get_once(connection, &serving, id).await
        } else {
            Ok(FromServing::NoGeneration)
        };
        if let Some(answer) = answer_of(connection, view, &serving, read).await? {
            return Ok(answer);
        }
    }
}

async fn get_once(
    connection: &mut Session<'_>,
    serving: &Serving,
    id: AggregateId,
) -> Result<FromServing<Option<RawRow>>, DbError> {
    let row = sqlx::query(serving.sql.get())
        .bind(id.0)
        .fetch_one(connection)
        .await?;
    if !row.try_get::<bool, _>("serves")? {
        return Ok(FromServing::NoGeneration);
    }
    let stored = decode_row(&row)?;
    let row = stored.map(|(version, json)| RawRow::new(id, version, json));
    Ok(FromServing::Read(row))
}
