//! The rules and the fold, without a database.

use uuid::Uuid;

use super::{User, UserEvent, Users};
use crate::domain::prelude::*;

fn created(username: &str) -> UserEvent {
    UserEvent::Created {
        id: Uuid::nil(),
        username: username.to_owned(),
        email: "ada@example.org".to_owned(),
        password: None,
    }
}

fn user(username: &str) -> User {
    User {
        username: username.to_owned(),
        email: "ada@example.org".to_owned(),
        password_hash: None,
    }
}

#[test]
fn a_user_is_created_first_and_once() {
    Spec::<Users>::given([])
        .when(created("ada"))
        .then(Some(user("ada")));
    Spec::<Users>::given([created("ada")])
        .when(created("ada"))
        .then_rejected("the user already exists");
    Spec::<Users>::given([])
        .when(UserEvent::EmailChanged {
            email: "a@b".to_owned(),
        })
        .then_rejected("the user does not exist");
}

#[test]
fn nothing_follows_a_deletion() {
    let deleted = || UserEvent::Deleted { id: None };
    Spec::<Users>::given([created("ada")])
        .when(deleted())
        .then(None);
    Spec::<Users>::given([created("ada"), deleted()])
        .when(created("ada"))
        .then_rejected("the aggregate is deleted");
    Spec::<Users>::given([created("ada"), deleted()])
        .when(deleted())
        .then_rejected("the aggregate is deleted");
}

#[test]
fn a_payload_that_names_another_aggregate_is_refused() {
    let other = AggregateId(Uuid::from_u128(7));
    Spec::<Users>::given_for(other, [])
        .when(created("ada"))
        .then_rejected("payload.id must equal aggregate_id");
    Spec::<Users>::given_for(other, [created("ada")])
        .when(UserEvent::Deleted {
            id: Some(Uuid::nil()),
        })
        .then_rejected("payload.id must equal aggregate_id");
}

#[test]
fn usernames_have_1_to_100_characters() {
    let refused = "username must be 1 to 100 characters, none of them a control character, and not only spaces";
    for bad in [
        String::new(),
        "  ".to_owned(),
        "a\u{7}".to_owned(),
        "é".repeat(101),
    ] {
        Spec::<Users>::given([])
            .when(created(&bad))
            .then_rejected(refused);
    }
    Spec::<Users>::given([])
        .when(created(&"é".repeat(100)))
        .then(Some(user(&"é".repeat(100))));
}

#[test]
fn an_email_is_plausible() {
    let refused = "email must look like name@host, at most 254 characters, without spaces";
    let long = format!("{}@example.org", "a".repeat(250));
    for bad in [
        "", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b..c", "a@.b", "a@b.", "a@b\n", &long,
    ] {
        Spec::<Users>::given([created("ada")])
            .when(UserEvent::EmailChanged {
                email: bad.to_owned(),
            })
            .then_rejected(refused);
    }
}

#[test]
fn a_password_is_bounded_and_reaches_the_state_only_hidden() {
    let change = |text: &str| UserEvent::PasswordChanged {
        password: Password::new(text.to_owned()),
    };
    for bad in [String::new(), "x".repeat(1001)] {
        Spec::<Users>::given([created("ada")])
            .when(change(&bad))
            .then_rejected("password must be 1 to 1000 characters");
    }
    let given = Spec::<Users>::given([created("ada"), change("$argon2id$…")]);
    assert!(!format!("{given:?}").contains("argon2id"), "{given:?}");
}
