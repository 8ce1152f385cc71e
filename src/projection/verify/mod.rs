//! Verify: recomputes every row of a view from the events, and compares the rows one by one and the claims as sets.
//!
//! A page is one statement, so its events, claims and rows are those of one snapshot. In each snapshot the claimed versions of an aggregate
//! are 1 … k, and its row is the fold of them: the row's version is k, or the fold of 1 … k gives none and the row is absent. So a page can be
//! checked while workers go on, however far behind they are. Claims of events that are not in the log are searched for afterwards.
//!
//! The aggregates are cut into ranges of ids, of which two sessions take one after the other; with repairs, one session.
//!
//! Verify changes nothing but the record of its result. The module `repair` folds an aggregate anew.

mod check;
mod columns;
mod page;
mod ranges;
mod record;
mod repair;

use std::time::Instant;

use self::ranges::{IdRange, Ranges};
pub use self::record::{DifferencesPage, LastVerify, ListedDifference, last, list};
use super::ProjectionError;
use super::budget::{BatchSizer, Budget};
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

impl Verification {
    /// What two verifications of different aggregates have found together.
    fn and(mut self, other: Self) -> Self {
        self.aggregates += other.aggregates;
        self.differ += other.differ;
        self.repaired += other.repaired;
        self.complete &= other.complete;
        self.differences.extend(other.differences);
        self.differences.sort_by_key(|difference| difference.id);
        self.differences.truncate(MAX_LISTED);
        self
    }
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
    let ranges = Ranges::cut(pool).await?;
    let verified = || Box::pin(verify_ranges(pool, &generation, &ranges, repairs, budget));
    let mut verification = if repairs {
        // A repair excludes every other one.
        verified().await?
    } else {
        let (one, other) = tokio::try_join!(verified(), verified())?;
        one.and(other)
    };
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

/// Verifies ranges until none is left.
async fn verify_ranges(
    pool: &Pool,
    generation: &View,
    ranges: &Ranges,
    repairs: bool,
    budget: &Budget,
) -> Result<Verification, ProjectionError> {
    let mut verification = Verification::default();
    let mut sizer = BatchSizer::new(MAX_PAGE_EVENTS);
    while let Some(range) = ranges.take() {
        let verified = verify_range(
            pool,
            generation,
            (range, &mut sizer),
            (repairs, budget),
            &mut verification,
        );
        if !Box::pin(verified).await? {
            return Ok(verification);
        }
    }
    verification.complete = true;
    Ok(verification)
}

/// Verifies the aggregates of a range; false if the time did not suffice.
async fn verify_range(
    pool: &Pool,
    generation: &View,
    (range, sizer): (IdRange, &mut BatchSizer),
    (repairs, budget): (bool, &Budget),
    verification: &mut Verification,
) -> Result<bool, ProjectionError> {
    let mut place = (range.first, 0);
    let mut begun = None;
    while !budget.is_spent() {
        let size = sizer.next_size(budget);
        if size == 0 {
            break;
        }
        let size = size.max(MIN_PAGE_EVENTS);
        let started = Instant::now();
        let rows = match page::read_page(pool, generation, (range, place), size).await {
            // A page of the same size would take as long again.
            Err(ProjectionError::Db(DbError::TimedOut(_))) if size > MIN_PAGE_EVENTS => {
                sizer.record(size, started.elapsed());
                continue;
            }
            rows => rows?,
        };
        let (read, is_too_large) = (rows.read, rows.is_too_large);
        let page = Box::pin(page::check_page(pool, generation, rows, begun.take())).await?;
        sizer.record(read, started.elapsed());
        if is_too_large {
            sizer.limit(read);
        }
        let is_checked = Box::pin(record_page(
            pool,
            generation,
            page.found,
            (repairs, budget),
            verification,
        ));
        if !is_checked.await? {
            break;
        }
        begun = page.begun;
        match page.next {
            Some(next) => place = next,
            None => return Ok(true),
        }
    }
    Ok(false)
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
