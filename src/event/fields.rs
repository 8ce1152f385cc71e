//! The fields of a struct, asked of its `Deserialize` implementation: their names, and which of them are secret.
//!
//! A view's columns and a payload's hidden keys follow from the types alone, so nothing has to be declared twice and no
//! derive of our own is needed. The trick is known from `serde_aux` (names) and `serde-reflection` (types): deserialize
//! from a source that holds nothing and note what is asked for.

use std::cell::Cell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::secret::{PASSWORD, SECRET};

/// One field of a payload, or one column of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its key in JSON and its column.
    pub name: &'static str,
    /// Who may see it.
    pub kind: FieldKind,
}

/// Who may see a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Everybody.
    Public,
    /// Nobody outside: a [`Secret`](super::Secret).
    Hidden,
    /// Nobody outside, and it is stored as a hash: a [`Password`](super::Password).
    Hashed,
}

/// The fields of `T` in declaration order; none when `T` is not a struct with named fields.
#[must_use]
pub fn of<T: DeserializeOwned>() -> Vec<Field> {
    let names = Cell::new(&[][..]);
    // Every probe ends in the sentinel error: it has been told what it wanted to know, and there is no value to read.
    let _: Result<T, Asked> = T::deserialize(Names(&names));
    let kind_of = |name| {
        let kind = Cell::new(FieldKind::Public);
        let _: Result<T, Asked> = T::deserialize(OneField { name, kind: &kind });
        Field {
            name,
            kind: kind.get(),
        }
    };
    names.get().iter().map(|name| kind_of(name)).collect()
}

/// Ends every probe.
#[derive(Debug)]
struct Asked;

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no value, only a question")
    }
}

impl std::error::Error for Asked {}

impl de::Error for Asked {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Notes which fields a struct asks for.
struct Names<'a>(&'a Cell<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        self.0.set(fields);
        Err(Asked)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Offers a struct one field, to see how that field's type reads itself.
struct OneField<'a> {
    name: &'static str,
    kind: &'a Cell<FieldKind>,
}

impl<'de> Deserializer<'de> for OneField<'_> {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Asked> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for OneField<'_> {
    type Error = Asked;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Asked> {
        let key: StrDeserializer<'_, Asked> = self.name.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Asked> {
        seed.deserialize(Value(self.kind))
    }
}

/// Notes whether a field's type is one of ours, looking through `Option`.
struct Value<'a>(&'a Cell<FieldKind>);

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Asked> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Asked> {
        match name {
            SECRET => self.0.set(FieldKind::Hidden),
            PASSWORD => self.0.set(FieldKind::Hashed),
            _ => return visitor.visit_newtype_struct(self),
        }
        Err(Asked)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::event::{Password, Secret};

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is read")]
    struct Account {
        owner: String,
        #[serde(rename = "balance")]
        cents: i64,
        token: Option<Secret<Vec<u8>>>,
        password: Option<Password>,
        pin: Secret<i32>,
    }

    #[test]
    fn names_and_secrets_follow_from_the_types() {
        let field = |name, kind| Field { name, kind };
        assert_eq!(
            of::<Account>(),
            [
                field("owner", FieldKind::Public),
                field("balance", FieldKind::Public),
                field("token", FieldKind::Hidden),
                field("password", FieldKind::Hashed),
                field("pin", FieldKind::Hidden),
            ]
        );
        assert_eq!(of::<Vec<String>>(), []);
    }
}
