//! Filling a generation, slice by slice.

use std::collections::HashSet;
use std::time::Instant;

use futures_util::TryStreamExt as _;
use sqlx::Row;

use super::slices::{self, Slice, SliceMark};
use crate::db::{DbError, Pool, Transaction};
use crate::event::{AggregateId, RecordedEvent};
use crate::projection::budget::{BatchSizer, Budget};
use crate::projection::plan::{AggregateBatch, Before, Failure, plan};
use crate::projection::read::{MAX_BATCH_BYTES, decode_before, size_of_event};
use crate::projection::read_events::ReadEvents;
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
            Ok(Some(read)) => {
                sizer.record(read, started.elapsed());
                lost = 0;
            }
            Ok(None) => break,
            Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => lost += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills a part of a free slice; `None` when there is none. Returns how many events it has read.
async fn batch(
    mut transaction: Transaction,
    generation: &View,
    size: u32,
) -> Result<Option<u32>, ProjectionError> {
    let Some(slice) = slices::take(&mut transaction, generation).await? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    let mut page = read_page(&mut transaction, generation, &slice, size).await?;
    let read = page.read;
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
        return Ok(Some(read));
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
    let counts = (page.count_aggregates(), claimed);
    slices::advance(
        &mut transaction,
        generation,
        &slice,
        (done, is_finished),
        counts,
    )
    .await?;
    transaction.commit().await?;
    Ok(Some(read))
}

/// The next events of a slice, in the order of aggregates and versions.
#[derive(Debug, Default)]
struct SlicePage {
    events: ReadEvents,
    read: u32,
    /// Whether there may be more events in the slice.
    is_cut: bool,
    /// The last event read.
    last: Option<SliceMark>,
}

impl SlicePage {
    /// Leaves the last aggregate to the next batch if more of its events may follow, unless it is the only one. Returns whether the
    /// page reaches the end of the slice.
    fn trim(&mut self) -> bool {
        let (true, Some(last)) = (self.is_cut, self.last) else {
            return true;
        };
        let is_other = |id: AggregateId| id.0 != last.aggregate_id;
        let events = self
            .events
            .events
            .iter()
            .map(|e| (e.aggregate_id, e.version));
        let undecodable = self.events.undecodable.iter();
        let others = events.chain(undecodable.map(|e| (e.aggregate_id, e.version)));
        let before = others.filter(|(id, _)| is_other(*id)).max();
        if let Some((id, version)) = before {
            self.events.events.retain(|e| is_other(e.aggregate_id));
            self.events.undecodable.retain(|e| is_other(e.aggregate_id));
            self.last = Some(SliceMark {
                aggregate_id: id.0,
                version: version.0,
            });
        }
        false
    }

    fn count_aggregates(&self) -> usize {
        let events = self.events.events.iter().map(|e| e.aggregate_id);
        let undecodable = self.events.undecodable.iter().map(|e| e.aggregate_id);
        events.chain(undecodable).collect::<HashSet<_>>().len()
    }
}

async fn read_page(
    transaction: &mut Transaction,
    generation: &View,
    slice: &Slice,
    size: u32,
) -> Result<SlicePage, ProjectionError> {
    let types = generation.projection.block();
    let mut rows = sqlx::query(include_str!("sql/read_slice.sql"))
        .bind(slice.frozen.to_string())
        .bind(slice.done.aggregate_id)
        .bind(slice.done.version)
        .bind(slice.last.aggregate_id)
        .bind(slice.last.version)
        .bind(types.start)
        .bind(types.end)
        .bind(i64::from(size))
        .fetch(&mut **transaction);
    let (mut page, mut bytes) = (SlicePage::default(), 0);
    // The result is read to its end even when the page is full: otherwise the next statement could not use the connection.
    while let Some(row) = rows.try_next().await? {
        bytes += size_of_event(&row)?;
        if page.is_cut || (bytes > MAX_BATCH_BYTES && page.read > 0) {
            page.is_cut = true;
            continue;
        }
        page.read += 1;
        page.events.push(&row)?;
        page.last = Some(SliceMark {
            aggregate_id: row.try_get("aggregate_id")?,
            version: row.try_get("version")?,
        });
    }
    page.is_cut |= page.read == size;
    Ok(page)
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
