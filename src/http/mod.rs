//! The HTTP API. Every host (the local server, the Lambda functions) serves one of the three routers below.

pub mod auth;

mod base_path;
mod body;
#[cfg(feature = "console")]
mod console;
mod etag;
mod extract;
mod moment;
mod openapi;
mod problem;
mod routes;
mod serve;
mod trace;

use std::sync::Arc;

use axum::{Router, middleware};

pub use self::auth::Auth;
pub use self::base_path::{BasePath, with_base_path};
#[cfg(feature = "console")]
pub use self::console::with_console;
pub(crate) use self::openapi::{EXTENSION, SCHEMAS};
pub(crate) use self::problem::PROBLEM_URN;
pub use self::problem::Problem;
pub use self::routes::document::document;
pub use self::routes::feed::MaxWait;
pub use self::routes::health::MeasuredProjections;
pub use self::routes::list::MaxPageBytes;
use self::routes::{ROUTES, Side};
use self::serve::Stop;
pub use self::serve::{serve, serve_at_most};
use crate::app::Foldlog;
use crate::operate::{HandOver, Operator};

/// The state that handlers share.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The domains and the database behind the routes.
    pub foldlog: Foldlog,
    /// The origins that CORS allows.
    pub cors_origins: Arc<[String]>,
    /// How callers are authenticated.
    pub auth: Auth,
    /// How `POST /projections` is served.
    pub operations: Operations,
}

/// How `POST /projections` is served.
#[derive(Clone, Debug, Default)]
pub enum Operations {
    /// Not at all: 503.
    #[default]
    None,
    /// In this process, with a login of the role `foldlog_projection`.
    InProcess(Operator),
    /// By another process, which gets the payload.
    HandedOver(Arc<dyn HandOver>),
}

/// The routes that append.
pub fn command_router(state: AppState) -> Router {
    let origins = Arc::clone(&state.cors_origins);
    with_layers(routes_of(Side::Command, state), &origins)
}

/// The routes that read.
pub fn query_router(state: AppState) -> Router {
    let origins = Arc::clone(&state.cors_origins);
    with_layers(routes_of(Side::Query, state), &origins)
}

/// All routes. The two states may use different database roles.
///
/// ```no_run
/// use foldlog::Foldlog;
/// use foldlog::http::{AppState, Auth, Operations, router};
///
/// # async fn serve(foldlog: Foldlog) -> std::io::Result<()> {
/// let state = AppState {
///     foldlog,
///     cors_origins: ["https://app.example.org".to_owned()].into(),
///     auth: Auth::None,
///     operations: Operations::None,
/// };
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:7755").await?;
/// axum::serve(listener, router(state.clone(), state)).await
/// # }
/// ```
pub fn router(command: AppState, query: AppState) -> Router {
    let origins = Arc::clone(&query.cors_origins);
    let commands = routes_of(Side::Command, command);
    let queries = routes_of(Side::Query, query);
    with_layers(commands.merge(queries), &origins)
}

/// A router that refuses every request, because it cannot be parsed. Its responses have the headers and the log line of others.
#[cfg(feature = "lambda")]
pub(crate) fn refusing(detail: &'static str) -> Router {
    let refuse = move || async move { Problem::new(problem::Kind::Malformed, detail) };
    trace::with_layers(Router::new().fallback(refuse), &[])
}

/// The routes of one side, each behind the check of its caller's access.
fn routes_of(side: Side, state: AppState) -> Router {
    let served = ROUTES.iter().filter(|route| route.side == side);
    let router = served.fold(Router::new(), |router, route| {
        let check = (state.clone(), route.access);
        let authorize = middleware::from_fn_with_state(check, auth::authorize);
        let handler = (route.handler)(route.method.filter());
        router.route(route.path, handler.route_layer(authorize))
    });
    router.with_state(state)
}

/// Adds what every request passes through, from the outside in: request id and log line, CORS, the conversion of a panic
/// into a problem, the time limit.
fn with_layers(routes: Router, origins: &[String]) -> Router {
    let routes = routes
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method);
    trace::with_layers(routes, origins)
}
