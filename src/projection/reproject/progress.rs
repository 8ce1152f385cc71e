//! The generations of a projection, and how far the one that is filled is.

use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

use super::{Reprojection, ReprojectionState};
use crate::db::Pool;
use crate::projection::ProjectionError;
use crate::view::{self, View};

/// A generation of a projection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct GenerationProgress {
    /// Its number.
    pub generation: u32,
    /// `filling`, `filled`, `live`, `retired` or `dropped`; in a report of projections also `refused`: filled, and the last `reproject`
    /// has refused to make it live.
    pub state: String,
    /// Whether it serves readers of this build.
    pub serves: bool,
    /// Whether its fold gives the rows that the fold of this build gives; null if that is not known.
    #[schema(required)]
    pub is_current: Option<bool>,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Slices of the aggregates that are filled.
    pub slices_done: u64,
    /// All slices; 0 if it was not filled by a reprojection.
    pub slices: u64,
    /// Aggregates that were filled.
    pub aggregates: u64,
    /// Events that were folded into them.
    pub events: u64,
}

/// The generations of a projection, the newest first.
///
/// # Errors
///
/// Any [`ProjectionError`].
pub async fn list(pool: &Pool, view: &View) -> Result<Vec<GenerationProgress>, ProjectionError> {
    let rows = sqlx::query(include_str!("sql/list_progress.sql"))
        .bind(view.name())
        .bind(&*view.definition_hash)
        .bind(view.fold_hash())
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    rows.iter().map(|row| Ok(decode(row)?)).collect()
}

/// Warns of each projection whose rows a build with another fold has written.
pub(in crate::projection) async fn warn_of_changed_folds(
    pool: &Pool,
    views: &[View],
) -> Result<(), ProjectionError> {
    for view in views {
        let generations = list(pool, view).await?;
        let changed = |generation: &GenerationProgress| {
            generation.serves && generation.is_current == Some(false)
        };
        if generations.iter().any(changed) {
            tracing::warn!(
                projection = view.name(),
                "the fold of the projection {0} has changed since its rows were written: reproject {0}",
                view.name()
            );
        }
    }
    Ok(())
}

/// How far one generation is. Its state says whether it is filled or live.
pub(super) async fn read(pool: &Pool, generation: &View) -> Result<Reprojection, ProjectionError> {
    let all = list(pool, generation).await?;
    let number = view::generation_number(generation.lock_domain());
    let is_own =
        |other: &GenerationProgress| other.generation == number && other.state != "dropped";
    let Some(progress) = all.into_iter().find(is_own) else {
        return Err(ProjectionError::Cancelled(generation.name()));
    };
    let state = match progress.state.as_str() {
        "live" => ReprojectionState::Live,
        _ if progress.slices > 0 && progress.slices == progress.slices_done => {
            ReprojectionState::Filled
        }
        _ => ReprojectionState::Filling,
    };
    Ok(Reprojection {
        generation: number,
        state,
        slices_done: progress.slices_done,
        slices: progress.slices,
        aggregates: progress.aggregates,
        events: progress.events,
        changes: None,
        behind: None,
    })
}

fn decode(row: &PgRow) -> Result<GenerationProgress, sqlx::Error> {
    let count = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(GenerationProgress {
        generation: view::generation_number(row.try_get("name")?),
        state: row.try_get("state")?,
        serves: row.try_get("serves")?,
        is_current: row.try_get("is_current")?,
        created_at: row.try_get("created_at")?,
        slices_done: count("slices_done")?,
        slices: count("slices")?,
        aggregates: count("aggregates")?,
        events: count("events")?,
    })
}
