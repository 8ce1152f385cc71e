//! Secrets in every place where serde can put them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::*;
use crate::event::{Password, Secret, TypeSchema};

#[derive(Serialize, ToSchema)]
struct Credentials {
    name: String,
    password: Password,
    token: Option<Secret<String>>,
}

#[derive(Serialize, ToSchema)]
enum Login {
    ByToken(Secret<String>),
    ByPassword { password: Password },
    Pair((i32, Secret<String>)),
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "kind")]
enum Internal {
    Known { password: Password },
    Wrapped(Credentials),
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "kind", content = "content")]
enum Adjacent {
    Token(Secret<String>),
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Untagged {
    Token(Secret<String>),
}

#[derive(Serialize, ToSchema)]
struct Wrapper(Secret<String>);

#[derive(Serialize, ToSchema)]
#[serde(transparent)]
struct Transparent(Secret<String>);

#[derive(Serialize, ToSchema)]
struct Everything {
    plain: Secret<String>,
    some: Option<Secret<String>>,
    none: Option<Secret<String>>,
    nothing: Option<String>,
    list: Vec<Secret<String>>,
    map: BTreeMap<String, Secret<String>>,
    tuple: (i32, Secret<String>),
    nested: Credentials,
    many: Vec<Credentials>,
    logins: Vec<Login>,
    internal: Vec<Internal>,
    adjacent: Adjacent,
    untagged: Untagged,
    wrapper: Wrapper,
    transparent: Transparent,
    structured: Secret<Vec<Credentials>>,
    #[serde(flatten)]
    flat: Flat,
    #[serde(flatten)]
    variant: Login,
}

#[derive(Serialize, ToSchema)]
struct Flat {
    flat_token: Secret<String>,
    flat_login: Login,
}

const HIDDEN: &str = "hunter2";

fn secret() -> Secret<String> {
    Secret::new(HIDDEN.to_owned())
}

fn password() -> Password {
    Password::new(HIDDEN.to_owned())
}

fn credentials() -> Credentials {
    Credentials {
        name: "ada".to_owned(),
        password: password(),
        token: None,
    }
}

fn everything() -> Everything {
    Everything {
        plain: secret(),
        some: Some(secret()),
        none: None,
        nothing: None,
        list: vec![secret(), secret()],
        map: BTreeMap::from([("key".to_owned(), secret())]),
        tuple: (1, secret()),
        nested: credentials(),
        many: vec![credentials()],
        logins: vec![
            Login::ByToken(secret()),
            Login::ByPassword {
                password: password(),
            },
            Login::Pair((1, secret())),
        ],
        internal: vec![
            Internal::Known {
                password: password(),
            },
            Internal::Wrapped(credentials()),
        ],
        adjacent: Adjacent::Token(secret()),
        untagged: Untagged::Token(secret()),
        wrapper: Wrapper(secret()),
        transparent: Transparent(secret()),
        structured: Secret::new(vec![credentials()]),
        flat: Flat {
            flat_token: secret(),
            flat_login: Login::Pair((2, secret())),
        },
        variant: Login::ByPassword {
            password: password(),
        },
    }
}

fn under(policy: &impl Policy) -> Value {
    serde_json::to_value(Redacted(&everything(), policy)).unwrap()
}

// Fails when a secret is shown in one of the places where serde can put it, or when something else is left out.
#[test]
fn hiding_leaves_out_secrets_in_every_place() {
    let schema = TypeSchema::from_type::<Everything>();
    assert_eq!(schema.check(), Ok(()));
    assert_eq!(
        under(&Hide(&schema.secret_names())),
        json!({
            "nothing": null,
            "list": [null, null],
            "map": {},
            "tuple": [1, null],
            "nested": {"name": "ada"},
            "many": [{"name": "ada"}],
            "logins": [{"ByToken": null}, {"ByPassword": {}}, {"Pair": [1, null]}],
            "internal": [{"kind": "Known"}, {"kind": "Wrapped", "name": "ada"}],
            "adjacent": {"kind": "Token"},
            "flat_login": {"Pair": [2, null]},
            "ByPassword": {},
        })
    );
}

// Fails when collecting and replacing passwords visit them in another order, or miss one.
#[test]
fn passwords_are_collected_and_replaced_in_the_same_order() {
    let collected = CollectPasswords::default();
    let unchanged = under(&collected);
    assert_eq!(unchanged, serde_json::to_value(everything()).unwrap());
    let collected = collected.0.into_inner();
    assert_eq!(collected, vec![HIDDEN; 7]);

    let hashes: Vec<String> = (0..7).map(|n| format!("hash {n}")).collect();
    let replaced = under(&ReplacePasswords(RefCell::new(hashes.into_iter())));
    assert_eq!(replaced["nested"]["password"], "hash 0");
    assert_eq!(replaced["ByPassword"]["password"], "hash 6");
    assert_eq!(replaced["plain"], HIDDEN, "a Secret is stored");

    let marked = under(&MarkPasswords);
    assert_eq!(marked["many"][0]["password"], format!("\0{HIDDEN}"));
    assert_eq!(marked["plain"], HIDDEN);
}

// Fails when a secret as the key of a map is written.
#[test]
fn a_secret_as_a_map_key_is_an_error() {
    let keyed = BTreeMap::from([(secret(), 1)]);
    let hidden = serde_json::to_value(Redacted(&keyed, &Hide(&BTreeSet::new())));
    assert!(hidden.is_err());
}

// Fails when a replay with an integer of more than 64 bits counts as different content, or two such integers as the same.
#[test]
fn large_integers_are_stored_as_numbers_and_compared_exactly() {
    let numbers = (u128::MAX, i128::MIN, 1_u128, -1_i128);
    let stored = serde_json::to_string(&Redacted(&numbers, &CollectPasswords::default())).unwrap();
    assert_eq!(stored, serde_json::to_string(&numbers).unwrap());
    let marked = |numbers: &(u128, i128, u128, i128)| {
        serde_json::to_value(Redacted(numbers, &MarkPasswords)).unwrap()
    };
    assert_eq!(marked(&numbers), marked(&numbers));
    assert_ne!(marked(&numbers), marked(&(u128::MAX - 1, i128::MIN, 1, -1)));
}
