//! The schemas of reverts and dry runs.

use serde_json::{Map, Value, json};
use utoipa::ToSchema as _;

use super::recorded::changes;
use super::schemas::reference;
use crate::event::{AggregateId, AppendedEvent, EventId, Version};

/// The schema of a dry run's response, whose aggregates have this row.
pub(in crate::http) fn dry_run(row: &Value) -> Value {
    let aggregate = json!({
        "type": "object",
        "properties": {
            "aggregate_id": reference(&AggregateId::name()),
            "version": reference(&Version::name()),
            "state": {
                "description": "The row after the append; null when the aggregate has ended",
                "oneOf": [row, {"type": "null"}],
            },
            "changes": reference("Changes"),
        },
        "required": ["aggregate_id", "version", "state", "changes"],
    });
    json!({
        "type": "object",
        "properties": {
            "result": {"type": "string", "enum": ["Dry run"]},
            "duplicate": {
                "description": "Whether an earlier request has stored these events, so that the append would store nothing",
                "type": "boolean",
            },
            "aggregates": {"type": "array", "items": aggregate},
            "not_restored": not_restored(),
        },
        "required": ["result", "duplicate", "aggregates"],
    })
}

/// The schemas of reverts and dry runs that belong to no domain.
pub(in crate::http) fn outcomes() -> Map<String, Value> {
    let schemas = [
        ("Changes", changes()),
        (
            "Revert",
            json!({
                "type": "object",
                "properties": {
                    "id": reference(&EventId::name()),
                    "to_version": reference(&Version::name()),
                    "metadata": {"type": ["object", "null"], "additionalProperties": true},
                    "except": {
                        "description": "Fields of the row that stay as they are",
                        "type": "array",
                        "items": {"type": "string"},
                    },
                },
                "required": ["id", "to_version"],
                "additionalProperties": false,
            }),
        ),
        (
            "AggregateReverted",
            json!({
                "type": "object",
                "properties": {
                    "result": {"type": "string", "enum": ["Aggregate reverted", "Nothing to revert"]},
                    "aggregate_id": reference(&AggregateId::name()),
                    "version": reference(&Version::name()),
                    "events": {"type": "array", "items": reference(&AppendedEvent::name())},
                    "changes": reference("Changes"),
                    "not_restored": not_restored(),
                },
                "required": ["result", "aggregate_id", "version", "events", "changes", "not_restored"],
            }),
        ),
    ];
    let schemas = schemas.map(|(name, schema)| (name.to_owned(), schema));
    schemas.into_iter().collect()
}

fn not_restored() -> Value {
    json!({
        "description": "The fields that still differ from the earlier state, because no event can bring them back",
        "type": "array",
        "items": {"type": "string"},
    })
}
