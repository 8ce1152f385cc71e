//! The fingerprint of a fold: what it does with an example of each event, so that a changed fold is noticed.
//!
//! A fold is pure, so its behaviour can be tried: each type's example is folded over no row, and over the row after each other type's
//! example. The hash of the rows, of the row's schema and of [`Domain::FOLD_VERSION`](crate::domain::Domain::FOLD_VERSION) identifies
//! the fold. A change that no example reveals has to raise that number.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use time::macros::datetime;
use uuid::Uuid;

use super::definition::Fnv1a;
use crate::domain::AnyProjection;
use crate::event::{
    AggregateId, EventId, EventType, Metadata, Position, RecordedEvent, Samples, TypeSchema,
    Version, example_value,
};

/// The id of the examples' aggregate, which stands for every id in them.
const EXAMPLE_ID: Uuid = Uuid::from_u128(0x0195_d6f0_0000_7000_8000_0000_0000_0000);

/// Stands for every text. Another one would change the fingerprints of all folds.
const EXAMPLE_TEXT: &str = "ada@example.org";

/// Identifies the fold of a projection by what it does.
pub(super) fn fold_hash(projection: &dyn AnyProjection) -> String {
    let mut hash = Fnv1a::default();
    let mut add = |text: &str| {
        hash.write(text.as_bytes());
        hash.write(&[0]);
    };
    add(&projection.fold_version().to_string());
    let schema = projection.row_schema();
    let mut schema = json!({"schema": schema.schema, "components": schema.components});
    remove_comments(&mut schema);
    add(&canonical(&schema));
    let examples: Vec<RecordedEvent> = projection
        .types()
        .iter()
        .filter_map(|event_type| example(event_type, &projection.payload_schema(event_type.id)?))
        .collect();
    let mut fold = |events: &[RecordedEvent]| {
        let folded = projection.fold(None, events);
        let row = folded
            .row
            .and_then(|row| serde_json::from_str(row.get()).ok());
        add(&canonical(&row.unwrap_or(Value::Null)));
        add(&folded.folded.to_string());
    };
    for first in &examples {
        fold(std::slice::from_ref(first));
        for second in &examples {
            let mut second = second.clone();
            second.version = Version(2);
            fold(&[first.clone(), second]);
        }
    }
    hash.finish()
}

/// An example of an event, made from the schema of its payload.
fn example(event_type: &EventType, schema: &TypeSchema) -> Option<RecordedEvent> {
    let components = schema
        .components
        .iter()
        .map(|(name, schema)| Some((name.clone(), serde_json::to_value(schema).ok()?)))
        .collect::<Option<_>>()?;
    let schema = serde_json::to_value(&schema.schema).ok()?;
    let samples = Samples {
        components: &components,
        id: EXAMPLE_ID,
        text: |_| EXAMPLE_TEXT,
    };
    let payload = example_value(&samples, &schema)?;
    Some(RecordedEvent {
        id: EventId(EXAMPLE_ID),
        aggregate_id: AggregateId(EXAMPLE_ID),
        type_id: event_type.id,
        version: Version(1),
        position: Position(1),
        created_at: datetime!(2026-01-01 00:00 UTC),
        payload: to_raw_value(&payload).ok()?,
        metadata: Metadata::default(),
    })
}

/// Removes what a schema has from comments in the code, which do nothing. A property that is called `description` is an object.
fn remove_comments(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.retain(|name, value| {
                !(matches!(&**name, "description" | "title") && value.is_string())
            });
            members.values_mut().for_each(remove_comments);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_comments),
        _ => {}
    }
}

/// The text of a JSON value with sorted keys: maps may be written in any order.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    // Writing to a String cannot fail.
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            text.push('{');
            for (name, value) in sorted {
                let _ = write!(text, "{name:?}:");
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
            }
            text.push(']');
        }
        other => {
            let _ = write!(text, "{other},");
        }
    }
}
