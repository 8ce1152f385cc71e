//! What a page of an aggregate's history needs beside the events.

use sqlx::Row;

use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version};
use crate::view::View;

/// What is known of an aggregate before its events are read.
#[derive(Debug)]
pub struct HistoryHead {
    /// The version of its newest event.
    pub newest: Version,
    /// Whether its first event is of a type that the view folds.
    pub is_own: bool,
    /// The hash of a projection's claims on it: SHA-256 over the ids of the claimed events in the order of their versions, in
    /// hexadecimal digits; `None` when no event is claimed, or it was not asked for. Two views of an aggregate with the same revision
    /// have applied the same events.
    pub revision: Option<String>,
}

/// Reads the head of an aggregate's history; `None` when the aggregate has no event. The revision costs a look at each event.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn load_history_head(
    connection: &mut Session<'_>,
    view: &View,
    id: AggregateId,
    wants_revision: bool,
) -> Result<Option<HistoryHead>, DbError> {
    let types = view.projection.block();
    let row = sqlx::query(include_str!("sql/load_history_head.sql"))
        .bind(id.0)
        .bind(types.start)
        .bind(types.end)
        .bind(wants_revision)
        .bind(view.name())
        .bind(&*view.definition_hash)
        .fetch_optional(connection)
        .await?;
    let decode = |row: sqlx::postgres::PgRow| {
        Ok(HistoryHead {
            newest: Version(row.try_get("newest")?),
            is_own: row.try_get("is_own")?,
            revision: row.try_get("revision")?,
        })
    };
    row.map(decode).transpose()
}
