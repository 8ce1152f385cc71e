//! Examples of events, made from their schemas.

use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::derived::Derived;
use crate::domain::AnyDomain;
use crate::event::{AggregateId, EventId, EventType, Metadata, NewEvent};

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
    let event = NewEvent {
        id: EventId(id(i16::MIN + event_type.id.0)),
        aggregate_id: AggregateId(aggregate_id),
        type_id: event_type.id,
        payload: to_raw_value(&sample(payload, &payload.schema, aggregate_id, 0)?).ok()?,
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

/// How deep a sample may be nested; a recursive type without an end has none.
const MAX_DEPTH: usize = 8;

/// A value that fits a schema. `id` stands for every UUID: an id in a payload may have to be the aggregate's.
fn sample(derived: &Derived, schema: &Value, id: Uuid, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    let schema = derived.resolve(schema);
    let inside = |schema: &Value| sample(derived, schema, id, depth + 1);
    let given = [
        &schema["examples"][0],
        &schema["example"],
        &schema["enum"][0],
    ];
    if let Some(value) = given.into_iter().find(|value| !value.is_null()) {
        return Some(value.clone());
    }
    if let Some(alternatives) = schema["oneOf"].as_array() {
        let mut values = alternatives.iter().filter(|item| item["type"] != "null");
        return values.find_map(inside);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let objects = parts.iter().map(|part| match inside(part)? {
            Value::Object(members) => Some(members),
            _ => None,
        });
        let objects: Vec<Map<String, Value>> = objects.collect::<Option<_>>()?;
        return Some(objects.into_iter().flatten().collect());
    }
    let type_name = schema["type"].as_str().or(schema["type"][0].as_str());
    Some(match (type_name?, schema["format"].as_str()) {
        ("string", Some("uuid")) => json!(id),
        ("string", Some("date-time")) => json!("2026-01-01T00:00:00Z"),
        ("string", Some("date")) => json!("2026-01-01"),
        ("string", _) => json!("ada@example.org"),
        ("integer" | "number", _) => json!(1),
        ("boolean", _) => json!(true),
        ("array", _) => {
            let items = schema["prefixItems"].as_array().into_iter().flatten();
            items.map(inside).collect::<Option<Vec<_>>>()?.into()
        }
        ("object", _) => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let members = properties.map(|(name, schema)| Some((name.clone(), inside(schema)?)));
            members.collect::<Option<Map<_, _>>>()?.into()
        }
        _ => return None,
    })
}
