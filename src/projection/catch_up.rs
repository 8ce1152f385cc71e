//! Catching up: passes over what is new, batch by batch, until nothing is left or the time is up.

use std::time::Instant;

use sqlx::Row;
use tokio_util::sync::CancellationToken;

use super::claim::{self, Batch};
use super::fold::{self, Applied, OnRefusedWrite};
use super::settled::{Cursor, Snapshot};
use super::{Error, parked, status};
use crate::db::{self, DbError, Pool, Stale as _, Transaction};
use crate::event::RecordedEvent;
use crate::view::View;

/// How often in a row a pass may lose its batch (a deadlock, a claim that somebody holds for too long) before the
/// catch-up ends with what it has.
const LOST_BATCHES: u32 = 5;

/// A pass that found nothing settles only when this many transaction ids have gone by. Settling takes an id itself, so
/// an idle system that settled each time would never come to rest.
const SETTLE_EVERY: u64 = 256;

/// So many of the events that are left are looked at, at most, to say how many remain.
const REMAINING: i64 = 1_000_000;

/// Until when to work.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Stop between batches after this moment.
    pub until: Option<Instant>,
    /// Stop between batches once this is cancelled; what remains is not counted then.
    pub stop: CancellationToken,
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.stop.is_cancelled() || self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// What a catch-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CatchUp {
    /// Events folded.
    pub applied: u64,
    /// Events that wait still; not those of parked aggregates.
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
/// Any [`Error`] but lost races, which are tried again. What was committed before stays.
pub async fn catch_up(
    pool: &Pool,
    view: &View,
    batch_size: u32,
    budget: &Budget,
) -> Result<CatchUp, Error> {
    let mut result = CatchUp {
        applied: parked::retry_due(pool, view, budget).await?,
        ..CatchUp::default()
    };
    let (mut lost, mut refused) = (0, OnRefusedWrite::Fail);
    while !budget.is_spent() && lost < LOST_BATCHES {
        // Boxed, because it holds the futures of two batches.
        match Box::pin(pass(
            pool,
            view,
            batch_size,
            budget,
            refused,
            &mut result.applied,
        ))
        .await
        {
            Ok(pass) if pass.through && pass.given_back == 0 => {
                result.done = true;
                break;
            }
            Ok(pass) if pass.through && pass.applied == 0 => {
                // Only events whose predecessor is not claimed: it is in somebody's hands. Come back later.
                break;
            }
            // The log was healed under it. Once is enough, but should it not be, this must not go on for ever.
            Ok(pass) if !pass.through && pass.applied == 0 => lost += 1,
            Ok(_) => lost = 0,
            // The cursor is worth nothing after an aborted batch: the claims it passed may have been anyone's.
            Err(Error::Db(error)) if error.is_about_rows() && refused == OnRefusedWrite::Fail => {
                refused = OnRefusedWrite::Narrow;
            }
            Err(Error::Db(error @ (DbError::Contended(_) | DbError::TimedOut(_)))) => {
                lost += 1;
                tracing::warn!(
                    projection = view.name(),
                    attempt = lost,
                    "lost a batch of {}: {error}",
                    view.name()
                );
            }
            Err(error) => {
                if matches!(&error, Error::Db(error) if error.is_stale()) {
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
        let status = status::of(pool, view, REMAINING).await?;
        (result.remaining, result.parked) = (status.lag_events, status.parked);
        return Ok(result);
    }
    result.parked = status::parked(pool, view).await?;
    Ok(result)
}

/// One pass: freezes C, walks what is visible in it and not settled once, with a keyset cursor, and settles C.
///
/// While a batch is folded and written, the next one is claimed already, in a transaction of its own. The two are to each
/// other what two workers are, but that the second looks at the view only after the first has committed; and if the first
/// is aborted, so is the second, because the pass starts over.
async fn pass(
    pool: &Pool,
    view: &View,
    batch_size: u32,
    budget: &Budget,
    on_refused: OnRefusedWrite,
    total: &mut u64,
) -> Result<Pass, Error> {
    let Some((frozen, settled)) = freeze(pool, view).await? else {
        return Ok(Pass::default());
    };
    let walk = Walk {
        view,
        frozen,
        settled,
        batch_size,
    };
    let (mut pass, mut cursor, mut looked) = (Pass::default(), Cursor::default(), 0);
    let mut ahead = None;
    while !budget.is_spent() {
        let claimed = match ahead.take() {
            Some(claimed) => Some(claimed),
            None => Box::pin(walk.claim(pool.begin(), cursor)).await?,
        };
        let Some((transaction, batch)) = claimed else {
            pass.through = true;
            break;
        };
        looked += batch.looked;
        cursor = batch.last.unwrap_or(cursor);
        let last = batch.looked < u64::from(batch_size);
        let applied = Box::pin(apply(transaction, view, batch.claimed, on_refused));
        let (applied, claimed) = if last || budget.is_spent() {
            (applied.await?, Ok(None))
        } else {
            let (applied, claimed) = tokio::join!(applied, walk.claim_ahead(pool, cursor));
            (applied?, claimed)
        };
        *total += applied.folded as u64;
        pass.applied += applied.folded as u64;
        pass.given_back += applied.given_back;
        // Only now: what was committed counts, whatever became of the claims ahead of it.
        ahead = claimed?;
        if last {
            pass.through = true;
            break;
        }
    }
    if pass.through
        && pass.given_back == 0
        && (looked > 0 || walk.frozen.distance(&walk.settled) >= SETTLE_EVERY)
    {
        sqlx::query(include_str!("sql/settle.sql"))
            .bind(view.name())
            .bind(walk.frozen.to_string())
            .execute(&mut *pool.acquire().await?)
            .await?;
    }
    Ok(pass)
}

/// What a pass walks through.
struct Walk<'a> {
    view: &'a View,
    frozen: Snapshot,
    settled: Snapshot,
    batch_size: u32,
}

impl Walk<'_> {
    /// Claims the next batch behind `cursor`, in a transaction that is begun for it; `None` when there is nothing left.
    async fn claim(
        &self,
        begin: impl Future<Output = Result<Transaction, DbError>>,
        cursor: Cursor,
    ) -> Result<Option<(Transaction, Batch)>, Error> {
        let spans = self.frozen.spans_since(&self.settled, cursor);
        if spans.is_empty() {
            return Ok(None);
        }
        let mut transaction = begin.await?;
        let size = self.batch_size.into();
        let batch = claim::claim(&mut transaction, self.view, &spans, &self.frozen, size).await?;
        Ok(Some((transaction, batch)))
    }

    /// The same on a connection that is free anyway, or not at all: to wait for one might be to wait for oneself.
    async fn claim_ahead(
        &self,
        pool: &Pool,
        cursor: Cursor,
    ) -> Result<Option<(Transaction, Batch)>, Error> {
        match pool.begin_at_once().await? {
            Some(transaction) => {
                self.claim(std::future::ready(Ok(transaction)), cursor)
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
) -> Result<Applied, Error> {
    let applied = fold::apply(&mut transaction, view, claimed, on_refused).await?;
    fold::park(&mut transaction, view, &applied.failures).await?;
    transaction.commit().await?;
    Ok(applied)
}

/// C and the settled snapshot. C is frozen before the transaction writes anything: its own open id would count as
/// visible once a later one has committed. `None` when the log had to be healed first.
async fn freeze(pool: &Pool, view: &View) -> Result<Option<(Snapshot, Snapshot)>, Error> {
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
