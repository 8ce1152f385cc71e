//! Inline projections: the append's own transaction claims and folds the events of the aggregates it appends to.
//!
//! The fold claims all events that are not yet in the view row, because an event must not be folded before its predecessors. So when
//! the client receives the response, the view contains the append. An inline fold skips parked aggregates; the retry folds them. More
//! events than an append should read at once are folded in pieces; see [`fold_ahead`].
//!
//! Two statements do it: one reads the rows and the events without a claim, the other claims these events and writes the new rows,
//! provided that it gets all claims. Another transaction that changed such a row since it was read has claimed an event that this
//! fold read as unclaimed, so not all claims would succeed. If they do not, or if an event cannot be folded, the fold starts over
//! with the claims it has, and reads the rows after the claims.
//!
//! The statement that appends one event, or those of a group, reads, too; see [`append_and_fold`]. If the new rows are known before, one
//! statement does everything; see [`append_known`].
//!
//! # Beside a reprojection
//!
//! An event that is folded into a generation which is no longer live would be missing from the view, and a set rule would be checked
//! against the wrong rows. The first statement takes a lock that the reprojection needs exclusively to go live, and keeps it until the
//! append commits. The second statement, whose snapshot is taken after that, writes only if the generation is live. So the generation
//! is live at the commit, and a reprojection that goes live later finds the event committed and folds it before it does. (test:
//! `an_inline_append_beside_a_reprojection_is_in_the_live_view`)

mod backlog;
mod group;
mod known_rows;
mod pieces;

use std::collections::{HashMap, HashSet};

use sqlx::Row;

use self::backlog::{Backlog, Extent, read_backlog};
pub use self::group::{append_and_fold, fold_stored};
pub use self::known_rows::append_known;
pub use self::pieces::fold_ahead;
use super::plan::{AggregateBatch, Before, Plan, plan};
use super::read_events::ReadEvents;
use super::retry::MAX_CHUNK_EVENTS;
use super::rows::{self, OnRejectedWrite};
use super::{ProjectionError, claim, fold};
use crate::db::Session;
use crate::event::{AggregateId, EventId};
use crate::store::LockWait;
use crate::view::{self, View};

/// How many events without a claim an inline fold of a group reads. More of them are folded for the append that has to wait for them,
/// and not while others wait with it.
const MAX_GROUP_EVENTS: u32 = 256;

/// How many events without a claim an inline fold of one append reads, with its own, which are a thousand at most.
const MAX_APPEND_EVENTS: u32 = 2 * MAX_CHUNK_EVENTS;

/// Whose aggregates an inline fold is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldedFor {
    /// Those of one append. Rows that take a value of each other for which the view has a set rule are written in an order in which the
    /// rule rejects none of them, if there is one.
    Append,
    /// Those of one append for which more events wait than are folded at once: they are folded in pieces.
    Pieces,
    /// Those of a group of appends, which are sent again one by one if the fold fails. It does so when rows take values of each other,
    /// and when many events wait.
    Group,
}

impl FoldedFor {
    /// How many events without a claim are read at once.
    const fn max_events(self) -> u32 {
        match self {
            Self::Append => MAX_APPEND_EVENTS,
            Self::Pieces => MAX_CHUNK_EVENTS,
            Self::Group => MAX_GROUP_EVENTS,
        }
    }

    const fn lock_wait(self) -> LockWait {
        match self {
            Self::Append | Self::Pieces => LockWait::Session,
            Self::Group => LockWait::Group,
        }
    }
}

/// Folds all events of these aggregates that their view rows do not contain yet, in the transaction that appended to them.
///
/// # Errors
///
/// [`DbError::Conflict`](crate::db::DbError::Conflict) when a set rule of the view rejects the row,
/// [`ProjectionError::FoldFailed`] when an event of this append or an earlier one cannot be folded, and
/// [`ProjectionError::TooManyEvents`] when more events wait than are folded for the append. The caller must roll back the transaction
/// in all cases.
pub async fn fold_inline(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
    folded_for: FoldedFor,
) -> Result<(), ProjectionError> {
    match folded_for {
        FoldedFor::Pieces => pieces::fold_all(connection, view, aggregates).await,
        _ => read_and_fold(connection, view, aggregates, folded_for)
            .await
            .map(drop),
    }
}

/// Folds what it reads of the backlog; says whether that was all.
async fn read_and_fold(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
    folded_for: FoldedFor,
) -> Result<Extent, ProjectionError> {
    let view = &view.current();
    if view.serving().exists {
        let backlog = read_backlog(connection, view, aggregates, folded_for).await?;
        let extent = backlog.extent;
        let folded = fold_backlog(connection, view, aggregates, backlog, folded_for).await;
        if folded.map_err(|error| extent.explain(view, error))? {
            return Ok(extent);
        }
    }
    fold_into_live(connection, view, aggregates, folded_for).await
}

/// Asks which generation is live, and folds into that one; says whether that was all.
async fn fold_into_live(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
    folded_for: FoldedFor,
) -> Result<Extent, ProjectionError> {
    // This transaction has the lock, so the live generation cannot change any more.
    lock_generation(connection, view).await?;
    let generation = view::resolve(connection, view).await?;
    if generation.exists {
        let backlog = read_backlog(connection, &generation.view, aggregates, folded_for).await?;
        let (view, extent) = (&generation.view, backlog.extent);
        let folded = fold_backlog(connection, view, aggregates, backlog, folded_for).await;
        if folded.map_err(|error| extent.explain(view, error))? {
            return Ok(extent);
        }
    }
    if view.projection.set_rules().is_empty() {
        // The live generation has another definition. A catch-up folds the event into the one of this build.
        return Ok(Extent::Whole);
    }
    Err(ProjectionError::NotReprojected(view.name()))
}

/// Folds what was read of these aggregates into one generation; false if it is not the live one of this process.
async fn fold_backlog(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
    backlog: Backlog,
    folded_for: FoldedFor,
) -> Result<bool, ProjectionError> {
    let Backlog {
        mut events,
        before,
        repairs,
        ..
    } = backlog;
    if events.is_empty() {
        return is_live(connection, view).await;
    }
    let claimed = {
        let plan = plan(
            view.projection,
            &to_batches(&events, before),
            &events.undecodable,
        );
        if can_write_at_once(view, &plan, folded_for) {
            let claimed = write(connection, view, &plan, repairs).await?;
            if claimed.len() == plan.claims.len() {
                return Ok(true);
            }
            // Without any claim the rows may have been repaired since they were read, so the events may be free. Claim them anew.
            (!claimed.is_empty()).then_some(claimed)
        } else {
            None
        }
    };
    if !is_live(connection, view).await? {
        return Ok(false);
    }
    if let Some(claimed) = claimed {
        let is_claimed = |id, aggregate_id| claimed.contains(&(id, aggregate_id));
        events.events.retain(|e| is_claimed(e.id, e.aggregate_id));
    } else {
        let parked = find_parked(connection, view, aggregates).await?;
        events
            .undecodable
            .retain(|e| !parked.contains(&e.aggregate_id));
        events.events.retain(|e| !parked.contains(&e.aggregate_id));
        events.events = claim::claim_events(connection, view, events.events).await?;
    }
    let mut applied = fold::apply(connection, view, events, OnRejectedWrite::Return).await?;
    match applied.failures.pop() {
        // Whatever the event: it is not at fault.
        Some(failure) if failure.is_row => Err(view::mismatch().into()),
        Some(failure) => Err(ProjectionError::FoldFailed {
            projection: view.name(),
            aggregate_id: failure.aggregate_id,
            event_id: failure.event_id,
        }),
        None => Ok(true),
    }
}

/// Whether appends of this process are folded into this generation.
async fn is_live(connection: &mut Session<'_>, view: &View) -> Result<bool, ProjectionError> {
    Ok(
        sqlx::query_scalar(view.sql.fill(include_str!("sql/is_live.sql")))
            .bind(view.lock_domain())
            .fetch_one(connection)
            .await?,
    )
}

/// Keeps reprojections of the view from going live until the transaction ends.
async fn lock_generation(connection: &mut Session<'_>, view: &View) -> Result<(), ProjectionError> {
    sqlx::query(include_str!("sql/share_generation.sql"))
        .bind(view.name())
        .execute(connection)
        .await?;
    Ok(())
}

fn to_batches(
    events: &ReadEvents,
    mut before: HashMap<AggregateId, Before>,
) -> Vec<AggregateBatch<'_>> {
    let by_aggregate = events
        .events
        .chunk_by(|a, b| a.aggregate_id == b.aggregate_id);
    by_aggregate
        .filter_map(|events| {
            let before = before.remove(&events[0].aggregate_id)?;
            Some(AggregateBatch { before, events })
        })
        .collect()
}

/// Whether one statement can write what was planned: every event is folded, and no row has to release a unique value for another
/// row of the same statement, unless the fold may fail then.
fn can_write_at_once(view: &View, plan: &Plan<'_>, folded_for: FoldedFor) -> bool {
    let changes = plan.upsert.len() + plan.delete.len();
    plan.park.is_empty()
        && plan.release.is_empty()
        && (changes <= 1
            || folded_for == FoldedFor::Group
            || view.projection.set_rules().is_empty())
}

/// Claims the events of the plan and writes its rows, if it gets all claims. Returns the claims that it got.
async fn write(
    connection: &mut Session<'_>,
    view: &View,
    plan: &Plan<'_>,
    repairs: i64,
) -> Result<HashSet<(EventId, AggregateId)>, ProjectionError> {
    let mut claims = plan.claims.clone();
    // Position order is nearly log order; see `claim::claim_events`.
    claims.sort_unstable_by_key(|event| event.position);
    let delete = plan.delete.iter().map(|row| row.aggregate_id.0);
    let rows = sqlx::query(view.sql.fill(include_str!("sql/write_inline.sql")))
        .bind(view.lock_domain())
        .bind(claims.iter().map(|e| e.id.0).collect::<Vec<_>>())
        .bind(claims.iter().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .bind(delete.collect::<Vec<_>>())
        .bind(rows::json_array(&plan.upsert))
        .bind(repairs)
        .fetch_all(connection)
        .await?;
    let claimed = rows.iter().map(|row| {
        Ok((
            EventId(row.try_get("event_id")?),
            AggregateId(row.try_get("aggregate_id")?),
        ))
    });
    Ok(claimed.collect::<Result<_, sqlx::Error>>()?)
}

async fn find_parked(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
) -> Result<HashSet<AggregateId>, ProjectionError> {
    let rows = sqlx::query(include_str!("../sql/still_parked.sql"))
        .bind(view.lock_domain())
        .bind(aggregates.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let ids = rows.iter().map(|row| row.try_get(0).map(AggregateId));
    Ok(ids.collect::<Result<_, _>>()?)
}
