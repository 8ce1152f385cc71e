//! Examples of events, made from their schemas.

use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use uuid::Uuid;

use super::derived::Derived;
use crate::domain::AnyDomain;
use crate::event::{AggregateId, EventId, EventType, Metadata, NewEvent, example_value};

/// The ids of examples differ in their last bits: an event's by its type, an aggregate's by its domain.
const BASE_ID: u128 = 0x0195_d6f0_0000_7000_8000_0000_0000_0000;

/// An example of an event; `None` unless the domain accepts it.
pub(super) fn example(
    domain: &dyn AnyDomain,
    event_type: &EventType,
    payload: &Derived,
) -> Option<Value> {
    let id = |number: i16| Uuid::from_u128(BASE_ID | u128::from(number.unsigned_abs()));
    let aggregate_id = id(domain.block().start);
    let value = example_value(&payload.components, &payload.schema, aggregate_id)?;
    let event = NewEvent {
        id: EventId(id(i16::MIN + event_type.id.0)),
        aggregate_id: AggregateId(aggregate_id),
        type_id: event_type.id,
        payload: to_raw_value(&value).ok()?,
        metadata: Metadata::default(),
    };
    domain.prepare(&event).ok()?;
    Some(json!({
        "id": event.id,
        "aggregate_id": event.aggregate_id,
        "type_id": event.type_id,
        "payload": event.payload,
    }))
}
