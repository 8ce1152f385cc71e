//! Events that are decoded and validated, ready to be decided on and stored.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::bare::Bare;
use super::nul::has_nul;
use super::redact::{
    CollectPasswords, MarkPasswords, PASSWORD_MARK, Policy, Redactor, ReplacePasswords,
};
use super::{AggregateId, DecodeError, EventId, Metadata, NewEvent, Payload, TypeId};

/// A new event with its typed payload. It is decoded once, however often an append has to be tried.
pub struct Prepared {
    /// The event's id.
    pub id: EventId,
    /// The aggregate it is about.
    pub aggregate_id: AggregateId,
    /// What kind of fact it is.
    pub type_id: TypeId,
    /// What is said about the fact.
    pub metadata: Metadata,
    payload: Box<dyn AnyPayload>,
    passwords: Vec<String>,
    part_with_nul: Option<&'static str>,
    /// The JSON from which the payload was decoded, if a client sent it.
    sent: Option<Box<RawValue>>,
    /// The JSON for the log; missing until the passwords are hashed.
    stored: Option<Box<RawValue>>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The JSON and the passwords are secret; the typed payload hides its secrets by itself.
        f.debug_struct("Prepared")
            .field("id", &self.id)
            .field("aggregate_id", &self.aggregate_id)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    /// Encodes the payload of `event`. `sent` is the JSON from which it was decoded, if a client sent it.
    ///
    /// The log gets the encoded payload and not the sent JSON, which may contain a secret that the payload's type does not
    /// serialize (`skip_serializing`). From the sent JSON it only learns which optional fields were left out.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Malformed`] when a field does not serialize to JSON, or the type does not read what it has written.
    pub fn new<P: Payload>(
        event: NewEvent<P>,
        sent: Option<Box<RawValue>>,
    ) -> Result<Self, DecodeError> {
        let passwords = CollectPasswords::default();
        let type_id = event.payload.type_id();
        let malformed = |error: serde_json::Error| {
            let reason = error.to_string();
            DecodeError::Malformed { type_id, reason }
        };
        let encoded = to_raw_value(&Fields(&event.payload, &passwords)).map_err(malformed)?;
        // No fold could read such an event, and the log keeps it for ever.
        P::decode_recorded(type_id, &encoded)?;
        let part_with_nul = if has_nul(encoded.get()) {
            Some("payload")
        } else {
            event.metadata.contains_nul().then_some("metadata")
        };
        let passwords = passwords.0.into_inner();
        let stored = if passwords.is_empty() {
            Some(without_added_nulls(encoded, sent.as_deref()).map_err(malformed)?)
        } else {
            None
        };
        Ok(Self {
            id: event.id,
            aggregate_id: event.aggregate_id,
            type_id,
            part_with_nul,
            metadata: event.metadata,
            payload: Box::new(event.payload),
            passwords,
            sent,
            stored,
        })
    }

    /// The typed payload, if it is a `P`.
    #[must_use]
    pub fn payload<P: Payload>(&self) -> Option<&P> {
        let payload: &dyn Any = &*self.payload;
        payload.downcast_ref()
    }

    /// The JSON of the payload for the log, without plain-text passwords; `None` until [`Self::replace_passwords`] was
    /// called for a payload that has some.
    #[must_use]
    pub fn stored_payload(&self) -> Option<&RawValue> {
        self.stored.as_deref()
    }

    /// The passwords that have to be hashed before the event can be stored.
    #[must_use]
    pub fn unhashed_passwords(&self) -> &[String] {
        if self.stored.is_some() {
            &[]
        } else {
            &self.passwords
        }
    }

    /// Sets the hashes of [`Self::unhashed_passwords`], in the same order.
    ///
    /// # Errors
    ///
    /// When the payload does not serialize as it did before.
    pub fn replace_passwords(&mut self, hashes: Vec<String>) -> Result<(), serde_json::Error> {
        self.stored = Some(self.encode_with(hashes)?);
        Ok(())
    }

    /// The JSON of the payload as the log would hold it, with `hash` in place of each password that is not hashed yet.
    ///
    /// # Errors
    ///
    /// When the payload does not serialize as it did before.
    pub fn payload_with_hash(&self, hash: &str) -> Result<Box<RawValue>, serde_json::Error> {
        match &self.stored {
            Some(stored) => Ok(stored.clone()),
            None => self.encode_with(vec![hash.to_owned(); self.passwords.len()]),
        }
    }

    fn encode_with(&self, hashes: Vec<String>) -> Result<Box<RawValue>, serde_json::Error> {
        let encoded = self.payload.encode_with(hashes)?;
        without_added_nulls(encoded, self.sent.as_deref())
    }

    /// Whether the stored payload has the same content, as the domain reads it. Returns the pairs of a password and a
    /// hash that have to be verified for that; `None` when the contents differ.
    #[must_use]
    pub fn compare(&self, type_id: TypeId, stored: &RawValue) -> Option<Vec<(String, String)>> {
        if type_id != self.type_id {
            return None;
        }
        let (sent, stored) = self.payload.comparable(type_id, stored)?;
        let mut pairs = Vec::new();
        is_same(&sent, &stored, &mut pairs).then_some(pairs)
    }

    /// The part of the event that contains U+0000, which Postgres cannot store in a text: `payload` or `metadata`.
    #[must_use]
    pub const fn part_with_nul(&self) -> Option<&'static str> {
        self.part_with_nul
    }
}

/// A payload of any domain.
trait AnyPayload: Any + fmt::Debug + Send + Sync {
    /// The JSON of the payload with its passwords replaced.
    fn encode_with(&self, hashes: Vec<String>) -> Result<Box<RawValue>, serde_json::Error>;

    /// This payload and a stored one, both as JSON in which [`PASSWORD_MARK`] precedes passwords.
    fn comparable(&self, type_id: TypeId, stored: &RawValue) -> Option<(Value, Value)>;
}

impl<P: Payload> AnyPayload for P {
    fn encode_with(&self, hashes: Vec<String>) -> Result<Box<RawValue>, serde_json::Error> {
        let replace = ReplacePasswords(RefCell::new(hashes.into_iter()));
        to_raw_value(&Fields(self, &replace))
    }

    fn comparable(&self, type_id: TypeId, stored: &RawValue) -> Option<(Value, Value)> {
        let stored = P::decode_recorded(type_id, stored).ok()?;
        let json = |payload| serde_json::to_value(Fields(payload, &MarkPasswords)).ok();
        Some((json(self)?, json(&stored)?))
    }
}

/// The fields of a payload under a policy.
pub(super) struct Fields<'a, T, P>(pub(super) &'a T, pub(super) &'a P);

impl<T: Payload, P: Policy> Serialize for Fields<'_, T, P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Bare(Redactor(serializer, self.1)))
    }
}

/// Removes the nulls that encoding wrote for optional fields which the sender had left out. Values stay text, because
/// [`Value`] does not hold every number.
pub(super) fn without_added_nulls(
    encoded: Box<RawValue>,
    sent: Option<&RawValue>,
) -> Result<Box<RawValue>, serde_json::Error> {
    let Some(sent) = sent.filter(|_| encoded.get().contains("null")) else {
        return Ok(encoded);
    };
    match (encoded.get().as_bytes()[0], sent.get().as_bytes()[0]) {
        (b'{', b'{') => {
            let sent: BTreeMap<String, &RawValue> = serde_json::from_str(sent.get())?;
            let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(encoded.get())?;
            fields.retain(|key, value| value.get() != "null" || sent.contains_key(key));
            for (key, value) in &mut fields {
                let encoded = std::mem::take(value);
                *value = without_added_nulls(encoded, sent.get(key).copied())?;
            }
            to_raw_value(&fields)
        }
        (b'[', b'[') => {
            let mut sent = serde_json::from_str::<Vec<&RawValue>>(sent.get())?.into_iter();
            let items: Vec<Box<RawValue>> = serde_json::from_str(encoded.get())?;
            let items = items
                .into_iter()
                .map(|item| without_added_nulls(item, sent.next()))
                .collect::<Result<Vec<_>, _>>()?;
            to_raw_value(&items)
        }
        _ => Ok(encoded),
    }
}

/// Whether two JSON values have the same content, apart from passwords, which are added to `pairs`.
///
/// Numbers are compared by value: jsonb stores `1e16` as `10000000000000000`, so that a field of any JSON may come back
/// as an integer.
fn is_same(sent: &Value, stored: &Value, pairs: &mut Vec<(String, String)>) -> bool {
    match (sent, stored) {
        (Value::String(sent), Value::String(stored)) => {
            let marked = sent
                .strip_prefix(PASSWORD_MARK)
                .zip(stored.strip_prefix(PASSWORD_MARK));
            match marked {
                Some((plain, hash)) => {
                    pairs.push((plain.to_owned(), hash.to_owned()));
                    true
                }
                None => sent == stored,
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            a == b || (a.is_f64() != b.is_f64() && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b, pairs))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b, pairs)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::prelude::*;

    events! {
        /// Events whose encoding differs from the JSON that was sent.
        enum Signup in 1..2 {
            1 => SignedUp {
                #[serde(skip_serializing, default)]
                unlisted: Option<Password>,
                password: Option<Password>,
                #[serde(default)]
                nickname: Option<String>,
                number: u128,
                nested: Vec<Option<(i32, Option<i32>)>>,
            },
        }
    }

    fn prepare(json: &str) -> Prepared {
        let sent: Box<RawValue> = serde_json::from_str(json).unwrap();
        let payload = Signup::decode(TypeId(1), &*sent).unwrap();
        let event = NewEvent::new(AggregateId(uuid::Uuid::nil()), payload);
        Prepared::new(event, Some(sent)).unwrap()
    }

    // Fails when the log gets a password that the type does not serialize, a null for a field that was left out, or a large
    // number that is rounded; or when hashing a password changes any of this.
    #[test]
    fn the_log_gets_the_encoded_payload_without_added_nulls() {
        let large = u128::MAX;
        let rest = format!(r#""number":{large},"nested":[null,[1,null]]"#);
        let sent = format!(r#"{{"unlisted":"hunter2","password":null,{rest}}}"#);
        let stored = prepare(&sent).stored_payload().unwrap().get().to_owned();
        assert!(!stored.contains("hunter2"), "{stored}");
        assert!(
            stored.contains(r#""password":null"#) && !stored.contains("nickname"),
            "{stored}"
        );
        assert!(stored.contains(&format!(r#""number":{large}"#)), "{stored}");
        assert!(stored.contains(r#""nested":[null,[1,null]]"#), "{stored}");

        let mut prepared = prepare(&format!(r#"{{"password":"plain",{rest}}}"#));
        assert_eq!(prepared.unhashed_passwords(), ["plain"]);
        assert!(prepared.stored_payload().is_none());
        prepared.replace_passwords(vec!["hash".to_owned()]).unwrap();
        let stored = prepared.stored_payload().unwrap().get();
        assert!(
            stored.contains(r#""password":"hash""#) && stored.contains(&large.to_string()),
            "{stored}"
        );
        assert!(!stored.contains("nickname"), "{stored}");
    }

    // Fails when a number is compared by its spelling, or contents that differ count as the same.
    #[test]
    fn numbers_are_compared_by_value() {
        let mut pairs = Vec::new();
        let sent = json!({"a": [1e16, {"b": 1}]});
        let same = json!({"a": [10_000_000_000_000_000_i64, {"b": 1}]});
        assert!(is_same(&sent, &same, &mut pairs));
        for other in [
            json!({"a": [1e16]}),
            json!({"a": [1e16, {"b": 2}]}),
            json!({"b": 1}),
            json!([]),
        ] {
            assert!(!is_same(&sent, &other, &mut pairs), "{other}");
        }
        let password = |text: &str| json!({"p": format!("{PASSWORD_MARK}{text}")});
        assert!(is_same(&password("plain"), &password("hash"), &mut pairs));
        assert_eq!(pairs, [("plain".to_owned(), "hash".to_owned())]);
    }
}
