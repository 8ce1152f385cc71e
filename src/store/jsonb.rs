//! JSON as Postgres spells it.

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// The text of a `jsonb` with this content, as far as it can be told without Postgres: the order of keys and the spaces, but not the
/// digits of a number with an exponent or of more than 64 bits. A statement compares it with the text that Postgres makes.
///
/// # Errors
///
/// When it cannot be parsed.
pub fn spell_as_jsonb(json: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
    let value: Value = serde_json::from_str(json.get())?;
    let mut text = String::with_capacity(json.get().len() + json.get().len() / 8);
    push(&mut text, &value)?;
    RawValue::from_string(text)
}

fn push(text: &mut String, value: &Value) -> Result<(), serde_json::Error> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(to_raw_value(value)?.get());
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                push(text, item)?;
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            // Shorter keys come first.
            fields.sort_unstable_by_key(|(key, _)| (key.len(), key.as_bytes()));
            text.push('{');
            for (index, (key, item)) in fields.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                text.push_str(to_raw_value(key)?.get());
                text.push_str(": ");
                push(text, item)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fails when an object is spelled otherwise than Postgres does: each append of such an event would be sent twice.
    #[test]
    fn keys_are_ordered_by_length() {
        let json = r#"{"name":"ä\u0001\n","id":7,"b":[1,{"y":null,"x":0.5}],"a":{}}"#;
        let json: Box<RawValue> = serde_json::from_str(json).unwrap();
        let spelled = spell_as_jsonb(&json).unwrap();
        let expected =
            r#"{"a": {}, "b": [1, {"x": 0.5, "y": null}], "id": 7, "name": "ä\u0001\n"}"#;
        assert_eq!(spelled.get(), expected);
    }
}
