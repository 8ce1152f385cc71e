//! Filling a generation, slice by slice.

use std::time::Instant;

use super::page::{self, SlicePage};
use super::slices::{self, Slice, SliceMark};
use crate::db::{DbError, Pool, Transaction};
use crate::event::{AggregateId, RecordedEvent};
use crate::projection::budget::{BatchSizer, Budget, MAX_BATCH_DURATION};
use crate::projection::plan::{AggregateBatch, Before, Failure, plan};
use crate::projection::read::decode_before;
use crate::projection::rows::{self, OnRejectedWrite};
use crate::projection::{FailureClass, ProjectionError};
use crate::view::View;

/// How many events a batch reads at most. Its events are in memory until it is written, and so are its rows.
const MAX_FILL_EVENTS: u32 = 20_000;

/// After this many consecutive batches have been lost, the worker ends.
const MAX_LOST_BATCHES: u32 = 5;

/// Fills slices until none is left or the time is up, with a second worker if a pooled connection is free: while one waits for Postgres,
/// the other folds.
pub(super) async fn fill(
    pool: &Pool,
    generation: &View,
    budget: &Budget,
) -> Result<(), ProjectionError> {
    let second = async {
        match pool.begin_at_once().await? {
            Some(transaction) => run(pool, generation, budget, Some(transaction)).await,
            None => Ok(()),
        }
    };
    let (first, second) = tokio::join!(
        Box::pin(run(pool, generation, budget, None)),
        Box::pin(second)
    );
    first.and(second)
}

async fn run(
    pool: &Pool,
    generation: &View,
    budget: &Budget,
    mut begun: Option<Transaction>,
) -> Result<(), ProjectionError> {
    let mut sizer = BatchSizer::new(MAX_FILL_EVENTS);
    let mut lost = 0;
    while !budget.is_spent() && lost < MAX_LOST_BATCHES {
        let size = sizer.next_size(budget);
        if size == 0 {
            break;
        }
        let started = Instant::now();
        let transaction = match begun.take() {
            Some(transaction) => transaction,
            None => pool.begin().await?,
        };
        match Box::pin(batch(transaction, generation, size)).await {
            Ok(Some(filled)) => {
                sizer.record(filled.read, started.elapsed());
                if filled.is_too_large {
                    sizer.limit(filled.read);
                }
                lost = 0;
            }
            Ok(None) => break,
            Err(ProjectionError::Db(DbError::Contended(_))) => lost += 1,
            Err(ProjectionError::Db(error)) if may_be_too_slow(&error, started) && size > 1 => {
                // A batch of the same size would take as long again.
                sizer.record(size, started.elapsed());
                lost += 1;
            }
            Err(ProjectionError::Db(DbError::TimedOut(_))) => lost += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a batch may have failed because of its size: a statement has reached its limit, or Postgres has ended the transaction while the
/// fold ran.
fn may_be_too_slow(error: &DbError, started: Instant) -> bool {
    match error {
        DbError::TimedOut(_) => true,
        DbError::Unavailable(_) => started.elapsed() > MAX_BATCH_DURATION,
        _ => false,
    }
}

/// A batch that is written.
#[derive(Clone, Copy, Debug)]
struct Filled {
    /// How many events it has read.
    read: u32,
    /// Whether more events would have been too large for a batch.
    is_too_large: bool,
}

/// Fills a part of a free slice; `None` when there is none.
async fn batch(
    mut transaction: Transaction,
    generation: &View,
    size: u32,
) -> Result<Option<Filled>, ProjectionError> {
    let Some(slice) = slices::take(&mut transaction, generation).await? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    let mut page = page::read(&mut transaction, generation, &slice, size).await?;
    let filled = Filled {
        read: page.read,
        is_too_large: page.is_too_large,
    };
    let is_finished = page.trim();
    let Some(done) = page.last else {
        slices::advance(
            &mut transaction,
            generation,
            &slice,
            (slice.done, true),
            (0, 0),
        )
        .await?;
        transaction.commit().await?;
        return Ok(Some(filled));
    };
    let continued = read_continued(&mut transaction, generation, &slice, &page).await?;
    let failures = write_rows(&mut transaction, generation, &page, continued).await?;
    let (ids, versions): (Vec<_>, Vec<_>) = failures
        .iter()
        .map(|failure| (failure.aggregate_id.0, failure.version.0))
        .unzip();
    let types = generation.projection.block();
    let claimed = sqlx::query(include_str!("sql/claim_slice.sql"))
        .bind(generation.lock_domain())
        .bind(slice.frozen.to_string())
        .bind(slice.done.aggregate_id)
        .bind(slice.done.version)
        .bind(done.aggregate_id)
        .bind(done.version)
        .bind(types.start)
        .bind(types.end)
        .bind(&ids)
        .bind(&versions)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    park(&mut transaction, generation, &failures).await?;
    let counts = (page.count_aggregates(slice.done), claimed);
    slices::advance(
        &mut transaction,
        generation,
        &slice,
        (done, is_finished),
        counts,
    )
    .await?;
    transaction.commit().await?;
    Ok(Some(filled))
}

/// What precedes the first event of a page if a batch has ended within its aggregate.
struct Continued {
    aggregate_id: AggregateId,
    /// `None` if the aggregate is parked: its further events wait.
    before: Option<Before>,
}

async fn read_continued(
    transaction: &mut Transaction,
    generation: &View,
    slice: &Slice,
    page: &SlicePage,
) -> Result<Option<Continued>, ProjectionError> {
    let SliceMark {
        aggregate_id,
        version,
    } = slice.done;
    let continues = |id: AggregateId| id.0 == aggregate_id;
    let is_continued = page.events.events.iter().any(|e| continues(e.aggregate_id))
        || page
            .events
            .undecodable
            .iter()
            .any(|e| continues(e.aggregate_id));
    if version == 0 || !is_continued {
        return Ok(None);
    }
    let parked = sqlx::query(include_str!("../sql/still_parked.sql"))
        .bind(generation.lock_domain())
        .bind(vec![aggregate_id])
        .fetch_optional(&mut **transaction)
        .await?;
    let before = if parked.is_some() {
        None
    } else {
        let load = generation.sql.fill(include_str!("../sql/load_rows.sql"));
        let row = sqlx::query(load)
            .bind(vec![aggregate_id])
            .bind(vec![version + 1])
            .bind(generation.lock_domain())
            .fetch_one(&mut **transaction)
            .await?;
        Some(decode_before(&row)?)
    };
    Ok(Some(Continued {
        aggregate_id: AggregateId(aggregate_id),
        before,
    }))
}

/// Folds the events of a page and writes the rows. Returns the first event of each aggregate that could not be folded; those of an
/// aggregate that is parked already begin with version 0.
async fn write_rows(
    transaction: &mut Transaction,
    generation: &View,
    page: &SlicePage,
    mut continued: Option<Continued>,
) -> Result<Vec<Failure>, ProjectionError> {
    let by_aggregate = |a: &RecordedEvent, b: &RecordedEvent| a.aggregate_id == b.aggregate_id;
    let mut parked = Vec::new();
    let mut batches = Vec::new();
    for events in page.events.events.chunk_by(by_aggregate) {
        let id = events[0].aggregate_id;
        let before = match continued.take_if(|continued| continued.aggregate_id == id) {
            None => Before {
                row: Ok(None),
                predecessor_claimed: false,
            },
            Some(Continued {
                before: Some(before),
                ..
            }) => before,
            Some(_) => {
                parked.push(Failure::already_parked(&events[0]));
                continue;
            }
        };
        batches.push(AggregateBatch { before, events });
    }
    let plan = plan(generation.projection, &batches, &page.events.undecodable);
    let rejected = rows::write(transaction, generation, &plan, OnRejectedWrite::Bisect).await?;
    let rejected = rejected
        .iter()
        .map(|change| Failure::new(&change.events[0], FailureClass::Write, &change.error));
    let waiting = plan.waiting.iter();
    let mut failures: Vec<Failure> = rejected
        .chain(waiting.map(|events| Failure::missing_predecessor(&events[0])))
        .chain(plan.park.iter().cloned())
        .chain(parked)
        .collect();
    // The first failure of an aggregate decides what is claimed.
    failures.sort_by_key(|failure| (failure.aggregate_id, failure.version));
    failures.dedup_by_key(|failure| failure.aggregate_id);
    Ok(failures)
}

async fn park(
    transaction: &mut Transaction,
    generation: &View,
    failures: &[Failure],
) -> Result<(), ProjectionError> {
    if failures.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/park.sql"))
        .bind(generation.lock_domain())
        .bind(
            failures
                .iter()
                .map(|f| f.aggregate_id.0)
                .collect::<Vec<_>>(),
        )
        .bind(failures.iter().map(|f| f.event_id.0).collect::<Vec<_>>())
        .bind(failures.iter().map(|f| f.version.0).collect::<Vec<_>>())
        .bind(
            failures
                .iter()
                .map(|f| f.reason.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(failures.iter().map(|f| f.class.name()).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
