//! Examples of values, made from their schemas.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// How deep an example may be nested; a recursive type without an end has none.
const MAX_DEPTH: usize = 8;

/// What the values of an example are made of.
pub(crate) struct Samples<'a> {
    /// The schemas that a schema may refer to.
    pub components: &'a BTreeMap<String, Value>,
    /// Stands for every UUID: an id in a payload may have to be the aggregate's.
    pub id: Uuid,
    /// The text of a property with this name.
    pub text: fn(&str) -> &'static str,
}

/// A value that fits a schema; `None` for a type of which no example can be made.
pub(crate) fn example_value(samples: &Samples<'_>, schema: &Value) -> Option<Value> {
    value(samples, schema, "", 0)
}

/// The value of the property `name`, or a part of it.
fn value(samples: &Samples<'_>, schema: &Value, name: &str, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    let inside = |schema: &Value| value(samples, schema, name, depth + 1);
    if let Some(reference) = schema["$ref"].as_str() {
        let target = samples.components.get(reference.rsplit('/').next()?)?;
        return value(samples, target, name, depth);
    }
    let given = [
        &schema["examples"][0],
        &schema["example"],
        &schema["const"],
        &schema["enum"][0],
    ];
    if let Some(value) = given.into_iter().find(|value| !value.is_null()) {
        return Some(value.clone());
    }
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(alternatives) = schema[alternatives].as_array() {
            let mut values = alternatives.iter().filter(|item| item["type"] != "null");
            return values.find_map(inside);
        }
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
        ("string", Some("uuid")) => json!(samples.id),
        ("string", Some("date-time")) => json!("2026-01-01T00:00:00Z"),
        ("string", Some("date")) => json!("2026-01-01"),
        ("string", _) => json!((samples.text)(name)),
        ("integer" | "number", _) => json!(1),
        ("boolean", _) => json!(true),
        ("array", _) => match schema["prefixItems"].as_array() {
            Some(items) => items.iter().map(inside).collect::<Option<Vec<_>>>()?.into(),
            // An empty array fits, too, where no item can be made.
            None => inside(&schema["items"])
                .into_iter()
                .collect::<Vec<_>>()
                .into(),
        },
        ("object", _) => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let members = properties.map(|(name, schema)| {
                Some((name.clone(), value(samples, schema, name, depth + 1)?))
            });
            members.collect::<Option<Map<_, _>>>()?.into()
        }
        _ => return None,
    })
}
