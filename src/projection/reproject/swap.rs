//! Going live: one short transaction makes a filled generation the live one.
//!
//! 1. It takes the lock of the projection's generations exclusively. Each inline append shares this lock until it commits, and checks
//!    after it has the lock that its generation is live. So the appends that were folded into the old generation are committed, and
//!    appends that come later wait, and then fold into the new one. `lock_timeout` bounds how long they wait.
//! 2. It locks the lanes of the generations that it replaces. Workers write a batch only with the lock of its lane, and retries share the
//!    lock of step 1, so these generations do not change any more.
//! 3. It applies to the new generation what is left. C is frozen after the locks, so it sees every event that is in an old generation.
//! 4. It gives up when an aggregate is parked in the new generation at an event that an old one has applied.
//! 5. It changes which generation serves. Statements that read check this in their own snapshot. So a reader sees the old generation
//!    before the commit, and after it the new one, which has every event that the old one had: no read goes back in time.
//!
//! This transaction appends no event, so it does not matter that its own id, which it has when C is frozen, counts as visible in C.
//!
//! (tests: `reads_and_appends_continue_during_a_reprojection_that_is_killed_again_and_again`,
//! `an_inline_append_beside_a_reprojection_is_in_the_live_view`, `a_set_rule_holds_while_a_reprojection_goes_live`,
//! `a_generation_that_lacks_an_event_of_the_live_one_does_not_go_live`)

use std::sync::atomic::AtomicU64;

use sqlx::Row as _;

use super::BehindLive;
use crate::db::{DbError, Pool, Transaction};
use crate::event::{AggregateId, EventId, Version};
use crate::projection::ProjectionError;
use crate::projection::budget::{BatchSizer, Budget};
use crate::projection::worker::{LaneWorker, MAX_QUICK_EVENTS};
use crate::view::View;

/// How often to try to go live, each time after another catch-up.
pub(super) const MAX_ATTEMPTS: u32 = 20;

/// How an attempt to go live ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Swapped {
    Live,
    /// Other transactions hold the locks for too long, or the generation is too far behind for a short transaction.
    Postponed,
    /// Reads would go back in time, because of parked aggregates.
    Behind(BehindLive),
}

/// Makes `generation` live.
pub(super) async fn go_live(
    pool: &Pool,
    view: &View,
    generation: &View,
    budget: &Budget,
) -> Result<Swapped, ProjectionError> {
    let mut transaction = pool.begin().await?;
    match Box::pin(try_go_live(
        &mut transaction,
        pool,
        (view, generation),
        budget,
    ))
    .await
    {
        Ok(Swapped::Live) => {
            transaction.commit().await?;
            Ok(Swapped::Live)
        }
        Ok(ended) => {
            transaction.rollback().await?;
            Ok(ended)
        }
        Err(ProjectionError::Db(error)) if is_for_a_catch_up(&error) => Ok(Swapped::Postponed),
        Err(error) => Err(error),
    }
}

/// Whether the next catch-up can do something about an error: it waits for other transactions, and parks aggregates whose rows the
/// database rejects.
fn is_for_a_catch_up(error: &DbError) -> bool {
    matches!(error, DbError::Contended(_) | DbError::TimedOut(_))
        || error.is_about_rows()
        || error.may_be_about_rows()
}

async fn try_go_live(
    transaction: &mut Transaction,
    pool: &Pool,
    (view, generation): (&View, &View),
    budget: &Budget,
) -> Result<Swapped, ProjectionError> {
    sqlx::query(include_str!("sql/limit_locks.sql"))
        .execute(&mut **transaction)
        .await?;
    sqlx::query(include_str!("../sql/lock_generation.sql"))
        .bind(view.name())
        .execute(&mut **transaction)
        .await?;
    // A projection without a lane has no row that could be locked.
    sqlx::query(include_str!("sql/insert_lanes.sql"))
        .bind(view.name())
        .execute(&mut **transaction)
        .await?;
    sqlx::query(include_str!("sql/lock_replaced_lanes.sql"))
        .bind(view.name())
        .bind(&*view.definition_hash)
        .execute(&mut **transaction)
        .await?;
    let applied = AtomicU64::new(0);
    let sizer = BatchSizer::new(MAX_QUICK_EVENTS);
    let mut worker = LaneWorker::new(pool, generation, budget, sizer, &applied, false);
    if !Box::pin(worker.drain(transaction)).await? {
        return Ok(Swapped::Postponed);
    }
    if let Some(behind) = find_behind(transaction, view, generation).await? {
        return Ok(Swapped::Behind(behind));
    }
    let is_live: bool = sqlx::query_scalar(include_str!("sql/go_live.sql"))
        .bind(generation.lock_domain())
        .fetch_one(&mut **transaction)
        .await?;
    Ok(if is_live {
        Swapped::Live
    } else {
        Swapped::Postponed
    })
}

/// Whether an aggregate is parked in the generation at an event that is applied in one that it would replace. One that is parked in both
/// at the same event is not.
async fn find_behind(
    transaction: &mut Transaction,
    view: &View,
    generation: &View,
) -> Result<Option<BehindLive>, ProjectionError> {
    let row = sqlx::query(include_str!("sql/find_behind.sql"))
        .bind(generation.lock_domain())
        .bind(view.name())
        .bind(&*view.definition_hash)
        .fetch_optional(&mut **transaction)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let behind = BehindLive {
        aggregates: row.try_get::<i64, _>("total")?.unsigned_abs(),
        aggregate_id: AggregateId(row.try_get("aggregate_id")?),
        event_id: EventId(row.try_get("event_id")?),
        version: Version(row.try_get("version")?),
    };
    tracing::warn!(
        projection = view.name(),
        event.id = %behind.event_id,
        aggregate.id = %behind.aggregate_id,
        aggregate.version = behind.version.0,
        "the generation {} does not go live: {} aggregates are parked in it at events that the live one has applied, one of them because of a failure of the class {}; the column parked.error has the causes",
        generation.lock_domain(),
        behind.aggregates,
        row.try_get::<&str, _>("class")?
    );
    Ok(Some(behind))
}
