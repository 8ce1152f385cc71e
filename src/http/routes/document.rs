//! `GET /openapi.json`.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::http::auth::Auth;
use crate::http::{AppState, document};

/// Serves the OpenAPI document. It is built at the first request for it, so that a cold start does not pay for it.
pub(in crate::http) fn serve(method: MethodFilter) -> MethodRouter<AppState> {
    let text: Arc<OnceLock<Bytes>> = Arc::default();
    on(method, async move |State(state): State<AppState>| {
        let secured = matches!(state.auth, Auth::Jwt(_));
        let build = || document(&state.engine.domains, secured).to_string().into();
        let text = text.get_or_init(build).clone();
        ([(header::CONTENT_TYPE, "application/json")], text)
    })
}
