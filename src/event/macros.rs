//! [`events!`](crate::events): the event types of a domain, written down once.

/// Declares the events of a domain: an enum, a variant an event type, with its type id.
///
/// From it follow the JSON of the payloads, their schemas in the API's document, the secret fields, and the checks that every id lies in the domain's block
/// (made when the program is compiled) and is used once.
///
/// ```
/// use foldlog::domain::prelude::*;
///
/// events! {
///     /// What can happen to an account. The block 2000–2999 is this domain's for ever.
///     pub enum AccountEvent in 2000..3000 {
///         2000 => Opened { owner: String },
///         2001 => Deposited { cents: i64 },
///         2002 => Closed {},
///     }
/// }
///
/// let event = AccountEvent::Deposited { cents: 5 };
/// assert_eq!(event.type_id(), TypeId(2001));
/// assert_eq!(event.encode().unwrap().to_string(), r#"{"cents":5}"#);
/// ```
///
/// An id outside of the block does not compile:
///
/// ```compile_fail
/// foldlog::events! {
///     /// Events.
///     pub enum Strays in 2000..3000 { 3000 => Opened {} }
/// }
/// ```
#[macro_export]
macro_rules! events {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident in $from:literal .. $to:literal {
            $(
                $(#[$variant_meta:meta])*
                $id:literal => $variant:ident { $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)? }
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::allow_attributes, missing_docs, reason = "the fields speak for themselves")]
        $vis enum $name {
            $( $(#[$variant_meta])* $variant { $( $field: $ty ),* } ),+
        }

        const _: () = {
            const IDS: &[i16] = &[$( $id ),+];
            let mut i = 0;
            while i < IDS.len() {
                assert!($from > 0 && $from <= IDS[i] && IDS[i] < $to, "an event's id lies outside of its domain's block");
                let mut j = 0;
                while j < i {
                    assert!(IDS[i] != IDS[j], "two events have the same id");
                    j += 1;
                }
                i += 1;
            }
        };

        const _: () = {
            use $crate::__private::serde as foldlog_serde;

            // One struct a variant carries the JSON: field names, defaults, and what serde attributes say.
            $(
                #[derive($crate::__private::serde::Serialize, $crate::__private::serde::Deserialize)]
                #[serde(crate = "foldlog_serde")]
                struct $variant { $( $(#[$field_meta])* $field: $ty ),* }
            )+

            impl $crate::event::Payload for $name {
                const BLOCK: ::core::ops::Range<i16> = $from..$to;
                const TYPES: &'static [$crate::event::EventType] = &[$(
                    $crate::event::EventType {
                        id: $crate::event::TypeId($id),
                        name: stringify!($variant),
                        fields: $crate::event::payload_fields::<$variant>,
                        sketch: $crate::event::shape::Sketch::of::<$variant>,
                    }
                ),+];

                fn type_id(&self) -> $crate::event::TypeId {
                    match self {
                        $( Self::$variant { .. } => $crate::event::TypeId($id) ),+
                    }
                }

                fn decode<'de, D: $crate::__private::serde::Deserializer<'de>>(
                    type_id: $crate::event::TypeId,
                    json: D,
                ) -> ::core::result::Result<Self, $crate::event::DecodeError> {
                    match type_id.0 {
                        $(
                            $id => {
                                let $variant { $( $field ),* } = $crate::event::decode_fields(type_id, json)?;
                                ::core::result::Result::Ok(Self::$variant { $( $field ),* })
                            }
                        )+
                        _ => ::core::result::Result::Err($crate::event::DecodeError::UnknownType(type_id)),
                    }
                }

                fn encode(&self) -> ::core::result::Result<$crate::__private::serde_json::Value, $crate::__private::serde_json::Error> {
                    match self.clone() {
                        $( Self::$variant { $( $field ),* } => $crate::__private::serde_json::to_value($variant { $( $field ),* }) ),+
                    }
                }
            }
        };
    };
}
