//! Values that must not be seen. The type on the field is the one place where a secret is declared: from it follow the
//! missing `Debug` text and the keys that are left out of answers, history, feed and logs (see [`fields`](super::fields)).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// The newtype names by which [`fields`](super::fields) recognises secrets.
pub(super) const SECRET: &str = "foldlog::Secret";
pub(super) const PASSWORD: &str = "foldlog::Password";

/// A value that is stored, but left out of answers, history, feed and logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one who really needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<T: Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(SECRET, &self.0)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(SECRET, Hidden(PhantomData))
            .map(Self)
    }
}

/// A password. A client sends it in plain text; before anything is stored the command side replaces it by its argon2id
/// hash (a PHC string), so in a stored event, in a view and in [`Domain::apply`](crate::domain::Domain::apply) it is
/// the hash. Hidden like [`Secret`]. A resent event is compared by verifying, because two hashes of one password differ.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Holds a password that was just entered, or a hash that was stored.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text: plain in [`Domain::validate`](crate::domain::Domain::validate), the hash everywhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(PASSWORD, &self.0)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_newtype_struct(PASSWORD, Hidden(PhantomData))
            .map(Self)
    }
}

/// Reads the value inside and swallows the reason when it does not fit: serde's messages quote the value.
struct Hidden<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Hidden<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
            .map_err(|_| de::Error::custom("a secret field has the wrong type"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_no_debug_text_and_no_place_in_errors() {
        let secret: Secret<String> = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        let password = Password::new("hunter2".to_owned());
        assert_eq!(format!("{password:?}"), "Password(…)");
        let error = serde_json::from_str::<Secret<i32>>("\"hunter2\"").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let error = serde_json::from_str::<Password>("424242").unwrap_err();
        assert!(!error.to_string().contains("424242"), "{error}");
    }
}
