//! Versions as entity tags: `ETag`, `If-Match` and `If-None-Match`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::problem::{Kind, Problem};
use crate::event::{ExpectedVersion, Version};

/// A version as a strong entity tag.
pub(super) fn etag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\""))
        .unwrap_or_else(|_| unreachable!("digits and quotes are valid in a header"))
}

/// The precondition of an append: `If-Match` or `If-None-Match`.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<ExpectedVersion, Problem> {
    match (
        single_header(headers, &header::IF_MATCH)?,
        single_header(headers, &header::IF_NONE_MATCH)?,
    ) {
        (None, None) => Ok(ExpectedVersion::Any),
        (None, Some("*")) => Ok(ExpectedVersion::NoStream),
        (Some(tag), None) => match parse_etag(tag) {
            Some(version) => Ok(ExpectedVersion::Exact(version)),
            None => Err(Problem::new(
                Kind::Malformed,
                "the header If-Match must be one version in double quotes, like \"3\"",
            )),
        },
        (None, Some(_)) => Err(Problem::new(
            Kind::Malformed,
            "the header If-None-Match must be *, which requires that the aggregate does not exist",
        )),
        (Some(_), Some(_)) => Err(Problem::new(
            Kind::Malformed,
            "send If-Match or If-None-Match, not both",
        )),
    }
}

/// Whether `If-None-Match` contains this version, so that the client's copy is current.
pub(super) fn matches_version(headers: &HeaderMap, version: Version) -> bool {
    let tags = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || parse_etag(tag.strip_prefix("W/").unwrap_or(tag)) == Some(version))
}

/// Parses the version in a strong entity tag.
fn parse_etag(tag: &str) -> Option<Version> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain).map(Version)
}

fn single_header<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (first, more) = (values.next(), values.next().is_some());
    let bad = || {
        Problem::new(
            Kind::Malformed,
            format!("the header {name} must be sent once and be ASCII"),
        )
    };
    if more {
        return Err(bad());
    }
    first
        .map(|value| value.to_str().map(str::trim).map_err(|_| bad()))
        .transpose()
}
