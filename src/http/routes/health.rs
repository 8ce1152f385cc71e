//! `GET /health`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::document::SYSTEM_TAG;
use crate::app::Foldlog;
use crate::http::AppState;
use crate::http::openapi::{Operation, Response, reference};
use crate::http::problem::{Kind, Problem};
use crate::projection::status::{self, MAX_COUNTED_EVENTS, ProjectionStatus};
use crate::view::View;

/// How long the measurement of one projection may take, and that of all together. Load balancers give up after 5 s by
/// default.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(2);
const MEASURE_ALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The response while process and database are up. Without the database it is a 503, as for every route.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Health {
    #[schema(inline)]
    status: HealthStatus,
    #[schema(inline)]
    database: Availability,
    projections: BTreeMap<&'static str, ProjectionStatus>,
}

/// Whether everything works.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum HealthStatus {
    /// It does.
    Up,
    /// A projection has parked aggregates, no worker applies its events, or its lag is unknown.
    Degraded,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Availability {
    Up,
}

/// What a response of `GET /health` says about each projection: an extension of the response, for a host's metrics.
#[derive(Clone, Debug)]
pub struct MeasuredProjections(pub Arc<BTreeMap<&'static str, ProjectionStatus>>);

/// Reports that process and database are up, and how far each projection lags behind.
pub(in crate::http) async fn health(
    State(state): State<AppState>,
) -> Result<(Extension<MeasuredProjections>, Json<Health>), Problem> {
    let projections = measure_all(&state.foldlog).await?;
    let measured = MeasuredProjections(Arc::new(projections.clone()));
    let needs_attention = projections.values().any(ProjectionStatus::needs_attention);
    let health = Health {
        status: if needs_attention {
            HealthStatus::Degraded
        } else {
            HealthStatus::Up
        },
        database: Availability::Up,
        projections,
    };
    Ok((Extension(measured), Json(health)))
}

/// Measures one projection.
pub(super) async fn measure(foldlog: &Foldlog, view: &View) -> Result<ProjectionStatus, Problem> {
    let by = Instant::now() + MEASURE_TIMEOUT;
    Ok(status::measure_until(&foldlog.pool, view, MAX_COUNTED_EVENTS, by).await?)
}

/// Measures all projections.
pub(super) async fn measure_all(
    foldlog: &Foldlog,
) -> Result<BTreeMap<&'static str, ProjectionStatus>, Problem> {
    let pool = &foldlog.pool;
    // Whether the database answers at all: a measurement that takes too long cannot tell.
    drop(pool.acquire().await?);
    let all_by = Instant::now() + MEASURE_ALL_TIMEOUT;
    let mut projections = BTreeMap::new();
    for view in foldlog.views.iter() {
        let by = all_by.min(Instant::now() + MEASURE_TIMEOUT);
        let status = status::measure_until(pool, view, MAX_COUNTED_EVENTS, by).await?;
        projections.insert(view.name(), status);
    }
    if !projections.is_empty() && projections.values().all(|status| !status.is_measured()) {
        // Every measurement ran into its limit: the database may have stopped to answer. A suspect connection is pinged.
        pool.mark_suspect();
        drop(pool.acquire().await?);
    }
    Ok(projections)
}

/// Describes the route.
pub(super) fn describe() -> Operation {
    let summary = "Report whether process and database are up, and how far projections lag behind";
    let response = Response::new("Both are up", &[]).json(&reference("Health"));
    Operation::new("health", summary)
        .tag(SYSTEM_TAG)
        .response(StatusCode::OK, response)
        .problems(&[Kind::Unavailable])
}
