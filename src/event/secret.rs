//! Values that stay hidden. The type of a field is the only place where a secret is declared; everything else follows
//! from the marker that these types put into their JSON and into their schema.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};

/// The newtype names that mark secrets for a serializer.
pub(super) const SECRET: &str = "foldlog::Secret";
pub(super) const PASSWORD: &str = "foldlog::Password";

/// A value that is stored, and left out of responses, history, feed, logs and `Debug`, however deep it is nested.
///
/// ```
/// # use foldlog::domain::prelude::*;
/// let token = Secret::new("t0k3n".to_owned());
/// assert_eq!(format!("{token:?}"), "Secret(…)");
/// assert_eq!(token.expose(), "t0k3n");
/// ```
///
/// foldlog finds secrets by their types, so attributes must keep the type: `#[schema(value_type = …)]` on a field has to name
/// `Secret` or [`Password`] again, and a function of `#[serde(with = …)]` or `#[serde(into = …)]` must not write the value
/// inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The hidden value.
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

/// The schema of `T`, marked as `writeOnly`.
impl<T: ToSchema> utoipa::__dev::ComposeSchema for Secret<T> {
    fn compose(generics: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        write_only(generics.into_iter().next().unwrap_or_else(T::schema))
    }
}

impl<T: ToSchema> ToSchema for Secret<T> {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Secret")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

fn write_only(mut schema: RefOr<Schema>) -> RefOr<Schema> {
    let extensions = match &mut schema {
        RefOr::Ref(reference) => {
            reference.write_only = Some(true);
            return schema;
        }
        RefOr::T(Schema::Object(object)) => {
            object.write_only = Some(true);
            return schema;
        }
        RefOr::T(Schema::Array(array)) => &mut array.extensions,
        RefOr::T(Schema::OneOf(one_of)) => &mut one_of.extensions,
        RefOr::T(Schema::AllOf(all_of)) => &mut all_of.extensions,
        RefOr::T(Schema::AnyOf(any_of)) => &mut any_of.extensions,
        RefOr::T(_) => return schema,
    };
    // utoipa has a field for `writeOnly` only in objects and references; an extension is written in the same place.
    extensions
        .get_or_insert_with(Extensions::default)
        .insert("writeOnly".to_owned(), true.into());
    schema
}

/// A password. A client sends it in plain text; the command side replaces it by its argon2id hash (a PHC string) before
/// anything is stored. So [`Domain::validate`](crate::domain::Domain::validate) sees the plain text, and a stored event,
/// a view and [`Domain::apply`](crate::domain::Domain::apply) see the hash. It is hidden like a [`Secret`].
///
/// An idempotent replay verifies the password against the stored hash, because two hashes of one password differ.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Holds a password in plain text, or the hash of one.
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

/// A string of the format `password`, marked as `writeOnly`.
impl utoipa::__dev::ComposeSchema for Password {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        write_only(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
                .into(),
        )
    }
}

impl ToSchema for Password {}

/// Reads the value inside. When it does not fit, the reason is dropped, because serde's messages quote the value.
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
