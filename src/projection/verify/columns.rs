//! What the columns of a table store of the rows that the events give: a column may store less than the row type has, such as a time
//! without nanoseconds, and it may reject a value.

use std::collections::HashMap;

use serde_json::value::RawValue;
use sqlx::Row;

use super::check::Checked;
use crate::db::{DbError, Pool};
use crate::event::{AggregateId, Version};
use crate::projection::ProjectionError;
use crate::view::{self, View};

/// A row that the events give.
type Expected<'a> = (AggregateId, Version, &'a RawValue);

/// Replaces the rows that seem to differ by what the table would store of them. One that it rejects is a difference.
pub(super) async fn expect_stored(
    pool: &Pool,
    generation: &View,
    checked: &mut [Checked],
) -> Result<(), ProjectionError> {
    let suspected: Vec<_> = checked.iter().filter_map(Checked::expected_row).collect();
    if suspected.is_empty() {
        return Ok(());
    }
    let (mut stored, mut parts) = (HashMap::new(), vec![&suspected[..]]);
    while let Some(part) = parts.pop() {
        match store(pool, generation, part).await {
            Ok(rows) => stored.extend(rows),
            Err(error) if error.is_about_rows() || error.may_be_about_rows() => {
                if !error.is_about_rows() {
                    // If no row can be read, the rows are not at fault.
                    store(pool, generation, &[]).await?;
                }
                if let [(id, ..)] = part {
                    stored.insert(*id, None);
                } else {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    for checked in checked {
        match stored.remove(&checked.id()) {
            Some(Some(json)) => checked.expect(json),
            Some(None) => checked.report("the table rejects the row that the events give"),
            None => {}
        }
    }
    Ok(())
}

/// What the table would store of these rows.
async fn store(
    pool: &Pool,
    generation: &View,
    rows: &[Expected<'_>],
) -> Result<HashMap<AggregateId, Option<Box<RawValue>>>, DbError> {
    let statement = generation.sql.fill(include_str!("sql/store_rows.sql"));
    let rows = sqlx::query(statement)
        .bind(view::json_array(rows))
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let mut stored = HashMap::with_capacity(rows.len());
    for row in &rows {
        let json = view::decode_row(row)?.map(|(_, json)| json);
        if json.is_some() {
            stored.insert(AggregateId(row.try_get("id")?), json);
        }
    }
    Ok(stored)
}
