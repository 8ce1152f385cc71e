//! Events, and the identifiers and numbers around them.
//!
//! This module does not know databases, HTTP or clocks: ids and times arrive with the event. Four types represent an event:
//! a client sends a [`NewEvent`], decoding and validating it makes a [`Prepared`], its append returns an
//! [`AppendedEvent`], and a read of the log returns an [`Event`].

mod bare;
mod macros;
mod metadata;
mod nul;
mod payload;
pub(crate) mod pointer;
mod prepared;
pub(crate) mod redact;
pub mod schema;
mod secret;
mod shown;
pub(crate) mod time;

use std::fmt;

use ::time::OffsetDateTime;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

pub use self::macros::check_types;
pub use self::metadata::Metadata;
pub(crate) use self::metadata::check_json;
pub(crate) use self::nul::has_nul;
pub use self::payload::{DecodeError, EventType, OldEventType, Payload, Upcaster, upcast_as};
pub use self::prepared::Prepared;
pub(crate) use self::schema::{Samples, example_value};
pub use self::schema::{TypeSchema, TypeSchemaError};
pub use self::secret::{Password, Secret};
pub use self::shown::ShownEvent;
pub(crate) use self::shown::show_payload;
pub use self::time::to_event_time;

/// Declares a transparent newtype with `Display`.
macro_rules! newtype {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize, utoipa::ToSchema,
        )]
        #[serde(transparent)]
        $(#[$meta])*
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

newtype! {
    /// The id that the client gives its event. It is the idempotency key, unique within the aggregate.
    EventId(Uuid)
}
newtype! {
    /// The id of the entity that events are about.
    AggregateId(Uuid)
}
newtype! {
    /// The number of an event type. Each domain has a block of them, [`Payload::BLOCK`].
    TypeId(i16)
}
newtype! {
    /// The number of an event within its aggregate: 1, 2, 3 … without gaps. An aggregate without events is at 0.
    #[derive(Default)]
    #[schema(minimum = 1)]
    Version(i32)
}
newtype! {
    /// The number that the store gives an event. It has gaps, and commits may arrive in another order.
    // JavaScript has exact integers up to the maximum.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    Position(i64)
}

/// A fact to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent<P> {
    /// Chosen by the client; foldlog stores an event once, however often it is sent.
    pub id: EventId,
    /// The aggregate it is about.
    pub aggregate_id: AggregateId,
    /// What kind of fact it is.
    pub type_id: TypeId,
    /// The fact itself.
    pub payload: P,
    /// What is said about the fact.
    pub metadata: Metadata,
}

/// An event whose payload is JSON that was not decoded yet.
pub type UntypedEvent = NewEvent<Box<RawValue>>;

impl<P: Payload> NewEvent<P> {
    /// An event with a new id. The id is ordered by time, so that the index of the log grows at its end.
    #[must_use]
    pub fn new(aggregate_id: AggregateId, payload: P) -> Self {
        Self {
            id: EventId(Uuid::now_v7()),
            aggregate_id,
            type_id: payload.type_id(),
            payload,
            metadata: Metadata::default(),
        }
    }

    /// The same event with its payload as JSON, as a client sends it.
    ///
    /// # Errors
    ///
    /// When a field does not serialize to JSON, such as a map whose keys are not texts.
    pub fn encode(&self) -> Result<UntypedEvent, serde_json::Error> {
        Ok(NewEvent {
            id: self.id,
            aggregate_id: self.aggregate_id,
            type_id: self.type_id,
            payload: self.payload.encode()?,
            metadata: self.metadata.clone(),
        })
    }
}

impl TypeId {
    /// The type of [`RecordedEvent::skipped`]. The log has no event with this id.
    const SKIPPED: Self = Self(0);
}

/// A recorded fact.
#[derive(Clone, Debug)]
pub struct Event<P> {
    /// Chosen by the client.
    pub id: EventId,
    /// The aggregate it is about.
    pub aggregate_id: AggregateId,
    /// What kind of fact it is.
    pub type_id: TypeId,
    /// Its number within the aggregate.
    pub version: Version,
    /// Its number in the store.
    pub position: Position,
    /// When it was recorded; never earlier than the aggregate's previous event.
    pub created_at: OffsetDateTime,
    /// The fact itself.
    pub payload: P,
    /// What was said about the fact.
    pub metadata: Metadata,
}

/// A stored event, with its payload as JSON.
pub type RecordedEvent = Event<Box<RawValue>>;

impl RecordedEvent {
    /// Stands for an event that an operator has skipped: a fold counts it and gives it no effect.
    pub(crate) fn skipped(
        id: EventId,
        aggregate_id: AggregateId,
        version: Version,
        position: Position,
    ) -> Self {
        Self {
            id,
            aggregate_id,
            type_id: TypeId::SKIPPED,
            version,
            position,
            created_at: OffsetDateTime::UNIX_EPOCH,
            payload: RawValue::NULL.to_owned(),
            metadata: Metadata::default(),
        }
    }

    /// Whether it stands for an event that an operator has skipped.
    pub(crate) fn is_skipped(&self) -> bool {
        self.type_id == TypeId::SKIPPED
    }

    /// The event with its payload decoded, in the newest revision of its type.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`]. Fields that `P` does not know are skipped, because newer code may have written them.
    pub fn decode<P: Payload>(&self) -> Result<Event<P>, DecodeError> {
        let payload = P::decode_recorded(self.type_id, &self.payload)?;
        Ok(Event {
            id: self.id,
            aggregate_id: self.aggregate_id,
            type_id: payload.type_id(),
            version: self.version,
            position: self.position,
            created_at: self.created_at,
            payload,
            metadata: self.metadata.clone(),
        })
    }
}

/// The version that the aggregate must have for an append, in `KurrentDB`'s terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Any version; a lost race is retried.
    #[default]
    Any,
    /// The aggregate must not exist yet.
    NoStream,
    /// This version must be the newest.
    Exact(Version),
    /// The aggregate must exist.
    Exists,
    /// One of these versions must be the newest.
    OneOf(VersionSet),
}

impl ExpectedVersion {
    /// Whether an aggregate whose newest version is `actual` (0 when it does not exist) is as expected.
    #[must_use]
    pub fn matches(&self, actual: Version) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == Version(0),
            Self::Exact(version) => actual == *version,
            Self::Exists => actual > Version(0),
            Self::OneOf(versions) => versions.contains(actual),
        }
    }

    /// Whether it is about the version of one aggregate.
    #[must_use]
    pub const fn names_a_version(&self) -> bool {
        matches!(self, Self::Exact(_) | Self::OneOf(_))
    }
}

/// A few versions; also none, which no aggregate has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionSet {
    versions: [Version; Self::MAX_LEN],
    len: usize,
}

impl VersionSet {
    /// How many versions a set may have.
    pub const MAX_LEN: usize = 16;

    /// Adds a version; false if the set is full.
    pub fn insert(&mut self, version: Version) -> bool {
        let is_new = !self.contains(version);
        if is_new && let Some(free) = self.versions.get_mut(self.len) {
            *free = version;
            self.len += 1;
        }
        self.contains(version)
    }

    /// Whether the set has this version.
    #[must_use]
    pub fn contains(&self, version: Version) -> bool {
        self.versions[..self.len].contains(&version)
    }

    /// The version of a set with one.
    #[must_use]
    pub fn single(&self) -> Option<Version> {
        (self.len == 1).then_some(self.versions[0])
    }
}

/// The answer to the append of one event.
// The name of the schema differs, because a domain `appended` would have a schema that generators call `AppendedEvent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EventAppended)]
pub struct AppendedEvent {
    /// The event's id.
    pub id: EventId,
    /// Its aggregate.
    pub aggregate_id: AggregateId,
    /// Its version.
    pub version: Version,
    /// Its position.
    pub position: Position,
    /// When it was recorded, in UTC.
    #[serde(serialize_with = "time::serialize")]
    pub created_at: OffsetDateTime,
}
