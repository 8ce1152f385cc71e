//! The type of TypeScript that has the values of a JSON schema. It may have more values than the schema allows (a `pattern` has no
//! equivalent), and never fewer; where nothing is known it is `unknown`.

use serde_json::Value;

use super::document::members;
use super::names;
use crate::http::SCHEMAS;

const UNKNOWN: &str = "unknown";

/// Keywords that say more than `type` does about what a value consists of.
const COMPOSITION: [&str; 6] = ["$ref", "const", "enum", "oneOf", "anyOf", "allOf"];

/// The type of a schema. Lines after the first are indented by `depth` steps.
pub(super) fn type_of(schema: &Value, depth: usize) -> String {
    if schema.as_bool() == Some(false) {
        return "never".to_owned();
    }
    let mut parts = Vec::new();
    if let Some(target) = schema["$ref"].as_str() {
        parts.push(reference(target));
    }
    if let Some(values) = schema["enum"].as_array() {
        parts.push(union(values.iter().map(literal)));
    } else if has(schema, "const") {
        parts.push(literal(&schema["const"]));
    }
    for keyword in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[keyword].as_array() {
            parts.push(union(choices.iter().map(|choice| type_of(choice, depth))));
        }
    }
    let all = schema["allOf"].as_array().into_iter().flatten();
    parts.extend(all.map(|part| type_of(part, depth)));
    let is_composed = COMPOSITION.iter().any(|keyword| has(schema, keyword));
    if !is_composed || has(schema, "properties") {
        parts.push(simple(schema, depth));
    }
    intersection(parts)
}

/// Whether an interface can be written for the schema: an object whose properties are all known.
pub(super) fn is_interface(schema: &Value) -> bool {
    schema["type"] == "object"
        && has(schema, "properties")
        && !COMPOSITION.iter().any(|keyword| has(schema, keyword))
        && matches!(
            schema["additionalProperties"],
            Value::Null | Value::Bool(false)
        )
        && !has(schema, "patternProperties")
}

/// The properties of an object, one a line, between braces.
pub(super) fn properties(schema: &Value, depth: usize) -> String {
    let required = schema["required"].as_array();
    let is_required = |name| required.is_some_and(|names| names.iter().any(|one| one == name));
    let indent = "  ".repeat(depth);
    let lines = members(&schema["properties"]).map(|(name, property)| {
        let mark = if is_required(name) { "" } else { "?" };
        format!(
            "{}{indent}  {}{mark}: {};\n",
            comment(property["description"].as_str(), depth + 1),
            names::property(name),
            type_of(property, depth + 1)
        )
    });
    format!("{{\n{}{indent}}}", lines.collect::<String>())
}

/// A description as a comment above what it describes, with a line break at its end. Empty without a description.
pub(super) fn comment(description: Option<&str>, depth: usize) -> String {
    let Some(description) = description else {
        return String::new();
    };
    let indent = "  ".repeat(depth);
    let description = description.trim().replace("*/", "*\\/");
    let lines: Vec<&str> = description.lines().collect();
    match lines.as_slice() {
        [] => String::new(),
        [line] => format!("{indent}/** {line} */\n"),
        lines => {
            let lines = lines
                .iter()
                .map(|line| format!("{indent} * {line}").trim_end().to_owned() + "\n");
            format!("{indent}/**\n{}{indent} */\n", lines.collect::<String>())
        }
    }
}

fn has(schema: &Value, keyword: &str) -> bool {
    schema.get(keyword).is_some()
}

/// `$` is the module itself. No name in Rust contains it, so no domain's type can hide it.
fn reference(target: &str) -> String {
    target.strip_prefix(SCHEMAS).map_or_else(
        || UNKNOWN.to_owned(),
        |schema| {
            let (namespaces, name) = names::path(schema);
            let path = namespaces.into_iter().chain([name]);
            format!("$.{}", path.collect::<Vec<_>>().join("."))
        },
    )
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
        // Two integers beyond this range may be the same number in JavaScript.
        Value::Number(number) => match number.as_i64() {
            Some(number) if number.unsigned_abs() < 1 << 53 => number.to_string(),
            _ => "number".to_owned(),
        },
        Value::Array(_) | Value::Object(_) => UNKNOWN.to_owned(),
    }
}

/// The type of a schema that is not composed of other schemas.
fn simple(schema: &Value, depth: usize) -> String {
    match &schema["type"] {
        Value::String(name) => named(name, schema, depth),
        Value::Array(names) => union(
            names
                .iter()
                .map(|name| named(name.as_str().unwrap_or_default(), schema, depth)),
        ),
        _ if has(schema, "properties") => object(schema, depth),
        _ => UNKNOWN.to_owned(),
    }
}

fn named(name: &str, schema: &Value, depth: usize) -> String {
    match name {
        "string" | "boolean" | "null" | "number" => name.to_owned(),
        "integer" => "number".to_owned(),
        "array" => array(schema, depth),
        "object" => object(schema, depth),
        _ => UNKNOWN.to_owned(),
    }
}

fn array(schema: &Value, depth: usize) -> String {
    let items = &schema["items"];
    let rest = |items: &Value| format!("{}[]", grouped(&type_of(items, depth)));
    let Some(first) = schema["prefixItems"].as_array() else {
        return rest(items);
    };
    let mut types: Vec<String> = first.iter().map(|item| type_of(item, depth)).collect();
    if items.is_object() {
        types.push(format!("...{}", rest(items)));
    }
    format!("[{}]", types.join(", "))
}

fn object(schema: &Value, depth: usize) -> String {
    let index = |value: &str| format!("{{ [key: string]: {value} }}");
    let additional = &schema["additionalProperties"];
    let has_properties = members(&schema["properties"]).next().is_some();
    let is_closed = additional == false && !has(schema, "patternProperties");
    if !has_properties {
        return if is_closed || schema["maxProperties"] == 0 {
            index("never")
        } else if additional.is_object() && !has(schema, "patternProperties") {
            index(&type_of(additional, depth))
        } else {
            index(UNKNOWN)
        };
    }
    let known = properties(schema, depth);
    // The type of the other properties would have to fit the known ones, too.
    let is_open = additional.is_object() || additional == true;
    if is_open || has(schema, "patternProperties") {
        format!("{known} & {}", index(UNKNOWN))
    } else {
        known
    }
}

fn union(types: impl Iterator<Item = String>) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for one in types {
        if one == UNKNOWN {
            return one;
        }
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    if distinct.is_empty() {
        return "never".to_owned();
    }
    distinct.join(" | ")
}

fn intersection(mut parts: Vec<String>) -> String {
    parts.retain(|part| part != UNKNOWN);
    match parts.as_slice() {
        [] => UNKNOWN.to_owned(),
        [part] => part.clone(),
        parts => {
            let parts: Vec<_> = parts.iter().map(|part| grouped(part)).collect();
            parts.join(" & ")
        }
    }
}

/// In parentheses if another operator could bind to a part of it.
fn grouped(text: &str) -> String {
    let is_word = text
        .chars()
        .all(|c| c.is_alphanumeric() || "_$.\"".contains(c));
    if is_word || is_one_block(text) {
        text.to_owned()
    } else {
        format!("({text})")
    }
}

/// Whether the text is certainly one pair of braces and what is inside. Braces in it may belong to comments and literals.
fn is_one_block(text: &str) -> bool {
    text.starts_with('{') && text.ends_with('}') && text.matches('{').count() == 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Fails when further properties of one type exclude the known ones, or when an array has only the last of its alternatives.
    #[test]
    fn types_allow_every_value_that_the_schema_allows() {
        let known = json!({"a": {"type": "integer", "description": "Not {."}});
        let flattened = json!({"type": "object", "properties": known, "additionalProperties": {"type": "string"}});
        let text = type_of(&flattened, 0);
        assert!(text.ends_with("} & { [key: string]: unknown }"), "{text}");
        let other = json!({"b": {"type": "integer", "description": "Nor }."}});
        let choices = json!([{"type": "object", "properties": known}, {"type": "object", "properties": other}]);
        let text = type_of(&json!({"type": "array", "items": {"oneOf": choices}}), 0);
        assert!(text.starts_with("({") && text.ends_with("})[]"), "{text}");
    }
}
