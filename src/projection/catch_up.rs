//! Catching up: passes over what is new, batch by batch, until nothing is left or the time is up.

use std::time::{Duration, Instant};

use sqlx::Row;
use tokio::time::timeout;

use super::budget::{Budget, Pace};
use super::claim::{self, Batch};
use super::fold::{self, Applied, OnRefusedWrite};
use super::settled::{LogCursor, Snapshot};
use super::{ProjectionError, parked, status};
use crate::db::{self, DbError, Pool, Stale as _, Transaction};
use crate::event::RecordedEvent;
use crate::view::View;

/// How often in a row a pass may lose its batch (a deadlock, a claim that somebody holds for too long) before the
/// catch-up ends with what it has.
const LOST_BATCHES: u32 = 5;

/// A pass that found nothing settles only when this many transaction ids have gone by. Settling takes an id itself, so
/// an idle system that settled each time would never come to rest.
const SETTLE_EVERY: u64 = 256;

/// So many of the events that are left are looked at, at most, to say how many remain: what is said after the time is up
/// must not take long.
const REMAINING: i64 = 100_000;
/// How long that may take where there is a moment to give up at.
const COUNTING: Duration = Duration::from_millis(100);

/// What a catch-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CatchUp {
    /// Events folded.
    pub applied: u64,
    /// Events that wait still, not those of parked aggregates; counted among the next 100,000 of the log only.
    pub remaining: u64,
    /// Aggregates that are parked.
    pub parked: u64,
    /// Whether everything that was visible when the last pass began is applied or parked.
    pub done: bool,
}

/// What a pass did.
#[derive(Debug, Default)]
struct Pass {
    applied: u64,
    given_back: usize,
    through: bool,
}

/// Applies what is new to one projection: first the parked aggregates whose time has come, then passes until one goes
/// through with nothing given back.
///
/// # Errors
///
/// Any [`ProjectionError`] but lost races, which are tried again. What was committed before stays.
pub async fn catch_up(
    pool: &Pool,
    view: &View,
    batch_size: u32,
    budget: &Budget,
) -> Result<CatchUp, ProjectionError> {
    let applied = Box::pin(parked::retry_due(pool, view, budget)).await?;
    let mut result = CatchUp {
        applied,
        ..CatchUp::default()
    };
    let (mut lost, mut refused) = (0, OnRefusedWrite::Fail);
    let mut pace = Pace::new(batch_size);
    while !budget.is_spent() && lost < LOST_BATCHES {
        // Boxed, because it holds the futures of two batches.
        let pass = Box::pin(pass(
            pool,
            view,
            &mut pace,
            budget,
            refused,
            &mut result.applied,
        ));
        let Some(passed) = budget.run_until_abort(pass).await else {
            break;
        };
        match passed {
            Ok(pass) if pass.through && pass.given_back == 0 => {
                result.done = true;
                break;
            }
            Ok(pass) if pass.through && pass.applied == 0 => {
                // Only events whose predecessor is not claimed: it is in somebody's hands. Come back later.
                break;
            }
            // Not even one event fits into the time that is left.
            Ok(_) if pace.size(budget) == 0 => break,
            // The log was healed under it. Once is enough, but should it not be, this must not go on for ever.
            Ok(pass) if !pass.through && pass.applied == 0 => lost += 1,
            Ok(_) => lost = 0,
            // The cursor is worth nothing after an aborted batch: the claims it passed may have been anyone's.
            Err(ProjectionError::Db(error))
                if error.is_about_rows() && refused == OnRefusedWrite::Fail =>
            {
                refused = OnRefusedWrite::Narrow;
            }
            Err(ProjectionError::Db(error @ (DbError::Contended(_) | DbError::TimedOut(_)))) => {
                lost += 1;
                tracing::warn!(
                    projection = view.name(),
                    attempt = lost,
                    "lost a batch of {}: {error}",
                    view.name()
                );
            }
            Err(error) => {
                if matches!(&error, ProjectionError::Db(error) if error.is_stale()) {
                    pool.doubt();
                }
                return Err(error);
            }
        }
    }
    if budget.stop.is_cancelled() {
        // Nobody waits for the numbers, and counting a backlog would hold up the end of the process.
        return Ok(result);
    }
    if !result.done {
        let counted = status::measure(pool, view, REMAINING);
        let counted = match budget.abort_at {
            Some(_) => timeout(COUNTING, counted).await.ok().transpose()?,
            None => Some(counted.await?),
        };
        // Something is left, or it would be done; what is not counted in time is said to be one.
        result.remaining = counted.map_or(1, |status| status.lag_events);
    }
    result.parked = status::parked(pool, view).await?;
    Ok(result)
}

/// One pass: freezes C, walks what is visible in it and not settled once, with a keyset cursor, and settles C, or as much
/// of it as it came to.
///
/// While a batch is folded and written, the next one is claimed already, in a transaction of its own. The two are to each
/// other what two workers are, but that the second looks at the view only after the first has committed; and if the first
/// is aborted, so is the second, because the pass starts over.
async fn pass(
    pool: &Pool,
    view: &View,
    pace: &mut Pace,
    budget: &Budget,
    on_refused: OnRefusedWrite,
    total: &mut u64,
) -> Result<Pass, ProjectionError> {
    let Some((frozen, settled)) = freeze(pool, view).await? else {
        return Ok(Pass::default());
    };
    let walk = Walk {
        view,
        frozen,
        settled,
    };
    let (mut pass, mut cursor, mut looked) = (Pass::default(), LogCursor::default(), 0);
    let mut ahead = None;
    while !budget.is_spent() {
        let begun = Instant::now();
        let claimed = match ahead.take() {
            Some(claimed) => Some(claimed),
            None => match pace.size(budget) {
                0 => break,
                size => Box::pin(walk.claim(pool.begin(), cursor, size)).await?,
            },
        };
        let Some(Claimed {
            transaction,
            batch,
            size,
        }) = claimed
        else {
            pass.through = true;
            break;
        };
        looked += batch.looked;
        let last = batch.looked < u64::from(size);
        let next = batch.last.unwrap_or(cursor);
        let applied = Box::pin(async {
            let applied = apply(transaction, view, batch.claimed, on_refused).await?;
            // At once: it is committed, even if the claims ahead of it are waited for until all of this is given up.
            *total += applied.folded as u64;
            Ok::<_, ProjectionError>(applied)
        });
        let next_size = pace.size(budget);
        let measured = budget.until.is_none() || pace.is_measured();
        let (applied, claimed) = if last || next_size == 0 || !measured || budget.is_spent() {
            (applied.await?, Ok(None))
        } else {
            let (applied, claimed) = tokio::join!(applied, walk.claim_ahead(pool, next, next_size));
            (applied?, claimed)
        };
        // Only what is committed is behind the cursor.
        cursor = next;
        pace.measure(size, begun.elapsed());
        pass.applied += applied.folded as u64;
        pass.given_back += applied.given_back;
        // Only now: what was committed counts, whatever became of the claims ahead of it.
        ahead = claimed?;
        if last {
            pass.through = true;
            break;
        }
    }
    if pass.given_back > 0 {
        return Ok(pass);
    }
    let walked = if pass.through {
        let worth_it = looked > 0 || walk.frozen.distance(&walk.settled) >= SETTLE_EVERY;
        worth_it.then(|| walk.frozen.clone())
    } else {
        // The next pass need not look again at what this one has done.
        walk.frozen.up_to(&walk.settled, cursor)
    };
    if let Some(walked) = walked {
        sqlx::query(include_str!("sql/settle.sql"))
            .bind(view.name())
            .bind(walked.to_string())
            .execute(&mut *pool.acquire().await?)
            .await?;
    }
    Ok(pass)
}

/// A batch, in the transaction that claimed it.
struct Claimed {
    transaction: Transaction,
    batch: Batch,
    /// How many events were asked for.
    size: u32,
}

/// What a pass walks through.
struct Walk<'a> {
    view: &'a View,
    frozen: Snapshot,
    settled: Snapshot,
}

impl Walk<'_> {
    /// Claims the next batch behind `cursor`, in a transaction that is begun for it; `None` when there is nothing left.
    async fn claim(
        &self,
        begin: impl Future<Output = Result<Transaction, DbError>>,
        cursor: LogCursor,
        size: u32,
    ) -> Result<Option<Claimed>, ProjectionError> {
        let spans = self.frozen.spans_since(&self.settled, cursor);
        if spans.is_empty() {
            return Ok(None);
        }
        let mut transaction = begin.await?;
        let limit = size.into();
        let batch = claim::claim(&mut transaction, self.view, &spans, &self.frozen, limit).await?;
        Ok(Some(Claimed {
            transaction,
            batch,
            size,
        }))
    }

    /// The same on a connection that is free anyway, or not at all: to wait for one might be to wait for oneself.
    async fn claim_ahead(
        &self,
        pool: &Pool,
        cursor: LogCursor,
        size: u32,
    ) -> Result<Option<Claimed>, ProjectionError> {
        match pool.begin_at_once().await? {
            Some(transaction) => {
                self.claim(std::future::ready(Ok(transaction)), cursor, size)
                    .await
            }
            None => Ok(None),
        }
    }
}

/// Folds and writes a claimed batch, and commits it.
async fn apply(
    mut transaction: Transaction,
    view: &View,
    claimed: Vec<RecordedEvent>,
    on_refused: OnRefusedWrite,
) -> Result<Applied, ProjectionError> {
    let applied = fold::apply(&mut transaction, view, claimed, on_refused).await?;
    fold::park(&mut transaction, view, &applied.failures).await?;
    transaction.commit().await?;
    Ok(applied)
}

/// C and the settled snapshot. C is frozen before the transaction writes anything: its own open id would count as
/// visible once a later one has committed. `None` when the log had to be healed first.
async fn freeze(pool: &Pool, view: &View) -> Result<Option<(Snapshot, Snapshot)>, ProjectionError> {
    let mut connection = pool.acquire().await?;
    let row = sqlx::query(include_str!("sql/freeze.sql"))
        .bind(view.name())
        .fetch_one(&mut *connection)
        .await?;
    if row.try_get("behind")? {
        db::heal_log(&mut connection).await?;
        return Ok(None);
    }
    let settled: Option<String> = row.try_get("settled")?;
    let settled = settled
        .map(|text| text.parse())
        .transpose()?
        .unwrap_or_else(Snapshot::empty);
    Ok(Some((
        row.try_get::<String, _>("frozen")?.parse()?,
        settled,
    )))
}
