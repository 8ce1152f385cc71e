//! Metadata of events: JSON that is kept as it was sent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::nul::has_nul;

/// How deep the JSON of metadata may be nested, as in payloads.
const MAX_DEPTH: usize = 127;
/// How many characters a number may have, and how large its exponent may be; Postgres stores more than that.
const MAX_NUMBER_LENGTH: usize = 1000;
/// How many zeros the exponents of all numbers may stand for. jsonb writes them out, so that `1e1000` is read as 1001 digits: without a
/// limit, an event of 1 MiB would be read as one of 150 MiB.
const MAX_ZEROS: usize = 1024 * 1024;

/// What a client says beside the payload: correlation, causation, a reason. It is a JSON object whose values are stored as
/// they were sent, so that `18446744073709551616` and `1e400`, which fit into no number type, keep their values. jsonb
/// chooses the order of keys and the spelling of numbers: `1e3` comes back as `1000`.
///
/// ```
/// # use foldlog::event::Metadata;
/// let mut metadata = Metadata::default();
/// metadata.insert("reason", "asked by phone")?;
/// assert_eq!(metadata.get("reason").unwrap().get(), r#""asked by phone""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, Box<RawValue>>);

impl Metadata {
    /// Reads metadata that a client sent.
    ///
    /// # Errors
    ///
    /// When `json` is not an object, or contains what jsonb cannot store.
    pub fn parse(json: &RawValue) -> Result<Self, &'static str> {
        let not_an_object = |_| "must be a JSON object";
        let metadata: Self = serde_json::from_str(json.get()).map_err(not_an_object)?;
        check_json(json.get())?;
        Ok(metadata)
    }

    /// The JSON of one entry.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.get(key).map(|value| &**value)
    }

    /// Sets one entry.
    ///
    /// # Errors
    ///
    /// When `value` does not serialize to JSON.
    pub fn insert(
        &mut self,
        key: impl Into<String>,
        value: impl Serialize,
    ) -> Result<(), serde_json::Error> {
        self.0.insert(key.into(), to_raw_value(&value)?);
        Ok(())
    }

    /// Whether a text contains U+0000, which Postgres cannot store.
    pub(super) fn contains_nul(&self) -> bool {
        self.texts()
            .any(|(key, json)| key.contains('\0') || has_nul(json))
    }

    /// How many bytes its keys and values have.
    pub(crate) fn byte_len(&self) -> usize {
        self.texts().map(|(key, json)| key.len() + json.len()).sum()
    }

    /// Its keys, and their values as JSON.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.get()))
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.texts().eq(other.texts())
    }
}

/// Checks JSON of valid syntax for what jsonb cannot store as it was sent: half of a surrogate pair, a key that occurs twice, and
/// nesting and numbers without a bound.
pub(crate) fn check_json(json: &str) -> Result<(), &'static str> {
    let bytes = json.as_bytes();
    let (mut at, mut zeros) = (0, 0);
    // The keys of the objects around `at`, and for each level of nesting the number of those outside.
    let (mut keys, mut levels) = (Vec::new(), Vec::new());
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = check_text(bytes, at + 1)?;
                let after = bytes[end..].trim_ascii_start();
                if after.first() == Some(&b':') {
                    keys.push(key_text(&json[at..end]));
                }
                at = end;
                continue;
            }
            b'[' | b'{' => {
                levels.push(keys.len());
                if levels.len() > MAX_DEPTH {
                    return Err("must not be nested deeper than 127 levels");
                }
            }
            b']' | b'}' => {
                let outside = levels.pop().unwrap_or_default();
                let own = &mut keys[outside..];
                own.sort_unstable();
                if own.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err("must not contain an object with the same key twice");
                }
                keys.truncate(outside);
            }
            b'-' | b'0'..=b'9' => {
                let end = bytes[at..]
                    .iter()
                    .position(|b| !matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
                let end = end.map_or(bytes.len(), |length| at + length);
                zeros += check_number(&json[at..end])?;
                if zeros > MAX_ZEROS {
                    return Err(
                        "must not contain exponents that stand for more than 1048576 zeros",
                    );
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The text of a key, which is given with its quotes.
fn key_text(json: &str) -> Cow<'_, str> {
    match json.get(1..json.len() - 1) {
        Some(key) if !key.contains('\\') => Cow::Borrowed(key),
        _ => serde_json::from_str(json).unwrap_or_default(),
    }
}

/// Checks the text that begins at `at`, and returns where it ends.
fn check_text(bytes: &[u8], mut at: usize) -> Result<usize, &'static str> {
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    loop {
        match bytes.get(at) {
            None => return Ok(at),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match unit(at) {
                Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => at += 12,
                Some(0xd800..=0xdfff) => {
                    return Err("must not contain half of a surrogate pair; send both \\u escapes");
                }
                Some(_) => at += 6,
                None => at += 2,
            },
            Some(_) => at += 1,
        }
    }
}

/// Checks a number, and returns how many zeros its exponent may stand for.
fn check_number(number: &str) -> Result<usize, &'static str> {
    let exponent = number
        .split_once(['e', 'E'])
        .map_or(Ok(0), |(_, exponent)| exponent.parse::<i64>());
    let zeros = exponent.map(|exponent| usize::try_from(exponent.unsigned_abs()));
    match zeros {
        Ok(Ok(zeros)) if zeros <= MAX_NUMBER_LENGTH && number.len() <= MAX_NUMBER_LENGTH => {
            Ok(zeros)
        }
        _ => Err("must not contain a number with more than 1000 digits or an exponent above 1000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<String, &'static str> {
        let metadata = Metadata::parse(serde_json::from_str(json).unwrap())?;
        Ok(serde_json::to_string(&metadata).unwrap())
    }

    // Fails when a number is rounded, or JSON is written in another way than it was sent.
    #[test]
    fn metadata_keeps_numbers_exactly_as_they_were_sent() {
        let json =
            r#"{"a":18446744073709551616,"b":[1e400,-0.10],"c":"é\u00e9\ud83d\ude00","d":{}}"#;
        assert_eq!(read(json).as_deref(), Ok(json));
    }

    // Fails when a key that occurs twice hides a value, or when equal keys of different objects or texts are taken for one.
    #[test]
    fn an_object_with_the_same_key_twice_is_rejected() {
        for json in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":[{"a":1,"c":{"a":[]},"a" :3}]}"#,
            r#"{"b":{"a":{"x":1},"a":{"y":2}}}"#,
        ] {
            assert!(read(json).unwrap_err().contains("same key"), "{json}");
        }
        for json in [
            r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#,
            r#"{"a":[{"a":1},{"a":2}],"b":"a"}"#,
            r#"{"\"a":1,"a":"\"a\":2"}"#,
        ] {
            assert_eq!(read(json).as_deref(), Ok(json));
        }
    }

    // Fails when metadata is accepted that Postgres cannot store.
    #[test]
    fn metadata_that_jsonb_cannot_store_is_rejected() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(128), "]".repeat(128));
        let long = format!(r#"{{"a":{}}}"#, "1".repeat(1001));
        let large = format!(r#"{{"a":[0{}]}}"#, ",1e1000,1e-1000".repeat(525));
        for (json, error) in [
            (r#"{"a":"\ud800"}"#, "surrogate"),
            (r#"{"a":"\udc00\ud800"}"#, "surrogate"),
            (r#"{"a":1e1001}"#, "exponent"),
            (r#"{"a":1e99999999999999999999}"#, "exponent"),
            (&long, "digits"),
            (&large, "zeros"),
            (&deep, "nested"),
            ("[]", "object"),
        ] {
            assert!(read(json).unwrap_err().contains(error), "{json}");
        }
        assert!(read(r#"{"a":"[[[[ 1e9999 \" \\"}"#).is_ok());
    }
}
