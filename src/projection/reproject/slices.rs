//! Slices: ranges of aggregate ids, each of which one worker at a time fills.

use sqlx::Row;
use uuid::Uuid;

use crate::db::{DbError, Pool, Transaction};
use crate::projection::ProjectionError;
use crate::projection::cut::{Cut, cut};
use crate::projection::snapshot::Snapshot;
use crate::view::View;

/// How many slices the aggregates are cut into at most. More of them would let more workers share the last ones.
const MAX_SLICES: i64 = 64;

/// A slice has about this many events at least.
const MIN_SLICE_EVENTS: i64 = 5000;

/// A place in the order of aggregates and versions: after this event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SliceMark {
    pub aggregate_id: Uuid,
    pub version: i32,
}

/// A slice that this transaction has locked.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// Its key.
    pub first: Uuid,
    /// Where it goes on.
    pub done: SliceMark,
    /// Where it ends.
    pub last: SliceMark,
    /// C, which is the same for all slices.
    pub frozen: Snapshot,
}

/// Freezes C and cuts the aggregates into slices, unless that is done. Returns whether the generation is filled.
pub(super) async fn plan(pool: &Pool, generation: &View) -> Result<bool, ProjectionError> {
    let mut transaction = pool.begin().await?;
    // One process at a time. What the others have done is read after the lock.
    sqlx::query(include_str!("../sql/lock_generation.sql"))
        .bind(generation.lock_domain())
        .execute(&mut *transaction)
        .await?;
    let row = sqlx::query(include_str!("sql/read_generation.sql"))
        .bind(generation.lock_domain())
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(row) = row else {
        return Err(ProjectionError::Cancelled(generation.name()));
    };
    let (is_filled, is_planned, is_frozen): (bool, bool, bool) = (
        row.try_get("is_filled")?,
        row.try_get("is_planned")?,
        row.try_get("is_frozen")?,
    );
    if is_filled || is_planned && is_frozen {
        transaction.commit().await?;
        return Ok(is_filled);
    }
    if is_planned {
        // The snapshot is gone: a logical replica received the slices, but not the snapshot of another cluster.
        return Err(ProjectionError::SnapshotLost(generation.name()));
    }
    // C is frozen before anything else is written. What commits later is found by the first catch-up.
    sqlx::query(include_str!("sql/freeze.sql"))
        .bind(generation.lock_domain())
        .execute(&mut *transaction)
        .await?;
    let how = Cut {
        max_ranges: MAX_SLICES,
        min_events: MIN_SLICE_EVENTS,
        sampled_pages: 2000,
    };
    let boundaries = cut(&mut transaction, how).await?;
    sqlx::query(include_str!("sql/plan_slices.sql"))
        .bind(generation.lock_domain())
        .bind(boundaries)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(false)
}

/// Locks a slice that is not finished and that no other worker holds.
pub(super) async fn take(
    transaction: &mut Transaction,
    generation: &View,
) -> Result<Option<Slice>, ProjectionError> {
    let row = sqlx::query(include_str!("sql/take_slice.sql"))
        .bind(generation.lock_domain())
        .fetch_optional(&mut **transaction)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(Slice {
        first: row.try_get("first")?,
        done: SliceMark {
            aggregate_id: row.try_get("done")?,
            version: row.try_get("done_version")?,
        },
        last: SliceMark {
            aggregate_id: row.try_get("last")?,
            version: row.try_get("last_version")?,
        },
        frozen: row.try_get::<&str, _>("frozen")?.parse()?,
    }))
}

/// Moves the mark of a slice.
pub(super) async fn advance(
    transaction: &mut Transaction,
    generation: &View,
    slice: &Slice,
    (done, is_finished): (SliceMark, bool),
    (aggregates, events): (usize, u64),
) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/advance_slice.sql"))
        .bind(generation.lock_domain())
        .bind(slice.first)
        .bind(done.aggregate_id)
        .bind(done.version)
        .bind(is_finished)
        .bind(i64::try_from(aggregates).unwrap_or(i64::MAX))
        .bind(i64::try_from(events).unwrap_or(i64::MAX))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Turns a generation whose slices are all finished into a projection that has settled C, and creates the rest of its indexes. Returns
/// false if a slice is not finished, or if another process is about to do it.
pub(super) async fn finish(pool: &Pool, generation: &View) -> Result<bool, ProjectionError> {
    let is_filled: bool = sqlx::query_scalar(include_str!("sql/is_filled.sql"))
        .bind(generation.lock_domain())
        .fetch_one(&mut *pool.acquire().await?)
        .await?;
    if !is_filled || !create_indexes(pool, generation, false).await? {
        return Ok(false);
    }
    let mut transaction = pool.begin().await?;
    sqlx::query(include_str!("../sql/lock_generation.sql"))
        .bind(generation.lock_domain())
        .execute(&mut *transaction)
        .await?;
    let is_settled: bool = sqlx::query_scalar(include_str!("sql/settle_generation.sql"))
        .bind(generation.lock_domain())
        .fetch_one(&mut *transaction)
        .await?;
    if !is_settled {
        transaction.rollback().await?;
        return Ok(false);
    }
    sqlx::query(include_str!("sql/finish_generation.sql"))
        .bind(generation.lock_domain())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}

/// Creates the indexes that the live generation has got since a generation was created, in one that has caught up: before, its rows may
/// break a set rule that they keep later.
pub(super) async fn complete(pool: &Pool, generation: &View) -> Result<bool, ProjectionError> {
    Ok(create_indexes(pool, generation, false).await?
        && create_indexes(pool, generation, true).await?)
}

/// Creates the indexes that a generation lacks, those of set rules or the others, each in a transaction, so that an invocation that is ended
/// loses one of them at most. Returns false if another process is creating one.
async fn create_indexes(
    pool: &Pool,
    generation: &View,
    rules: bool,
) -> Result<bool, ProjectionError> {
    loop {
        match create_index(pool, generation, rules).await {
            Ok(true) => {}
            Ok(false) => return Ok(true),
            Err(ProjectionError::Db(DbError::Conflict { .. })) => {
                return Err(ProjectionError::BreaksRule(generation.name()));
            }
            Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Creates one index that a generation lacks; false if there is none.
async fn create_index(
    pool: &Pool,
    generation: &View,
    rules: bool,
) -> Result<bool, ProjectionError> {
    let mut transaction = pool.begin().await?;
    sqlx::query(include_str!("../sql/lock_generation.sql"))
        .bind(generation.lock_domain())
        .execute(&mut *transaction)
        .await?;
    // An index takes longer than any other statement, and no reader waits for it.
    sqlx::query(include_str!("sql/lift_limit.sql"))
        .execute(&mut *transaction)
        .await?;
    let has_created: bool = sqlx::query_scalar(include_str!("sql/complete_generation.sql"))
        .bind(generation.lock_domain())
        .bind(rules)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(has_created)
}
