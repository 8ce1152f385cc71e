//! The layers around all routes: request id and log line, CORS, panics as problems, the time limit.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tracing::Instrument as _;
use uuid::Uuid;

use super::problem::{Cause, Problem, ProblemType};
use crate::telemetry::millis;

/// How long a request may take. API Gateway waits 29 s; a shorter limit lets the client receive the reason.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a browser may cache the answer to a preflight request.
const MAX_PREFLIGHT_AGE: Duration = Duration::from_hours(1);

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the layers around `routes`.
pub(super) fn with_layers(routes: Router, origins: &[String]) -> Router {
    let routes = routes
        .layer(middleware::from_fn(limit_time))
        .layer(CatchPanicLayer::custom(|_| {
            Problem::internal().into_response()
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
        .max_age(MAX_PREFLIGHT_AGE)
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timed_out().into_response(),
    }
}

/// Gives the request an id, or keeps the client's, and writes the request's log line.
async fn log(request: Request, next: Next) -> Response {
    let started_at = Instant::now();
    let id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| is_loggable(id))
        .cloned();
    let id = id.unwrap_or_else(|| {
        HeaderValue::try_from(Uuid::now_v7().to_string())
            .unwrap_or_else(|_| unreachable!("a UUID is valid in a header"))
    });
    let method = request.method().clone();
    // The route instead of the path: a path is chosen by the client and may contain anything.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("-", MatchedPath::as_str)
        .to_owned();
    let request_id = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", request.id = request_id, http.route = route);
    let mut response = next.run(request).instrument(span).await;
    let problem_type = response.extensions().get::<ProblemType>();
    /// Logs at a level, with the fields of every request line.
    macro_rules! log_line {
        ($level:ident, $($message:tt)+) => {
            tracing::$level!(
                request.id = request_id,
                http.route = route,
                http.status = response.status().as_u16(),
                problem.r#type = problem_type.map_or("", |problem| problem.0),
                duration_ms = millis(started_at.elapsed()),
                $($message)+
            )
        };
    }
    let code = response.status().as_u16();
    match response.extensions().get::<Cause>() {
        Some(Cause(cause)) if code == StatusCode::INTERNAL_SERVER_ERROR => {
            log_line!(error, "{method} {route} {code}: {cause}");
        }
        Some(Cause(cause)) => log_line!(warn, "{method} {route} {code}: {cause}"),
        None => log_line!(info, "{method} {route} {code}"),
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Whether a client's request id is safe in a log line.
fn is_loggable(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len())
        && id
            .as_bytes()
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b))
}
