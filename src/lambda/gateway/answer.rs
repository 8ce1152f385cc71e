//! A response as the JSON that a gateway expects. Each gateway limits its size: a larger response would reach the client as
//! a 502 of the gateway.

use std::borrow::Cow;

use axum::body::{Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, Response, header};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use lambda_runtime::Diagnostic;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::http::Problem;

/// The largest response of a function to a load balancer: 1 MB of JSON.
const MAX_LOAD_BALANCER_BYTES: usize = 1_000_000;
/// The largest response of a function otherwise: 6 MB of JSON. API Gateway itself would pass 10 MB on.
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;
/// The part of a response that is left for its headers, and for what surrounds the rows of a page.
const HEADROOM_BYTES: usize = 64 * 1024;

/// The form of the events and answers of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// REST APIs, and HTTP APIs with payload 1.0.
    RestApi,
    /// HTTP APIs with payload 2.0, and function URLs.
    HttpApi,
    /// Load balancers.
    LoadBalancer {
        /// Whether the target group has multi-value headers.
        multi_value: bool,
    },
}

/// The largest answer of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(usize);

impl Shape {
    /// The shape of an event; `None` if no gateway sends such an event.
    pub(super) fn detect(event: &Value) -> Option<Self> {
        let context = event["requestContext"].as_object()?;
        if context.contains_key("elb") {
            let multi_value = event["multiValueHeaders"].is_object();
            return Some(Self::LoadBalancer { multi_value });
        }
        if context.get("http").is_some_and(Value::is_object) {
            return Some(Self::HttpApi);
        }
        event["httpMethod"].is_string().then_some(Self::RestApi)
    }

    pub(super) const fn is_api_gateway(self) -> bool {
        !matches!(self, Self::LoadBalancer { .. })
    }
}

impl Size {
    pub(super) const fn new(shape: Shape) -> Self {
        Self(match shape {
            Shape::LoadBalancer { .. } => MAX_LOAD_BALANCER_BYTES,
            Shape::RestApi | Shape::HttpApi => MAX_RESPONSE_BYTES,
        })
    }

    /// How many bytes the rows of a page may have as a part of the answer.
    pub(super) const fn max_page_bytes(self) -> usize {
        self.0 - HEADROOM_BYTES
    }
}

/// The answer with this response, or with a problem if the response is too large for the gateway.
pub(super) fn encode(
    response: &Response<Bytes>,
    shape: Shape,
    Size(max_bytes): Size,
) -> Result<Box<RawValue>, Diagnostic> {
    let answer = json(response, shape)?;
    if answer.get().len() <= max_bytes {
        return Ok(answer);
    }
    let status = response.status();
    tracing::warn!(
        http.status = status.as_u16(),
        "a response was too large for the gateway: {} of at most {max_bytes} bytes",
        answer.get().len(),
    );
    let mut problem = Problem::response_too_large(max_bytes).into_response();
    // What the layers around the routes have added, as the request id.
    for (name, value) in response.headers() {
        if *name != header::ETAG && !name.as_str().starts_with("content-") {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    let (parts, body) = problem.into_parts();
    let body = to_bytes(body, max_bytes).now_or_never();
    let body = body.and_then(Result::ok).unwrap_or_default();
    json(&Response::from_parts(parts, body), shape)
}

fn json(response: &Response<Bytes>, shape: Shape) -> Result<Box<RawValue>, Diagnostic> {
    // UTF-8 is sent as text, whatever its media type; only other bytes need base64.
    let (body, is_base64) = match std::str::from_utf8(response.body()) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (STANDARD.encode(response.body()), true),
    };
    let status = response.status();
    let mut answer = json!({
        "statusCode": status.as_u16(),
        "body": body,
        "isBase64Encoded": is_base64,
    });
    match shape {
        // API Gateway merges both kinds of headers, so there is one only.
        Shape::RestApi => answer["multiValueHeaders"] = multi(response.headers()),
        // `cargo lambda watch` requires the cookies even when there are none.
        Shape::HttpApi => {
            answer["cookies"] = json!(texts(response.headers(), &header::SET_COOKIE));
            answer["headers"] = single(response.headers());
        }
        Shape::LoadBalancer { multi_value } => {
            let reason = status.canonical_reason().unwrap_or_default();
            answer["statusDescription"] = json!(format!("{} {reason}", status.as_u16()));
            if multi_value {
                answer["multiValueHeaders"] = multi(response.headers());
            } else {
                answer["headers"] = single(response.headers());
            }
        }
    }
    to_raw_value(&answer).map_err(|error| Diagnostic {
        error_type: "Serialization".to_owned(),
        error_message: error.to_string(),
    })
}

/// All values of each header.
fn multi(headers: &HeaderMap) -> Value {
    let all = headers
        .keys()
        .map(|name| (name.to_string(), json!(texts(headers, name))));
    Value::Object(all.collect())
}

/// The values of each header as one list, apart from cookies, of which a list cannot be made.
fn single(headers: &HeaderMap) -> Value {
    let all = headers
        .keys()
        .filter(|name| **name != header::SET_COOKIE)
        .map(|name| (name.to_string(), json!(texts(headers, name).join(", "))));
    Value::Object(all.collect())
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<Cow<'a, str>> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect()
}
