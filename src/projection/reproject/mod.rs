//! Reprojection: builds a view again from the first event, in a new generation beside the live one, and then makes it the live one.
//!
//! # Filling
//!
//! A generation is filled from what one snapshot C sees. The aggregates are cut into slices, ranges of ids, and a worker takes a free
//! slice with `skip locked`. A batch is one transaction: it reads the next events of the slice in the order of aggregates and versions,
//! folds each aggregate once, writes the rows, inserts the claims of all events of the range with one statement on the server, and moves
//! the slice's mark. So a batch is done or not done, whatever ends the worker, and any number of workers share the slices.
//!
//! C is the same for all batches, and events are immutable. So the claims statement finds exactly the events that the batch has read:
//! those of the range that C sees. For each aggregate these are versions 1 … k, because a snapshot that sees version n + 1 sees version n.
//! An event that cannot be folded parks its aggregate, and only the versions before it are claimed, like in a batch of a catch-up. (tests:
//! `a_reprojection_killed_at_every_step_folds_every_event_once`, `an_aggregate_that_cannot_be_folded_is_parked_in_the_new_generation`)
//!
//! # From C on
//!
//! When no slice is left, every event that C sees is claimed or its aggregate is parked. That is the invariant of a lane with the settled
//! snapshot C, so one transaction creates this lane, and from then on the generation is a projection like any other: catch-up folds what
//! C did not see, and the argument in [`projection`](crate::projection) applies. C is kept in `settled` while the generation is filled,
//! so a log that is restored in another cluster is healed above it, too. No worker creates the lane earlier, not even one that knew the
//! generation as live, before a dump was restored in which it is being filled. (test:
//! `a_worker_creates_no_lane_for_a_generation_that_is_being_filled_or_removed`)
//!
//! # Going live
//!
//! See the module `swap`.

mod fill;
mod page;
mod progress;
mod slices;
mod swap;

use sqlx::Row;

pub(super) use self::progress::warn_of_changed_folds;
pub use self::progress::{GenerationProgress, list};
use self::swap::Swapped;
use super::budget::Budget;
use super::{ProjectionError, catch_up, generation, parked, preview};
use crate::db::Pool;
use crate::event::{AggregateId, EventId, Version};
use crate::view::{self, Serving, View};

/// How a reprojection goes live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReprojectOptions {
    /// Do not go live if more rows than this would change. A generation that is refused stays filled: see
    /// [`preview`](mod@super::preview).
    pub max_changes: Option<u64>,
}

/// How far a reprojection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Reprojection {
    /// The number of the generation.
    pub generation: u32,
    /// What the invocation has reached.
    pub state: ReprojectionState,
    /// Slices of the aggregates that are filled.
    pub slices_done: u64,
    /// All slices.
    pub slices: u64,
    /// Aggregates that are filled.
    pub aggregates: u64,
    /// Events that are folded into them.
    pub events: u64,
    /// The rows that would change, if they were counted.
    pub changes: Option<u64>,
    /// Why the generation was refused, unless too many rows would change.
    pub behind: Option<BehindLive>,
}

/// Aggregates that are parked in a generation at an event that the live generation has applied. Going live would take them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct BehindLive {
    /// How many there are.
    pub aggregates: u64,
    /// One of them.
    pub aggregate_id: AggregateId,
    /// The event at which it is parked.
    pub event_id: EventId,
    /// The version of this event.
    pub version: Version,
}

/// The state of a reprojection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReprojectionState {
    /// The generation is being filled; reproject again to continue.
    Filling,
    /// The generation is filled, and not live yet; reproject again to continue.
    Filled,
    /// The generation is filled, and was refused: more rows would change than allowed, or parked aggregates would go back to an earlier
    /// version.
    Refused,
    /// The generation is live.
    Live,
}

/// Builds a projection again in a new generation, and makes it live. Continues the reprojection that is under way, if there is one.
/// Ends when the generation is live or refused, or the time is up; then it has to be called again.
///
/// # Errors
///
/// [`ProjectionError::NotDefined`] if the table of the view was not created by `migrate up`, and
/// [`ProjectionError::OtherFold`] if a build with another fold is filling a generation; otherwise any [`ProjectionError`].
pub async fn reproject(
    pool: &Pool,
    view: &View,
    batch_size: u32,
    options: ReprojectOptions,
    budget: &Budget,
) -> Result<Reprojection, ProjectionError> {
    let generation = create(pool, view).await?;
    let run = Reprojecting {
        pool,
        view,
        generation: &generation,
        batch_size,
        options,
        budget,
    };
    // Boxed, because it contains the futures of batches.
    let reached = match budget.run_until_abort(Box::pin(run.to_the_end())).await {
        // The table may be gone because another process has cancelled the reprojection.
        Some(Err(ProjectionError::Db(error))) if Serving::may_be_dropped(&error) => {
            progress::read(pool, &generation).await?;
            return Err(error.into());
        }
        reached => reached.transpose()?,
    };
    let mut progress = progress::read(pool, &generation).await?;
    if let Some((state, changes, behind)) = reached {
        progress.state = state;
        progress.changes = changes;
        progress.behind = behind;
    }
    if progress.state == ReprojectionState::Live {
        view::resolve(&mut *pool.acquire().await?, view).await?;
    }
    Ok(progress)
}

/// Ends the reprojections of a projection that are under way, also those that builds with another definition have left behind, and removes
/// their generations. Returns whether nothing of them is left; otherwise it has to be called again, or a later catch-up removes the rest.
/// `None` if there was none.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn cancel(
    pool: &Pool,
    view: &View,
    budget: &Budget,
) -> Result<Option<bool>, ProjectionError> {
    let names: Vec<String> = sqlx::query_scalar(include_str!("sql/list_filling.sql"))
        .bind(view.name())
        .bind(&*view.definition_hash)
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    let mut is_removed = None;
    for name in names {
        let removed = Box::pin(generation::remove(pool, view, &name, budget)).await?;
        is_removed = Some(is_removed.unwrap_or(true) && removed);
    }
    Ok(is_removed)
}

/// Finds or creates the generation that is filled.
async fn create(pool: &Pool, view: &View) -> Result<View, ProjectionError> {
    let mut transaction = pool.begin().await?;
    let name: Option<String> = sqlx::query_scalar(include_str!("sql/create_generation.sql"))
        .bind(view.name())
        .bind(&*view.definition_hash)
        .bind(view.fold_hash())
        .fetch_one(&mut *transaction)
        .await?;
    let Some(name) = name else {
        return Err(ProjectionError::NotDefined(view.name()));
    };
    let row = sqlx::query(include_str!("sql/read_generation.sql"))
        .bind(&name)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.commit().await?;
    let Some(row) = row else {
        // It was cancelled in the meantime.
        return Err(ProjectionError::Cancelled(view.name()));
    };
    if row.try_get::<Option<&str>, _>("fold_hash")? != Some(view.fold_hash()) {
        return Err(ProjectionError::OtherFold(view.name()));
    }
    Ok(view.generation(&name))
}

/// What an invocation has reached, how many rows would change, if they were counted, and which would go back to an earlier version.
type Reached = (ReprojectionState, Option<u64>, Option<BehindLive>);

/// One reprojection.
struct Reprojecting<'a> {
    pool: &'a Pool,
    view: &'a View,
    generation: &'a View,
    batch_size: u32,
    options: ReprojectOptions,
    budget: &'a Budget,
}

impl Reprojecting<'_> {
    async fn to_the_end(&self) -> Result<Reached, ProjectionError> {
        if !slices::plan(self.pool, self.generation).await? {
            Box::pin(fill::fill(self.pool, self.generation, self.budget)).await?;
            if self.budget.is_spent() || !slices::finish(self.pool, self.generation).await? {
                return Ok((ReprojectionState::Filling, None, None));
            }
        }
        let (mut changes, mut has_retried) = (None, false);
        for _ in 0..swap::MAX_ATTEMPTS {
            let caught_up = Box::pin(catch_up::catch_up_generation(
                self.pool,
                self.generation,
                self.batch_size,
                self.budget,
            ));
            if !caught_up.await? || self.budget.is_spent() {
                break;
            }
            if let Some(max) = self.options.max_changes {
                let counted = preview::count(self.pool, self.view, self.generation, self.budget);
                let Some(counted) = Box::pin(counted).await? else {
                    break;
                };
                changes = Some(counted);
                if counted > max {
                    return Ok((ReprojectionState::Refused, changes, None));
                }
            }
            if progress::read(self.pool, self.generation).await?.state == ReprojectionState::Live {
                // Another process was first.
                return Ok((ReprojectionState::Live, changes, None));
            }
            if !slices::complete(self.pool, self.generation).await? {
                break;
            }
            let swapped = swap::go_live(self.pool, self.view, self.generation, self.budget);
            match Box::pin(swapped).await? {
                Swapped::Live => {
                    tracing::info!(
                        projection = self.view.name(),
                        "the generation {} of the projection {} is live",
                        self.generation.lock_domain(),
                        self.view.name()
                    );
                    return Ok((ReprojectionState::Live, changes, None));
                }
                Swapped::Postponed => {}
                // The fold may be corrected since they were parked.
                Swapped::Behind(_) if !has_retried => {
                    let retry = parked::retry_generation(self.pool, self.generation, self.budget);
                    Box::pin(retry).await?;
                    has_retried = true;
                }
                Swapped::Behind(behind) => {
                    return Ok((ReprojectionState::Refused, changes, Some(behind)));
                }
            }
        }
        Ok((ReprojectionState::Filled, changes, None))
    }
}
