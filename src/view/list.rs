//! Pages of rows, in the order of their ids.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use super::{View, ViewRow};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version};

/// Where a page begins: after this row. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(AggregateId);

impl Cursor {
    /// What a client sends back for the next page.
    #[must_use]
    pub fn encode(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.0.as_bytes())
    }

    /// What a client sent; `None` when it was not made by [`Self::encode`].
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Uuid::from_slice(&bytes)
            .ok()
            .map(|id| Self(AggregateId(id)))
    }
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// Its rows.
    pub rows: Vec<ViewRow>,
    /// Where the next one begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// The rows after `after`, at most `limit` of them, whose columns equal `filters` (of public columns only).
///
/// # Errors
///
/// [`DbError::Data`] when a filter's value is none of its column's type; else any [`DbError`].
pub async fn list(
    connection: &mut Session,
    view: &View,
    filters: &[(&'static str, String)],
    after: Option<Cursor>,
    limit: u16,
) -> Result<Page, DbError> {
    let names: Vec<&'static str> = filters.iter().map(|(name, _)| *name).collect();
    let values: Map<String, Value> = filters
        .iter()
        .map(|(n, v)| ((*n).to_owned(), Value::from(v.clone())))
        .collect();
    let mut query = sqlx::query(view.sql.list(&names, after.is_none()))
        .bind(after.map_or(Uuid::nil(), |cursor| cursor.0.0))
        // One row more tells whether there is a next page.
        .bind(i64::from(limit) + 1);
    if !filters.is_empty() {
        query = query.bind(Value::Object(values).to_string());
    }
    let mut rows = query
        .fetch_all(connection)
        .await?
        .iter()
        .map(|row| {
            let Json(json): Json<Box<RawValue>> = row.try_get("viewed")?;
            ViewRow::new(
                view,
                AggregateId(row.try_get("id")?),
                Version(row.try_get("viewed_version")?),
                &json,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() > usize::from(limit);
    rows.truncate(limit.into());
    let next = if more {
        rows.last().map(|row| Cursor(row.id))
    } else {
        None
    };
    Ok(Page { rows, next })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went(id: u128) {
            let cursor = Cursor(AggregateId(Uuid::from_u128(id)));
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }

        #[test]
        fn what_is_no_cursor_is_none(text in ".{0,40}") {
            if let Some(cursor) = Cursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }
}
