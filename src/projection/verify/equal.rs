//! Whether two JSON values are equal, whatever the order of their members and the spelling of their texts and numbers. Numbers are compared
//! digit by digit: [`serde_json::Value`] would hold one beyond 64 bits as a float, which is the same for its neighbours.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The members of an object.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// How many levels of a value are compared. Postgres allows more, and each one uses the stack; deeper values are equal if their texts are.
const MAX_DEPTH: u32 = 128;

/// Whether two rows have the same fields, apart from `id` and `version`.
pub(super) fn have_same_fields(one: &RawValue, other: &RawValue) -> bool {
    let fields = |row| {
        let mut fields = members(row)?;
        fields.remove("id");
        fields.remove("version");
        Some(fields)
    };
    match (fields(one.get()), fields(other.get())) {
        (Some(one), Some(other)) => are_equal_members(&one, &other, MAX_DEPTH),
        _ => one.get() == other.get(),
    }
}

fn is_equal(one: &RawValue, other: &RawValue, depth: u32) -> bool {
    let (one, other) = (one.get(), other.get());
    if one == other {
        return true;
    }
    if depth == 0 {
        return false;
    }
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => match (members(one), members(other)) {
            (Some(one), Some(other)) => are_equal_members(&one, &other, depth - 1),
            _ => false,
        },
        (Some(b'['), Some(b'[')) => match (items(one), items(other)) {
            (Some(one), Some(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .zip(&other)
                        .all(|(one, other)| is_equal(one, other, depth - 1))
            }
            _ => false,
        },
        (Some(b'"'), Some(b'"')) => match (text(one), text(other)) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        },
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => {
            match (Decimal::parse(one), Decimal::parse(other)) {
                (Some(one), Some(other)) => one == other,
                _ => false,
            }
        }
        _ => false,
    }
}

fn are_equal_members(one: &Members<'_>, other: &Members<'_>, depth: u32) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| one.0 == other.0 && is_equal(one.1, other.1, depth))
}

fn members(json: &str) -> Option<Members<'_>> {
    serde_json::from_str(json).ok()
}

fn items(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// A number of JSON: its digits without zeros at either end, and the power of ten of the last one.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn parse(number: &str) -> Option<Self> {
        let unsigned = number.strip_prefix('-');
        let (mantissa, exponent) = match unsigned.unwrap_or(number).split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (unsigned.unwrap_or(number), 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let zeros = i64::try_from(all.len() - digits.len()).ok()?;
        let exponent = exponent
            .checked_sub(i64::try_from(fraction.len()).ok()?)?
            .checked_add(zeros)?;
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Self {
                is_negative: false,
                digits: String::new(),
                exponent: 0,
            });
        }
        Some(Self {
            is_negative: unsigned.is_some(),
            digits: digits.to_owned(),
            exponent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_equal(one: &str, other: &str) -> bool {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let (one, other) = (raw(one), raw(other));
        assert_eq!(
            is_equal(&one, &other, MAX_DEPTH),
            is_equal(&other, &one, MAX_DEPTH)
        );
        is_equal(&one, &other, MAX_DEPTH)
    }

    /// Fails when the spelling of a value makes a difference.
    #[test]
    fn values_that_are_spelled_differently_are_equal() {
        for (one, other) in [
            ("1.50", "1.5"),
            ("1e3", "1000.0"),
            ("-0", "0"),
            ("0.00", "0e5"),
            ("1E+21", "1000000000000000000000"),
            ("100e-4", "0.01"),
            (r#""\u0061/""#, r#""a\/""#),
            (
                r#"{"a": [1, {"b": null}], "c": 2}"#,
                r#"{"c":2.0,"a":[1.0,{"b":null}]}"#,
            ),
        ] {
            assert!(are_equal(one, other), "{one} and {other}");
        }
    }

    /// Fails when two values that differ are taken for the same: neighbours beyond 64 bits, or fractions with more digits than a float has.
    #[test]
    fn values_that_differ_are_not_equal() {
        for (one, other) in [
            ("18446744073709551616", "18446744073709551617"),
            ("-18446744073709551616", "18446744073709551616"),
            ("0.10000000000000000001", "0.1"),
            ("10", "1"),
            ("0.1", "0.01"),
            (
                r#"{"a": [340282366920938463463374607431768211455]}"#,
                r#"{"a": [340282366920938463463374607431768211454]}"#,
            ),
            (r#"{"a": 1}"#, r#"{"b": 1}"#),
            (r#"{"a": 1}"#, r#"{"a": 1, "b": null}"#),
            ("[1]", "[1, 1]"),
            (r#""1""#, "1"),
            ("null", "false"),
        ] {
            assert!(!are_equal(one, other), "{one} and {other}");
        }
    }
}
