//! Parked aggregates: an event could not be folded, its successors wait behind it, everybody else goes on. (Elsewhere a
//! dead letter; but of one aggregate, in order, and tried again.)
//!
//! A retry takes the parked row first and reads the chain in later statements, so a pass that passed over an event
//! because of this row has either committed before (the chain holds the event) or waits (and then finds the row gone).
//! It folds the whole chain before it un-parks: an event behind it would fall between the two otherwise.

use sqlx::Row;

use super::budget::Budget;
use super::fold::{self, Failure, OnRefusedWrite};
use super::{ProjectionError, claim};
use crate::db::{DbError, Pool, Session};
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::store;
use crate::view::View;

/// How many events of a chain are folded at once; the transaction goes on until there are no more.
const CHUNK: usize = 1000;

/// How many parked aggregates a catch-up tries again before it looks at what is new: after a bad deployment thousands may
/// be parked, and nothing else should wait for all of them.
const AT_ONCE: i64 = 50;

/// What retries did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RetryReport {
    /// Aggregates that are not parked any more.
    pub unparked: u64,
    /// Aggregates that failed again.
    pub failed: u64,
    /// Events folded.
    pub applied: u64,
}

/// Tries the parked aggregates again whose time has come; returns how many events were folded.
pub(super) async fn retry_due(
    pool: &Pool,
    view: &View,
    budget: &Budget,
) -> Result<u64, ProjectionError> {
    Ok(retry_all(pool, view, true, budget).await?.applied)
}

/// Tries every parked aggregate of a projection again now, due or not.
///
/// # Errors
///
/// Any [`ProjectionError`]; an aggregate that fails again is none.
pub async fn retry(
    pool: &Pool,
    view: &View,
    budget: &Budget,
) -> Result<RetryReport, ProjectionError> {
    retry_all(pool, view, false, budget).await
}

async fn retry_all(
    pool: &Pool,
    view: &View,
    only_due: bool,
    budget: &Budget,
) -> Result<RetryReport, ProjectionError> {
    let rows = sqlx::query(include_str!("sql/find_parked.sql"))
        .bind(view.name())
        .bind(only_due)
        .bind(if only_due { AT_ONCE } else { i64::MAX })
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let mut retried = RetryReport::default();
    for row in rows {
        if budget.is_spent() {
            break;
        }
        let aggregate_id = AggregateId(row.try_get("aggregate_id")?);
        let tried = Box::pin(retry_one(pool, view, aggregate_id));
        let Some(tried) = budget.run_until_abort(tried).await else {
            // What was done before counts.
            break;
        };
        match tried {
            Ok(Some((applied, unparked))) => {
                retried.applied += applied;
                retried.unparked += u64::from(unparked);
                retried.failed += u64::from(!unparked);
            }
            // Un-parked meanwhile, or somebody is at it: a pass that relies on the row, or another retry. Its turn comes again.
            Ok(None) | Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(retried)
}

/// Folds one parked aggregate's chain: how many events, and whether it is un-parked. `None`: it was not parked.
async fn retry_one(
    pool: &Pool,
    view: &View,
    aggregate_id: AggregateId,
) -> Result<Option<(u64, bool)>, ProjectionError> {
    let mut transaction = pool.begin().await?;
    let locked = sqlx::query(include_str!("sql/lock_parked.sql"))
        .bind(view.name())
        .bind(aggregate_id.0)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(locked) = locked else {
        return Ok(None);
    };
    let (mut from, mut from_the_first) = (Version(locked.try_get("version")?), false);
    let mut folded = 0;
    let failure = loop {
        let chain = read_chain(&mut transaction, view, aggregate_id, from).await?;
        let (read, last) = (chain.len(), chain.last().map(|event| event.version));
        let claimed = claim::claim_events(&mut transaction, view, chain).await?;
        let mut applied =
            fold::apply(&mut transaction, view, claimed, OnRefusedWrite::Narrow).await?;
        folded += applied.folded as u64;
        if let Some(failure) = applied.failures.pop() {
            break Some(failure);
        }
        if applied.given_back > 0 {
            if from_the_first {
                // An event that the chain rests on is in somebody's hands. Nothing of this is kept; its turn comes again.
                return Ok(Some((0, false)));
            }
            // Below the place where it was parked there is something new: a hole in the log was filled. Passes leave
            // it to this retry.
            (from, from_the_first) = (Version(1), true);
            continue;
        }
        match last {
            Some(last) if read == CHUNK => from = Version(last.0 + 1),
            _ => break None,
        }
    };
    match &failure {
        None => unpark(&mut transaction, view, aggregate_id).await?,
        Some(failure) => delay(&mut transaction, view, failure).await?,
    }
    transaction.commit().await?;
    Ok(Some((folded, failure.is_none())))
}

async fn read_chain(
    connection: &mut Session,
    view: &View,
    aggregate_id: AggregateId,
    from: Version,
) -> Result<Vec<RecordedEvent>, ProjectionError> {
    let types = view.projection.block();
    let rows = sqlx::query(include_str!("sql/read_chain.sql"))
        .bind(aggregate_id.0)
        .bind(from.0)
        .bind(types.start)
        .bind(types.end)
        .bind(i64::try_from(CHUNK).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    Ok(rows
        .iter()
        .map(store::decode_event)
        .collect::<Result<_, _>>()?)
}

async fn unpark(
    connection: &mut Session,
    view: &View,
    aggregate_id: AggregateId,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/unpark.sql"))
        .bind(view.name())
        .bind(aggregate_id.0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn delay(
    connection: &mut Session,
    view: &View,
    failure: &Failure,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/delay_parked.sql"))
        .bind(view.name())
        .bind(failure.aggregate_id.0)
        .bind(failure.event_id.0)
        .bind(failure.version.0)
        .bind(&failure.reason)
        .execute(connection)
        .await?;
    Ok(())
}
