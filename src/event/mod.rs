//! Events, and the identifiers and numbers around them.
//!
//! This module knows nothing of databases, HTTP or clocks: ids and times come in with the event. The words are those of
//! the field; [`ExpectedVersion`] follows `KurrentDB`.

mod bare;
mod macros;
mod payload;
pub mod schema;
mod secret;

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::payload::{DecodeError, EventType, Payload};
pub use self::schema::TypeSchema;
pub use self::secret::{Password, Secret};

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
    /// What the client calls its event: the idempotency key, one event's within its aggregate.
    EventId(Uuid)
}
newtype! {
    /// The thing that events are about.
    AggregateId(Uuid)
}
newtype! {
    /// The number of an event type. Each domain owns a block of them, [`Payload::BLOCK`].
    TypeId(i16)
}
newtype! {
    /// The number of an event within its aggregate: 1, 2, 3 … without holes.
    #[schema(minimum = 1)]
    Version(i32)
}
newtype! {
    /// The number the store gives every event. It has holes, and commits may arrive out of its order.
    #[schema(minimum = 1)]
    Position(i64)
}

/// What a client says beside the payload: correlation, causation, a reason. A JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Metadata(pub Map<String, Value>);

/// A fact to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent<P> {
    /// Chosen by the client; sending it again is harmless.
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

impl<P: Payload> NewEvent<P> {
    /// An event with a fresh, time-ordered id: the log's key then grows at one end, which is kinder to its index.
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

    /// The same event with its payload as JSON, as it goes to the store and over the wire.
    ///
    /// # Errors
    ///
    /// When a field does not serialize to JSON (a map whose keys are no strings, say).
    pub fn encode(&self) -> Result<NewEvent<Value>, serde_json::Error> {
        Ok(NewEvent {
            id: self.id,
            aggregate_id: self.aggregate_id,
            type_id: self.type_id,
            payload: self.payload.encode()?,
            metadata: self.metadata.clone(),
        })
    }
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

/// An event as it is stored: the payload is JSON text that nobody has judged yet.
pub type RecordedEvent = Event<Box<RawValue>>;

impl RecordedEvent {
    /// The event with its payload decoded.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`]. Fields that `P` does not know are passed over: the log may have been written by newer code.
    pub fn decode<P: Payload>(&self) -> Result<Event<P>, DecodeError> {
        let mut json = serde_json::Deserializer::from_str(self.payload.get());
        Ok(Event {
            id: self.id,
            aggregate_id: self.aggregate_id,
            type_id: self.type_id,
            version: self.version,
            position: self.position,
            created_at: self.created_at,
            payload: P::decode(self.type_id, &mut json)?,
            metadata: self.metadata.clone(),
        })
    }
}

/// Which version the caller believes the aggregate to be at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// It does not matter; a lost race is retried.
    #[default]
    Any,
    /// The aggregate must not exist yet.
    NoStream,
    /// Exactly this version is the newest.
    Exact(Version),
}

/// What became of one appended event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AppendedEvent {
    /// The event's id.
    pub id: EventId,
    /// Its aggregate.
    pub aggregate_id: AggregateId,
    /// The version it got.
    pub version: Version,
    /// The position it got.
    pub position: Position,
}
