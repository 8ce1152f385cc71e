//! Examples of events, made from their schemas.

use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use uuid::Uuid;

use super::derived::Derived;
use crate::domain::AnyDomain;
use crate::event::{AggregateId, EventId, EventType, Metadata, NewEvent, Samples, example_value};

/// The ids of examples differ in their last bits: an event's by its type, an aggregate's by its domain.
const BASE_ID: u128 = 0x0195_d6f0_0000_7000_8000_0000_0000_0000;

/// An example of an event; `None` unless the domain accepts it.
pub(super) fn example(
    domain: &dyn AnyDomain,
    event_type: &EventType,
    payload: &Derived,
) -> Option<Value> {
    // A rule may require a text of some form in a field whose name does not say so.
    let texts: [fn(&str) -> &'static str; 2] = [text_of, |_| EMAIL];
    let mut examples = texts.into_iter();
    examples.find_map(|text| example_with(domain, event_type, payload, text))
}

fn example_with(
    domain: &dyn AnyDomain,
    event_type: &EventType,
    payload: &Derived,
    text: fn(&str) -> &'static str,
) -> Option<Value> {
    let id = |number: i16| Uuid::from_u128(BASE_ID | u128::from(number.unsigned_abs()));
    let aggregate_id = id(domain.block().start);
    let samples = Samples {
        components: &payload.components,
        id: aggregate_id,
        text,
    };
    let value = example_value(&samples, &payload.schema)?;
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

const EMAIL: &str = "ada@example.org";

/// The texts of fields, by a part of the field's name; the first one that matches.
const TEXTS: [(&str, &str); 9] = [
    ("mail", EMAIL),
    ("password", "correct horse battery staple"),
    ("user", "ada"),
    ("owner", "ada"),
    ("name", "Ada Lovelace"),
    ("holder", "Ada Lovelace"),
    ("url", "https://example.org"),
    ("currency", "EUR"),
    ("country", "AT"),
];

fn text_of(field: &str) -> &'static str {
    let field = field.to_ascii_lowercase();
    let known = TEXTS.iter().find(|(part, _)| field.contains(part));
    known.map_or("text", |(_, text)| *text)
}
