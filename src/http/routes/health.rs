//! `GET /health`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::http::AppState;
use crate::http::problem::Problem;
use crate::projection::status::{self, MAX_COUNTED_EVENTS, Status};

/// The response while process and database are up. Without the database it is a 503, as for every route.
#[derive(Serialize)]
pub(in crate::http) struct Health {
    status: &'static str,
    database: &'static str,
    projections: BTreeMap<&'static str, Status>,
}

/// Reports that process and database are up, and how far each projection lags behind.
pub(in crate::http) async fn health(
    State(state): State<AppState>,
) -> Result<Json<Health>, Problem> {
    let mut projections = BTreeMap::new();
    for view in state.engine.views.iter() {
        projections.insert(
            view.name(),
            status::measure(&state.engine.pool, view, MAX_COUNTED_EVENTS).await?,
        );
    }
    Ok(Json(Health {
        status: "up",
        database: "up",
        projections,
    }))
}
