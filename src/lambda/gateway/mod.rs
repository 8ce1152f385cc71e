//! The router behind a gateway: API Gateway's REST (1.0) and HTTP (2.0) APIs, function URLs, and load balancers.
//!
//! A client cannot tell a function behind a gateway from a server on a socket. The events are read here and not by
//! `lambda_http`, which panics on some hosts and bodies that a client may send, fails the invocation on others, changes
//! paths and queries, and drops repeated headers. Nothing that a client sends can fail an invocation: what cannot be a
//! request is answered with 400.

mod answer;
mod event;

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use serde_json::value::RawValue;
use tower::Service;

use self::answer::{Shape, Size};
use self::event::MalformedEventError;
use super::served_lag::{SCHEDULE_API_ID, Scheduled};
use crate::http::auth::GatewayClaims;
use crate::http::{self, BasePath, MaxPageBytes, MaxWait};
use crate::operate::Deadline;

/// The router as the Lambda runtime calls it.
#[derive(Clone)]
pub(super) struct GatewayService(Router);

/// The service for `router`.
pub(super) const fn service(router: Router) -> GatewayService {
    GatewayService(router)
}

impl Service<LambdaEvent<Box<RawValue>>> for GatewayService {
    type Response = Box<RawValue>;
    type Error = Diagnostic;
    type Future = BoxFuture<'static, Result<Box<RawValue>, Diagnostic>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Diagnostic>> {
        let ready = <Router as Service<Request<Body>>>::poll_ready(&mut self.0, context);
        ready.map_err(|never: Infallible| match never {})
    }

    fn call(&mut self, event: LambdaEvent<Box<RawValue>>) -> Self::Future {
        let mut router = self.0.clone();
        async move {
            let deadline_ms = event.context.deadline;
            let event: Value = serde_json::from_str(event.payload.get()).unwrap_or_default();
            let Some(shape) = Shape::detect(&event) else {
                return Err(unknown_event());
            };
            let deadline = Deadline::from_epoch_ms(deadline_ms);
            let size = Size::new(shape);
            let response = match event::request(&event, shape) {
                Ok(request) => {
                    let mut request = with_context(request, &event, shape, size);
                    let left = deadline.stop_at.saturating_duration_since(Instant::now());
                    request.extensions_mut().insert(MaxWait(left));
                    router
                        .call(request)
                        .await
                        .unwrap_or_else(|never| match never {})
                }
                Err(MalformedEventError(reason)) => http::refusing(reason)
                    .call(Request::<Body>::default())
                    .await
                    .unwrap_or_else(|never| match never {}),
            };
            let (parts, body) = response.into_parts();
            // The router's bodies are fully buffered, so collecting one cannot fail.
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            answer::encode(&Response::from_parts(parts, body), shape, size)
        }
        .boxed()
    }
}

/// Adds what the gateway says about the request. It comes from the request context, to which a client cannot write.
fn with_context(
    mut request: Request<Body>,
    event: &Value,
    shape: Shape,
    size: Size,
) -> Request<Body> {
    let context = &event["requestContext"];
    let extensions = request.extensions_mut();
    extensions.insert(MaxPageBytes(size.max_page_bytes()));
    if shape.is_api_gateway() {
        if let Some(claims) = GatewayClaims::from_context(context) {
            extensions.insert(claims);
        }
        if let Some(base_path) = event::base_path(event, shape) {
            extensions.insert(BasePath(base_path));
        }
    }
    if context["apiId"] == SCHEDULE_API_ID {
        extensions.insert(Scheduled);
    }
    request
}

fn unknown_event() -> Diagnostic {
    Diagnostic {
        error_type: "UnknownEvent".to_owned(),
        error_message:
            "the event is not a request from API Gateway, a function URL or a load balancer"
                .to_owned(),
    }
}
