//! [`events!`](crate::events) declares the event types of a domain.

use super::{OldEventType, TypeId};

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
///
/// # Old revisions
///
/// The log keeps events as they were recorded. When an event type changes, the block `old` says how its old revisions become
/// the newest one when they are read: for folds, rules, histories and the feed. An old revision has a type id that is no
/// longer written, or it is another shape of the same type id: it differs in a field's name or type. It becomes an event of the
/// enum, or a later old revision:
///
/// ```
/// use foldlog::domain::prelude::*;
///
/// events! {
///     /// What can happen to an account.
///     pub enum AccountEvent in 2000..3000 {
///         2000 => Opened { owner: String, currency: String },
///         2001 => Deposited { cents: i64 },
///     }
///     old {
///         /// Every account was in one currency.
///         2000 => OpenedWithoutCurrency { owner: String }
///             as Opened { owner, currency: "EUR".to_owned() },
///         /// Until amounts were counted in cents.
///         2007 => DepositedUnits { units: i64 } as Deposited { cents: units * 100 },
///         /// Before that, amounts were texts.
///         2006 => DepositedText { amount: String }
///             as DepositedUnits { units: amount.parse().unwrap_or_default() },
///     }
/// }
///
/// let recorded = serde_json::value::to_raw_value(&serde_json::json!({"amount": "5"})).unwrap();
/// let deposited = AccountEvent::decode_recorded(TypeId(2006), &recorded).unwrap();
/// assert_eq!(deposited, AccountEvent::Deposited { cents: 500 });
/// ```
///
/// The compiler checks the fields on both sides. An old shape of a type id must become an event of the same type id:
///
/// ```compile_fail
/// # use foldlog::domain::prelude::*;
/// events! {
///     /// Events.
///     pub enum AccountEvent in 2000..3000 {
///         2000 => Opened { owner: String },
///         2001 => Renamed { owner: String },
///     }
///     old { 2000 => OldOpened { name: String } as Renamed { owner: name } }
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
        $(old {
            $(
                $(#[$old_meta:meta])*
                $old_id:literal => $old:ident { $( $(#[$old_field_meta:meta])* $old_field:ident : $old_ty:ty ),* $(,)? }
                    as $next:ident { $($next_fields:tt)* }
            ),+ $(,)?
        })?
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

        const _: () = $crate::event::check_types(
            &[$( $id ),+],
            <$name as $crate::event::Payload>::OLD_TYPES,
            $from,
            $to,
        );

        const _: () = {
            impl $crate::event::Payload for $name {
                const BLOCK: ::core::ops::Range<i16> = $from..$to;
                const TYPES: &'static [$crate::event::EventType] = &[$(
                    $crate::event::EventType {
                        id: $crate::event::TypeId($id),
                        name: stringify!($variant),
                    }
                ),+];
                const OLD_TYPES: &'static [$crate::event::OldEventType] = {
                    /// The type ids under the names of the events: what an old revision becomes has to be one of them.
                    #[allow(
                        clippy::allow_attributes,
                        non_upper_case_globals,
                        dead_code,
                        reason = "the caller's names, used only where an old revision becomes them"
                    )]
                    mod type_ids {
                        $( pub(super) const $variant: $crate::event::TypeId = $crate::event::TypeId($id); )+
                        $($( pub(super) const $old: $crate::event::TypeId = $next; )+)?
                    }
                    &[$($(
                        $crate::event::OldEventType {
                            id: $crate::event::TypeId($old_id),
                            name: stringify!($old),
                            newest: type_ids::$old,
                        }
                    ),+)?]
                };

                fn type_id(&self) -> $crate::event::TypeId {
                    match self {
                        $( Self::$variant { .. } => $crate::event::TypeId($id) ),+
                    }
                }

                $(
                    fn upcast_recorded(
                        type_id: $crate::event::TypeId,
                        json: &$crate::__private::serde_json::value::RawValue,
                        is_exact: bool,
                    ) -> ::core::option::Option<Self> {
                        let mut newest = ::core::option::Option::None;
                        $(
                            if newest.is_none() && type_id == $crate::event::TypeId($old_id) {
                                newest = $crate::event::upcast_as::<$old, Self>(json, is_exact);
                            }
                        )+
                        newest
                    }
                )?
            }

            impl $crate::event::Upcaster<$name> for $name {
                fn upcast(self) -> $name {
                    self
                }
            }

            $($(
                $(#[$old_meta])*
                #[derive($crate::__private::serde::Deserialize)]
                #[serde(crate = "foldlog::serde")]
                struct $old { $( $(#[$old_field_meta])* $old_field: $old_ty ),* }

                impl $crate::event::Upcaster<$name> for $old {
                    #[allow(
                        clippy::allow_attributes,
                        clippy::enum_glob_use,
                        unused_imports,
                        unused_variables,
                        reason = "the next revision need not be a variant, nor have every field"
                    )]
                    fn upcast(self) -> $name {
                        // What comes next is a variant of the enum, or another old revision.
                        use $name::*;
                        let Self { $( $old_field ),* } = self;
                        $crate::event::Upcaster::<$name>::upcast($next { $($next_fields)* })
                    }
                }
            )+)?
        };
    };
}

/// Fails the compilation when an event has an id outside of the block or that of another event, or when an old revision becomes
/// another event than its id says.
#[doc(hidden)]
pub const fn check_types(ids: &[i16], old: &[OldEventType], from: i16, to: i16) {
    let mut i = 0;
    while i < ids.len() {
        assert!(
            from > 0 && from <= ids[i] && ids[i] < to,
            "an event's id lies outside its domain's block"
        );
        let mut j = 0;
        while j < i {
            assert!(ids[i] != ids[j], "two events have the same id");
            j += 1;
        }
        i += 1;
    }
    i = 0;
    while i < old.len() {
        let TypeId(id) = old[i].id;
        assert!(
            from <= id && id < to,
            "the id of an old revision lies outside its domain's block"
        );
        let mut j = 0;
        while j < ids.len() {
            assert!(
                ids[j] != id || old[i].newest.0 == id,
                "an old shape of an event must become the same event"
            );
            j += 1;
        }
        j = 0;
        while j < i {
            assert!(
                old[j].id.0 != id || old[j].newest.0 == old[i].newest.0,
                "the old revisions of one id must become the same event"
            );
            j += 1;
        }
        i += 1;
    }
}
