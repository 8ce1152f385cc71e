//! Checks responses against the OpenAPI document. `app.rs` passes every response here.

use std::sync::LazyLock;

use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::db::DOMAINS;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| foldlog::http::document(&DOMAINS, true));

/// Iterates over the operations of a document: path, method and operation object.
pub fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap();
        methods.iter().map(move |(method, it)| (path, method, it))
    })
}

/// Follows a `$ref`, if the schema is one.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let found = document.pointer(reference.strip_prefix('#').unwrap());
            found.unwrap_or_else(|| panic!("{reference} does not exist"))
        }
        None => schema,
    }
}

/// Checks the response to `method` on `path`: status, headers, media type and body. A request that matches no operation must
/// be a preflight or fail with a status that says so.
pub fn check(
    method: &str,
    path: &str,
    status: u16,
    headers: &HeaderMap,
    body: &Value,
) -> Result<(), String> {
    let wanted = if method == "HEAD" { "GET" } else { method };
    let found = operations(&DOCUMENT).find(|(template, documented, _)| {
        documented.eq_ignore_ascii_case(wanted) && fits(template, path)
    });
    let Some((_, _, operation)) = found else {
        let fits = method == "OPTIONS" || [400, 401, 403, 404, 405].contains(&status);
        return fits
            .then_some(())
            .ok_or(format!("status {status}, but no operation matches"));
    };
    let response = &operation["responses"][status.to_string()];
    if response.is_null() {
        return Err(format!("status {status} is not documented"));
    }
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        if header["required"] == true && !headers.contains_key(name) {
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
        schema => value(schema, body),
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some("{id}"), Some(id)) if !id.is_empty() => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// The keywords that [`value`] checks.
const KNOWN: [&str; 12] = [
    "type",
    "format",
    "enum",
    "oneOf",
    "anyOf",
    "items",
    "minItems",
    "properties",
    "required",
    "minimum",
    "maximum",
    "additionalProperties",
];

/// Checks a value against a schema. It is stricter than JSON Schema in one point: an object may only have the properties that
/// the schema names, so that no undocumented field is shown.
fn value(schema: &Value, it: &Value) -> Result<(), String> {
    let schema = resolve(&DOCUMENT, schema);
    for key in schema.as_object().unwrap().keys() {
        assert!(KNOWN.contains(&key.as_str()), "nothing here checks `{key}`");
    }
    for (key, exactly) in [("oneOf", true), ("anyOf", false)] {
        let Some(any) = schema[key].as_array() else {
            continue;
        };
        let errors: Vec<_> = any.iter().filter_map(|s| value(s, it).err()).collect();
        let fitting = any.len() - errors.len();
        if fitting == 0 || (exactly && fitting > 1) {
            return Err(format!("{fitting} of {key} fit: {errors:?}"));
        }
    }
    let holds = |holds: bool, what: &str| holds.then_some(()).ok_or(format!("{it} is not {what}"));
    holds(is(&schema["type"], it), &schema["type"].to_string())?;
    if schema["format"] == "uuid" {
        let uuid = it
            .as_str()
            .is_some_and(|text| Uuid::parse_str(text).is_ok());
        holds(uuid, "a UUID")?;
    }
    if let Some(words) = schema["enum"].as_array() {
        holds(words.contains(it), &format!("one of {words:?}"))?;
    }
    if let (Some(least), Some(it)) = (schema["minimum"].as_i64(), it.as_i64()) {
        holds(least <= it, &format!("at least {least}"))?;
    }
    if let (Some(greatest), Some(it)) = (schema["maximum"].as_u64(), it.as_u64()) {
        holds(it <= greatest, &format!("at most {greatest}"))?;
    }
    if let Some(items) = it.as_array() {
        let least = schema["minItems"].as_u64().unwrap_or(0);
        holds(least <= items.len() as u64, "long enough")?;
        items
            .iter()
            .try_for_each(|item| value(&schema["items"], item))?;
    }
    match (it.as_object(), schema["properties"].as_object()) {
        (Some(members), Some(known)) => object(schema, known, members),
        _ => Ok(()),
    }
}

fn object(
    schema: &Value,
    known: &Map<String, Value>,
    members: &Map<String, Value>,
) -> Result<(), String> {
    for name in schema["required"].as_array().into_iter().flatten() {
        if !members.contains_key(name.as_str().unwrap()) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, it) in members {
        let schema = known
            .get(name)
            .ok_or(format!("`{name}` is not documented"))?;
        value(schema, it).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn is(name: &Value, it: &Value) -> bool {
    match name.as_str() {
        None => true,
        Some("null") => it.is_null(),
        Some("boolean") => it.is_boolean(),
        Some("string") => it.is_string(),
        Some("integer") => it.is_i64() || it.is_u64(),
        Some("number") => it.is_number(),
        Some("array") => it.is_array(),
        Some("object") => it.is_object(),
        Some(other) => panic!("nothing here checks the type {other}"),
    }
}
