//! Repair: folds an aggregate anew whose row or claims are wrong.
//!
//! A batch, an inline fold and a retry rely on the claims to notice that a row has changed since they have read it. A repair replaces a
//! row without claiming another event, so it must exclude them, in one transaction:
//!
//! 1. It takes the lock exclusively that inline folds share until their commit, and counts the repair. An inline fold has ended, or
//!    gets the lock after this commit; then its second statement sees another number of repairs than its first one, if that one has
//!    read the rows before, and starts over with claims first and rows after them.
//! 2. Retries share this lock, too, and read the chain after they have it.
//! 3. It locks the lanes of the generation and increments their turns. A batch that was read before writes nothing, and is read again.
//!    A reprojection that goes live takes the two locks in the same order.
//!
//! Then it releases the claims of the aggregate, deletes its row, and does what a retry does with the whole chain. (test:
//! `repair_folds_exactly_the_aggregates_that_differ`)

use sqlx::Row;
use uuid::Uuid;

use super::run::{PageFindings, TakenRange, VerifyRun};
use crate::db::{DbError, Transaction};
use crate::event::{AggregateId, Version};
use crate::projection::plan::Failure;
use crate::projection::read_events::ReadEvents;
use crate::projection::retry::{self, MAX_CHUNK_EVENTS};
use crate::projection::rows::OnRejectedWrite;
use crate::projection::{ProjectionError, claim, fold};
use crate::view::{self, View};

/// How often a repair is tried while other transactions are in the way.
const MAX_ATTEMPTS: u32 = 5;

/// How many pages of `locker` one statement searches for claims without an event.
const MAX_CLAIM_PAGES: i64 = 1000;

/// How a repair has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repaired {
    /// The aggregate was folded anew, or was parked because one of its events cannot be folded. It is counted.
    Counted,
    /// Other transactions were in the way. It is not counted.
    Contended,
    /// Another invocation has counted the aggregate, or another verification has begun, so nothing has changed.
    Lost,
}

/// Folds the aggregate `id` of a range anew, and counts it with what was found before it, in one transaction. So a repair is counted once,
/// whatever ends the invocation.
pub(super) async fn repair(
    run: &VerifyRun<'_>,
    taken: &mut TakenRange,
    id: AggregateId,
    found: &mut PageFindings,
) -> Result<Repaired, ProjectionError> {
    let next = Uuid::from_u128(id.0.as_u128().saturating_add(1));
    for _ in 0..MAX_ATTEMPTS {
        let mut transaction = run.pool.begin().await?;
        let counted = Box::pin(refold_and_count(
            &mut transaction,
            run,
            (taken, next, id),
            found,
        ));
        match counted.await {
            Ok(true) => {
                transaction.commit().await?;
                taken.next = next;
                *found = PageFindings::default();
                run.note_count();
                return Ok(Repaired::Counted);
            }
            Ok(false) => {
                transaction.rollback().await?;
                return Ok(Repaired::Lost);
            }
            Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => {}
            Err(error) => return Err(error),
        }
    }
    found.repaired = 0;
    Ok(Repaired::Contended)
}

async fn refold_and_count(
    transaction: &mut Transaction,
    run: &VerifyRun<'_>,
    (taken, next, id): (&TakenRange, Uuid, AggregateId),
    found: &mut PageFindings,
) -> Result<bool, ProjectionError> {
    let is_whole = Box::pin(refold(transaction, run.generation, id)).await?;
    found.repaired = u64::from(is_whole);
    run.count_within(transaction, taken, Some(next), found)
        .await
}

async fn refold(
    transaction: &mut Transaction,
    view: &View,
    id: AggregateId,
) -> Result<bool, ProjectionError> {
    sqlx::query(include_str!("sql/exclude_folds.sql"))
        .bind(view.name())
        .execute(&mut **transaction)
        .await?;
    let is_there: bool = sqlx::query_scalar(include_str!("sql/note_repair.sql"))
        .bind(view.lock_domain())
        .fetch_one(&mut **transaction)
        .await?;
    if !is_there {
        return Ok(false);
    }
    sqlx::query(include_str!("sql/turn_lanes.sql"))
        .bind(view.lock_domain())
        .execute(&mut **transaction)
        .await?;
    let is_parked = retry::lock(transaction, view, id).await?.is_some();
    sqlx::query(include_str!("sql/release_aggregate.sql"))
        .bind(view.lock_domain())
        .bind(id.0)
        .execute(&mut **transaction)
        .await?;
    view::delete(transaction, view, &[id]).await?;
    let mut next = Version(1);
    loop {
        let chunk = retry::read_chain(transaction, view, id, next, MAX_CHUNK_EVENTS).await?;
        let is_last = chunk.read < MAX_CHUNK_EVENTS && !chunk.is_cut;
        let last = chunk.events.events.last().map(|event| event.version);
        let undecodable = chunk.events.undecodable.into_iter().next();
        let claimed = ReadEvents {
            events: claim::claim_events(transaction, view, chunk.events.events).await?,
            ..ReadEvents::default()
        };
        let mut applied = fold::apply(transaction, view, claimed, OnRejectedWrite::Bisect).await?;
        if let Some(failure) = applied.failures.pop().or(undecodable) {
            park(transaction, view, &failure).await?;
            return Ok(false);
        }
        match last {
            Some(last) if !is_last => next = Version(last.0 + 1),
            _ => break,
        }
    }
    if is_parked {
        retry::unpark(transaction, view, id).await?;
    }
    Ok(true)
}

/// Parks the aggregate at the event that cannot be folded.
async fn park(
    transaction: &mut Transaction,
    view: &View,
    failure: &Failure,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/park_again.sql"))
        .bind(view.lock_domain())
        .bind(failure.aggregate_id.0)
        .bind(failure.event_id.0)
        .bind(failure.version.0)
        .bind(&failure.reason)
        .bind(failure.class.name())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Counts the claims of events that are not in the log in the next pages, and removes them if the verification repairs. Returns whether
/// more pages follow.
pub(super) async fn count_orphans(run: &VerifyRun<'_>) -> Result<bool, ProjectionError> {
    let name = run.generation.name();
    let mut connection = run.pool.acquire().await?;
    let row = sqlx::query(include_str!("sql/find_claims.sql"))
        .bind(name)
        .bind(run.id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(false) };
    if row.try_get("complete")? {
        return Ok(false);
    }
    sqlx::query(include_str!("sql/count_orphans.sql"))
        .bind(run.generation.lock_domain())
        .bind(row.try_get::<i64, _>("claims_page")?)
        .bind(MAX_CLAIM_PAGES)
        .bind(run.repairs)
        .bind(name)
        .bind(run.id)
        .execute(&mut *connection)
        .await?;
    run.note_count();
    Ok(true)
}
