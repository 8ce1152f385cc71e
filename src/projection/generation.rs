//! Generations of a projection: which there are, and the removal of those that no code needs.
//!
//! A generation that was replaced by one with the same definition is needed no more, because every statement that reads checks in its
//! own snapshot that its generation serves. A generation of another definition goes on serving code of an earlier build. Workers of
//! that build project it and say so once a minute; an hour after the last such sign it is dropped.
//!
//! # Removal
//!
//! A worker locks a slice, a lane or a parked row, and then writes to the table. So a removal that locked the table first would deadlock
//! with it. First the generation is marked as dropped, and this is committed: from then on no worker takes a slice, a lane or a parked row
//! of it. Then the slices, lanes and parked rows are deleted, which waits for the workers that have locked them, then the claims, which
//! no worker adds any more, and at last the table. Each step is a transaction and can be repeated, so another process may take over
//! anywhere. (tests: `a_cancel_does_not_deadlock_with_the_workers`, `a_reprojection_can_be_cancelled_at_every_step`)
//!
//! Claims have no index by lock domain, because every insert would pay for it. They are removed page by page of the table, with a
//! statement per range, so that no step takes long.

use std::time::{Duration, Instant};

use super::ProjectionError;
use super::budget::Budget;
use super::read::GenerationState;
use crate::db::{DbError, Pool};
use crate::view::View;

/// How many pages of `locker` one statement searches for the claims of a dropped generation.
const MAX_CLAIM_PAGES: i64 = 1000;

/// How long a catch-up removes generations before it goes on with events. A later one continues where it has stopped.
const MAX_TIDY_DURATION: Duration = Duration::from_secs(1);

/// Says that this process projects a retired generation, if a pass has noticed that it is time to.
pub(super) async fn touch(
    pool: &Pool,
    view: &View,
    state: GenerationState,
) -> Result<(), ProjectionError> {
    if state.must_touch {
        sqlx::query(include_str!("sql/touch_generation.sql"))
            .bind(view.lock_domain())
            .execute(&mut *pool.acquire().await?)
            .await?;
    }
    Ok(())
}

/// Removes what is left of generations that no code needs, for a second at most. If another transaction is in the way, the removal is
/// tried again after an hour.
pub(super) async fn tidy_up(
    pool: &Pool,
    view: &View,
    budget: &Budget,
) -> Result<(), ProjectionError> {
    let names: Vec<String> = sqlx::query_scalar(include_str!("sql/list_garbage.sql"))
        .bind(view.name())
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let end = Instant::now() + MAX_TIDY_DURATION;
    let budget = Budget {
        until: Some(budget.until.map_or(end, |until| until.min(end))),
        ..budget.clone()
    };
    for name in names {
        match try_remove(pool, view, &name, &budget).await {
            // Each catch-up would wait as long for the same transaction.
            Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => {
                postpone(pool, &name).await?;
            }
            removed => drop(removed?),
        }
    }
    Ok(())
}

/// Removes a generation that is being filled, or that no code needs. Returns whether nothing of it is left; if not, for lack of time or
/// because another transaction is in the way, it can be called again.
pub(super) async fn remove(
    pool: &Pool,
    view: &View,
    lock_domain: &str,
    budget: &Budget,
) -> Result<bool, ProjectionError> {
    match try_remove(pool, view, lock_domain, budget).await {
        Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => Ok(false),
        removed => removed,
    }
}

async fn try_remove(
    pool: &Pool,
    view: &View,
    lock_domain: &str,
    budget: &Budget,
) -> Result<bool, ProjectionError> {
    let mut transaction = pool.begin().await?;
    let is_dropped: bool = sqlx::query_scalar(include_str!("sql/abandon_generation.sql"))
        .bind(lock_domain)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    if !is_dropped {
        // It went live in the meantime, or another process has removed it.
        return Ok(true);
    }
    delete_progress(pool, lock_domain).await?;
    loop {
        if budget.is_spent() {
            return Ok(false);
        }
        let mut transaction = pool.begin().await?;
        let is_last: Option<bool> = sqlx::query_scalar(include_str!("sql/drop_claims.sql"))
            .bind(lock_domain)
            .bind(MAX_CLAIM_PAGES)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        match is_last {
            Some(false) => {}
            Some(true) => break,
            None => return Ok(true),
        }
    }
    drop_table(pool, view, lock_domain).await
}

/// Deletes what says how far a generation is filled and projected, each kind in a transaction of its own: a worker that holds a row of one
/// kind may wait for one of another.
async fn delete_progress(pool: &Pool, lock_domain: &str) -> Result<(), ProjectionError> {
    // The first generation was never filled. The key of its name is that of the projection: inline appends would wait.
    if lock_domain.contains('#') {
        let mut transaction = pool.begin().await?;
        // A reprojection that plans or finishes the generation adds slices or a lane until its transaction ends.
        sqlx::query(include_str!("sql/lock_generation.sql"))
            .bind(lock_domain)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("sql/drop_slices.sql"))
            .bind(lock_domain)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    for statement in [
        include_str!("sql/drop_lanes.sql"),
        include_str!("sql/drop_parked.sql"),
    ] {
        let mut transaction = pool.begin().await?;
        sqlx::query(statement)
            .bind(lock_domain)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Drops the table of a generation; false if Postgres refuses to. The projection does not need the removal, so it goes on without.
async fn drop_table(pool: &Pool, view: &View, lock_domain: &str) -> Result<bool, ProjectionError> {
    let mut transaction = pool.begin().await?;
    let dropped = sqlx::query(include_str!("sql/drop_generation.sql"))
        .bind(lock_domain)
        .execute(&mut *transaction)
        .await
        .map_err(DbError::from);
    match dropped {
        Ok(_) => {
            transaction.commit().await?;
            Ok(true)
        }
        Err(error @ (DbError::Contended(_) | DbError::TimedOut(_))) => Err(error.into()),
        Err(error) if error.is_unavailable() => Err(error.into()),
        // Something depends on the table, or foldlog does not own it.
        Err(error) => {
            transaction.rollback().await?;
            tracing::warn!(
                projection = view.name(),
                "the table {lock_domain}, which the projection {} needs no more, cannot be dropped; drop what depends on it: {error}",
                view.name()
            );
            postpone(pool, lock_domain).await?;
            Ok(false)
        }
    }
}

/// Lets the removal of a generation wait.
async fn postpone(pool: &Pool, lock_domain: &str) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/postpone_removal.sql"))
        .bind(lock_domain)
        .execute(&mut *pool.acquire().await?)
        .await?;
    Ok(())
}
