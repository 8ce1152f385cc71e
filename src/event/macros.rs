//! [`events!`](crate::events) declares the event types of a domain.

/// Declares the events of a domain: an enum with one variant per event type, and the type id of each.
///
/// The JSON of the payloads, their schemas in the OpenAPI document and the hidden fields follow from this declaration.
/// That each id lies in the domain's block, and that no id is used twice, is checked at compile time. Attributes of
/// serde and utoipa on the enum, its variants and fields apply as usual. The macro needs the
/// [prelude](crate::domain::prelude) in scope, and the crate under the name `foldlog`.
///
/// ```
/// use foldlog::domain::prelude::*;
///
/// events! {
///     /// What can happen to an account. The block 2000–2999 is reserved for this domain.
///     pub enum AccountEvent in 2000..3000 {
///         2000 => Opened { owner: String },
///         2001 => Deposited { cents: i64 },
///         2002 => Closed {},
///     }
/// }
///
/// let event = AccountEvent::Deposited { cents: 5 };
/// assert_eq!(event.type_id(), TypeId(2001));
/// assert_eq!(event.encode().unwrap().get(), r#"{"cents":5}"#);
/// ```
///
/// An id outside the block does not compile:
///
/// ```compile_fail
/// # use foldlog::domain::prelude::*;
/// events! {
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
        #[derive(
            Clone,
            Debug,
            PartialEq,
            $crate::__private::serde::Serialize,
            $crate::__private::serde::Deserialize,
            $crate::__private::utoipa::ToSchema,
        )]
        #[serde(crate = "foldlog::serde")]
        #[allow(clippy::allow_attributes, missing_docs, reason = "the names of the fields describe them")]
        $vis enum $name {
            $( $(#[$variant_meta])* $variant { $( $(#[$field_meta])* $field: $ty ),* } ),+
        }

        const _: () = {
            const IDS: &[i16] = &[$( $id ),+];
            let mut i = 0;
            while i < IDS.len() {
                assert!($from > 0 && $from <= IDS[i] && IDS[i] < $to, "an event's id lies outside its domain's block");
                let mut j = 0;
                while j < i {
                    assert!(IDS[i] != IDS[j], "two events have the same id");
                    j += 1;
                }
                i += 1;
            }
        };

        impl $crate::event::Payload for $name {
            const BLOCK: ::core::ops::Range<i16> = $from..$to;
            const TYPES: &'static [$crate::event::EventType] = &[$(
                $crate::event::EventType {
                    id: $crate::event::TypeId($id),
                    name: stringify!($variant),
                }
            ),+];

            fn type_id(&self) -> $crate::event::TypeId {
                match self {
                    $( Self::$variant { .. } => $crate::event::TypeId($id) ),+
                }
            }
        }
    };
}
