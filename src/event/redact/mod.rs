//! Serializing a value with its secrets hidden, collected, replaced or marked, however deep they are nested.
//!
//! [`Secret`](super::Secret) and [`Password`](super::Password) serialize themselves as a newtype struct with a name of
//! their own. [`Redacted`] passes everything on to another serializer and lets a [`Policy`] decide at that name. serde
//! drops the name of a newtype struct in two places, below `flatten` and in a newtype variant with an internal tag, and a
//! map key has none; [`TypeSchema::check`](super::TypeSchema::check) finds all three in the
//! schema, so that a type which has them is rejected when the process starts.

mod compound;
mod probe;

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::ser::{Error, Serialize, Serializer};

use self::compound::Compound;
use self::probe::Found;
use super::secret::{PASSWORD, SECRET};

/// Which of the two hidden types a value has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Secret,
    Password,
}

impl Marker {
    fn named(name: &str) -> Option<Self> {
        match name {
            SECRET => Some(Self::Secret),
            PASSWORD => Some(Self::Password),
            _ => None,
        }
    }
}

/// What becomes of a secret.
pub(crate) trait Policy {
    /// Whether a struct field or a map entry is left out when this was found in its value.
    fn omits(&self, key: &str, found: Found) -> bool {
        let _ = (key, found);
        false
    }

    /// Whether [`Self::omits`] ever returns true. If not, no value is probed.
    const OMITS: bool = false;

    /// Serializes what is inside a secret, or something in its place.
    fn serialize<T: Serialize + ?Sized, S: Serializer>(
        &self,
        marker: Marker,
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error>;

    /// Whether infinities and NaN are refused, which JSON can only write as null.
    const REFUSES_NON_FINITE: bool = false;

    /// Serializes an integer of more than 64 bits.
    fn serialize_large<S: Serializer>(
        &self,
        number: Large,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match number {
            Large::Signed(number) => serializer.serialize_i128(number),
            Large::Unsigned(number) => serializer.serialize_u128(number),
        }
    }
}

/// An integer that [`serde_json::Value`] cannot hold.
#[derive(Clone, Copy)]
pub(crate) enum Large {
    Signed(i128),
    Unsigned(u128),
}

/// Leaves secrets out: the entry of an object with its key; an item of an array or the content of a variant becomes null.
/// An option that is `None` shows no marker, so these names of properties are left out when they are null.
pub(crate) struct Hide<'a>(pub &'a BTreeSet<String>);

impl Policy for Hide<'_> {
    const OMITS: bool = true;

    fn omits(&self, key: &str, found: Found) -> bool {
        match found {
            Found::Secret => true,
            Found::None => self.0.contains(key),
            Found::Other => false,
        }
    }

    fn serialize<T: Serialize + ?Sized, S: Serializer>(
        &self,
        _: Marker,
        _: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Changes nothing, and collects the passwords in the order in which they are serialized.
#[derive(Default)]
pub(crate) struct CollectPasswords(pub RefCell<Vec<String>>);

impl Policy for CollectPasswords {
    const REFUSES_NON_FINITE: bool = true;

    fn serialize<T: Serialize + ?Sized, S: Serializer>(
        &self,
        marker: Marker,
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if marker == Marker::Password {
            self.0.borrow_mut().push(text(value)?);
        }
        Redacted(value, self).serialize(serializer)
    }
}

/// Changes nothing, and refuses what JSON can only write as null.
pub(crate) struct RefuseNonFinite;

impl Policy for RefuseNonFinite {
    const REFUSES_NON_FINITE: bool = true;

    fn serialize<T: Serialize + ?Sized, S: Serializer>(
        &self,
        _: Marker,
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Redacted(value, self).serialize(serializer)
    }
}

/// Replaces the passwords by these texts, in the order in which [`CollectPasswords`] collects them.
pub(crate) struct ReplacePasswords(pub RefCell<std::vec::IntoIter<String>>);

impl Policy for ReplacePasswords {
    const REFUSES_NON_FINITE: bool = true;

    fn serialize<T: Serialize + ?Sized, S: Serializer>(
        &self,
        marker: Marker,
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if marker == Marker::Secret {
            return Redacted(value, self).serialize(serializer);
        }
        let replacement = self.0.borrow_mut().next();
        let missing = || S::Error::custom("a payload serialized more passwords than before");
        serializer.serialize_str(&replacement.ok_or_else(missing)?)
    }
}

/// The first character of a password in [`MarkPasswords`]. No text that is stored or sent can contain it.
pub(crate) const PASSWORD_MARK: char = '\0';

/// Puts [`PASSWORD_MARK`] in front of each password, so that it is found in the JSON. Large integers become texts.
pub(crate) struct MarkPasswords;

impl Policy for MarkPasswords {
    fn serialize<T: Serialize + ?Sized, S: Serializer>(
        &self,
        marker: Marker,
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match marker {
            Marker::Secret => Redacted(value, self).serialize(serializer),
            Marker::Password => {
                serializer.serialize_str(&format!("{PASSWORD_MARK}{}", text(value)?))
            }
        }
    }

    fn serialize_large<S: Serializer>(
        &self,
        number: Large,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match number {
            Large::Signed(number) => serializer.collect_str(&number),
            Large::Unsigned(number) => serializer.collect_str(&number),
        }
    }
}

/// The text inside a password.
fn text<T: Serialize + ?Sized, E: Error>(value: &T) -> Result<String, E> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        _ => Err(E::custom("a password must be a text")),
    }
}

fn check_finite<P: Policy, E: Error>(is_finite: bool) -> Result<(), E> {
    if is_finite || !P::REFUSES_NON_FINITE {
        return Ok(());
    }
    // serde reads a number beyond the largest `f32` as infinity.
    Err(E::custom(
        "a number is too large for the type of its field, or is not a number",
    ))
}

/// A value that is serialized under a policy.
pub(crate) struct Redacted<'a, T: ?Sized, P>(pub &'a T, pub &'a P);

impl<T: Serialize + ?Sized, P: Policy> Serialize for Redacted<'_, T, P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Redactor(serializer, self.1))
    }
}

/// The serializer of [`Redacted`] around the one that writes.
pub(super) struct Redactor<'a, S, P>(pub(super) S, pub(super) &'a P);

/// Methods that have nothing to do with secrets.
macro_rules! forward {
    ($($method:ident($($name:ident: $argument:ty),*) -> $ok:ty),* $(,)?) => {$(
        fn $method(self, $($name: $argument),*) -> Result<$ok, S::Error> {
            self.0.$method($($name),*)
        }
    )*};
}

/// Methods that begin something with further values inside.
macro_rules! begin {
    ($($method:ident($($name:ident: $argument:ty),*) -> $compound:ident),* $(,)?) => {$(
        fn $method(self, $($name: $argument),*) -> Result<Self::$compound, S::Error> {
            Ok(Compound::new(self.0.$method($($name),*)?, self.1))
        }
    )*};
}

impl<'a, S: Serializer, P: Policy> Serializer for Redactor<'a, S, P> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'a, S::SerializeSeq, P>;
    type SerializeTuple = Compound<'a, S::SerializeTuple, P>;
    type SerializeTupleStruct = Compound<'a, S::SerializeTupleStruct, P>;
    type SerializeTupleVariant = Compound<'a, S::SerializeTupleVariant, P>;
    type SerializeMap = Compound<'a, S::SerializeMap, P>;
    type SerializeStruct = Compound<'a, S::SerializeStruct, P>;
    type SerializeStructVariant = Compound<'a, S::SerializeStructVariant, P>;

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        match Marker::named(name) {
            Some(marker) => self.1.serialize(marker, value, self.0),
            None => self
                .0
                .serialize_newtype_struct(name, &Redacted(value, self.1)),
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Redacted(value, self.1))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = Redacted(value, self.1);
        self.0
            .serialize_newtype_variant(name, index, variant, &value)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    fn serialize_i128(self, v: i128) -> Result<S::Ok, S::Error> {
        match i64::try_from(v) {
            Ok(v) => self.0.serialize_i64(v),
            Err(_) => self.1.serialize_large(Large::Signed(v), self.0),
        }
    }

    fn serialize_u128(self, v: u128) -> Result<S::Ok, S::Error> {
        match u64::try_from(v) {
            Ok(v) => self.0.serialize_u64(v),
            Err(_) => self.1.serialize_large(Large::Unsigned(v), self.0),
        }
    }

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        check_finite::<P, S::Error>(v.is_finite())?;
        self.0.serialize_f32(v)
    }

    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        check_finite::<P, S::Error>(v.is_finite())?;
        self.0.serialize_f64(v)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }

    forward! {
        serialize_bool(v: bool) -> S::Ok, serialize_i8(v: i8) -> S::Ok, serialize_i16(v: i16) -> S::Ok,
        serialize_i32(v: i32) -> S::Ok, serialize_i64(v: i64) -> S::Ok,
        serialize_u8(v: u8) -> S::Ok, serialize_u16(v: u16) -> S::Ok, serialize_u32(v: u32) -> S::Ok,
        serialize_u64(v: u64) -> S::Ok, serialize_char(v: char) -> S::Ok, serialize_str(v: &str) -> S::Ok,
        serialize_bytes(v: &[u8]) -> S::Ok, serialize_none() -> S::Ok, serialize_unit() -> S::Ok,
        serialize_unit_struct(name: &'static str) -> S::Ok,
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> S::Ok,
    }

    begin! {
        serialize_seq(len: Option<usize>) -> SerializeSeq,
        serialize_tuple(len: usize) -> SerializeTuple,
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct,
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant,
        serialize_map(len: Option<usize>) -> SerializeMap,
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct,
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant,
    }
}

#[cfg(test)]
mod tests;
