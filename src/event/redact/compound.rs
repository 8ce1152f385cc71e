//! Lists and objects under a policy.

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};

use super::probe::{Found, probe};
use super::{Policy, Redacted};

/// A list or an object whose items and values are serialized under a policy.
pub(in crate::event) struct Compound<'a, S, P> {
    inner: S,
    policy: &'a P,
    /// The key of a map entry whose value follows.
    key: Option<String>,
}

impl<'a, S, P: Policy> Compound<'a, S, P> {
    pub(super) const fn new(inner: S, policy: &'a P) -> Self {
        Self {
            inner,
            policy,
            key: None,
        }
    }

    fn omits<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> bool {
        P::OMITS && self.policy.omits(key, probe(value))
    }
}

/// Lists: every item stays in its place.
macro_rules! list {
    ($($compound:ident $method:ident),*) => {$(
        impl<S: $compound, P: Policy> $compound for Compound<'_, S, P> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.inner.$method(&Redacted(value, self.policy))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

list! {
    SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field
}

/// Structs: a field can be left out.
macro_rules! object {
    ($($compound:ident),*) => {$(
        impl<S: $compound, P: Policy> $compound for Compound<'_, S, P> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                if self.omits(key, value) {
                    return self.inner.skip_field(key);
                }
                self.inner.serialize_field(key, &Redacted(value, self.policy))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

object!(SerializeStruct, SerializeStructVariant);

impl<S: SerializeMap, P: Policy> SerializeMap for Compound<'_, S, P> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.key = Some(key_text(key)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let key = self.key.take().unwrap_or_default();
        self.serialize_entry(&key, value)
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), S::Error> {
        if probe(key) == Found::Secret {
            return Err(S::Error::custom("a secret must not be the key of a map"));
        }
        if P::OMITS && self.omits(&key_text(key)?, value) {
            return Ok(());
        }
        self.inner
            .serialize_entry(key, &Redacted(value, self.policy))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

/// A key as JSON writes it.
fn key_text<K: Serialize + ?Sized, E: Error>(key: &K) -> Result<String, E> {
    match serde_json::to_value(key) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(key @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
            Ok(key.to_string())
        }
        _ => Err(E::custom("the key of a map must be a text")),
    }
}
