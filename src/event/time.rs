//! Times of events.

use serde::{Serializer, ser};
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use time::{OffsetDateTime, UtcOffset};

/// The first and the last time that an event can have.
const FIRST: OffsetDateTime = datetime!(0001-01-01 0:00 UTC);
const LAST: OffsetDateTime = datetime!(9999-12-31 23:59:59.999_999 UTC);

/// The last time that an event can have at `time` or earlier: in UTC, cut to microseconds, from year 1 to year 9999. An event is
/// at this time or earlier if and only if it is at `time` or earlier.
#[must_use]
pub fn to_event_time(time: OffsetDateTime) -> OffsetDateTime {
    let Some(time) = time.checked_to_offset(UtcOffset::UTC) else {
        // The conversion fails only at the ends of the range of years, -9999 to 9999.
        return if time.year() > 0 { LAST } else { FIRST };
    };
    let extra = time.nanosecond() % 1000;
    (time - time::Duration::nanoseconds(extra.into())).clamp(FIRST, LAST)
}

/// Writes a time as RFC 3339, which has no years before 0 and after 9999. The database refuses events of such years.
pub(crate) fn serialize<S: Serializer>(
    time: &OffsetDateTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = to_event_time(*time).format(&Rfc3339);
    serializer.serialize_str(&text.map_err(ser::Error::custom)?)
}

/// As [`serialize`]; null where there is no time.
#[expect(clippy::ref_option, reason = "serde passes the field")]
pub(crate) fn serialize_option<S: Serializer>(
    time: &Option<OffsetDateTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fails when a time is rounded up, keeps its offset, or panics at the ends of the range.
    #[test]
    fn a_time_becomes_the_last_one_that_an_event_can_have() {
        for (time, expected) in [
            (
                datetime!(2026-11-26 8:00:00.123_456_789 +02:00),
                datetime!(2026-11-26 6:00:00.123_456 UTC),
            ),
            (
                datetime!(1969-12-31 23:59:59.999_999_999 UTC),
                datetime!(1969-12-31 23:59:59.999_999 UTC),
            ),
            (datetime!(9999-12-31 23:59:59 -23:59), LAST),
            (datetime!(9999-12-31 23:59:59.999_999_999 UTC), LAST),
            (datetime!(0000-01-01 0:00 +23:59), FIRST),
            (datetime!(-9999-01-01 0:00 +23:59), FIRST),
        ] {
            let event_time = to_event_time(time);
            assert_eq!(event_time, expected);
            assert_eq!(event_time.offset(), UtcOffset::UTC);
        }
    }
}
