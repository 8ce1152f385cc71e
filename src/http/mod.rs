//! HTTP: the routes, all on this page. Whoever hosts them (a local server, a Lambda function) takes a router as it is.

pub mod auth;

mod command;
mod extract;
mod health;
mod problem;
mod query;
mod trace;

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Router, middleware};

pub use self::auth::Auth;
pub use self::problem::Problem;
use crate::engine::Engine;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The system behind the routes.
    pub engine: Engine,
    /// The origins whose pages may call the API.
    pub cors_origins: Arc<[String]>,
    /// Who may call.
    pub auth: Auth,
}

/// The routes that append.
pub fn command_router(state: AppState) -> Router {
    let origins = Arc::clone(&state.cors_origins);
    host(guarded(command_routes(), state), &origins)
}

/// The routes that read.
pub fn query_router(state: AppState) -> Router {
    let origins = Arc::clone(&state.cors_origins);
    host(guarded(query_routes(), state), &origins)
}

/// All routes. The two states may work as roles of their own.
pub fn router(command: AppState, query: AppState) -> Router {
    let origins = Arc::clone(&query.cors_origins);
    let routes = guarded(command_routes(), command);
    host(routes.merge(guarded(query_routes(), query)), &origins)
}

/// The routes, each behind the question who calls.
fn guarded(routes: Router<AppState>, state: AppState) -> Router {
    let check = middleware::from_fn_with_state(state.clone(), auth::check);
    routes.route_layer(check).with_state(state)
}

fn command_routes() -> Router<AppState> {
    Router::new()
        .route("/events", post(command::append_any))
        .route("/{domain}", post(command::append))
}

fn query_routes() -> Router<AppState> {
    Router::new()
        .route("/health", get(health::health))
        .route("/{domain}", get(query::list))
        .route("/{domain}/{id}", get(query::get))
}

/// What every request goes through, from the outside in: an id and a log line, CORS, a problem for a panic, a time limit.
/// (Who calls is asked last, by the routes themselves.)
fn host(routes: Router, origins: &[String]) -> Router {
    let routes = routes
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method);
    trace::layered(routes, origins)
}
