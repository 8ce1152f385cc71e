//! Generations of a projection: which there are, and the removal of those that no code needs.
//!
//! A generation that was replaced by one with the same definition is needed no more, because every statement that reads checks in its
//! own snapshot that its generation serves. A generation of another definition goes on serving code of an earlier build. Workers of
//! that build project it and say so once a minute; an hour after the last such sign it is dropped.
//!
//! Claims have no index by lock domain, because every insert would pay for it. They are removed page by page of the table, with a
//! statement per range, so that no step takes long.

use super::ProjectionError;
use super::budget::Budget;
use super::read::GenerationState;
use crate::db::{DbError, Pool};
use crate::view::View;

/// How many pages of `locker` one statement searches for the claims of a dropped generation.
const MAX_CLAIM_PAGES: i64 = 1000;

/// Does what a pass has noticed about generations: says that this process projects a retired one, and removes what is left of others.
/// Anything that another transaction is in the way of is left to a later pass.
pub(super) async fn tidy_up(
    pool: &Pool,
    view: &View,
    state: GenerationState,
    budget: &Budget,
) -> Result<(), ProjectionError> {
    if state.must_touch {
        sqlx::query(include_str!("sql/touch_generation.sql"))
            .bind(view.lock_domain())
            .execute(&mut *pool.acquire().await?)
            .await?;
    }
    if state.has_garbage {
        for name in list_garbage(pool, view).await? {
            match remove(pool, &name, budget).await {
                Err(ProjectionError::Db(DbError::Contended(_) | DbError::TimedOut(_))) => break,
                // The projection does not need the removal.
                Err(ProjectionError::Db(error)) if !error.is_unavailable() => tracing::warn!(
                    projection = view.name(),
                    "the generation {name} of the projection {} cannot be removed; drop what depends on its table: {error}",
                    view.name()
                ),
                removed => removed.map(drop)?,
            }
        }
    }
    Ok(())
}

async fn list_garbage(pool: &Pool, view: &View) -> Result<Vec<String>, ProjectionError> {
    let names = sqlx::query_scalar(include_str!("sql/list_garbage.sql"))
        .bind(view.name())
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    Ok(names)
}

/// Removes a generation: first its table, then what says how far it was filled and projected, then its claims, and at last its name.
/// Returns whether nothing of it is left. Each step is a transaction and can be repeated, so another process may take over anywhere.
pub(super) async fn remove(
    pool: &Pool,
    lock_domain: &str,
    budget: &Budget,
) -> Result<bool, ProjectionError> {
    let mut transaction = pool.begin().await?;
    // A reprojection that plans or finishes the generation at the same time would leave slices or a lane behind. The first generation
    // of a projection is never filled, and its lock is that of the projection.
    if lock_domain.contains('#') {
        // A worker locks its slice before it writes to the table, so this transaction locks the slices before it drops the table.
        for statement in [
            include_str!("sql/lock_generation.sql"),
            include_str!("sql/lock_slices.sql"),
        ] {
            sqlx::query(statement)
                .bind(lock_domain)
                .execute(&mut *transaction)
                .await?;
        }
    }
    let dropped: bool = sqlx::query_scalar(include_str!("sql/drop_generation.sql"))
        .bind(lock_domain)
        .fetch_one(&mut *transaction)
        .await?;
    if dropped {
        for statement in [
            include_str!("sql/drop_slices.sql"),
            include_str!("sql/drop_lanes.sql"),
            include_str!("sql/drop_parked.sql"),
        ] {
            sqlx::query(statement)
                .bind(lock_domain)
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    let mut first_page = 0_i64;
    loop {
        if budget.is_spent() {
            return Ok(false);
        }
        let mut transaction = pool.begin().await?;
        let is_last: Option<bool> = sqlx::query_scalar(include_str!("sql/drop_claims.sql"))
            .bind(lock_domain)
            .bind(first_page)
            .bind(MAX_CLAIM_PAGES)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        match is_last {
            Some(false) => first_page += MAX_CLAIM_PAGES,
            Some(true) => break,
            // It is not to be removed.
            None => return Ok(true),
        }
    }
    sqlx::query(include_str!("sql/forget_generation.sql"))
        .bind(lock_domain)
        .execute(&mut *pool.acquire().await?)
        .await?;
    Ok(true)
}
