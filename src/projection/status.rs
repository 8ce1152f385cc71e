//! The lag of a projection: how many events it has not folded yet, how old the oldest of them is, and what that means.
//! A figure that could not be measured is `None`, never 0.

use std::time::Instant;

use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use tokio::time::timeout_at;

use super::ProjectionError;
use crate::db::{DbError, Pool, RetryPolicy, Session};
use crate::view::{self, View};

/// A health check reads at most this many events, so that its cost does not grow with the backlog.
pub const MAX_COUNTED_EVENTS: i64 = 10_000;

/// A projection is stuck when its oldest event has waited this many seconds. A running worker folds an event within
/// seconds, a scheduled one within two minutes.
pub const STUCK_AFTER_SECONDS: f64 = 300.0;

/// The lag of a projection. A figure that could not be measured is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct ProjectionStatus {
    /// Events that are not claimed, without those of parked aggregates.
    #[schema(required)]
    pub lag_events: Option<u64>,
    /// The age of the oldest of these events, in seconds.
    #[schema(required)]
    pub lag_seconds: Option<f64>,
    /// Parked aggregates.
    #[schema(required)]
    pub parked: Option<u64>,
    /// When the newest event that the projection folds was recorded, applied or not, if it is one of the last 100 events of the
    /// log.
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    #[schema(required)]
    pub newest_event_at: Option<OffsetDateTime>,
    /// When the oldest event that waits was recorded.
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    #[schema(required)]
    pub oldest_waiting_at: Option<OffsetDateTime>,
    /// When a worker last looked for events, give or take ten seconds; null if none has.
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    #[schema(required)]
    pub worker_seen_at: Option<OffsetDateTime>,
    /// Whether a build with another fold has written the rows, so that the projection has to be reprojected; null if that is not known.
    #[schema(required)]
    pub fold_changed: Option<bool>,
    /// The reprojection that is under way.
    #[schema(required, inline)]
    pub reprojection: Option<FillProgress>,
    /// What the lag means.
    #[schema(schema_with = <ProjectionState as utoipa::PartialSchema>::schema)]
    pub state: ProjectionState,
    /// Whether the measurement read all events above the settled snapshot. If not, there may be more unclaimed events than
    /// [`Self::lag_events`], and older ones.
    #[serde(skip)]
    pub is_complete: bool,
}

/// How far a reprojection has filled the new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FillProgress {
    /// The number of the new generation.
    pub generation: u32,
    /// Slices of the aggregates that are filled.
    pub slices_done: u64,
    /// All slices; 0 before the reprojection has begun.
    pub slices: u64,
}

/// What the lag of a projection means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProjectionState {
    /// Every event is folded or belongs to a parked aggregate.
    Current,
    /// Events wait to be folded.
    Behind,
    /// An event has waited for more than five minutes: the worker fails, is too slow, or no longer runs.
    Stuck,
    /// Events wait, and no worker has ever completed a pass of this projection.
    Unprocessed,
    /// The lag could not be measured.
    #[default]
    Unknown,
}

impl ProjectionStatus {
    /// The status of a projection whose worker has just found no event to fold.
    #[must_use]
    pub const fn current(parked: u64) -> Self {
        Self {
            lag_events: Some(0),
            lag_seconds: Some(0.0),
            parked: Some(parked),
            newest_event_at: None,
            oldest_waiting_at: None,
            worker_seen_at: None,
            fold_changed: None,
            reprojection: None,
            state: ProjectionState::Current,
            is_complete: true,
        }
    }

    /// Whether an operator has something to do: aggregates are parked, no worker applies the events, the lag is unknown, or the fold
    /// has changed since the rows were written.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        let is_idle = matches!(
            self.state,
            ProjectionState::Current | ProjectionState::Behind
        );
        !is_idle || self.parked != Some(0) || self.fold_changed == Some(true)
    }

    /// Whether every figure is known.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.lag_events.is_some() && self.lag_seconds.is_some() && self.parked.is_some()
    }
}

/// Measures the lag of one projection. Reads at most `max_events` events.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn measure(
    pool: &Pool,
    view: &View,
    max_events: i64,
) -> Result<ProjectionStatus, ProjectionError> {
    let mut retries = RetryPolicy::default();
    loop {
        match query_status(pool, view, max_events).await {
            Err(ProjectionError::Db(error)) if retries.should_retry(pool, &error) => {}
            result => return result,
        }
    }
}

/// Measures the lag of one projection until `deadline`. The status is unknown when the time does not suffice, or when
/// another session holds a lock on a table that the measurement reads.
///
/// # Errors
///
/// Any other [`ProjectionError`].
pub async fn measure_until(
    pool: &Pool,
    view: &View,
    max_events: i64,
    deadline: Instant,
) -> Result<ProjectionStatus, ProjectionError> {
    match timeout_at(deadline.into(), measure(pool, view, max_events)).await {
        Err(_) | Ok(Err(ProjectionError::Db(DbError::TimedOut(_) | DbError::Contended(_)))) => {
            Ok(ProjectionStatus::default())
        }
        Ok(result) => result,
    }
}

async fn query_lag(
    connection: &mut Session<'_>,
    view: &View,
    max_events: i64,
) -> Result<PgRow, ProjectionError> {
    let types = view.projection.block();
    Ok(sqlx::query(include_str!("sql/lag.sql"))
        .bind(view.lock_domain())
        .bind(types.start)
        .bind(types.end)
        .bind(max_events)
        .bind(view.fold_hash())
        .fetch_one(connection)
        .await?)
}

async fn query_status(
    pool: &Pool,
    view: &View,
    max_events: i64,
) -> Result<ProjectionStatus, ProjectionError> {
    let mut connection = pool.acquire().await?;
    let mut generation = view.current();
    let row = loop {
        let row = query_lag(&mut connection, &generation, max_events).await?;
        if row.try_get("serves")? {
            break row;
        }
        let before = generation.lock_domain().to_owned();
        generation = view::resolve(&mut connection, view).await?.view;
        if generation.lock_domain() == before {
            break row;
        }
    };
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    let (events, seconds, is_complete) = (
        count("events")?,
        row.try_get("seconds")?,
        row.try_get("whole")?,
    );
    // Claimed events that are not settled yet may fill the whole sample; then the lag behind them is unknown.
    let is_known = is_complete || events > 0;
    Ok(ProjectionStatus {
        lag_events: is_known.then_some(events),
        lag_seconds: is_known.then_some(seconds),
        parked: Some(count("parked")?),
        newest_event_at: row.try_get("newest_event_at")?,
        oldest_waiting_at: row.try_get("oldest_waiting_at")?,
        worker_seen_at: row.try_get("worker_seen_at")?,
        fold_changed: row.try_get("fold_changed")?,
        reprojection: decode_progress(&row)?,
        state: match events {
            _ if !is_known => ProjectionState::Unknown,
            0 => ProjectionState::Current,
            _ if !row.try_get::<bool, _>("settled")? => ProjectionState::Unprocessed,
            _ if seconds > STUCK_AFTER_SECONDS => ProjectionState::Stuck,
            _ => ProjectionState::Behind,
        },
        is_complete,
    })
}

fn decode_progress(row: &PgRow) -> Result<Option<FillProgress>, sqlx::Error> {
    let Some(name) = row.try_get::<Option<&str>, _>("new_generation")? else {
        return Ok(None);
    };
    let count = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    Ok(Some(FillProgress {
        generation: view::generation_number(name),
        slices_done: count("slices_done")?,
        slices: count("slices")?,
    }))
}
