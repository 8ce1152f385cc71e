//! Events as clients see them: without secrets.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use time::OffsetDateTime;

use super::prepared::{Fields, without_added_nulls};
use super::redact::Hide;
use super::{AggregateId, EventId, Metadata, Payload, Position, RecordedEvent, TypeId, Version};

/// A recorded event as clients see it.
#[derive(Clone, Debug, Serialize)]
pub struct ShownEvent<M = Metadata> {
    /// Chosen by the client.
    pub id: EventId,
    /// What kind of fact it is: the newest revision of its type.
    pub type_id: TypeId,
    /// The name of the type; `None` when this build does not know the type.
    #[serde(rename = "type")]
    pub type_name: Option<&'static str>,
    /// The domain of the type; `None` when this process does not serve it.
    pub domain: Option<&'static str>,
    /// The aggregate it is about.
    pub aggregate_id: AggregateId,
    /// Its number within the aggregate.
    pub version: Version,
    /// Its number in the store.
    pub position: Position,
    /// The fact itself without secrets; `None` when this build cannot decode it, because it could not tell the secrets.
    pub payload: Option<Box<RawValue>>,
    /// What was said about the fact.
    pub metadata: M,
    /// When it was recorded, in UTC.
    #[serde(serialize_with = "super::time::serialize")]
    pub created_at: OffsetDateTime,
}

/// The payload of `event` in its newest revision and without its secrets; `None` when `P` does not decode it. An option that is
/// `None` shows no marker, so properties of `secret_names` are left out when they are null.
pub(crate) fn show_payload<P: Payload>(
    event: &RecordedEvent,
    secret_names: &BTreeSet<String>,
) -> Option<Box<RawValue>> {
    let payload = event.decode::<P>().ok()?.payload;
    let shown = to_raw_value(&Fields(&payload, &Hide(secret_names))).ok()?;
    without_added_nulls(shown, Some(&event.payload)).ok()
}
