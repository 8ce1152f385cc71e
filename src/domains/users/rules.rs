//! What must hold of a user's event by itself.

use uuid::Uuid;

use super::UserEvent;
use crate::domain::prelude::*;

/// Why an event of a user is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Created twice.
    #[error("the user exists already")]
    ExistsAlready,
    /// Changed before it was created.
    #[error("the user does not exist")]
    DoesNotExist,
    /// The payload names another aggregate than the event.
    #[error("payload.id must equal aggregate_id")]
    AnotherAggregate,
    /// Empty, or too long.
    #[error(
        "username must be 1 to 100 characters, none of them a control character, and not only spaces"
    )]
    Username,
    /// Nothing that mail could be sent to.
    #[error("email must look like name@host, at most 254 characters, without spaces")]
    Email,
    /// Empty, or so long that hashing it would be an attack.
    #[error("password must be 1 to 1000 characters")]
    Password,
}

pub(super) fn validate(aggregate_id: AggregateId, event: &UserEvent) -> Result<(), Refused> {
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
        UserEvent::Deleted { id } => id.map_or(Ok(()), |id| same_aggregate(aggregate_id, id)),
    }
}

fn same_aggregate(AggregateId(aggregate_id): AggregateId, id: Uuid) -> Result<(), Refused> {
    if id == aggregate_id {
        Ok(())
    } else {
        Err(Refused::AnotherAggregate)
    }
}

fn check_username(username: &str) -> Result<(), Refused> {
    let readable = !username.trim().is_empty() && !username.chars().any(char::is_control);
    if readable && username.chars().count() <= 100 {
        Ok(())
    } else {
        Err(Refused::Username)
    }
}

/// Plausible, no more: whether an address exists only a mail to it can tell. 254 is SMTP's limit of a path.
fn check_email(email: &str) -> Result<(), Refused> {
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
        Err(Refused::Email)
    }
}

fn check_password(password: &Password) -> Result<(), Refused> {
    if (1..=1000).contains(&password.expose().chars().count()) {
        Ok(())
    } else {
        Err(Refused::Password)
    }
}
