//! The names of a domain's rules, by which a client recognizes why its event was rejected.

use std::convert::Infallible;

/// The reasons for which a domain rejects events, each with a name. Implemented by [`rules!`](crate::rules).
pub trait Rules: std::error::Error + Send + Sync + 'static {
    /// The names of all reasons: the enum of `rule` in the OpenAPI document.
    const NAMES: &'static [&'static str];

    /// The name of this reason, one of [`Self::NAMES`].
    fn name(&self) -> &'static str;
}

/// A domain that rejects no event.
impl Rules for Infallible {
    const NAMES: &'static [&'static str] = &[];

    fn name(&self) -> &'static str {
        match *self {}
    }
}

/// Declares why a domain rejects events: an enum that implements `Rules`.
///
/// The names are those of the variants. A client sees them in snake case, as `rule` of a problem (`already_open`), and all of
/// them are an enum in the OpenAPI document; so renaming a variant changes the API.
///
/// ```
/// use foldlog::domain::prelude::*;
///
/// rules! {
///     /// Why an event of an account is rejected; the client sees the text and the name.
///     #[derive(Debug, PartialEq, thiserror::Error)]
///     pub enum AccountError {
///         #[error("the account is already open")]
///         AlreadyOpen,
///         #[error("{cents} cents are more than the account has")]
///         Overdrawn { cents: i64 },
///     }
/// }
///
/// assert_eq!(AccountError::NAMES, ["AlreadyOpen", "Overdrawn"]);
/// assert_eq!(AccountError::Overdrawn { cents: 5 }.name(), "Overdrawn");
/// ```
#[macro_export]
macro_rules! rules {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident $( ( $($fields:tt)* ) )? $( { $($named:tt)* } )? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis enum $name {
            $( $(#[$variant_meta])* $variant $( ( $($fields)* ) )? $( { $($named)* } )? ),*
        }

        impl $crate::domain::Rules for $name {
            const NAMES: &'static [&'static str] = &[$( stringify!($variant) ),*];

            fn name(&self) -> &'static str {
                match self {
                    $( Self::$variant { .. } => stringify!($variant) ),*
                }
            }
        }
    };
}

/// The name of a rule as clients see it: in snake case.
pub(super) fn shown_name(variant: &str) -> String {
    let mut name = String::with_capacity(variant.len() + 2);
    for (at, letter) in variant.char_indices() {
        if letter.is_uppercase() && at > 0 {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::shown_name;

    /// Fails when a client sees another name than the documented one.
    #[test]
    fn a_rule_is_shown_in_snake_case() {
        for (variant, shown) in [
            ("AlreadyOpen", "already_open"),
            ("Username", "username"),
            ("Ümlaut2Fast", "ümlaut2_fast"),
        ] {
            assert_eq!(shown_name(variant), shown);
        }
    }
}
