//! Checks responses against the OpenAPI document. `app.rs` passes every response here.

use std::sync::LazyLock;

use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::db::DOMAINS;

/// The document of the tests' domains.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| foldlog::http::document(&DOMAINS, true));

/// Iterates over the operations of a document: path, method and operation object.
pub fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap();
        methods
            .iter()
            .map(move |(method, operation)| (path, method, operation))
    })
}

/// Follows a `$ref`, if the schema is one.
pub fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let found = document.pointer(reference.strip_prefix('#').unwrap());
            found.unwrap_or_else(|| panic!("{reference} does not exist"))
        }
        None => schema,
    }
}

/// Checks the response to `method` on `path`: status, headers, media type and body. A request that matches no operation of
/// the document must be answered with a problem that says so, unless it is a preflight.
pub fn check(
    document: &Value,
    method: &str,
    path: &str,
    status: u16,
    headers: &HeaderMap,
    body: &Value,
) -> Result<(), String> {
    let wanted = if method == "HEAD" { "GET" } else { method };
    let found = operations(document).find(|(template, documented, _)| {
        documented.eq_ignore_ascii_case(wanted) && matches(template, path)
    });
    let Some((_, _, operation)) = found else {
        let expected = method == "OPTIONS" || [400, 401, 403, 404, 405].contains(&status);
        return expected
            .then_some(())
            .ok_or(format!("{status}, but no operation matches"));
    };
    let response = resolve(document, &operation["responses"][status.to_string()]);
    if response.is_null() {
        return Err(format!("status {status} is not documented"));
    }
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        if resolve(document, header)["required"] == true && !headers.contains_key(name) {
            return Err(format!("the header {name} is missing"));
        }
    }
    if method == "HEAD" || status == 304 {
        return Ok(());
    }
    let kind = headers
        .get("content-type")
        .map(|kind| kind.to_str().unwrap());
    match &response["content"][kind.unwrap_or_default()]["schema"] {
        Value::Null => Err(format!("the content type {kind:?} is not documented")),
        schema => check_value(document, schema, body),
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some("{id}" | "{name}"), Some(part)) if !part.is_empty() => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// The keywords that [`check_value`] checks.
const CHECKED: [&str; 15] = [
    "type",
    "format",
    "enum",
    "const",
    "oneOf",
    "anyOf",
    "items",
    "minItems",
    "prefixItems",
    "properties",
    "propertyNames",
    "required",
    "minimum",
    "maximum",
    "additionalProperties",
];

/// Keywords that restrict no value.
const ANNOTATIONS: [&str; 4] = ["title", "description", "default", "x-foldlog"];

/// Checks a value against a schema, as far as the document's responses go. It is stricter than JSON Schema in one point: an
/// object has only the properties that are named, so that no response contains undocumented ones. No
/// response has a secret in its schema.
fn check_value(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    if schema["x-foldlog"]["secret"] == true {
        return Err("the schema is that of a secret".to_owned());
    }
    for key in schema.as_object().unwrap().keys() {
        let known = CHECKED.contains(&key.as_str()) || ANNOTATIONS.contains(&key.as_str());
        assert!(known, "`{key}` is not checked here");
    }
    for (key, exactly_one) in [("oneOf", true), ("anyOf", false)] {
        let Some(alternatives) = schema[key].as_array() else {
            continue;
        };
        let results = alternatives.iter().map(|s| check_value(document, s, value));
        let errors: Vec<_> = results.filter_map(Result::err).collect();
        let matching = alternatives.len() - errors.len();
        if matching == 0 || (exactly_one && matching > 1) {
            return Err(format!("{matching} of {key} match: {errors:?}"));
        }
    }
    let require =
        |holds: bool, what: &str| holds.then_some(()).ok_or(format!("{value} is not {what}"));
    require(
        has_type(&schema["type"], value),
        &schema["type"].to_string(),
    )?;
    if let (Some(format), Some(text)) = (schema["format"].as_str(), value.as_str()) {
        require(has_format(format, text), format)?;
    }
    if let Some(values) = schema["enum"].as_array() {
        require(values.contains(value), &format!("one of {values:?}"))?;
    }
    if let Some(only) = schema.get("const") {
        require(value == only, &format!("{only}"))?;
    }
    if let (Some(minimum), Some(number)) = (schema["minimum"].as_i64(), value.as_i64()) {
        require(minimum <= number, &format!("at least {minimum}"))?;
    }
    if let (Some(maximum), Some(number)) = (schema["maximum"].as_u64(), value.as_u64()) {
        require(number <= maximum, &format!("at most {maximum}"))?;
    }
    if let Some(items) = value.as_array() {
        let minimum = schema["minItems"].as_u64().unwrap_or(0);
        require(minimum <= items.len() as u64, "long enough")?;
        let tuple = schema["prefixItems"].as_array();
        require(
            tuple.is_none_or(|tuple| tuple.len() == items.len()),
            "a tuple of this length",
        )?;
        for (index, item) in items.iter().enumerate() {
            let item_schema = tuple.map_or(&schema["items"], |tuple| &tuple[index]);
            check_value(document, item_schema, item)?;
        }
    }
    match value.as_object() {
        Some(members) if schema["type"] == "object" => check_object(document, schema, members),
        _ => Ok(()),
    }
}

fn check_object(
    document: &Value,
    schema: &Value,
    members: &Map<String, Value>,
) -> Result<(), String> {
    for name in schema["required"].as_array().into_iter().flatten() {
        if !members.contains_key(name.as_str().unwrap()) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, value) in members {
        let property = match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null | Value::Bool(false)) => {
                return Err(format!("`{name}` is not documented"));
            }
            (Value::Null, Value::Bool(true)) => continue,
            (Value::Null, additional) => additional,
            (property, _) => property,
        };
        check_value(document, property, value).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn has_type(names: &Value, value: &Value) -> bool {
    match names {
        Value::Null => true,
        Value::Array(names) => names.iter().any(|name| has_type(name, value)),
        name => match name.as_str().unwrap() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("the type {other} is not checked here"),
        },
    }
}

fn has_format(format: &str, text: &str) -> bool {
    match format {
        "uuid" => Uuid::parse_str(text).is_ok(),
        "date-time" => OffsetDateTime::parse(text, &Rfc3339).is_ok(),
        other => panic!("the format {other} is not checked here"),
    }
}
