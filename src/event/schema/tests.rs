//! Where secrets are found in the schemas that types derive.

use std::collections::BTreeMap;

use serde::Serialize;

use super::*;
use crate::event::{Password, Secret};

#[derive(Serialize, ToSchema)]
struct Credentials {
    name: String,
    password: Password,
    tokens: Vec<Secret<String>>,
}

#[derive(Serialize, ToSchema)]
struct Row {
    owner: String,
    #[serde(rename = "balance")]
    cents: i64,
    pin: Secret<i32>,
    keys: Option<Secret<Vec<u8>>>,
    password: Option<Password>,
    credentials: Credentials,
    optional: Option<Credentials>,
    many: BTreeMap<String, Credentials>,
}

#[test]
fn secrets_are_found_at_any_depth_in_the_schema_that_a_type_derives() {
    let row = TypeSchema::from_type::<Row>();
    let of = |wanted: fn(&TypeSchema, &RefOr<Schema>) -> bool| -> Vec<&str> {
        let properties = row.properties().into_iter();
        let wanted = properties.filter(|(_, schema)| wanted(&row, schema));
        wanted.map(|(name, _)| name).collect()
    };
    let names: Vec<&str> = row.properties().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "owner",
            "balance",
            "pin",
            "keys",
            "password",
            "credentials",
            "optional",
            "many"
        ]
    );
    assert_eq!(of(TypeSchema::is_secret), ["pin", "keys", "password"]);
    assert_eq!(
        of(TypeSchema::contains_secret),
        ["pin", "keys", "password", "credentials", "optional", "many"]
    );
    assert_eq!(
        row.secret_names().into_iter().collect::<Vec<_>>(),
        ["keys", "password", "pin"]
    );
    assert_eq!(row.check(), Ok(()));
}

#[derive(Serialize, ToSchema)]
struct Flattened {
    #[serde(flatten)]
    hidden: Secret<Credentials>,
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "kind")]
#[expect(dead_code, reason = "only its schema is read")]
enum Tagged {
    Hidden(Secret<Credentials>),
}

#[derive(Serialize, ToSchema)]
struct Keyed {
    by_token: BTreeMap<Secret<String>, i32>,
}

#[derive(Serialize, ToSchema)]
struct Outer {
    inner: Flattened,
}

/// serde merges the content of a variant into the object that the enum is flattened into.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Untagged {
    Hidden(Secret<Credentials>),
    Shown { name: String },
}

#[derive(Serialize, ToSchema)]
struct FlattenedUntagged {
    beside: Untagged,
    #[serde(flatten)]
    merged: Untagged,
}

mod other {
    use super::*;

    #[derive(Serialize, ToSchema)]
    pub(super) struct Credentials {
        name: String,
    }
}

#[derive(Serialize, ToSchema)]
struct TwoOfOneName {
    ours: Credentials,
    theirs: other::Credentials,
}

#[test]
fn a_secret_that_serde_cannot_mark_is_reported_with_its_path() {
    let at = |path: &str| Err(TypeSchemaError::UnhideableSecret(path.to_owned()));
    for (schema, path) in [
        (TypeSchema::from_type::<Outer>(), "inner"),
        (TypeSchema::from_type::<Tagged>(), ""),
        (TypeSchema::from_type::<Keyed>(), "by_token (map key)"),
        (TypeSchema::from_type::<FlattenedUntagged>(), ""),
    ] {
        assert_eq!(schema.check(), at(path));
    }
    assert_eq!(TypeSchema::from_type::<Untagged>().check(), Ok(()));
}

/// Fails when one schema stands for two types: a secret in the other one would not be found.
#[test]
fn two_types_with_one_schema_name_are_reported() {
    assert_eq!(
        TypeSchema::from_type::<TwoOfOneName>().check(),
        Err(TypeSchemaError::AmbiguousName("Credentials".to_owned()))
    );
}

#[derive(Serialize, ToSchema)]
struct TupleStruct(i32, Secret<String>);

#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
enum TupleVariant {
    Pair(i32, Secret<String>),
}

#[derive(Serialize, ToSchema)]
struct Tuples {
    pair: (i32, Secret<String>),
    variant: OneTuple,
    list: [String; 2],
}

#[derive(Serialize, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneTuple {
    Pair((i32, Secret<String>)),
}

/// Fails when a type is accepted in which utoipa leaves out the types of fields: a column with a secret there could be
/// filtered by.
#[test]
fn tuple_structs_and_variants_without_a_schema_are_rejected() {
    let rejected = Err(TypeSchemaError::UndescribedTuple);
    assert_eq!(TypeSchema::from_type::<TupleStruct>().check(), rejected);
    assert_eq!(TypeSchema::from_type::<TupleVariant>().check(), rejected);
    let tuples = TypeSchema::from_type::<Tuples>();
    assert_eq!(tuples.check(), Ok(()));
    assert!(
        tuples.properties()[..2]
            .iter()
            .all(|(_, part)| tuples.contains_secret(part))
    );
}
