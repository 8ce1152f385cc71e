//! Reads pages of view rows, ordered by id.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::TryStreamExt as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sqlx::Row;
use uuid::Uuid;

use super::generation::answer_of;
use super::{FromServing, RawRow, Serving, View, ViewRow, decode_row, json_array};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version};

/// The maximum size of the rows on one page; a page always contains at least one row. A Lambda response is limited to
/// 6 MB, and it carries the body as a JSON string, in which each quote and each backslash takes one more byte.
const MAX_PAGE_BYTES: usize = 5 * 1024 * 1024;

/// How large a page may be. It always contains at least one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Rows; 0 counts as 1.
    pub rows: u16,
    /// Bytes of the rows as a part of a JSON string.
    pub bytes: usize,
}

impl PageLimit {
    /// Rows per page, if the caller does not say how many.
    pub const DEFAULT_ROWS: u16 = 100;
}

impl From<u16> for PageLimit {
    /// So many rows, and no more bytes than a response may have.
    fn from(rows: u16) -> Self {
        Self {
            rows,
            bytes: MAX_PAGE_BYTES,
        }
    }
}

/// The start of a page: the page begins after this row. Clients treat it as an opaque text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor(AggregateId);

impl PageCursor {
    /// The page after this row begins here.
    pub(crate) const fn begin_after(id: AggregateId) -> Self {
        Self(id)
    }

    /// The row after which the page begins.
    pub(crate) const fn id(self) -> AggregateId {
        self.0
    }

    /// Encodes the cursor as the text that a client sends to get the next page.
    #[must_use]
    pub fn encode(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.0.as_bytes())
    }

    /// Decodes the text that a client sent; `None` when [`Self::encode`] did not produce it.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Uuid::from_slice(&bytes)
            .ok()
            .map(|id| Self(AggregateId(id)))
    }
}

/// One page of rows.
#[derive(Debug)]
pub struct ViewPage<R = ViewRow> {
    /// The rows, ordered by id.
    pub rows: Vec<R>,
    /// The start of the next page; `None` on the last page.
    pub next: Option<PageCursor>,
}

impl ViewPage<RawRow> {
    /// Hides the secrets of the rows.
    ///
    /// # Errors
    ///
    /// [`DbError::Other`] when a row does not match the row type of the view.
    pub fn show(&self, view: &View) -> Result<ViewPage, DbError> {
        let rows: Result<Vec<ViewRow>, DbError> =
            self.rows.iter().map(|row| row.show(view)).collect();
        Ok(ViewPage {
            rows: rows?,
            next: self.next,
        })
    }
}

/// A page that is filled row by row, in the order of ids.
#[derive(Debug)]
pub(crate) struct PageBuilder {
    rows: Vec<RawRow>,
    bytes: usize,
    limit: PageLimit,
    is_cut: bool,
}

impl PageBuilder {
    pub(crate) const fn new(limit: PageLimit) -> Self {
        Self {
            rows: Vec::new(),
            bytes: 0,
            limit,
            is_cut: false,
        }
    }

    /// Whether no further row fits, however small.
    pub(crate) fn is_full(&self) -> bool {
        // A page without rows has no cursor, so it would look like the last one.
        self.is_cut || self.rows.len() >= usize::from(self.limit.rows.max(1))
    }

    /// Adds a row; false if it does not fit, and then none of the following ones does.
    pub(crate) fn push(&mut self, row: RawRow) -> bool {
        self.bytes += json_string_len(row.json().get());
        let is_too_large = self.bytes > self.limit.bytes && !self.rows.is_empty();
        if self.is_full() || is_too_large {
            self.is_cut = true;
            return false;
        }
        self.rows.push(row);
        true
    }

    /// The page, after which the next one begins with the first row that did not fit.
    pub(crate) fn cut(self) -> ViewPage<RawRow> {
        let last = self.rows.last().map(|row| row.id);
        self.end(last)
    }

    /// The page, after which the next one begins after `last`; `None` on the last page.
    pub(crate) fn end(self, last: Option<AggregateId>) -> ViewPage<RawRow> {
        ViewPage {
            rows: self.rows,
            next: last.map(PageCursor),
        }
    }
}

/// Reads the rows after `after` whose columns equal `filters`, which may name only columns of [`View::filter_columns`]: no
/// more than `limit`.
///
/// # Errors
///
/// [`DbError::Data`] when a filter's value does not fit the type of its column; otherwise any [`DbError`].
pub async fn list(
    connection: &mut Session<'_>,
    view: &View,
    filters: &[(&str, String)],
    after: Option<PageCursor>,
    limit: impl Into<PageLimit>,
) -> Result<FromServing<ViewPage<RawRow>>, DbError> {
    let limit = limit.into();
    loop {
        let serving = view.serving();
        let read = if serving.exists {
            Box::pin(list_once(connection, &serving, filters, after, limit)).await
        } else {
            Ok(FromServing::NoGeneration)
        };
        if let Some(answer) = answer_of(connection, view, &serving, read).await? {
            return Ok(answer);
        }
    }
}

async fn list_once(
    connection: &mut Session<'_>,
    serving: &Serving,
    filters: &[(&str, String)],
    after: Option<PageCursor>,
    limit: PageLimit,
) -> Result<FromServing<ViewPage<RawRow>>, DbError> {
    let names: Vec<&str> = filters.iter().map(|(name, _)| *name).collect();
    let mut query = sqlx::query(serving.sql.list(&names, after.is_none()))
        .bind(after.map_or(Uuid::nil(), |cursor| cursor.0.0))
        // One row more than requested shows whether there is a next page.
        .bind(i64::from(limit.rows.max(1)) + 1);
    if !filters.is_empty() {
        query = query.bind(filter_values(filters));
    }
    let mut stored = query.fetch(connection);
    let (mut page, mut serves) = (PageBuilder::new(limit), false);
    // The result is read to its end even when the page is full: otherwise the next request could not use the connection.
    while let Some(row) = stored.try_next().await? {
        serves |= row.try_get::<bool, _>("serves")?;
        if page.is_cut || row.try_get::<Option<Uuid>, _>("id")?.is_none() {
            continue;
        }
        let id = AggregateId(row.try_get("id")?);
        if let Some((version, json)) = decode_row(&row)? {
            page.push(RawRow::new(id, version, json));
        }
    }
    Ok(if !serves {
        FromServing::NoGeneration
    } else if page.is_cut {
        FromServing::Read(page.cut())
    } else {
        FromServing::Read(page.end(None))
    })
}

/// Returns the ids of those rows that are not stored and whose columns equal `filters`, by the same comparison as [`list`].
///
/// # Errors
///
/// [`DbError::Data`] when a filter's value does not fit the type of its column, or a row does not fit the table; otherwise any
/// [`DbError`].
pub async fn find_matching(
    connection: &mut Session<'_>,
    view: &View,
    filters: &[(&str, String)],
    rows: &[(AggregateId, Version, &RawValue)],
) -> Result<FromServing<HashSet<AggregateId>>, DbError> {
    loop {
        let serving = view.serving();
        let read = if serving.exists {
            find_once(connection, &serving, filters, rows).await
        } else {
            Ok(FromServing::NoGeneration)
        };
        if let Some(answer) = answer_of(connection, view, &serving, read).await? {
            return Ok(answer);
        }
    }
}

async fn find_once(
    connection: &mut Session<'_>,
    serving: &Serving,
    filters: &[(&str, String)],
    rows: &[(AggregateId, Version, &RawValue)],
) -> Result<FromServing<HashSet<AggregateId>>, DbError> {
    let names: Vec<&str> = filters.iter().map(|(name, _)| *name).collect();
    let found = sqlx::query(serving.sql.matching(&names))
        .bind(json_array(rows))
        .bind(filter_values(filters))
        .fetch_all(connection)
        .await?;
    let (mut ids, mut serves) = (HashSet::with_capacity(found.len()), false);
    for row in found {
        serves |= row.try_get::<bool, _>("serves")?;
        ids.extend(row.try_get::<Option<Uuid>, _>("id")?.map(AggregateId));
    }
    Ok(if serves {
        FromServing::Read(ids)
    } else {
        FromServing::NoGeneration
    })
}

/// The values of filters as a JSON object of texts.
fn filter_values(filters: &[(&str, String)]) -> String {
    let value = |(name, value): &(&str, String)| ((*name).to_owned(), Value::from(value.clone()));
    let values: Map<String, Value> = filters.iter().map(value).collect();
    Value::Object(values).to_string()
}

/// The length of a row as part of a JSON string, in bytes.
pub(crate) fn json_string_len(json: &str) -> usize {
    let escaped = json.bytes().filter(|byte| matches!(byte, b'"' | b'\\'));
    json.len() + escaped.count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Fails when decoding a cursor does not return the cursor that was encoded.
        #[test]
        fn a_page_cursor_round_trips(id: u128) {
            let cursor = PageCursor(AggregateId(Uuid::from_u128(id)));
            prop_assert_eq!(PageCursor::decode(&cursor.encode()), Some(cursor));
        }

        // Fails when a text that `encode` never produces is accepted as a cursor.
        #[test]
        fn an_invalid_page_cursor_decodes_to_none(text in ".{0,40}") {
            if let Some(cursor) = PageCursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }
}
