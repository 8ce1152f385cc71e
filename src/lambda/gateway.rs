//! Requests as a gateway hands them over: API Gateway's REST (1.0) and HTTP (2.0) APIs, function URLs, and load balancers.
//!
//! `lambda_http` reads all of them. What it makes of them differs from what a client sent in three ways, put right here, so
//! that the router cannot tell a gateway from a socket:
//!
//! - It puts the stage of a REST API into the path, where no route expects it; an HTTP API itself puts its own there.
//! - It rebuilds the path by the rules for browsers, which resolve `..` and drop what is no URL.
//! - Of a header that came twice it keeps the last value: an `If-Match` that has to be refused would be taken.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Write as _;
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
use tower::Service;

use crate::http::auth::GatewayClaims;

/// The router as the runtime calls it.
pub(super) fn adapter(router: Router) -> Mended<Adapter<'static, Answer, Host>> {
    Mended(Adapter::from(Host(router)))
}

/// Mends an event before `lambda_http` makes a request of it.
#[derive(Clone)]
pub(super) struct Mended<S>(S);

impl<S: Service<LambdaEvent<LambdaRequest>>> Service<LambdaEvent<LambdaRequest>> for Mended<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut event: LambdaEvent<LambdaRequest>) -> S::Future {
        mend(&mut event.payload);
        self.0.call(event)
    }
}

/// Takes the stage out of the path, and single values out where all of them are there.
fn mend(event: &mut LambdaRequest) {
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
            // What cannot stand in a URI would end the invocation.
            if let Some(Cow::Owned(query)) = event.raw_query_string.as_deref().map(escaped) {
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

/// The router, with the path that the client sent.
#[derive(Clone)]
pub(super) struct Host(Router);

impl Service<lambda_http::Request> for Host {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as Service<lambda_http::Request>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, mut request: lambda_http::Request) -> Self::Future {
        let path = path_and_query(request.raw_http_path(), request.uri().query());
        if let Some(path) = path {
            *request.uri_mut() = Uri::from(path);
        }
        // An authorizer of the gateway has verified the token already; nothing that a client sends gets in here.
        let context = request.request_context_ref().filter(|c| is_vouched_for(c));
        let context = context.and_then(|context| serde_json::to_value(context).ok());
        if let Some(claims) = context.as_ref().and_then(GatewayClaims::from_context) {
            request.extensions_mut().insert(claims);
        }
        let response = self.0.call(request);
        async move {
            let (parts, body) = response.await?.into_parts();
            // No body of ours fails half-way, nor is it without an end.
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            Ok(Answer(Response::from_parts(parts, body)))
        }
        .boxed()
    }
}

/// Whether an authorizer has had a look at the request.
fn is_vouched_for(context: &RequestContext) -> bool {
    match context {
        RequestContext::ApiGatewayV1(context) => {
            context.authorizer.jwt.is_some() || !context.authorizer.fields.is_empty()
        }
        RequestContext::ApiGatewayV2(context) => context.authorizer.is_some(),
        _ => false,
    }
}

/// A whole answer.
pub(super) struct Answer(Response<Bytes>);

impl IntoResponse for Answer {
    /// As text wherever it is text, whatever its type is called: only the rest needs base64.
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        let body = |bytes: Bytes| match String::from_utf8(bytes.into()) {
            Ok(text) if text.is_empty() => Body::Empty,
            Ok(text) => Body::Text(text),
            Err(error) => Body::Binary(error.into_bytes()),
        };
        Box::pin(ready(self.0.map(body)))
    }
}

/// `None` for what is no path at all, which no gateway sends.
fn path_and_query(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
    // A gateway may have decoded it.
    let mut whole = escaped(path).replace('?', "%3F");
    if let Some(query) = query {
        whole.push('?');
        whole.push_str(query);
    }
    whole.parse().ok()
}

/// Escapes what cannot stand in a URI, and leaves alone what is escaped already.
fn escaped(text: &str) -> Cow<'_, str> {
    let stands = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
    if text.bytes().all(stands) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if stands(byte) {
            escaped.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_taken_off_once_and_only_as_a_whole() {
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
    fn a_path_is_a_path_whether_it_was_decoded_or_not() {
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
