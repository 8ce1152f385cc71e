//! Validation of a single event of a user.

use uuid::Uuid;

use super::UserEvent;
use crate::domain::prelude::*;

rules! {
    /// Why an event of a user is rejected.
    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    #[non_exhaustive]
    pub enum UserError {
        /// The user was created before.
        #[error("the user already exists")]
        AlreadyExists,
        /// The user was not created.
        #[error("the user does not exist")]
        DoesNotExist,
        /// `payload.id` is not the aggregate's id.
        #[error("payload.id must equal aggregate_id")]
        AnotherAggregate,
        /// Empty, or too long.
        #[error(
            "username must be 1 to 100 characters, none of them a control character, and not only spaces"
        )]
        Username,
        /// It cannot be an address.
        #[error("email must look like name@host, at most 254 characters, without spaces")]
        Email,
        /// Empty, or so long that hashing it would be an attack.
        #[error("password must be 1 to 1000 characters")]
        Password,
    }
}

/// Where in the payload the field is that was rejected.
pub(super) const fn pointer(error: &UserError) -> &'static str {
    match error {
        UserError::AnotherAggregate => "/id",
        UserError::Username => "/username",
        UserError::Email => "/email",
        UserError::Password => "/password",
        UserError::AlreadyExists | UserError::DoesNotExist => "",
    }
}

pub(super) fn validate(aggregate_id: AggregateId, event: &UserEvent) -> Result<(), UserError> {
    match event {
        UserEvent::Created {
            id,
            username,
            email,
            password,
        } => {
            same_aggregate(aggregate_id, *id)?;
            check_username(username)?;
            check_email(email)?;
            password.as_ref().map_or(Ok(()), check_password)
        }
        UserEvent::PasswordChanged { password } => check_password(password),
        UserEvent::UsernameChanged { username } => check_username(username),
        UserEvent::EmailChanged { email } => check_email(email),
        UserEvent::Restored { username, email } => {
            check_username(username)?;
            check_email(email)
        }
        UserEvent::Deleted { id } => id.map_or(Ok(()), |id| same_aggregate(aggregate_id, id)),
    }
}

fn same_aggregate(AggregateId(aggregate_id): AggregateId, id: Uuid) -> Result<(), UserError> {
    if id == aggregate_id {
        Ok(())
    } else {
        Err(UserError::AnotherAggregate)
    }
}

fn check_username(username: &str) -> Result<(), UserError> {
    let readable = !username.trim().is_empty() && !username.chars().any(char::is_control);
    if readable && username.chars().count() <= 100 {
        Ok(())
    } else {
        Err(UserError::Username)
    }
}

/// Accepts whatever looks like an address: only a mail to it can show whether it exists. 254 is SMTP's limit for a path.
fn check_email(email: &str) -> Result<(), UserError> {
    let plausible = email.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty()
            && !host.is_empty()
            && !host.contains('@')
            && !host.starts_with('.')
            && !host.ends_with('.')
            && !host.contains("..")
    });
    let clean = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if plausible && clean && email.len() <= 254 {
        Ok(())
    } else {
        Err(UserError::Email)
    }
}

fn check_password(password: &Password) -> Result<(), UserError> {
    if (1..=1000).contains(&password.expose().chars().count()) {
        Ok(())
    } else {
        Err(UserError::Password)
    }
}
