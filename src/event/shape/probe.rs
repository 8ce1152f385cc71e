//! The source that notes what a type asks for.

use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::notes::{Asked, INSIDE, INTEGERS, ITEM, KEY, Notes, TEXTS, key};
use crate::event::secret::{PASSWORD, SECRET};

/// Runs `T` until it reads what it is offered, or there is nothing more to offer.
pub(super) fn run<T: DeserializeOwned>(notes: &mut Notes) {
    notes.until_read(|notes| T::deserialize(Probe::new(notes, String::new(), None)).is_ok());
}

/// The same of one field of the struct `T`; the others are missing.
pub(super) fn run_field<T: DeserializeOwned>(notes: &mut Notes, field: &'static str) {
    notes.until_read(|notes| {
        let mut read = false;
        let only = Some((field, &mut read));
        // The struct lacks its other fields, so it is the field's own success that counts.
        let whole = T::deserialize(Probe::new(notes, String::new(), only)).is_ok();
        whole || read
    });
}

/// Ends a run.
#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sample does not fit")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// One place in the value.
struct Probe<'a> {
    notes: &'a mut Notes,
    path: String,
    /// The one field of a struct to offer, and whether it was read.
    only: Option<(&'static str, &'a mut bool)>,
}

impl<'a> Probe<'a> {
    const fn new(
        notes: &'a mut Notes,
        path: String,
        only: Option<(&'static str, &'a mut bool)>,
    ) -> Self {
        Self { notes, path, only }
    }

    fn note(&mut self, asked: Asked) {
        self.notes.note(&self.path, asked);
    }

    fn below(&mut self, step: &str) -> Probe<'_> {
        Probe::new(self.notes, format!("{}{step}", self.path), None)
    }
}

/// A method of [`Deserializer`] for each type of number.
macro_rules! integers {
    ($($method:ident $visit:ident $number:ty),*) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
            self.note(Asked::Integer {
                least: i64::try_from(<$number>::MIN).unwrap_or(i64::MIN),
                greatest: u64::try_from(<$number>::MAX).unwrap_or(u64::MAX),
            });
            self.notes.offer(&self.path, INTEGERS.len());
            visitor.$visit(self.notes.integer(&self.path).into())
        }
    )*};
}

/// A method of [`Deserializer`] that another one stands for.
macro_rules! as_any {
    ($($method:ident($($argument:ty),*)),*) => {$(
        fn $method<V: Visitor<'de>>(self, $(_: $argument,)* visitor: V) -> Result<V::Value, Refused> {
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.note(Asked::Any(None));
        visitor.visit_unit()
    }

    as_any! {
        deserialize_bytes(), deserialize_byte_buf(), deserialize_unit(), deserialize_unit_struct(&'static str),
        deserialize_tuple(usize), deserialize_tuple_struct(&'static str, usize), deserialize_identifier(),
        deserialize_ignored_any()
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.note(Asked::Bool);
        visitor.visit_bool(true)
    }

    integers! {
        deserialize_i8 visit_i64 i8, deserialize_i16 visit_i64 i16, deserialize_i32 visit_i64 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i64 i128, deserialize_u8 visit_u64 u8,
        deserialize_u16 visit_u64 u16, deserialize_u32 visit_u64 u32, deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u64 u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.note(Asked::Number);
        visitor.visit_f64(1.5)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.note(Asked::Text);
        self.notes.offer(&self.path, TEXTS.len());
        visitor.visit_borrowed_str(self.notes.text(&self.path).0)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.note(Asked::Nullable);
        visitor.visit_some(self.below(INSIDE))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if name == SECRET || name == PASSWORD {
            self.note(Asked::Hidden);
            visitor.visit_newtype_struct(self.below(INSIDE))
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.note(Asked::List);
        visitor.visit_seq(One(Some(self)))
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.note(Asked::Map);
        visitor.visit_map(One(Some(self)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.note(Asked::Object(fields));
        visitor.visit_map(Fields {
            left: fields.iter(),
            name: "",
            probe: self,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        // Each variant is tried, and refused here, to see which have content; then one that has none is offered.
        self.notes.offer(&self.path, variants.len() + 1);
        let trying = variants.get(self.notes.refused(&self.path)).copied();
        let words = self.notes.words(&self.path);
        let word = words.and_then(|words| words.first().copied());
        self.note(match words {
            Some(words) if words.len() == variants.len() => Asked::Choice(variants),
            _ => Asked::Any(word),
        });
        visitor.visit_enum(Variant {
            name: trying.or(word).ok_or(Refused)?,
            trying: trying.is_some(),
            probe: self,
        })
    }
}

/// A list of one item, or a map of one entry.
struct One<'a>(Option<Probe<'a>>);

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refused> {
        let item = self.0.take();
        item.map(|mut probe| seed.deserialize(probe.below(ITEM)))
            .transpose()
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        let key = self.0.as_mut();
        key.map(|probe| seed.deserialize(probe.below(KEY)))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let mut probe = self.0.take().ok_or(Refused)?;
        seed.deserialize(probe.below(ITEM))
    }
}

/// The fields of a struct, all or the one that is asked about.
struct Fields<'a> {
    left: std::slice::Iter<'static, &'static str>,
    name: &'static str,
    probe: Probe<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        let only = self.probe.only.as_ref().map(|(name, _)| *name);
        let wanted = |name: &&&'static str| only.is_none_or(|only| **name == only);
        let Some(name) = self.left.by_ref().find(wanted) else {
            return Ok(None);
        };
        self.name = name;
        seed.deserialize(BorrowedStrDeserializer::new(name))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let path = key(&self.probe.path, self.name);
        let value = seed.deserialize(Probe::new(self.probe.notes, path, None))?;
        if let Some((_, read)) = &mut self.probe.only {
            **read = true;
        }
        Ok(value)
    }
}

/// A variant of an enum.
struct Variant<'a> {
    probe: Probe<'a>,
    name: &'static str,
    trying: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Refused> {
        let name = BorrowedStrDeserializer::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        if self.trying {
            let Probe { notes, path, .. } = self.probe;
            notes.word(path, self.name);
            return Err(Refused);
        }
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Refused> {
        Err(Refused)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Refused> {
        Err(Refused)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Refused> {
        Err(Refused)
    }
}
