//! `GET /health`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::openapi::{Operation, Response, reference};
use crate::http::problem::{Kind, Problem};
use crate::projection::status::{self, MAX_COUNTED_EVENTS, ProjectionStatus};

/// The response while process and database are up. Without the database it is a 503, as for every route.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Health {
    #[schema(inline)]
    status: Availability,
    #[schema(inline)]
    database: Availability,
    projections: BTreeMap<String, ProjectionStatus>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Availability {
    Up,
}

/// Reports that process and database are up, and how far each projection lags behind.
pub(in crate::http) async fn health(
    State(state): State<AppState>,
) -> Result<Json<Health>, Problem> {
    let mut projections = BTreeMap::new();
    for view in state.foldlog.views.iter() {
        projections.insert(
            view.name().to_owned(),
            status::measure(&state.foldlog.pool, view, MAX_COUNTED_EVENTS).await?,
        );
    }
    Ok(Json(Health {
        status: Availability::Up,
        database: Availability::Up,
        projections,
    }))
}

/// Describes the route.
pub(super) fn describe() -> Operation {
    let summary = "Report whether process and database are up, and how far projections lag behind";
    let response = Response::new("Both are up", &[]).json(&reference("Health"));
    Operation::new("health", summary)
        .response(StatusCode::OK, response)
        .problems(&[Kind::Unavailable])
}
