//! Verify: recomputes every row of a view from the events, and compares the rows one by one and the claims as sets.
//!
//! A page is one statement, so its events, claims and rows are those of one snapshot. In each snapshot the claimed versions of an aggregate
//! are 1 … k, and its row is the fold of them: the row's version is k, or the fold of 1 … k gives none and the row is absent. So a page can be
//! checked while workers go on, however far behind they are. Claims of events that are not in the log are searched for afterwards.
//!
//! Verify changes nothing but the record of its result. The module `repair` folds an aggregate anew.

mod check;
mod columns;
mod record;
mod repair;

use std::time::Instant;

use futures_util::TryStreamExt as _;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use self::check::{Aggregate, PageCheck};
pub use self::record::{DifferencesPage, LastVerify, ListedDifference, last, list};
use super::budget::{BatchSizer, Budget};
use super::read::{MAX_BATCH_BYTES, size_of_event};
use super::{ProjectionError, read_events};
use crate::db::{DbError, Pool};
use crate::event::{AggregateId, Version};
use crate::view::{self, Changes, View};

/// How many events one statement reads at most, as far as time and memory allow.
const MAX_PAGE_EVENTS: u32 = 10_000;

/// How many events one statement reads at least. The rows of a page are read with its events, so smaller pages would check less at once.
const MIN_PAGE_EVENTS: u32 = 100;

/// How many differences are reported and recorded. All of them are counted, and all of them are repaired.
pub const MAX_LISTED: usize = 1000;

/// What a verification has found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Verification {
    /// Aggregates that were checked.
    pub aggregates: u64,
    /// Aggregates whose row or claims differ from what the events say.
    pub differ: u64,
    /// Claims of events that are not in the log.
    pub orphan_claims: u64,
    /// Aggregates that were repaired.
    pub repaired: u64,
    /// The first differences, without secrets.
    pub differences: Vec<Difference>,
    /// Whether everything was checked. The time may not suffice for that.
    pub complete: bool,
}

/// What differs about one aggregate.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Difference {
    /// The aggregate.
    pub id: AggregateId,
    /// The version of its row, or of its newest claim.
    pub version: Version,
    /// The fields that differ: the value in the view and the one that the events give.
    pub changes: Changes,
    /// What is wrong with the claims, or with the row as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Verifies the view of a projection. With `repairs`, the aggregates that differ are folded anew.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn verify(
    pool: &Pool,
    view: &View,
    repairs: bool,
    budget: &Budget,
) -> Result<Verification, ProjectionError> {
    let resolved = view::resolve(&mut *pool.acquire().await?, view).await?;
    if !resolved.exists {
        return Err(ProjectionError::NotReprojected(view.name()));
    }
    let generation = resolved.view;
    let mut verification = Verification::default();
    let mut sizer = BatchSizer::new(MAX_PAGE_EVENTS);
    let mut place = (Uuid::nil(), 0);
    let mut begun = None;
    while !budget.is_spent() {
        let size = sizer.next_size(budget);
        if size == 0 {
            break;
        }
        let size = size.max(MIN_PAGE_EVENTS);
        let started = Instant::now();
        let rows = match read_page(pool, &generation, place, size).await {
            // A page of the same size would take as long again.
            Err(ProjectionError::Db(DbError::TimedOut(_))) if size > MIN_PAGE_EVENTS => {
                sizer.record(size, started.elapsed());
                continue;
            }
            rows => rows?,
        };
        let (read, is_too_large) = (rows.read, rows.is_too_large);
        let page = Box::pin(check_page(pool, &generation, rows, begun.take())).await?;
        sizer.record(read, started.elapsed());
        if is_too_large {
            sizer.limit(read);
        }
        let is_checked = Box::pin(record_page(
            pool,
            &generation,
            page.found,
            (repairs, budget),
            &mut verification,
        ));
        if !is_checked.await? {
            break;
        }
        begun = page.begun;
        if let Some(next) = page.next {
            place = next;
        } else {
            verification.complete = true;
            break;
        }
    }
    if verification.complete {
        let orphans = repair::orphans(pool, &generation, repairs, budget);
        match Box::pin(orphans).await? {
            Some(count) => verification.orphan_claims = count,
            None => verification.complete = false,
        }
    }
    record::store(pool, &generation, &verification).await?;
    Ok(verification)
}

/// Counts what a page has found, and repairs it on request; false if the time did not suffice for that.
async fn record_page(
    pool: &Pool,
    generation: &View,
    found: Vec<Option<Difference>>,
    (repairs, budget): (bool, &Budget),
    verification: &mut Verification,
) -> Result<bool, ProjectionError> {
    for found in found {
        verification.aggregates += 1;
        let Some(difference) = found else { continue };
        verification.differ += 1;
        let id = difference.id;
        if verification.differences.len() < MAX_LISTED {
            verification.differences.push(difference);
        }
        if !repairs {
            continue;
        }
        if budget.is_spent() {
            return Ok(false);
        }
        if Box::pin(repair::repair(pool, generation, id)).await? {
            verification.repaired += 1;
        }
    }
    Ok(true)
}

/// What the statement of a page has returned.
struct PageRows {
    /// The rows of the view, and then the events.
    rows: Vec<PgRow>,
    /// How many events there are.
    read: u32,
    /// Whether there may be more events.
    is_cut: bool,
    /// Whether there are, because those that were requested are larger than [`MAX_BATCH_BYTES`].
    is_too_large: bool,
}

/// Reads a page of at most so many events.
async fn read_page(
    pool: &Pool,
    generation: &View,
    after: (Uuid, i32),
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
struct VerifiedPage {
    /// One for each aggregate that was checked to its end.
    found: Vec<Option<Difference>>,
    /// The aggregate that goes on in the next page.
    begun: Option<Box<Aggregate>>,
    /// Where the next page begins; `None` after the last one.
    next: Option<(Uuid, i32)>,
}

/// Checks the aggregates of a page. An aggregate with more events than a page has goes on in the next one.
async fn check_page(
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
