//! The schemas of recorded events and of what they changed.

use serde_json::{Value, json};
use utoipa::ToSchema as _;

use super::schemas::reference;
use crate::event::{AggregateId, EventId, Position, Version};

/// A time in UTC.
pub(in crate::http) fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// A value that may be null.
pub(in crate::http) fn nullable(schema: &Value) -> Value {
    json!({"oneOf": [{"type": "null"}, schema]})
}

/// An object whose properties are all required.
#[expect(
    clippy::needless_pass_by_value,
    reason = "properties are written where they are used"
)]
pub(in crate::http) fn object(properties: Value) -> Value {
    let names: Vec<&String> = properties
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .collect();
    let required = json!(names);
    json!({"type": "object", "properties": properties, "required": required})
}

/// A recorded event without secrets.
pub(in crate::http) fn recorded_event() -> Value {
    object(json!({
        "id": reference(&EventId::name()),
        "type_id": {
            "description": "The event type: the newest revision, if an old one was recorded",
            "type": "integer", "minimum": 1, "maximum": i16::MAX,
        },
        "type": {
            "description": "The name of the event type; null if this build does not know it",
            "type": ["string", "null"],
        },
        "domain": {"type": ["string", "null"]},
        "aggregate_id": reference(&AggregateId::name()),
        "version": reference(&Version::name()),
        "position": reference(&Position::name()),
        "payload": {
            "description": "The payload without secrets; null if this build cannot decode it",
            "type": ["object", "null"],
        },
        "metadata": {"type": "object", "additionalProperties": true},
        "created_at": time(),
    }))
}

/// Fields by name, each with its values before and after.
pub(in crate::http) fn changes() -> Value {
    json!({
        "description": "The fields that differ: the value before and after; null where there is no row",
        "type": "object",
        "additionalProperties": {"type": "array", "items": {}, "minItems": 2},
    })
}

/// The event that set a field, or that made a row.
pub(in crate::http) fn setter() -> Value {
    json!({
        "version": reference(&Version::name()),
        "event_id": reference(&EventId::name()),
        "type": {"type": ["string", "null"]},
        "actor": {"description": "`metadata.actor` of the event: who appended it; null if it has none"},
        "created_at": time(),
    })
}
