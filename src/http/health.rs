//! `GET /health`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::AppState;
use super::problem::Problem;
use crate::projection::status::{self, MAX_COUNTED_EVENTS, Status};

/// The answer, when there is one: with Postgres away it is a 503 like everywhere.
#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
    database: &'static str,
    projections: BTreeMap<&'static str, Status>,
}

/// Whether process and database are up, and how far each projection is behind.
pub(super) async fn health(State(state): State<AppState>) -> Result<Json<Health>, Problem> {
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
