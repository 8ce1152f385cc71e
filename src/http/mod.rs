//! HTTP: the routes, all on this page. Whoever hosts them (a local server, a Lambda function) takes a router as it is.

pub mod auth;

mod command;
mod extract;
mod health;
mod openapi;
mod problem;
mod query;
mod trace;

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};
use axum::{Router, middleware};
use utoipa::openapi::HttpMethod;

pub use self::auth::Auth;
pub use self::openapi::document;
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
    host(guarded(COMMANDS, state), &origins)
}

/// The routes that read.
pub fn query_router(state: AppState) -> Router {
    let origins = Arc::clone(&state.cors_origins);
    host(guarded(QUERIES, state), &origins)
}

/// All routes. The two states may work as roles of their own.
pub fn router(command: AppState, query: AppState) -> Router {
    let origins = Arc::clone(&query.cors_origins);
    let commands = guarded(COMMANDS, command);
    host(commands.merge(guarded(QUERIES, query)), &origins)
}

/// A route. The routers and the document are made from the same lists of them.
type Route = (HttpMethod, &'static str, Operation);

const COMMANDS: &[Route] = &[
    (HttpMethod::Post, "/events", Operation::AppendAny),
    (HttpMethod::Post, "/{domain}", Operation::Append),
];

const QUERIES: &[Route] = &[
    (HttpMethod::Get, "/health", Operation::Health),
    (HttpMethod::Get, "/openapi.json", Operation::Document),
    (HttpMethod::Get, "/{domain}", Operation::List),
    (HttpMethod::Get, "/{domain}/{id}", Operation::Get),
];

/// What a route does; what the document says of it is in [`openapi`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    AppendAny,
    Append,
    Health,
    Document,
    List,
    Get,
}

impl Operation {
    fn serve(self) -> MethodRouter<AppState> {
        match self {
            Self::AppendAny => post(command::append_any),
            Self::Append => post(command::append),
            Self::Health => get(health::health),
            Self::Document => openapi::serve(),
            Self::List => get(query::list),
            Self::Get => get(query::get),
        }
    }
}

/// The routes of a list, each behind the question who calls.
fn guarded(list: &[Route], state: AppState) -> Router {
    let add = |router: Router<AppState>, (_, path, operation): &Route| {
        router.route(path, operation.serve())
    };
    let check = middleware::from_fn_with_state(state.clone(), auth::check);
    let routes = list.iter().fold(Router::new(), add);
    routes.route_layer(check).with_state(state)
}

/// What every request goes through, from the outside in: an id and a log line, CORS, a problem for a panic, a time limit.
/// (Who calls is asked last, by the routes themselves.)
fn host(routes: Router, origins: &[String]) -> Router {
    let routes = routes
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method);
    trace::layered(routes, origins)
}
