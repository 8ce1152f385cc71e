//! Requests from gateways: API Gateway's REST (1.0) and HTTP (2.0) APIs, function URLs, and load balancers.
//!
//! `lambda_http` parses all of them. Its requests differ from what the client sent in three ways. This module corrects them,
//! so that the router sees the same request as on a socket:
//!
//! - It prepends the stage of a REST API to the path; an HTTP API itself does the same with its own.
//! - It rebuilds the path by the URL rules of browsers, which resolve `..` and drop invalid characters.
//! - Of a repeated header it keeps only the last value, so that an invalid `If-Match` would be accepted.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::http::uri::PathAndQuery;
use axum::http::{Response, Uri};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::{Adapter, Body, IntoResponse, LambdaEvent, RequestExt as _};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tower::Service;

use super::served_lag::{SCHEDULE_API_ID, Scheduled};
use crate::http::auth::GatewayClaims;

/// The characters that a query string must not contain. `%` may stay, because it starts an encoded character.
const QUERY_ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The characters that a path must not contain.
const PATH_ENCODED: &AsciiSet = &QUERY_ENCODED.add(b'?');

/// The router as the Lambda runtime calls it.
pub(super) fn adapter(
    router: Router,
) -> NormalizedService<Adapter<'static, BufferedResponse, GatewayService>> {
    NormalizedService(Adapter::from(GatewayService(router)))
}

/// Normalizes a gateway's event before `lambda_http` turns it into a request.
#[derive(Clone)]
pub(super) struct NormalizedService<S>(S);

impl<S: Service<LambdaEvent<LambdaRequest>>> Service<LambdaEvent<LambdaRequest>>
    for NormalizedService<S>
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut event: LambdaEvent<LambdaRequest>) -> S::Future {
        normalize(&mut event.payload);
        self.0.call(event)
    }
}

/// Removes the stage from the path, and single header values where the event also has all values.
fn normalize(event: &mut LambdaRequest) {
    match event {
        LambdaRequest::ApiGatewayV1(event) if !event.multi_value_headers.is_empty() => {
            event.headers.clear();
        }
        LambdaRequest::ApiGatewayV2(event) => {
            let stage = event.request_context.stage.as_deref();
            let stage = stage.filter(|stage| *stage != "$default");
            if let (Some(stage), Some(path)) = (stage, &mut event.raw_path) {
                *path = without_stage(path, stage).to_owned();
            }
            // `lambda_http` fails the invocation on a query string that is not part of a URI.
            let query = event.raw_query_string.as_deref();
            let query = query.map(|query| utf8_percent_encode(query, QUERY_ENCODED).into());
            if let Some(Cow::Owned(query)) = query {
                event.raw_query_string = Some(query);
            }
        }
        _ => {}
    }
}

fn without_stage<'a>(path: &'a str, stage: &str) -> &'a str {
    let below = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(stage));
    match below {
        Some("") => "/",
        Some(below) if below.starts_with('/') => below,
        _ => path,
    }
}

/// The router, with the path as the client sent it and the claims that the gateway verified.
#[derive(Clone)]
pub(super) struct GatewayService(Router);

impl Service<lambda_http::Request> for GatewayService {
    type Response = BufferedResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<BufferedResponse, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as Service<lambda_http::Request>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, mut request: lambda_http::Request) -> Self::Future {
        let path = path_and_query(request.raw_http_path(), request.uri().query());
        if let Some(path) = path {
            *request.uri_mut() = Uri::from(path);
        }
        let context = request.request_context_ref();
        if context.is_some_and(is_scheduled) {
            request.extensions_mut().insert(Scheduled);
        }
        // The request context comes from the gateway; a client cannot write to it.
        let context = request
            .request_context_ref()
            .filter(|context| is_gateway_verified(context));
        let context = context.and_then(|context| serde_json::to_value(context).ok());
        if let Some(claims) = context.as_ref().and_then(GatewayClaims::from_context) {
            request.extensions_mut().insert(claims);
        }
        let response = self.0.call(request);
        async move {
            let (parts, body) = response.await?.into_parts();
            // The router's bodies are fully buffered, so collecting one cannot fail.
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            Ok(BufferedResponse(Response::from_parts(parts, body)))
        }
        .boxed()
    }
}

/// Whether the template's schedule sent the request.
fn is_scheduled(context: &RequestContext) -> bool {
    matches!(context, RequestContext::ApiGatewayV2(context) if context.apiid.as_deref() == Some(SCHEDULE_API_ID))
}

/// Whether an authorizer of the gateway has verified the caller.
fn is_gateway_verified(context: &RequestContext) -> bool {
    match context {
        RequestContext::ApiGatewayV1(context) => {
            context.authorizer.jwt.is_some() || !context.authorizer.fields.is_empty()
        }
        RequestContext::ApiGatewayV2(context) => context.authorizer.is_some(),
        _ => false,
    }
}

/// A response with its whole body.
pub(super) struct BufferedResponse(Response<Bytes>);

impl IntoResponse for BufferedResponse {
    /// UTF-8 is sent as text, whatever its media type; only other bytes need base64.
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        let body = |bytes: Bytes| match String::from_utf8(bytes.into()) {
            Ok(text) if text.is_empty() => Body::Empty,
            Ok(text) => Body::Text(text),
            Err(error) => Body::Binary(error.into_bytes()),
        };
        Box::pin(ready(self.0.map(body)))
    }
}

/// The request target. Some gateways decode the path, so it is encoded again; `None` if the path does not start with `/`,
/// which no gateway sends.
fn path_and_query(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    let mut target = utf8_percent_encode(path, PATH_ENCODED).to_string();
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_is_removed_from_the_path_once_and_only_as_a_whole_segment() {
        for (path, below) in [
            ("/prod/users", "/users"),
            ("/prod", "/"),
            ("/prod/", "/"),
            ("/prod/prod", "/prod"),
            ("/products", "/products"),
            ("/users", "/users"),
            ("", ""),
        ] {
            assert_eq!(without_stage(path, "prod"), below);
        }
    }

    #[test]
    fn a_path_is_percent_encoded_whether_the_gateway_decoded_it_or_not() {
        for (path, query, whole) in [
            ("/users", None, "/users"),
            ("/users/..", Some("a=%26"), "/users/..?a=%26"),
            ("/a b/ä?#", None, "/a%20b/%C3%A4%3F%23"),
            ("/a%20b", None, "/a%20b"),
        ] {
            assert_eq!(path_and_query(path, query).unwrap(), whole);
        }
    }
}
