//! Pages of rows, in the order of their ids.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::TryStreamExt as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use super::{View, ViewRow};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version};

/// The most bytes of rows that are put on one page; the first row is always there. Lambda answers with 6 MB at most, and
/// an answer goes there as a string within JSON, where each quote and each backslash is one byte more.
const PAGE: usize = 5 * 1024 * 1024;

/// Where a page begins: after this row. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor(AggregateId);

impl PageCursor {
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
    pub next: Option<PageCursor>,
}

/// The rows after `after`, at most `limit` of them and no more than fit into an answer, whose columns equal `filters` (of public columns only).
///
/// # Errors
///
/// [`DbError::Data`] when a filter's value is none of its column's type; else any [`DbError`].
pub async fn list(
    connection: &mut Session,
    view: &View,
    filters: &[(&'static str, String)],
    after: Option<PageCursor>,
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
    let mut stored = query.fetch(connection);
    let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
    // To the end, even when the page is full: a connection with half an answer is of no use to the next request.
    while let Some(row) = stored.try_next().await? {
        if more {
            continue;
        }
        let Json(json): Json<Box<RawValue>> = row.try_get("viewed")?;
        bytes += size(json.get());
        more = rows.len() == usize::from(limit) || (bytes > PAGE && !rows.is_empty());
        if !more {
            rows.push(ViewRow::new(
                view,
                AggregateId(row.try_get("id")?),
                Version(row.try_get("viewed_version")?),
                &json,
            )?);
        }
    }
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row: &ViewRow| PageCursor(row.id));
    Ok(Page { rows, next })
}

/// How long a row is as a string within JSON.
fn size(json: &str) -> usize {
    let escaped = json.bytes().filter(|byte| matches!(byte, b'"' | b'\\'));
    json.len() + escaped.count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_page_cursor_round_trips(id: u128) {
            let cursor = PageCursor(AggregateId(Uuid::from_u128(id)));
            prop_assert_eq!(PageCursor::decode(&cursor.encode()), Some(cursor));
        }

        #[test]
        fn an_invalid_page_cursor_decodes_to_none(text in ".{0,40}") {
            if let Some(cursor) = PageCursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }
}
