//! Reads and checks a page of aggregates.

use futures_util::TryStreamExt as _;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::check::{Aggregate, PageCheck};
use super::ranges::IdRange;
use super::{Difference, columns};
use crate::db::Pool;
use crate::event::{AggregateId, Version};
use crate::projection::read::{MAX_BATCH_BYTES, size_of_event};
use crate::projection::{ProjectionError, read_events};
use crate::view::{self, View};

/// What the statement of a page has returned.
pub(super) struct PageRows {
    /// The rows of the view, and then the events.
    rows: Vec<PgRow>,
    /// How many events there are.
    pub read: u32,
    /// Whether there may be more events.
    is_cut: bool,
    /// Whether there are, because those that were requested are larger than [`MAX_BATCH_BYTES`].
    pub is_too_large: bool,
}

/// Reads a page of a range, of at most so many events after one.
pub(super) async fn read_page(
    pool: &Pool,
    generation: &View,
    (range, after): (IdRange, (Uuid, i32)),
    size: u32,
) -> Result<PageRows, ProjectionError> {
    let types = generation.projection.block();
    let mut connection = pool.acquire().await?;
    let statement = generation.sql.fill(include_str!("sql/read_page.sql"));
    let mut rows = sqlx::query(statement)
        .bind(generation.lock_domain())
        .bind(after.0)
        .bind(after.1)
        .bind(types.start)
        .bind(types.end)
        .bind(i64::from(size))
        .bind(range.last)
        .fetch(&mut *connection);
    let mut page = PageRows {
        rows: Vec::new(),
        read: 0,
        is_cut: false,
        is_too_large: false,
    };
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        if row.try_get::<Option<Uuid>, _>("id")?.is_some() {
            bytes += size_of_event(&row)?;
            if bytes > MAX_BATCH_BYTES && page.read > 0 {
                page.is_too_large = true;
                continue;
            }
            page.read += 1;
        }
        page.rows.push(row);
    }
    page.is_cut = page.is_too_large || page.read == size;
    Ok(page)
}

/// A page of aggregates.
pub(super) struct VerifiedPage {
    /// One for each aggregate that was checked to its end.
    pub found: Vec<Option<Difference>>,
    /// The aggregate that goes on in the next page.
    pub begun: Option<Box<Aggregate>>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<(Uuid, i32)>,
}

/// Checks the aggregates of a page. An aggregate with more events than a page has goes on in the next one.
pub(super) async fn check_page(
    pool: &Pool,
    generation: &View,
    page: PageRows,
    begun: Option<Box<Aggregate>>,
) -> Result<VerifiedPage, ProjectionError> {
    let mut found = PageCheck::new(begun);
    let mut last = None;
    // The rows of the view come first, so that each event finds the row of its aggregate.
    for row in &page.rows {
        let id = AggregateId(row.try_get("aggregate_id")?);
        if row.try_get::<Option<Uuid>, _>("id")?.is_none() {
            found.add_row(id, read_events::catch_decode_error(view::decode_row(row))?);
            continue;
        }
        last = Some((id.0, row.try_get("version")?));
        let event = read_events::decode(row)?;
        let (version, claimed) = (row.try_get("version")?, row.try_get("claimed")?);
        found.add_event(generation, id, Version(version), claimed, event);
    }
    let next = last.filter(|_| page.is_cut);
    let (mut checked, begun) = found.finish(generation, next.map(|(id, _)| AggregateId(id)));
    columns::expect_stored(pool, generation, &mut checked).await?;
    let found = checked
        .into_iter()
        .map(|checked| checked.into_difference(generation))
        .collect();
    Ok(VerifiedPage { found, begun, next })
}
