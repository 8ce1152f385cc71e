//! The payloads of a domain's events, and their JSON: the bare fields of one variant, whose type id stands beside them.

use std::fmt;
use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer,
    VariantAccess, Visitor,
};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::TypeId;
use super::prepared::Fields;
use super::redact::CollectPasswords;
use super::schema::TypeSchema;

/// One kind of event of a domain.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    /// Its number.
    pub id: TypeId,
    /// Its name, as history and feed show it.
    pub name: &'static str,
}

/// An old revision of an event type, which is read and no longer written.
#[derive(Clone, Copy, Debug)]
pub struct OldEventType {
    /// The number under which its events are stored: a number of its own, or that of the newest revision.
    pub id: TypeId,
    /// Its name in the program; clients never see it.
    pub name: &'static str,
    /// The event type that it becomes when it is read.
    pub newest: TypeId,
}

/// A revision of a payload, which becomes the newest one when an event is read. [`events!`](crate::events) implements it for
/// the enum of the newest revisions and for every old one.
pub trait Upcaster<Newest> {
    /// The newest revision of this payload.
    fn upcast(self) -> Newest;
}

/// The payloads of one domain's events: an enum with one variant per [`TypeId`]. Implemented by
/// [`events!`](crate::events).
///
/// ```
/// use foldlog::domain::prelude::*;
///
/// events! {
///     /// What can happen to an account.
///     pub enum AccountEvent in 2000..3000 {
///         2000 => Opened { owner: String },
///     }
/// }
///
/// let mut json = serde_json::Deserializer::from_str(r#"{"owner": "ada"}"#);
/// let opened = AccountEvent::decode(TypeId(2000), &mut json).unwrap();
/// assert_eq!(opened, AccountEvent::Opened { owner: "ada".to_owned() });
/// assert_eq!(opened.encode().unwrap().get(), r#"{"owner":"ada"}"#);
/// ```
pub trait Payload:
    Clone + fmt::Debug + Serialize + DeserializeOwned + ToSchema + Send + Sync + 'static
{
    /// The type ids that are reserved for this domain, used or not.
    const BLOCK: Range<i16>;
    /// The event types, in the order of the variants.
    const TYPES: &'static [EventType];
    /// The old revisions that are still read; of one type id, the newest comes first.
    const OLD_TYPES: &'static [OldEventType] = &[];

    /// The number of this payload's type.
    fn type_id(&self) -> TypeId;

    /// Reads the payload of a new event of type `type_id`, in its newest revision. Unknown fields are skipped; wrap `json` to
    /// detect them.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    fn decode<'de, D: Deserializer<'de>>(type_id: TypeId, json: D) -> Result<Self, DecodeError> {
        let index = index_of::<Self>(type_id).ok_or_else(|| unknown::<Self>(type_id))?;
        Self::deserialize(VariantDeserializer { index, json }).map_err(|error| {
            DecodeError::Malformed {
                type_id,
                reason: error.to_string(),
            }
        })
    }

    /// Reads the payload of a recorded event of type `type_id` in its newest revision, whichever revision was recorded: the first
    /// one, beginning with the newest, that has every field of the payload. If none has, the newest one that it decodes as:
    /// newer code may have written further fields.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    fn decode_recorded(type_id: TypeId, json: &RawValue) -> Result<Self, DecodeError> {
        let has_old = Self::OLD_TYPES.iter().any(|old| old.id == type_id);
        let (newest, is_exact) = match (index_of::<Self>(type_id), has_old) {
            (Some(_), false) => return Self::decode(type_id, json),
            (None, false) => return Err(DecodeError::UnknownType(type_id)),
            (Some(_), true) => {
                let mut is_exact = true;
                let mut note = |_: serde_ignored::Path<'_>| is_exact = false;
                let noting = serde_ignored::Deserializer::new(json, &mut note);
                (Self::decode(type_id, noting), is_exact)
            }
            (None, true) => {
                let reason = "no old revision of this type has these fields".to_owned();
                (Err(DecodeError::Malformed { type_id, reason }), false)
            }
        };
        if newest.is_ok() && is_exact {
            return newest;
        }
        if let Some(old) = Self::upcast_recorded(type_id, json, true) {
            return Ok(old);
        }
        // Where the newest revision could have been meant, its error says more than those of the old ones.
        newest.or_else(|error| Self::upcast_recorded(type_id, json, false).ok_or(error))
    }

    /// Reads the payload of a recorded event by the old revisions of `type_id`; `None` if none of them matches. `is_exact`: it must
    /// have every field of the payload.
    #[doc(hidden)]
    fn upcast_recorded(type_id: TypeId, json: &RawValue, is_exact: bool) -> Option<Self> {
        let _ = (type_id, json, is_exact);
        None
    }

    /// Writes the payload as a JSON object.
    ///
    /// # Errors
    ///
    /// When a field does not serialize to JSON.
    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        let passwords = CollectPasswords::default();
        to_raw_value(&Fields(self, &passwords))
    }

    /// The schema of the payload of `type_id`, derived from its variant; `None` when the domain has no such type.
    fn schema_of(type_id: TypeId) -> Option<TypeSchema> {
        TypeSchema::from_type::<Self>().variant(index_of::<Self>(type_id)?)
    }
}

fn index_of<P: Payload>(type_id: TypeId) -> Option<usize> {
    P::TYPES.iter().position(|known| known.id == type_id)
}

/// Why a new event cannot have this type.
fn unknown<P: Payload>(type_id: TypeId) -> DecodeError {
    let old = P::OLD_TYPES.iter().find(|old| old.id == type_id);
    old.map_or(DecodeError::UnknownType(type_id), |old| {
        DecodeError::OldType {
            type_id,
            newest: old.newest,
        }
    })
}

/// Reads a payload by one old revision; `None` if it does not match. `is_exact`: it must have every field of the payload.
#[doc(hidden)]
pub fn upcast_as<Old: DeserializeOwned + Upcaster<Newest>, Newest>(
    json: &RawValue,
    is_exact: bool,
) -> Option<Newest> {
    let mut has_all = true;
    let old: Old = serde_ignored::deserialize(json, |_| has_all = false).ok()?;
    (has_all || !is_exact).then(|| old.upcast())
}

/// Why a payload could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The domain has no such event type: a newer version wrote it, or it was sent to the wrong route.
    #[error("event type {0} is unknown")]
    UnknownType(TypeId),
    /// A new event has the type of an old revision, which is only read.
    #[error(
        "event type {type_id} is an old revision, which is no longer accepted; send an event of type {newest}"
    )]
    OldType {
        /// The event type.
        type_id: TypeId,
        /// The event type that has replaced it.
        newest: TypeId,
    },
    /// The payload does not match its type. The text names fields and types, and leaves out the values of secret fields.
    #[error("payload of event type {type_id}: {reason}")]
    Malformed {
        /// The event type.
        type_id: TypeId,
        /// What does not match.
        reason: String,
    },
}

/// Reads variant number `index` of an enum from JSON that holds the variant's fields only.
struct VariantDeserializer<D> {
    index: usize,
    json: D,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for VariantDeserializer<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, D::Error> {
        Err(de::Error::custom("a payload must be an enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let variant = variants.get(self.index).copied();
        visitor.visit_enum(BareVariant {
            name,
            variant: variant.ok_or_else(|| de::Error::custom("a payload has too few variants"))?,
            json: self.json,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant whose name is known, in front of its fields.
struct BareVariant<D> {
    name: &'static str,
    variant: &'static str,
    json: D,
}

impl<'de, D: Deserializer<'de>> EnumAccess<'de> for BareVariant<D> {
    type Error = D::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), D::Error> {
        let name: StrDeserializer<'_, D::Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de, D: Deserializer<'de>> VariantAccess<'de> for BareVariant<D> {
    type Error = D::Error;

    fn unit_variant(self) -> Result<(), D::Error> {
        Err(de::Error::custom("a payload's variant must have braces"))
    }

    /// serde reads a variant with a `flatten` field through this method.
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, D::Error> {
        seed.deserialize(self.json)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, D::Error> {
        Err(de::Error::custom("a payload's fields must have names"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.json.deserialize_struct(self.name, fields, visitor)
    }
}
