//! What every request goes through: an id, one log line, CORS, a problem for a panic, a time limit.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use uuid::Uuid;

use super::problem::{Cause, Problem, ProblemType};

/// How long a request may take. Below what gateways wait (29 s), so that the client hears the reason from us.
const TIME_LIMIT: Duration = Duration::from_secs(25);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `routes` with all of it around.
pub(super) fn layered(routes: Router, origins: &[String]) -> Router {
    let routes = routes
        .layer(middleware::from_fn(limit_time))
        .layer(CatchPanicLayer::custom(|_| {
            Problem::panicked().into_response()
        }));
    let routes = if origins.is_empty() {
        routes
    } else {
        routes.layer(cors(origins))
    };
    routes.layer(middleware::from_fn(log))
}

fn cors(origins: &[String]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(
            origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok())
                .collect::<Vec<_>>(),
        )
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            REQUEST_ID,
        ])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            REQUEST_ID,
        ])
        .max_age(Duration::from_hours(1))
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIME_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timed_out().into_response(),
    }
}

/// Gives the request an id, or takes over the client's, and writes its one line.
async fn log(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| is_plain(id))
        .cloned();
    let id = id.unwrap_or_else(|| {
        HeaderValue::try_from(Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("-"))
    });
    let method = request.method().clone();
    // The route, not the path: a path may hold anything.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("-", MatchedPath::as_str)
        .to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    let duration_ms = begun.elapsed().as_millis();
    let problem = response
        .extensions()
        .get::<ProblemType>()
        .map_or("", |kind| kind.0);
    let request_id = id.to_str().unwrap_or_default();
    let route = route.as_str();
    let code = status.as_u16();
    match response.extensions().get::<Cause>() {
        Some(Cause(cause)) if status == StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(
                request.id = request_id,
                http.route = route,
                http.status = code,
                problem.r#type = problem,
                duration_ms,
                "{method} {route} {code}: {cause}"
            );
        }
        Some(Cause(cause)) => {
            tracing::warn!(
                request.id = request_id,
                http.route = route,
                http.status = code,
                problem.r#type = problem,
                duration_ms,
                "{method} {route} {code}: {cause}"
            );
        }
        None => {
            tracing::info!(
                request.id = request_id,
                http.route = route,
                http.status = code,
                problem.r#type = problem,
                duration_ms,
                "{method} {route} {code}"
            );
        }
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Whether a client's request id can stand in a log line.
fn is_plain(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len())
        && id
            .as_bytes()
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
}
