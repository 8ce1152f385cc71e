//! A verification that several invocations share: its name, and how it moves on.
//!
//! The row of the projection in `verifications` names the verification and has its counts; `verify_ranges` says where each range of
//! aggregates goes on. A range moves in the transaction that counts what was found before its new place, and only from the place at which
//! the invocation has found it. So an aggregate is counted once, although no lock is held while it is checked: of two invocations that
//! check it, the second one finds the range elsewhere, and counts nothing. One that is killed loses what it has not counted.
//!
//! All transactions lock ranges first, the row of the projection after them, and then differences. A repair locks the generation and its
//! lanes before; see `repair`.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::Row as _;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::ranges::{self, IdRange};
use super::record;
use super::{Difference, MAX_LISTED, VerifyOptions};
use crate::db::{Pool, Transaction};
use crate::projection::ProjectionError;
use crate::view::View;

/// How often an invocation tries to start a verification while others do.
const MAX_ATTEMPTS: u32 = 5;

/// A verification.
#[derive(Debug)]
pub(super) struct VerifyRun<'a> {
    pub pool: &'a Pool,
    /// The generation that it checks.
    pub generation: &'a View,
    pub id: Uuid,
    pub repairs: bool,
    /// The ranges that the sessions of this invocation work on, by where they begin.
    taken: Mutex<Vec<Uuid>>,
    has_counted: AtomicBool,
}

/// A range that a session has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakenRange {
    pub range: IdRange,
    /// The first aggregate that is not checked.
    pub next: Uuid,
}

/// What was found, and is not counted yet.
#[derive(Debug, Default)]
pub(super) struct PageFindings {
    pub aggregates: u64,
    pub differ: u64,
    pub repaired: u64,
    /// The first differences.
    pub differences: Vec<Difference>,
}

impl PageFindings {
    pub(super) fn add(&mut self, difference: Option<Difference>) {
        self.aggregates += 1;
        let Some(difference) = difference else { return };
        self.differ += 1;
        if self.differences.len() < MAX_LISTED {
            self.differences.push(difference);
        }
    }
}

impl<'a> VerifyRun<'a> {
    /// Goes on with the verification that asks the same, or starts one.
    pub(super) async fn begin(
        pool: &'a Pool,
        generation: &'a View,
        options: VerifyOptions,
    ) -> Result<Self, ProjectionError> {
        let with_id = |id| Self {
            pool,
            generation,
            id,
            repairs: options.repair,
            taken: Mutex::default(),
            has_counted: AtomicBool::default(),
        };
        let mut restart = options.restart;
        for _ in 0..MAX_ATTEMPTS {
            let last = sqlx::query(include_str!("sql/find_run.sql"))
                .bind(generation.name())
                .bind(generation.lock_domain())
                .bind(generation.fold_hash())
                .bind(options.repair)
                .fetch_optional(&mut *pool.acquire().await?)
                .await?;
            let (last, can_continue) = match last {
                Some(row) => (
                    row.try_get::<Option<Uuid>, _>("run")?,
                    row.try_get("can_continue")?,
                ),
                None => (None, false),
            };
            if let Some(id) = last.filter(|_| can_continue && !restart) {
                return Ok(with_id(id));
            }
            // What another invocation starts from now on is as new as this one.
            restart = false;
            let run = with_id(Uuid::new_v4());
            if run.start(last).await? {
                return Ok(run);
            }
        }
        Err(ProjectionError::VerifyReplaced(generation.name()))
    }

    /// Starts it in place of the last one; false if another invocation was first.
    async fn start(&self, last: Option<Uuid>) -> Result<bool, ProjectionError> {
        let ranges = ranges::cut(self.pool).await?;
        let (first, end): (Vec<_>, Vec<_>) =
            ranges.iter().map(|range| (range.first, range.last)).unzip();
        let mut transaction = self.pool.begin().await?;
        sqlx::query(include_str!("sql/clear_ranges.sql"))
            .bind(self.generation.name())
            .execute(&mut *transaction)
            .await?;
        let start = self.generation.sql.fill(include_str!("sql/start_run.sql"));
        let started = sqlx::query(start)
            .bind(self.generation.name())
            .bind(self.generation.lock_domain())
            .bind(self.generation.fold_hash())
            .bind(self.repairs)
            .bind(self.id)
            .bind(last)
            .execute(&mut *transaction)
            .await?;
        if started.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        sqlx::query(include_str!("sql/plan_ranges.sql"))
            .bind(self.generation.name())
            .bind(first)
            .bind(end)
            .execute(&mut *transaction)
            .await?;
        record::clear_differences(&mut transaction, self.generation).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// A range that is not finished, and that no session of this invocation works on. A session releases it when it ends its work on it.
    pub(super) async fn take(&self) -> Result<Option<TakenRange>, ProjectionError> {
        let mut taken = self.taken.lock().await;
        let row = sqlx::query(include_str!("sql/take_range.sql"))
            .bind(self.generation.name())
            .bind(self.id)
            .bind(&*taken)
            .fetch_optional(&mut *self.pool.acquire().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let range = IdRange {
            first: row.try_get("first")?,
            last: row.try_get("last")?,
        };
        taken.push(range.first);
        Ok(Some(TakenRange {
            range,
            next: row.try_get("next")?,
        }))
    }

    pub(super) async fn release(&self, taken: TakenRange) {
        let mut ranges = self.taken.lock().await;
        ranges.retain(|first| *first != taken.range.first);
    }

    /// Counts what was found in a range up to `next`, the next aggregate to check; `None`: to its end. Returns false if another invocation
    /// has counted it, or if another verification has begun.
    pub(super) async fn count(
        &self,
        taken: &mut TakenRange,
        next: Option<Uuid>,
        found: &mut PageFindings,
    ) -> Result<bool, ProjectionError> {
        let mut transaction = self.pool.begin().await?;
        if !self
            .count_within(&mut transaction, taken, next, found)
            .await?
        {
            transaction.rollback().await?;
            return Ok(false);
        }
        transaction.commit().await?;
        taken.next = next.unwrap_or(taken.next);
        *found = PageFindings::default();
        self.note_count();
        Ok(true)
    }

    /// Remembers that this invocation has counted something.
    pub(super) fn note_count(&self) {
        self.has_counted.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_counted(&self) -> bool {
        self.has_counted.load(Ordering::Relaxed)
    }

    /// As [`Self::count`], within a transaction of the caller, which has to roll back if the result is false.
    pub(super) async fn count_within(
        &self,
        transaction: &mut Transaction,
        taken: &TakenRange,
        next: Option<Uuid>,
        found: &PageFindings,
    ) -> Result<bool, ProjectionError> {
        let differed: Option<i64> = sqlx::query_scalar(include_str!("sql/advance_range.sql"))
            .bind(self.generation.name())
            .bind(self.id)
            .bind(taken.range.first)
            .bind(taken.next)
            .bind(next)
            .bind(record::count(found.aggregates))
            .bind(record::count(found.differ))
            .bind(record::count(found.repaired))
            .fetch_optional(&mut **transaction)
            .await?;
        let Some(differed) = differed else {
            return Ok(false);
        };
        // All that differed before are listed, up to the limit.
        let listed = usize::try_from(differed).unwrap_or(MAX_LISTED);
        let room = MAX_LISTED.saturating_sub(listed);
        let differences = found.differences.iter().take(room);
        record::store_differences(transaction, self.generation, differences).await?;
        Ok(true)
    }
}
