//! Versions as entity tags: `ETag`, `If-Match` and `If-None-Match` (RFC 9110, 8.8.3 and 13.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use super::problem::{Kind, Problem};
use crate::event::{AggregateId, ExpectedVersion, Version, VersionSet};

/// A version as a strong entity tag.
pub(super) fn etag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\""))
        .unwrap_or_else(|_| unreachable!("digits and quotes are valid in a header"))
}

/// The precondition of an append: `If-Match` or `If-None-Match`.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<ExpectedVersion, Problem> {
    let if_none_match = condition(headers, &header::IF_NONE_MATCH)?;
    match (if_match(headers)?, if_none_match) {
        (expected, None) => Ok(expected),
        (ExpectedVersion::Any, Some(Condition::Any)) => Ok(ExpectedVersion::NoStream),
        (ExpectedVersion::Any, Some(Condition::Tags(_))) => Err(Problem::new(
            Kind::Malformed,
            "the header If-None-Match must be *, which requires that the aggregate does not exist",
        )),
        (_, Some(_)) => Err(Problem::new(
            Kind::Malformed,
            "send If-Match or If-None-Match, not both",
        )),
    }
}

/// The precondition of a read: whether the row at this version is one that `If-Match` names.
pub(super) fn check_if_match(
    headers: &HeaderMap,
    id: AggregateId,
    version: Version,
) -> Result<(), Problem> {
    if if_match(headers)?.matches(version) {
        return Ok(());
    }
    let detail = format!("the row is at version {version}, which If-Match does not name");
    Err(Problem::new(Kind::VersionMismatch, detail)
        .with_member("aggregate_id", id.to_string())
        .with_member("version", version.0))
}

/// Whether `If-None-Match` contains this version, so that the client's copy is current.
pub(super) fn matches_version(headers: &HeaderMap, version: Version) -> bool {
    matches_tag(headers, &version.to_string())
}

/// Whether `If-None-Match` contains a tag with this opaque part. Weak tags count here.
pub(super) fn matches_tag(headers: &HeaderMap, opaque: &str) -> bool {
    match condition(headers, &header::IF_NONE_MATCH) {
        Ok(Some(Condition::Any)) => true,
        Ok(Some(Condition::Tags(tags))) => tags.iter().any(|tag| tag.opaque == opaque.as_bytes()),
        // A header that is not understood only costs the body.
        Ok(None) | Err(_) => false,
    }
}

/// What `If-Match` requires. A weak tag never matches, nor does a tag that is not a version.
fn if_match(headers: &HeaderMap) -> Result<ExpectedVersion, Problem> {
    let tags = match condition(headers, &header::IF_MATCH)? {
        None => return Ok(ExpectedVersion::Any),
        Some(Condition::Any) => return Ok(ExpectedVersion::Exists),
        Some(Condition::Tags(tags)) => tags,
    };
    let mut versions = VersionSet::default();
    let strong = tags.iter().filter(|tag| !tag.is_weak);
    for version in strong.filter_map(EntityTag::version) {
        if !versions.insert(version) {
            let max = VersionSet::MAX_LEN;
            let detail = format!("the header If-Match must contain at most {max} versions");
            return Err(Problem::new(Kind::Malformed, detail));
        }
    }
    Ok(versions
        .single()
        .map_or(ExpectedVersion::OneOf(versions), ExpectedVersion::Exact))
}

/// The schema of a header with `*` or a list of entity tags.
pub(super) fn list_schema() -> Value {
    let tag = r#"(W/)?"[!#-~]*""#;
    let pattern = format!(r"^(\*|{tag}( *, *{tag})*)$");
    json!({"type": "string", "format": "entity-tags", "pattern": pattern})
}

/// The value of a header with entity tags.
enum Condition<'a> {
    /// `*`.
    Any,
    Tags(Vec<EntityTag<'a>>),
}

struct EntityTag<'a> {
    is_weak: bool,
    opaque: &'a [u8],
}

impl EntityTag<'_> {
    /// The version that this tag is of; `None` if foldlog has never sent this tag.
    fn version(&self) -> Option<Version> {
        let digits = std::str::from_utf8(self.opaque).ok()?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        digits.parse().ok().filter(|_| plain).map(Version)
    }
}

/// Parses a header with `*` or a list of entity tags, which may be spread over several lines.
fn condition<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<Condition<'a>>, Problem> {
    let mut lines = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let (mut tags, mut stars) = (Vec::new(), 0);
    let malformed = || {
        let detail = format!(
            "the header {name} must be * or versions in double quotes, like \"3\", separated by commas"
        );
        Problem::new(Kind::Malformed, detail)
    };
    for line in lines {
        let mut rest = line.trim_ascii();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(b"*") {
                stars += 1;
                rest = after;
            } else if rest[0] != b',' {
                let (tag, after) = parse_tag(rest).ok_or_else(malformed)?;
                tags.push(tag);
                rest = after;
            }
            rest = rest.trim_ascii_start();
            match rest.split_first() {
                None => {}
                // A list may have empty elements.
                Some((b',', after)) => rest = after.trim_ascii_start(),
                Some(_) => return Err(malformed()),
            }
        }
    }
    match (stars, tags.is_empty()) {
        (1, true) => Ok(Some(Condition::Any)),
        (0, false) => Ok(Some(Condition::Tags(tags))),
        _ => Err(malformed()),
    }
}

/// The entity tag at the beginning of a text, and the rest of the text.
fn parse_tag(text: &[u8]) -> Option<(EntityTag<'_>, &[u8])> {
    let strong = text.strip_prefix(b"W/");
    let (is_weak, quoted) = (strong.is_some(), strong.unwrap_or(text));
    let opaque = quoted.strip_prefix(b"\"")?;
    let end = opaque.iter().position(|byte| *byte == b'"')?;
    let (opaque, after) = (&opaque[..end], &opaque[end + 1..]);
    let is_valid = opaque.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    is_valid.then_some((EntityTag { is_weak, opaque }, after))
}
