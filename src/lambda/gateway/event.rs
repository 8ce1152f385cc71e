//! The event of a gateway as a request, as a socket would have received it.

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::DecodePaddingMode};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::answer::Shape;

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

/// As the raw query string has it, where the values are not decoded.
const PARAMETER_ENCODED: &AsciiSet = &QUERY_ENCODED.add(b'&');

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why an event cannot be a request. A server on a socket would answer such bytes with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct MalformedEventError(pub &'static str);

/// Builds the request.
pub(super) fn request(event: &Value, shape: Shape) -> Result<Request<Body>, MalformedEventError> {
    let mut request = Request::new(body(event)?);
    *request.method_mut() = method(event, shape)?;
    *request.uri_mut() = uri(event, shape)?;
    *request.headers_mut() = headers(event)?;
    Ok(request)
}

/// What the gateway removed from the front of the path, or what is removed here: the stage.
pub(super) fn base_path(event: &Value, shape: Shape) -> Option<String> {
    let base_path = match shape {
        Shape::HttpApi => {
            let (path, stage) = (text(&event["rawPath"]), stage(event)?);
            (without_stage(path, stage) != path).then(|| format!("/{stage}"))
        }
        Shape::RestApi => {
            let whole = text(&event["requestContext"]["path"]);
            whole
                .strip_suffix(text(&event["path"]))
                .map(ToOwned::to_owned)
        }
        Shape::LoadBalancer { .. } => None,
    };
    base_path.filter(|base_path| !base_path.is_empty())
}

/// The stage that an HTTP API puts in front of the path; `None` for the default stage.
fn stage(event: &Value) -> Option<&str> {
    let stage = event["requestContext"]["stage"].as_str();
    stage.filter(|stage| *stage != "$default" && !stage.is_empty())
}

fn method(event: &Value, shape: Shape) -> Result<Method, MalformedEventError> {
    let method = match shape {
        Shape::HttpApi => &event["requestContext"]["http"]["method"],
        Shape::RestApi | Shape::LoadBalancer { .. } => &event["httpMethod"],
    };
    let method = method.as_str().unwrap_or_default();
    Method::from_bytes(method.as_bytes())
        .map_err(|_| MalformedEventError("the method must be a token"))
}

fn uri(event: &Value, shape: Shape) -> Result<Uri, MalformedEventError> {
    let path = match shape {
        Shape::HttpApi => {
            let path = text(&event["rawPath"]);
            stage(event).map_or(path, |stage| without_stage(path, stage))
        }
        Shape::RestApi | Shape::LoadBalancer { .. } => text(&event["path"]),
    };
    let query = match shape {
        Shape::HttpApi => {
            utf8_percent_encode(text(&event["rawQueryString"]), QUERY_ENCODED).to_string()
        }
        // A load balancer passes parameters on as the client sent them, API Gateway decodes them.
        Shape::LoadBalancer { .. } => query(event, PARAMETER_ENCODED),
        Shape::RestApi => query(event, NON_ALPHANUMERIC),
    };
    let target =
        path_and_query(path, &query).ok_or(MalformedEventError("the path must start with /"))?;
    Ok(Uri::from(target))
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

/// The request target. Some gateways decode the path, so it is encoded again.
fn path_and_query(path: &str, query: &str) -> Option<PathAndQuery> {
    let path = if path.is_empty() { "/" } else { path };
    if !path.starts_with('/') {
        return None;
    }
    let mut target = utf8_percent_encode(path, PATH_ENCODED).to_string();
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
    }
    target.parse().ok()
}

/// The query string of an event that has the parameters one by one. The event has all values of a parameter or the last
/// one.
fn query(event: &Value, encoded: &'static AsciiSet) -> String {
    let parameters = preferred(
        event,
        "multiValueQueryStringParameters",
        "queryStringParameters",
    );
    let encode = |text: &str| utf8_percent_encode(text, encoded).to_string();
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The headers. A header that occurs more than once has all its values in `multiValueHeaders`.
fn headers(event: &Value) -> Result<HeaderMap, MalformedEventError> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| {
        let text = text.trim_matches([' ', '\t']);
        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
            MalformedEventError("a header contains a character that no header may have")
        })
    };
    for (name, text) in preferred(event, "multiValueHeaders", "headers") {
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| MalformedEventError("the name of a header must be a token"))?;
        headers.append(name, value(&text)?);
    }
    // HTTP APIs take the cookies out of the headers.
    if let Some(cookies) = event["cookies"].as_array() {
        let cookies: Vec<&str> = cookies.iter().filter_map(Value::as_str).collect();
        headers.insert(header::COOKIE, value(&cookies.join("; "))?);
    }
    Ok(headers)
}

/// The names and values of the map `multi`, or of `single` if there is none.
fn preferred(event: &Value, multi: &str, single: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let all = event[multi].as_object().filter(|map| !map.is_empty());
    for (name, value) in all.or(event[single].as_object()).into_iter().flatten() {
        let values = match value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        };
        for value in values {
            match value {
                Value::String(text) => pairs.push((name.clone(), text.clone())),
                Value::Null => {}
                other => pairs.push((name.clone(), other.to_string())),
            }
        }
    }
    pairs
}

fn body(event: &Value) -> Result<Body, MalformedEventError> {
    let text = text(&event["body"]);
    if event["isBase64Encoded"] != true {
        return Ok(Body::from(text.to_owned()));
    }
    let bytes = BASE64.decode(text);
    bytes
        .map(Body::from)
        .map_err(|_| MalformedEventError("the gateway's base64 encoding of the body is invalid"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
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
            ("/users", "", "/users"),
            ("/users/..", "a=%26", "/users/..?a=%26"),
            ("/a b/ä?#", "", "/a%20b/%C3%A4%3F%23"),
            ("/a%20b", "", "/a%20b"),
            ("", "", "/"),
        ] {
            assert_eq!(path_and_query(path, query).unwrap(), whole);
        }
        assert_eq!(path_and_query("users", ""), None);
    }
}
