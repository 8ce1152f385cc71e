//! Users: the complete example of a domain.
//!
//! `Created` comes first and once; the password, the name and the e-mail address may change; `Deleted` ends the user, and
//! `Restored` brings a deleted user back.

mod event;
mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::event::UserEvent;
pub use self::rules::UserError;
use crate::domain::prelude::*;

/// A user.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The name that others see.
    username: String,
    /// The address, which no other user may have.
    email: String,
    /// The argon2id hash of the password; none until one is set.
    password_hash: Option<Secret<String>>,
}

/// The domain of users.
#[derive(Debug)]
pub struct Users;

impl Domain for Users {
    const NAME: &'static str = "users";
    const VIEW: &'static str = include_str!("view.sql");
    const TITLE: Option<&'static str> = Some("username");
    const SET_RULES: &'static [SetRule] = &[SetRule {
        name: "users_email_key",
        // Whatever the database's locale: Turkish lower-cases `I` to another letter than `i`.
        unique_on: "(lower(email collate \"C\"))",
        message: "the e-mail address is taken by another user",
    }];
    type Event = UserEvent;
    type State = User;
    type Error = UserError;

    fn validate(aggregate_id: AggregateId, event: &UserEvent) -> Result<(), UserError> {
        rules::validate(aggregate_id, event)
    }

    fn pointer(error: &UserError) -> Cow<'static, str> {
        rules::pointer(error).into()
    }

    fn check(user: Option<&User>, event: &UserEvent) -> Result<(), UserError> {
        match (user, event) {
            (None, UserEvent::Created { .. }) => Ok(()),
            (Some(_), UserEvent::Created { .. } | UserEvent::Restored { .. }) => {
                Err(UserError::AlreadyExists)
            }
            (None, _) => Err(UserError::DoesNotExist),
            (Some(_), _) => Ok(()),
        }
    }

    fn apply(user: Option<User>, event: &UserEvent) -> Option<User> {
        let hash = |password: &Password| Some(Secret::new(password.expose().to_owned()));
        match event {
            UserEvent::Created {
                username,
                email,
                password,
                ..
            } => Some(User {
                username: username.clone(),
                email: email.clone(),
                password_hash: password.as_ref().and_then(hash),
            }),
            UserEvent::PasswordChanged { password } => user.map(|user| User {
                password_hash: hash(password),
                ..user
            }),
            UserEvent::UsernameChanged { username } => user.map(|user| User {
                username: username.clone(),
                ..user
            }),
            UserEvent::EmailChanged { email } => user.map(|user| User {
                email: email.clone(),
                ..user
            }),
            UserEvent::Deleted { .. } => None,
            UserEvent::Restored { username, email } => Some(User {
                username: username.clone(),
                email: email.clone(),
                password_hash: None,
            }),
        }
    }

    fn may_follow_end(event: &UserEvent) -> bool {
        matches!(event, UserEvent::Restored { .. })
    }

    /// A password stays: the log has only its hash, and a hash cannot be set as a password.
    fn revert(user: Option<&User>, target: &User) -> Option<Vec<UserEvent>> {
        let (username, email) = (target.username.clone(), target.email.clone());
        let Some(user) = user else {
            return Some(vec![UserEvent::Restored { username, email }]);
        };
        let mut events = Vec::new();
        if user.username != username {
            events.push(UserEvent::UsernameChanged { username });
        }
        if user.email != email {
            events.push(UserEvent::EmailChanged { email });
        }
        Some(events)
    }
}
