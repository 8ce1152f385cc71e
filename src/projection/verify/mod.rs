//! Verify: recomputes every row of a view from the events, and compares the rows one by one and the claims as sets.
//!
//! A page is one statement, so its events, claims and rows are those of one snapshot. In each snapshot the claimed versions of an aggregate
//! are 1 … k, and its row is the fold of them: the row's version is k, or the fold of 1 … k gives none and the row is absent. So a page can be
//! checked while workers go on, however far behind they are. Claims of events that are not in the log are searched for afterwards.
//!
//! Verify changes nothing but the record of its result. The module `repair` folds an aggregate anew.

mod check;
mod record;
mod repair;

use futures_util::TryStreamExt as _;
use sqlx::Row;
use uuid::Uuid;

use self::check::{Aggregate, PageCheck};
pub use self::record::{DifferencesPage, LastVerify, ListedDifference, last, list};
use super::ProjectionError;
use super::budget::Budget;
use super::read::{MAX_BATCH_BYTES, size_of_event};
use crate::db::Pool;
use crate::event::{AggregateId, Version};
use crate::store;
use crate::view::{self, Changes, View};

/// How many events one statement reads.
const MAX_PAGE_EVENTS: u32 = 10_000;

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
    let mut place = (Uuid::nil(), 0);
    let mut begun = None;
    while !budget.is_spent() {
        let page = Box::pin(read_page(pool, &generation, place, begun.take())).await?;
        for found in page.found {
            verification.aggregates += 1;
            let Some(difference) = found else { continue };
            verification.differ += 1;
            let id = difference.id;
            if verification.differences.len() < MAX_LISTED {
                verification.differences.push(difference);
            }
            if repairs && Box::pin(repair::repair(pool, &generation, id)).await? {
                verification.repaired += 1;
            }
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

/// A page of aggregates.
struct VerifiedPage {
    /// One for each aggregate that was checked to its end.
    found: Vec<Option<Difference>>,
    /// The aggregate that goes on in the next page.
    begun: Option<Box<Aggregate>>,
    /// Where the next page begins; `None` after the last one.
    next: Option<(Uuid, i32)>,
}

/// Reads a page and checks its aggregates. An aggregate with more events than a page has goes on in the next one.
async fn read_page(
    pool: &Pool,
    generation: &View,
    after: (Uuid, i32),
    begun: Option<Box<Aggregate>>,
) -> Result<VerifiedPage, ProjectionError> {
    let types = generation.projection.block();
    let mut connection = pool.acquire().await?;
    let statement = generation.sql.fill(include_str!("sql/read_page.sql"));
    let mut rows = sqlx::query(statement)
        .bind(generation.lock_domain())
        .bind(after.0)
        .bind(after.1)
        .bind(types.start)
        .bind(types.end)
        .bind(i64::from(MAX_PAGE_EVENTS))
        .fetch(&mut *connection);
    let mut found = PageCheck::new(begun);
    let (mut read, mut bytes, mut last, mut is_cut) = (0, 0, None, false);
    // The rows of the view come first, so that each event finds the row of its aggregate.
    while let Some(row) = rows.try_next().await? {
        let id = AggregateId(row.try_get("aggregate_id")?);
        if row.try_get::<Option<Uuid>, _>("id")?.is_none() {
            found.add_row(
                id,
                super::read_events::catch_decode_error(view::decode_row(&row))?,
            );
            continue;
        }
        bytes += size_of_event(&row)?;
        if is_cut || (bytes > MAX_BATCH_BYTES && read > 0) {
            is_cut = true;
            continue;
        }
        read += 1;
        last = Some((id.0, row.try_get("version")?));
        let event = super::read_events::catch_decode_error(store::decode_event(&row))?;
        let (version, claimed) = (row.try_get("version")?, row.try_get("claimed")?);
        found.add_event(generation, id, Version(version), claimed, event);
    }
    drop(rows);
    drop(connection);
    is_cut |= read == MAX_PAGE_EVENTS;
    let next = last.filter(|_| is_cut);
    let (found, begun) = found.finish(generation, next.map(|(id, _)| AggregateId(id)));
    check_columns(pool, generation, found, begun, next).await
}

/// Compares rows that seem to differ once more, after the columns of the table have received the values: a column may store less than
/// the row type has, such as a time without nanoseconds.
async fn check_columns(
    pool: &Pool,
    generation: &View,
    found: Vec<check::Checked>,
    begun: Option<Box<Aggregate>>,
    next: Option<(Uuid, i32)>,
) -> Result<VerifiedPage, ProjectionError> {
    let mut differences = Vec::with_capacity(found.len());
    let suspected: Vec<_> = found
        .iter()
        .filter_map(check::Checked::expected_row)
        .collect();
    let mut stored = std::collections::HashMap::new();
    if !suspected.is_empty() {
        let rows = sqlx::query(generation.sql.fill(include_str!("sql/store_rows.sql")))
            .bind(view::json_array(&suspected))
            .fetch_all(&mut *pool.acquire().await?)
            .await?;
        for row in &rows {
            if let Some((_, json)) = view::decode_row(row)? {
                stored.insert(AggregateId(row.try_get("id")?), json);
            }
        }
    }
    for mut checked in found {
        if let Some(json) = stored.remove(&checked.id()) {
            checked.expect(json);
        }
        differences.push(checked.into_difference(generation));
    }
    Ok(VerifiedPage {
        found: differences,
        begun,
        next,
    })
}
