//! Why nothing was stored.

use crate::db::{DbError, Retryable};
use crate::domain::RejectedError;
use crate::event::{AggregateId, EventId, NewEvent, TypeId, Version};
use crate::projection::ProjectionError;
use crate::view::View;
use serde_json::Value;

/// Why nothing was stored. `index` is the event's place in what was sent, from 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No event was sent.
    #[error("send at least one event")]
    Empty,
    /// Too many were sent.
    #[error("{0} events are too many for one request; send at most {max}", max = super::MAX_EVENTS)]
    TooMany(usize),
    /// One id twice in one request.
    #[error("events {first} and {index} have the same id; give each event an id of its own")]
    DuplicateId {
        /// The first of the two.
        first: usize,
        /// The second.
        index: usize,
    },
    /// An event of another domain was sent to a domain's route.
    #[error("event {index}: type {type_id} is not of the domain `{domain}`")]
    NotOfDomain {
        /// Its place.
        index: usize,
        /// Its type.
        type_id: TypeId,
        /// The route's domain.
        domain: &'static str,
    },
    /// No domain has this event type.
    #[error("event {index}: type {type_id} is of no domain here")]
    NoDomain {
        /// Its place.
        index: usize,
        /// Its type.
        type_id: TypeId,
    },
    /// One aggregate with events of two domains.
    #[error("event {index}: its aggregate has events of another domain in this request")]
    MixedAggregate {
        /// Its place.
        index: usize,
    },
    /// A text holds U+0000.
    #[error("event {index}: a text holds \\u0000, which cannot be stored; leave it out")]
    Unstorable {
        /// Its place.
        index: usize,
    },
    /// The domain refuses it.
    #[error("event {index}: {refusal}")]
    Refused {
        /// Its place.
        index: usize,
        /// Why.
        #[source]
        refusal: RejectedError,
    },
    /// A set rule of an inline view refuses it.
    #[error("{refusal}")]
    SetRule {
        /// In the domain's words.
        refusal: &'static str,
    },
    /// An expected version was sent with events of several aggregates.
    #[error("an expected version needs events of exactly one aggregate")]
    OneAggregate,
    /// The aggregate is not at the version that the caller expected.
    #[error("aggregate {aggregate_id} is at version {actual}")]
    VersionMismatch {
        /// The aggregate.
        aggregate_id: AggregateId,
        /// Its version; 0 when it does not exist.
        actual: Version,
    },
    /// The id belongs to an event with other content, or of another aggregate.
    #[error("event {index}: id {id} is taken by an event with other content; use a new id")]
    IdReused {
        /// Its place.
        index: usize,
        /// The id.
        id: EventId,
    },
    /// Some of the events are stored, others are not: this is no resend of one request.
    #[error(
        "event {index}: id {id} is stored already, but not all events of this request are; send the new ones alone"
    )]
    PartlyResent {
        /// The place of one that is stored.
        index: usize,
        /// Its id.
        id: EventId,
    },
    /// So many others append to the same aggregate that this append never came through.
    #[error("too many appends to the same aggregate at once; try again")]
    Contended,
    /// A password could not be hashed.
    #[error("a password could not be hashed")]
    Hash,
    /// An inline projection cannot fold the event itself.
    #[error(
        "event {index}: the inline projection `{projection}` cannot fold it, so it is not stored"
    )]
    NotFoldable {
        /// Its place.
        index: usize,
        /// The projection.
        projection: &'static str,
    },
    /// An inline fold failed at an earlier event.
    #[error(transparent)]
    Inline(ProjectionError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Error {
    /// What an inline fold's failure means to the append.
    pub(super) fn inline(view: &View, error: ProjectionError, events: &[NewEvent<Value>]) -> Self {
        match error {
            ProjectionError::Db(DbError::Conflict { constraint, source }) => {
                match view
                    .projection
                    .set_rules()
                    .iter()
                    .find(|rule| rule.name == constraint)
                {
                    Some(rule) => Self::SetRule {
                        refusal: rule.message,
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

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Db(error) | Self::Inline(ProjectionError::Db(error)) => error.is_retryable(),
            _ => false,
        }
    }
}
