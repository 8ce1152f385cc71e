//! Users: the complete example of a domain.
//!
//! A user is created first and once, may change password, name and e-mail, and ends with its deletion.

mod event;
mod rules;
#[cfg(test)]
mod tests;

pub use self::event::UserEvent;
pub use self::rules::Refused;
use crate::domain::prelude::*;

/// What the rules see, and one row of the view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    username: String,
    email: String,
    password_hash: Option<Secret<String>>,
}

/// The domain of users.
#[derive(Debug)]
pub struct Users;

impl Domain for Users {
    const NAME: &'static str = "users";
    const VIEW: &'static str = include_str!("view.sql");
    const SET_RULES: &'static [SetRule] = &[SetRule {
        name: "users_email_key",
        definition: "create unique index users_email_key on users (lower(email))",
        refusal: "the e-mail address is taken by another user",
    }];
    type Event = UserEvent;
    type State = User;
    type Refused = Refused;

    fn validate(aggregate_id: AggregateId, event: &UserEvent) -> Result<(), Refused> {
        rules::validate(aggregate_id, event)
    }

    fn check(user: Option<&User>, event: &UserEvent) -> Result<(), Refused> {
        match (user, event) {
            (None, UserEvent::Created { .. }) => Ok(()),
            (Some(_), UserEvent::Created { .. }) => Err(Refused::ExistsAlready),
            (None, _) => Err(Refused::DoesNotExist),
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
        }
    }
}
