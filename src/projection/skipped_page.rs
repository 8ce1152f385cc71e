//! Pages of the events that operators have skipped. Why an event could not be folded is left out, because the text may quote a payload.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::ProjectionError;
use crate::db::Pool;
use crate::event::{AggregateId, EventId, Version};
use crate::store;
use crate::view::{BoundedPage, PageLimit, View};

/// An event that an operator has skipped.
// A domain `skipped` would have a schema that generators call `SkippedEvent`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = EventSkipped)]
pub struct SkippedEvent {
    /// The aggregate.
    pub aggregate_id: AggregateId,
    /// The event.
    pub event_id: EventId,
    /// Its version.
    pub version: Version,
    /// Why it was skipped.
    pub reason: String,
    /// Who skipped it; null if that is not known.
    #[schema(required)]
    pub actor: Option<String>,
    /// When it was skipped.
    #[serde(serialize_with = "crate::event::time::serialize")]
    pub skipped_at: OffsetDateTime,
}

/// A page of skipped events.
#[derive(Debug)]
pub struct SkippedPage {
    /// The events, ordered by aggregate and version.
    pub skipped: Vec<SkippedEvent>,
    /// Whether there are more.
    pub has_more: bool,
}

/// Reads the skipped events behind `after`, an aggregate and a version: no more than `limit`.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn list_skipped(
    pool: &Pool,
    view: &View,
    after: Option<(AggregateId, Version)>,
    limit: PageLimit,
) -> Result<SkippedPage, ProjectionError> {
    let (aggregate, version) = after.map_or((Uuid::nil(), 0), |(id, version)| (id.0, version.0));
    let mut connection = pool.acquire().await?;
    let mut stored = sqlx::query(include_str!("sql/list_skipped.sql"))
        .bind(view.name())
        .bind(aggregate)
        .bind(version)
        .bind(limit.rows_to_read())
        .fetch(&mut *connection);
    let mut page = BoundedPage::new(limit);
    // The result is read to its end even when the page is full: otherwise the next request could not use the connection.
    while let Some(row) = stored.try_next().await? {
        page.push(decode(&row)?);
    }
    let (skipped, has_more) = page.finish();
    Ok(SkippedPage { skipped, has_more })
}

fn decode(row: &PgRow) -> Result<SkippedEvent, sqlx::Error> {
    Ok(SkippedEvent {
        aggregate_id: AggregateId(row.try_get("aggregate_id")?),
        event_id: EventId(row.try_get("event_id")?),
        version: Version(row.try_get("version")?),
        reason: row.try_get("reason")?,
        actor: row.try_get("actor")?,
        skipped_at: store::decode_time(row, "skipped_at")?,
    })
}
