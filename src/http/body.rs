//! Bodies of requests: read within a limit, and parsed field by field.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use serde::de::{Error, MapAccess};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::problem::{Kind, Problem};
use crate::event::{Metadata, check_json};

const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How much of an oversized body is read and discarded, so that the client receives the 413: a client that is still
/// sending when the server closes the connection sees a broken pipe instead of the response.
const MAX_DRAINED_BYTES: usize = 8 * MAX_BODY_BYTES;

/// Reads the body of a request that declares it as JSON.
pub(super) async fn read_json(request: Request) -> Result<Bytes, Problem> {
    if is_encoded(request.headers()) {
        let detail = "the body must not be compressed; send it without the header Content-Encoding";
        let problem = Problem::new(Kind::WrongMediaType, detail);
        return Err(problem.accept_encoding("identity"));
    }
    if !is_json(request.headers()) {
        let detail = "the header Content-Type must be application/json, once, and without another charset than UTF-8";
        return Err(Problem::new(Kind::WrongMediaType, detail));
    }
    read(request.into_body()).await
}

/// Reads a field that may be given once. The error says what the field must be: serde's own would name Rust types and quote
/// the value.
pub(super) fn read_field<'de, A: MapAccess<'de>, T>(
    fields: &mut A,
    name: &'static str,
    slot: &mut Option<T>,
    read: fn(&RawValue) -> Result<T, &'static str>,
) -> Result<(), A::Error> {
    let json: &RawValue = fields.next_value()?;
    let value = read(json).map_err(|reason| Error::custom(format!("{name} {reason}")))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::duplicate_field(name)),
    }
}

/// Parses JSON in which no object has the same key twice: serde would keep the last value without an error.
pub(super) fn parse_unambiguous(body: &[u8]) -> Result<Value, serde_json::Error> {
    let json: &RawValue = serde_json::from_slice(body)?;
    check_json(json.get()).map_err(|reason| Error::custom(format!("it {reason}")))?;
    serde_json::from_str(json.get())
}

pub(super) fn read_uuid(json: &RawValue) -> Result<Uuid, &'static str> {
    let text: Option<String> = serde_json::from_str(json.get()).ok();
    let uuid = text.and_then(|text| Uuid::parse_str(&text).ok());
    uuid.ok_or("must be a UUID")
}

pub(super) fn read_metadata(json: &RawValue) -> Result<Metadata, &'static str> {
    match json.get() {
        "null" => Ok(Metadata::default()),
        _ => Metadata::parse(json),
    }
}

/// Whether the body has a content coding (RFC 9110, 8.4). foldlog decodes none: a small body could become a huge one.
fn is_encoded(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

/// Whether the body is declared once, as JSON in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(declared), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let declared = declared.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = declared.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let is_json =
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    let charsets = parts.filter_map(|part| part.strip_prefix("charset="));
    let is_utf8 =
        |charset: &str| matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii");
    is_json && charsets.into_iter().all(is_utf8)
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Kind::TooLarge,
            format!(
                "the body is larger than {MAX_BODY_BYTES} bytes; send fewer events per request"
            ),
        )
    };
    let (mut stream, mut read, mut seen) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk
            .map_err(|_| Problem::new(Kind::Malformed, "the body ended before it was complete"))?;
        seen += chunk.len();
        if seen <= MAX_BODY_BYTES {
            read.extend_from_slice(&chunk);
        } else if seen > MAX_DRAINED_BYTES {
            break;
        }
    }
    if seen > MAX_BODY_BYTES {
        Err(too_large())
    } else {
        Ok(read.into())
    }
}
