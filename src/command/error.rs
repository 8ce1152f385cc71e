//! Why an append stored nothing.

use super::MARK_KEY;
use crate::app::NotServedError;
use crate::db::{DbError, Retryable};
use crate::domain::RejectedError;
use crate::event::{AggregateId, EventId, Prepared, TypeId, Version};
use crate::projection::ProjectionError;
use crate::view::View;

/// Why an append stored nothing. `index` is the position of an event in the request, from 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The request contains no event.
    #[error("send at least one event")]
    Empty,
    /// The request contains more than [`MAX_EVENTS`](super::MAX_EVENTS) events.
    #[error("the request contains {0} events; send at most {max}", max = super::MAX_EVENTS)]
    TooMany(usize),
    /// The request contains more passwords than can be hashed in the time of a request.
    #[error(
        "event {index}: the request contains more than {max} passwords, which take long to hash; send at most {max} per request",
        max = super::MAX_PASSWORDS
    )]
    TooManyPasswords {
        /// The index of the first event beyond [`MAX_PASSWORDS`](super::MAX_PASSWORDS).
        index: usize,
    },
    /// Two events of the request have the same id.
    #[error("events {first} and {index} have the same id; each event needs its own id")]
    DuplicateId {
        /// The first of the two.
        first: usize,
        /// The second.
        index: usize,
    },
    /// An event was sent to the route of another domain.
    #[error("event {index}: type {type_id} does not belong to the domain `{domain}`")]
    NotOfDomain {
        /// The event's index.
        index: usize,
        /// The event's type.
        type_id: TypeId,
        /// The route's domain.
        domain: &'static str,
    },
    /// No domain has this event type.
    #[error("event {index}: type {type_id} does not belong to any domain")]
    NoDomain {
        /// The event's index.
        index: usize,
        /// The event's type.
        type_id: TypeId,
    },
    /// The request has events of two domains for one aggregate.
    #[error("event {index}: its aggregate has events of another domain in this request")]
    MixedAggregate {
        /// The event's index.
        index: usize,
    },
    /// The metadata of an event has the entry that marks the events of a revert.
    #[error(
        "event {index}: metadata must not have the entry `{MARK_KEY}`, which the server sets; leave it out"
    )]
    ReservedMetadata {
        /// The event's index.
        index: usize,
    },
    /// The domain rejects an event.
    #[error("event {index}: {error}")]
    Rejected {
        /// The event's index.
        index: usize,
        /// The reason.
        #[source]
        error: RejectedError,
    },
    /// A set rule of an inline view rejects the append.
    #[error("{message}")]
    SetRule {
        /// The name of the rule.
        name: &'static str,
        /// The message of the rule.
        message: &'static str,
    },
    /// An expected version was given for events of several aggregates.
    #[error("an expected version requires that all events belong to one aggregate")]
    OneAggregate,
    /// The aggregate does not have the expected version.
    #[error("aggregate {aggregate_id} is at version {actual}")]
    VersionMismatch {
        /// The aggregate.
        aggregate_id: AggregateId,
        /// Its version; 0 when it does not exist.
        actual: Version,
    },
    /// The id belongs to an event with different content, or of another aggregate.
    #[error("event {index}: id {id} belongs to an event with different content; use a new id")]
    IdReused {
        /// The event's index.
        index: usize,
        /// The id.
        id: EventId,
    },
    /// Some of the events are stored and others are not, so this does not replay an earlier append.
    #[error(
        "event {index}: id {id} is already stored, but other events of this request are not; send only the new events"
    )]
    PartlyStored {
        /// The index of a stored event.
        index: usize,
        /// Its id.
        id: EventId,
    },
    /// The aggregate has as many events as a version can count.
    #[error("aggregate {0} has reached version {max}, the highest there is; continue with another aggregate", max = i32::MAX)]
    Full(AggregateId),
    /// Concurrent appends to the same aggregate won every race.
    #[error("too many concurrent appends to the same aggregate; retry the request")]
    Contended,
    /// A password could not be hashed.
    #[error("a password could not be hashed")]
    Hash,
    /// An inline projection cannot fold the event itself.
    #[error(
        "event {index}: the inline projection `{projection}` cannot fold it, so it is not stored"
    )]
    NotFoldable {
        /// The event's index.
        index: usize,
        /// The projection.
        projection: &'static str,
    },
    /// An inline fold failed at an earlier event.
    #[error(transparent)]
    Inline(ProjectionError),
    /// The domain is not part of this [`Foldlog`](crate::Foldlog).
    #[error(transparent)]
    NotServed(#[from] NotServedError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl AppendError {
    /// Whether a number was too large for its column.
    pub(super) fn is_out_of_range(&self) -> bool {
        matches!(self, Self::Db(DbError::Data { code, .. }) if code == "22003")
    }

    /// What the failure of an inline fold means for the append.
    pub(super) fn inline(view: &View, error: ProjectionError, events: &[Prepared]) -> Self {
        match error {
            ProjectionError::Db(DbError::Conflict { constraint, source }) => {
                match view
                    .projection
                    .set_rules()
                    .iter()
                    .find(|rule| rule.is_enforced_by(&constraint))
                {
                    Some(rule) => Self::SetRule {
                        name: rule.name,
                        message: rule.message,
                    },
                    None => Self::Db(DbError::Conflict { constraint, source }),
                }
            }
            ProjectionError::Db(error) => Self::Db(error),
            ProjectionError::FoldFailed {
                projection,
                event_id,
                ..
            } if let Some(index) = events.iter().position(|event| event.id == event_id) => {
                Self::NotFoldable { index, projection }
            }
            error => Self::Inline(error),
        }
    }
}

impl Retryable for AppendError {
    fn max_retries(&self) -> u32 {
        match self {
            Self::Db(error) | Self::Inline(ProjectionError::Db(error)) => {
                Retryable::max_retries(error)
            }
            _ => 0,
        }
    }
}
