//! Versions and times in query strings.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::extract::parse_digits;
use super::problem::{Kind, Problem};
use crate::event::Version;
use crate::query::Moment;

/// Reads a time in RFC 3339, with any offset and precision. A plus sign in a query string is a space unless it is encoded, so a
/// space in front of the offset counts as a plus sign.
pub(super) fn parse_time(name: &str, text: &str) -> Result<OffsetDateTime, Problem> {
    let mut text = text.to_owned();
    if let Some(at) = text.len().checked_sub("+00:00".len())
        && text.as_bytes()[at] == b' '
    {
        text.replace_range(at..=at, "+");
    }
    // RFC 3339 separates date and time by a `T`; the parser accepts any character.
    let is_separated = matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' '));
    let time = OffsetDateTime::parse(&text, &Rfc3339).ok();
    time.filter(|_| is_separated).ok_or_else(|| {
        let detail = format!(
            "the parameter {name} must be a time in RFC 3339, like 2026-11-26T08:00:00Z or 2026-11-26T08:00:00.5%2B01:00"
        );
        Problem::new(Kind::Malformed, detail)
    })
}

/// Reads a version from 1 on.
pub(super) fn parse_version(name: &str, text: &str) -> Result<Version, Problem> {
    let version = parse_digits(text).filter(|version| *version > 0);
    version.map(Version).ok_or_else(|| {
        let detail = format!("the parameter {name} must be an integer from 1 to 2147483647");
        Problem::new(Kind::Malformed, detail)
    })
}

/// Reads a version from 0 on, or a time.
pub(super) fn parse_moment(name: &str, text: &str) -> Result<Moment, Problem> {
    if text.contains([':', 'T', 't']) {
        return parse_time(name, text).map(Moment::Time);
    }
    let version = parse_digits(text);
    version.map(Version).map(Moment::Version).ok_or_else(|| {
        let detail = format!(
            "the parameter {name} must be a version from 0 to 2147483647, or a time in RFC 3339 like 2026-11-26T08:00:00Z"
        );
        Problem::new(Kind::Malformed, detail)
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    // Fails when a time with an offset or a precision of RFC 3339 is misread, also with an unencoded plus sign.
    #[test]
    fn a_time_has_any_offset_and_precision() {
        for (text, time) in [
            ("2026-11-26T08:00:00Z", datetime!(2026-11-26 8:00 UTC)),
            ("2026-11-26t08:00:00z", datetime!(2026-11-26 8:00 UTC)),
            ("2026-11-26 08:00:00Z", datetime!(2026-11-26 8:00 UTC)),
            ("2026-11-26T08:00:00+02:00", datetime!(2026-11-26 6:00 UTC)),
            ("2026-11-26T08:00:00 02:00", datetime!(2026-11-26 6:00 UTC)),
            ("2026-11-26T08:00:00-23:59", datetime!(2026-11-27 7:59 UTC)),
            (
                "2026-11-26T08:00:00.123456789123Z",
                datetime!(2026-11-26 8:00:00.123_456_789 UTC),
            ),
        ] {
            assert_eq!(parse_time("as_of", text).ok(), Some(time), "{text}");
        }
    }

    // Fails when a text that is not RFC 3339 is read as a time, or makes the parser panic.
    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            " ",
            "now",
            "2026-11-26",
            "2026-11-26T08:00:00",
            "2026-11-26x08:00:00Z",
            "2026-13-26T08:00:00Z",
            "2026-02-30T08:00:00Z",
            "2026-11-26T24:00:00Z",
            "2026-11-26T08:00:00 2:00",
            "10000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "2026-11-26T08:00:00+99:00",
            "ééééééééé",
            "1764144000",
        ] {
            assert!(parse_time("as_of", text).is_err(), "{text}");
        }
    }
}
