//! Lanes: a lane is a row of `settled`, a range of hash slots of aggregates. At rest a projection has one lane. With a backlog,
//! a worker takes a lane by locking its row; a worker that finds no free lane splits one. When the backlog is done, a worker
//! merges the lanes.
//!
//! Lanes let workers share the work, and settle what is done. They are not needed for exactly-once: the claims alone
//! guarantee it.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::ProjectionError;
use super::settled::{LogCursor, Settled};
use super::snapshot::{Snapshot, SnapshotError};
use crate::db::{Pool, Session, Transaction};
use crate::view::View;

/// The number of hash slots of all lanes of a projection.
pub(super) const SLOT_COUNT: i64 = 256;

/// A lane as a statement has read it.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// Its first hash slot, which identifies it.
    pub first: i16,
    /// Its last hash slot.
    pub last: i16,
    /// How often its row was written. A write by a worker that read another turn has no effect.
    pub turn: i64,
    pub settled: Settled,
    /// The snapshot as the row spells it, to compare the row with.
    pub snapshot_text: String,
    /// The transaction that has written the row.
    pub writer: String,
}

impl Lane {
    /// Composes a lane from the columns of its row.
    pub(super) fn from_parts(
        (first, last, turn): (i16, i16, i64),
        (snapshot, writer): (&str, &str),
        txid: Option<&str>,
        position: i64,
    ) -> Result<Self, SnapshotError> {
        let begun = |txid: &str| -> Result<LogCursor, SnapshotError> {
            let txid = txid.parse().map_err(|_| SnapshotError)?;
            Ok(LogCursor { txid, position })
        };
        Ok(Self {
            first,
            last,
            turn,
            settled: Settled {
                snapshot: snapshot.parse()?,
                begun: txid.map(begun).transpose()?,
            },
            snapshot_text: snapshot.to_owned(),
            writer: writer.to_owned(),
        })
    }

    fn decode(row: &PgRow) -> Result<Self, ProjectionError> {
        let key = (
            row.try_get("first")?,
            row.try_get("last")?,
            row.try_get("turn")?,
        );
        let txid: Option<&str> = row.try_get("txid")?;
        Ok(Self::from_parts(
            key,
            (row.try_get("snapshot")?, row.try_get("writer")?),
            txid,
            row.try_get("position")?,
        )?)
    }

    fn slots(&self) -> i64 {
        i64::from(self.last) - i64::from(self.first) + 1
    }
}

/// Which lanes a worker takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    /// Any.
    Any,
    /// Those that may have unsettled events, except for those with these first slots.
    Unsettled { except: &'a [i16] },
}

/// Locks the free lane that is furthest behind, and freezes C. `None` when other workers hold all lanes that are wanted.
pub(super) async fn take(
    transaction: &mut Transaction,
    view: &View,
    wanted: Wanted<'_>,
) -> Result<Option<(i16, Snapshot)>, ProjectionError> {
    let (except, any): (&[i16], _) = match wanted {
        Wanted::Any => (&[], true),
        Wanted::Unsettled { except } => (except, false),
    };
    let row = sqlx::query(include_str!("sql/take_lane.sql"))
        .bind(view.lock_domain())
        .bind(except)
        .bind(any)
        .fetch_optional(&mut **transaction)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let frozen: &str = row.try_get("frozen")?;
    Ok(Some((row.try_get("first")?, frozen.parse()?)))
}

/// The result of an attempt to split a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// There is one more lane now.
    Done,
    /// Too few events are left for two workers, or another worker has split the lane meanwhile.
    LookAgain,
    /// No lane outside `finished` has unsettled events.
    NoLane,
}

/// Waits until the worker that holds one of the largest lanes has finished its batch, and splits the lane if more than
/// `min_events` are left.
pub(super) async fn split(
    pool: &Pool,
    view: &View,
    finished: &[i16],
    min_events: u32,
) -> Result<Split, ProjectionError> {
    // A transaction of its own statement: workers that wait one after the other would keep the lane locked during their round trips,
    // so that none of them could take it.
    let split: Option<bool> = sqlx::query_scalar(include_str!("sql/split_lane.sql"))
        .bind(view.lock_domain())
        .bind(finished)
        .bind(i64::from(min_events))
        .fetch_optional(&mut *pool.acquire().await?)
        .await?;
    Ok(match split {
        Some(true) => Split::Done,
        Some(false) => Split::LookAgain,
        None => Split::NoLane,
    })
}

/// Replaces all lanes by one, which has settled what all of them have settled. It does nothing if another worker holds one of
/// them; that worker merges later.
pub(super) async fn merge(pool: &Pool, view: &View) -> Result<(), ProjectionError> {
    let mut transaction = pool.begin().await?;
    let rows = sqlx::query(include_str!("sql/lock_lanes.sql"))
        .bind(view.lock_domain())
        .fetch_all(&mut *transaction)
        .await?;
    let lanes = rows
        .iter()
        .map(Lane::decode)
        .collect::<Result<Vec<_>, _>>()?;
    let settled = lanes.iter().map(|lane| lane.settled.clone());
    let (Some(settled), true) = (
        settled.reduce(|a, b| a.intersection(&b)),
        lanes.len() > 1 && lanes.iter().map(Lane::slots).sum::<i64>() == SLOT_COUNT,
    ) else {
        return Ok(transaction.rollback().await?);
    };
    let turn = lanes.iter().map(|lane| lane.turn).max().unwrap_or(0) + 1;
    let begun = settled.begun;
    sqlx::query(include_str!("sql/merge_lanes.sql"))
        .bind(view.lock_domain())
        .bind(turn)
        .bind(settled.snapshot.to_string())
        .bind(begun.map(|begun| begun.txid.to_string()))
        .bind(begun.map_or(0, |begun| begun.position))
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// Creates the lane of a projection that has none.
pub(super) async fn insert(
    connection: &mut Session<'_>,
    view: &View,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/insert_lane.sql"))
        .bind(view.lock_domain())
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that a worker has found nothing to do, for those who measure whether workers run.
pub(super) async fn touch(
    connection: &mut Session<'_>,
    view: &View,
    first: i16,
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/touch_lane.sql"))
        .bind(view.lock_domain())
        .bind(first)
        .execute(connection)
        .await?;
    Ok(())
}

/// Repairs lanes that do not cover each slot exactly once: rows were deleted by hand, or the log was restored in a cluster that
/// hashes ids differently. The projection starts from the beginning of the log and drops the events that are applied.
pub(super) async fn repair(
    connection: &mut Session<'_>,
    view: &View,
) -> Result<(), ProjectionError> {
    let name = view.name();
    tracing::warn!(
        projection = name,
        "the lanes of the projection {name} do not cover all aggregates; it reads the log from the beginning"
    );
    sqlx::query(include_str!("sql/heal_slots.sql"))
        .execute(&mut *connection)
        .await?;
    sqlx::query(include_str!("sql/reset_lanes.sql"))
        .bind(view.lock_domain())
        .execute(connection)
        .await?;
    Ok(())
}
