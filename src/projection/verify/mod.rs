//! Verify: recomputes every row of a view from the events, and compares the rows one by one and the claims as sets.
//!
//! A page is one statement, so its events, claims and rows are those of one snapshot. In each snapshot the claimed versions of an aggregate
//! are 1 … k, and its row is the fold of them: the row's version is k, or the fold of 1 … k gives none and the row is absent. So a page can be
//! checked while workers go on, however far behind they are. Claims of events that are not in the log are searched for afterwards.
//!
//! The aggregates are cut into ranges of ids, of which two sessions take one after the other; with repairs, one session. What a page has
//! found is counted as soon as the page is checked, so a verification that runs out of time, or is killed, goes on in the next invocation,
//! and several invocations share it (see the module `run`).
//!
//! Verify changes nothing but the record of its result. The module `repair` folds an aggregate anew.

mod check;
mod columns;
mod equal;
mod page;
mod ranges;
mod record;
mod repair;
mod run;

use std::time::Instant;

pub use self::record::{DifferencesPage, LastVerify, ListedDifference, last, list};
use self::repair::Repaired;
use self::run::{PageFindings, TakenRange, VerifyRun};
use uuid::Uuid;

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

/// What to verify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Whether aggregates that differ are folded anew, and claims of events that are not in the log are removed.
    pub repair: bool,
    /// Whether to begin with the first aggregate, even if an earlier verification is not complete.
    pub restart: bool,
}

impl VerifyOptions {
    /// Verify and repair.
    #[must_use]
    pub const fn repair() -> Self {
        Self {
            repair: true,
            restart: false,
        }
    }
}

/// What a verification has found, in all its invocations.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Verification {
    /// Aggregates that were checked.
    pub aggregates: u64,
    /// Aggregates whose row or claims differ from what the events say.
    pub differ: u64,
    /// Claims of events that are not in the log.
    pub orphan_claims: u64,
    /// Those of these claims that were removed.
    pub removed_claims: u64,
    /// Aggregates that were repaired.
    pub repaired: u64,
    /// The first differences, without secrets.
    pub differences: Vec<Difference>,
    /// Whether everything was checked. If the time did not suffice, the next invocation goes on.
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

/// Verifies the view of a projection, or goes on with it: a verification with the same `repair` that is not complete, has counted something
/// within the last hour, and is about the same generation and the same fold. Otherwise a new one takes its place.
///
/// Each invocation checks a page at least, unless it is stopped or aborted, so that repeated ones reach the end. It begins again with an
/// aggregate whose events are not all checked.
///
/// # Errors
///
/// [`ProjectionError::VerifyReplaced`] if another invocation has started a new verification; otherwise any [`ProjectionError`].
pub async fn verify(
    pool: &Pool,
    view: &View,
    options: VerifyOptions,
    budget: &Budget,
) -> Result<Verification, ProjectionError> {
    let resolved = view::resolve(&mut *pool.acquire().await?, view).await?;
    if !resolved.exists {
        return Err(ProjectionError::NotReprojected(view.name()));
    }
    let generation = resolved.view;
    let run = VerifyRun::begin(pool, &generation, options).await?;
    // What was counted is counted, even if the page in progress is aborted.
    let verified = budget.run_until_abort(Box::pin(verify_run(&run, budget)));
    verified.await.transpose()?;
    let verification = record::read(pool, &generation, run.id).await?;
    verification.ok_or(ProjectionError::VerifyReplaced(view.name()))
}

/// Verifies until everything is checked or the time is up.
async fn verify_run(run: &VerifyRun<'_>, budget: &Budget) -> Result<(), ProjectionError> {
    let (mut one, mut other) = (
        RangeChecker::new(run, budget),
        RangeChecker::new(run, budget),
    );
    let is_checked = if run.repairs {
        // A repair excludes every other one.
        Box::pin(one.verify_ranges()).await?
    } else {
        let ranges = (
            Box::pin(one.verify_ranges()),
            Box::pin(other.verify_ranges()),
        );
        let (one, other) = tokio::try_join!(ranges.0, ranges.1)?;
        one && other
    };
    if !is_checked {
        return Ok(());
    }
    while !is_over(run, budget) && repair::count_orphans(run).await? {}
    Ok(())
}

/// Whether to begin nothing more. An invocation counts something first, unless it is stopped: otherwise a deadline that is too short for the
/// start would be too short for ever.
fn is_over(run: &VerifyRun<'_>, budget: &Budget) -> bool {
    budget.stop.is_cancelled() || run.has_counted() && budget.is_spent()
}

/// Verifies one range after the other.
struct RangeChecker<'a> {
    run: &'a VerifyRun<'a>,
    budget: &'a Budget,
    sizer: BatchSizer,
}

/// How the work on a range has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeEnd {
    Finished,
    /// Another invocation works on the range.
    Lost,
    OutOfTime,
}

impl<'a> RangeChecker<'a> {
    const fn new(run: &'a VerifyRun<'a>, budget: &'a Budget) -> Self {
        Self {
            run,
            budget,
            sizer: BatchSizer::new(MAX_PAGE_EVENTS),
        }
    }

    fn is_over(&self) -> bool {
        is_over(self.run, self.budget)
    }

    /// Verifies ranges until all are finished or another session works on them; false if the time did not suffice.
    async fn verify_ranges(&mut self) -> Result<bool, ProjectionError> {
        while let Some(mut taken) = self.run.take().await? {
            let ended = Box::pin(self.verify_range(&mut taken)).await?;
            self.run.release(taken).await;
            if ended == RangeEnd::OutOfTime {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Verifies the aggregates of a range.
    async fn verify_range(&mut self, taken: &mut TakenRange) -> Result<RangeEnd, ProjectionError> {
        let (pool, generation) = (self.run.pool, self.run.generation);
        let mut place = (taken.next, 0);
        let mut begun = None;
        while !self.is_over() {
            let size = self.sizer.next_size(self.budget);
            if size == 0 && self.run.has_counted() {
                break;
            }
            let size = size.max(MIN_PAGE_EVENTS);
            let started = Instant::now();
            let rows = match page::read_page(pool, generation, (taken.range, place), size).await {
                // A page of the same size would take as long again.
                Err(ProjectionError::Db(DbError::TimedOut(_))) if size > MIN_PAGE_EVENTS => {
                    self.sizer.record(size, started.elapsed());
                    continue;
                }
                rows => rows?,
            };
            let (read, is_too_large) = (rows.read, rows.is_too_large);
            let page = Box::pin(page::check_page(pool, generation, rows, begun.take())).await?;
            self.sizer.record(read, started.elapsed());
            if is_too_large {
                self.sizer.limit(read);
            }
            let next = page.next.map(|(id, _)| id);
            if let Some(end) = Box::pin(self.count_page(taken, next, page.found)).await? {
                return Ok(end);
            }
            begun = page.begun;
            match page.next {
                Some(next) => place = next,
                None => return Ok(RangeEnd::Finished),
            }
        }
        Ok(RangeEnd::OutOfTime)
    }

    /// Repairs what a page has found, on request, and counts it. Returns how the work on the range has ended, if it has.
    async fn count_page(
        &mut self,
        taken: &mut TakenRange,
        next: Option<Uuid>,
        differences: Vec<Option<Difference>>,
    ) -> Result<Option<RangeEnd>, ProjectionError> {
        let mut found = PageFindings::default();
        for difference in differences {
            let id = difference.as_ref().map(|difference| difference.id);
            let Some(id) = id.filter(|_| self.run.repairs) else {
                found.add(difference);
                continue;
            };
            if self.is_over() {
                self.run.count(taken, Some(id.0), &mut found).await?;
                return Ok(Some(RangeEnd::OutOfTime));
            }
            found.add(difference);
            match Box::pin(repair::repair(self.run, taken, id, &mut found)).await? {
                Repaired::Counted | Repaired::Contended => {}
                Repaired::Lost => return Ok(Some(RangeEnd::Lost)),
            }
        }
        if next == Some(taken.next) {
            // An aggregate with more events than the page.
            return Ok(None);
        }
        let is_counted = self.run.count(taken, next, &mut found).await?;
        Ok((!is_counted).then_some(RangeEnd::Lost))
    }
}
