//! Pages of parked aggregates, without payloads.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{FailureClass, ProjectionError};
use crate::db::Pool;
use crate::event::{AggregateId, EventId, Version};
use crate::store;
use crate::view::{self, BoundedPage, PageLimit, View};

/// A parked aggregate.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct ParkedAggregate {
    /// The aggregate.
    pub aggregate_id: AggregateId,
    /// The event that cannot be folded.
    pub event_id: EventId,
    /// The version from which on its events wait.
    pub version: Version,
    /// What kind of failure it is.
    pub class: &'static str,
    /// The cause; null where it may quote a payload.
    #[schema(required)]
    pub error: Option<String>,
    /// How often the event was tried.
    pub attempts: i32,
    /// How many events wait, with the one that cannot be folded.
    pub waiting: i32,
    /// When it was parked.
    #[serde(serialize_with = "crate::event::time::serialize")]
    pub parked_at: OffsetDateTime,
    /// When it is tried again; null when an operator has set it to `infinity`.
    #[schema(required)]
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    pub next_try: Option<OffsetDateTime>,
}

/// A page of parked aggregates.
#[derive(Debug)]
pub struct ParkedPage {
    /// The aggregates, ordered by their ids.
    pub parked: Vec<ParkedAggregate>,
    /// Whether there are more.
    pub has_more: bool,
}

/// Reads the parked aggregates behind `after`: no more than `limit`.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn list_parked(
    pool: &Pool,
    view: &View,
    after: Option<Uuid>,
    limit: PageLimit,
) -> Result<ParkedPage, ProjectionError> {
    let mut connection = pool.acquire().await?;
    let generation = view::resolve(&mut connection, view).await?.view;
    let mut stored = sqlx::query(include_str!("sql/list_parked.sql"))
        .bind(generation.lock_domain())
        .bind(after)
        .bind(limit.rows_to_read())
        .fetch(&mut *connection);
    let mut page = BoundedPage::new(limit);
    // The result is read to its end even when the page is full: otherwise the next request could not use the connection.
    while let Some(row) = stored.try_next().await? {
        page.push(decode(&row)?);
    }
    let (parked, has_more) = page.finish();
    Ok(ParkedPage { parked, has_more })
}

fn decode(row: &PgRow) -> Result<ParkedAggregate, sqlx::Error> {
    let class = FailureClass::named(row.try_get("class")?);
    let version: i32 = row.try_get("version")?;
    let newest: Option<i32> = row.try_get("newest")?;
    let error: String = row.try_get("error")?;
    Ok(ParkedAggregate {
        aggregate_id: AggregateId(row.try_get("aggregate_id")?),
        event_id: EventId(row.try_get("event_id")?),
        version: Version(version),
        class: class.name(),
        error: class.has_plain_text().then_some(error),
        attempts: row.try_get("attempts")?,
        waiting: newest.map_or(0, |newest| (newest - version + 1).max(0)),
        parked_at: store::decode_time(row, "parked_at")?,
        next_try: store::decode_optional_time(row, "next_try")?,
    })
}
