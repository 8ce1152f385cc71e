//! Whether a value is a secret, without serializing it: the first method that it calls tells.

use std::fmt;

use serde::ser::{self, Impossible, Serialize, Serializer};

use super::Marker;

/// What the value of a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A secret, or an option of one.
    Secret,
    /// An empty option.
    None,
    /// Anything else.
    Other,
}

/// What `value` is.
pub(super) fn probe<T: Serialize + ?Sized>(value: &T) -> Found {
    value.serialize(Probe).unwrap_or(Found::Other)
}

struct Probe;

/// Ends the probe of a value that begins a list or an object.
#[derive(Debug)]
struct ProbeError;

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value is a list or an object")
    }
}

impl std::error::Error for ProbeError {}

impl ser::Error for ProbeError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Methods that only other values than secrets call.
macro_rules! other {
    ($($method:ident($($argument:ty),*)),* $(,)?) => {$(
        fn $method(self, $(_: $argument),*) -> Result<Found, ProbeError> {
            Ok(Found::Other)
        }
    )*};
}

/// Methods that begin a list or an object.
macro_rules! stop {
    ($($method:ident($($argument:ty),*)),* $(,)?) => {$(
        fn $method(self, $(_: $argument),*) -> Result<Impossible<Found, ProbeError>, ProbeError> {
            Err(ProbeError)
        }
    )*};
}

impl Serializer for Probe {
    type Ok = Found;
    type Error = ProbeError;
    type SerializeSeq = Impossible<Found, ProbeError>;
    type SerializeTuple = Impossible<Found, ProbeError>;
    type SerializeTupleStruct = Impossible<Found, ProbeError>;
    type SerializeTupleVariant = Impossible<Found, ProbeError>;
    type SerializeMap = Impossible<Found, ProbeError>;
    type SerializeStruct = Impossible<Found, ProbeError>;
    type SerializeStructVariant = Impossible<Found, ProbeError>;

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Found, ProbeError> {
        match Marker::named(name) {
            Some(_) => Ok(Found::Secret),
            None => value.serialize(self),
        }
    }

    fn serialize_none(self) -> Result<Found, ProbeError> {
        Ok(Found::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Found, ProbeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Found, ProbeError> {
        Ok(Found::Other)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<Found, ProbeError> {
        Ok(Found::Other)
    }

    other! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_i128(i128), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64),
        serialize_u128(u128), serialize_f32(f32), serialize_f64(f64), serialize_char(char), serialize_str(&str),
        serialize_bytes(&[u8]), serialize_unit(), serialize_unit_struct(&'static str),
        serialize_unit_variant(&'static str, u32, &'static str),
    }

    stop! {
        serialize_seq(Option<usize>), serialize_tuple(usize), serialize_tuple_struct(&'static str, usize),
        serialize_tuple_variant(&'static str, u32, &'static str, usize), serialize_map(Option<usize>),
        serialize_struct(&'static str, usize), serialize_struct_variant(&'static str, u32, &'static str, usize),
    }
}
