//! Turns the schemas that utoipa derives from a domain's types into schemas of the document. They are handled as JSON,
//! because each change applies to every kind of schema alike.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use crate::event::TypeSchema;

use super::schemas::{EXTENSION, SCHEMAS};

/// A derived schema and the components that it refers to.
pub(super) struct Derived {
    pub schema: Value,
    pub components: BTreeMap<String, Value>,
}

impl Derived {
    /// The schema of a type, whose components get names that begin with `prefix`: two domains may each have a type of one
    /// name.
    pub(super) fn new(type_schema: &TypeSchema, prefix: &str) -> Self {
        let name = |name: &str| format!("{prefix}.{name}");
        let prepare = |schema: &_| {
            let mut schema = to_json(schema);
            visit(&mut schema, &mut |schema| {
                if let Some(target) = target(schema).map(name) {
                    schema["$ref"] = format!("{SCHEMAS}{target}").into();
                }
                describe_option(schema);
            });
            schema
        };
        let components = type_schema.components.iter();
        Self {
            schema: prepare(&type_schema.schema),
            components: components.map(|(key, c)| (name(key), prepare(c))).collect(),
        }
    }

    /// The schema of a request. Secrets have the extension `secret`, also where they are optional; with `writeOnly`, generators
    /// would derive a second type for responses, which do not have these schemas. Objects accept no other properties than
    /// theirs. Objects that are merged into another one (`flatten`, internally tagged enums) stay open, because
    /// `additionalProperties` only sees properties beside it.
    pub(super) fn into_request(mut self) -> Self {
        let components = self.components.clone();
        self.visit_all(&mut |schema| {
            if is_secret(schema, &components) {
                schema[EXTENSION] = json!({"secret": true});
            }
        });
        self.visit_all(&mut |schema| {
            if let Some(members) = schema.as_object_mut() {
                members.shift_remove("writeOnly");
            }
        });
        let mut merged = BTreeSet::new();
        self.visit_all(&mut |schema| {
            let items = schema["allOf"].as_array().into_iter().flatten();
            merged.extend(items.filter_map(target).map(ToOwned::to_owned));
        });
        close(&mut self.schema, false);
        for (name, component) in &mut self.components {
            close(component, merged.contains(name));
        }
        self
    }

    /// The schema of a response: what is hidden in JSON is not described.
    pub(super) fn into_response(mut self) -> Self {
        let components = self.components.clone();
        let is_secret = |schema: &Value| is_secret(schema, &components);
        self.visit_all(&mut |schema| strip_secrets(schema, &is_secret));
        self
    }

    /// Drops the components that the schema does not refer to, directly or indirectly.
    pub(super) fn without_unused(mut self) -> Self {
        let mut used = BTreeSet::new();
        let mut pending = targets(&mut self.schema);
        while let Some(name) = pending.pop() {
            if let Some(component) = self.components.get_mut(&name)
                && used.insert(name)
            {
                pending.extend(targets(component));
            }
        }
        self.components.retain(|name, _| used.contains(name));
        self
    }

    /// The schema behind a reference.
    pub(super) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let component = target(schema).and_then(|name| self.components.get(name));
        component.map_or(schema, |component| self.resolve(component))
    }

    fn visit_all(&mut self, change: &mut dyn FnMut(&mut Value)) {
        visit(&mut self.schema, change);
        for component in self.components.values_mut() {
            visit(component, change);
        }
    }
}

/// A derived schema as JSON, with the ranges of its integers.
pub(super) fn to_json(schema: &RefOr<Schema>) -> Value {
    let mut schema = serde_json::to_value(schema)
        .unwrap_or_else(|error| unreachable!("a schema is valid JSON: {error}"));
    visit(&mut schema, &mut add_integer_range);
    schema
}

/// Writes an enumeration of one value as `const`, in all schemas inside `value`: generators derive a constant from an enumeration.
pub(in crate::http) fn use_const(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members
                .get("enum")
                .and_then(Value::as_array)
                .is_some_and(|values| values.len() == 1)
            {
                let renamed = std::mem::take(members).into_iter().map(|(key, value)| {
                    match (key.as_str(), value) {
                        ("enum", Value::Array(mut values)) => {
                            ("const".to_owned(), values.remove(0))
                        }
                        (_, value) => (key, value),
                    }
                });
                *members = renamed.collect();
            }
            let schemas = members
                .iter_mut()
                .filter(|(key, _)| !VALUES.contains(&key.as_str()));
            schemas.for_each(|(_, value)| use_const(value));
        }
        Value::Array(items) => items.iter_mut().for_each(use_const),
        _ => {}
    }
}

/// The keywords whose values are not schemas.
const VALUES: [&str; 4] = ["const", "default", "enum", "examples"];

/// Calls `change` for a schema and all schemas inside it. Examples and defaults are values, so they are left alone.
pub(super) fn visit(schema: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    change(schema);
    for child in children(schema) {
        visit(child, change);
    }
}

fn children(schema: &mut Value) -> Vec<&mut Value> {
    let mut children = Vec::new();
    for (key, value) in schema.as_object_mut().into_iter().flatten() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => children.extend(properties.values_mut()),
            ("oneOf" | "anyOf" | "allOf" | "prefixItems", Value::Array(items)) => {
                children.extend(items);
            }
            ("items" | "additionalProperties" | "propertyNames", value @ Value::Object(_)) => {
                children.push(value);
            }
            _ => {}
        }
    }
    children
}

/// Moves the doc comment of an optional field from the type of the field to the field: utoipa writes it beside the reference.
fn describe_option(schema: &mut Value) {
    let alternatives = array_mut(schema, "oneOf").into_iter().flatten();
    let mut beside_null = alternatives.filter(|item| item["type"] != "null");
    if let (Some(Value::Object(only)), None) = (beside_null.next(), beside_null.next())
        && only.contains_key("$ref")
        && let Some(description) = only.shift_remove("description")
    {
        schema["description"] = description;
    }
}

/// The name of the component that a schema refers to.
fn target(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(SCHEMAS)
}

fn targets(schema: &mut Value) -> Vec<String> {
    let mut names = Vec::new();
    visit(schema, &mut |schema| {
        names.extend(target(schema).map(ToOwned::to_owned));
    });
    names
}

/// Adds the range of an integer type, of which utoipa writes the format only.
fn add_integer_range(schema: &mut Value) {
    // utoipa 6.0.0 writes `u-int64` where the OpenAPI format registry has `uint64`.
    if let Some(format) = schema["format"].as_str().filter(|f| f.starts_with("u-int")) {
        schema["format"] = format.replace("u-int", "uint").into();
    }
    let range = match schema["format"].as_str() {
        Some("int8") => json!([i8::MIN, i8::MAX]),
        Some("int16") => json!([i16::MIN, i16::MAX]),
        Some("int32") => json!([i32::MIN, i32::MAX]),
        Some("int64") => json!([i64::MIN, i64::MAX]),
        Some("uint8") => json!([0, u8::MAX]),
        Some("uint16") => json!([0, u16::MAX]),
        Some("uint32") => json!([0, u32::MAX]),
        Some("uint64") => json!([0, u64::MAX]),
        _ => return,
    };
    for (key, bound) in ["minimum", "maximum"].into_iter().zip([0, 1]) {
        if schema[key].is_null() {
            schema[key] = range[bound].clone();
        }
    }
}

fn close(schema: &mut Value, is_merged: bool) {
    if !is_merged && schema["properties"].is_object() && schema["additionalProperties"].is_null() {
        schema["additionalProperties"] = false.into();
    }
    let merges = schema["allOf"].is_array();
    for child in children(schema) {
        close(child, merges);
    }
}

/// Whether a schema is that of a [`Secret`](crate::event::Secret), a [`Password`](crate::event::Password) or an option
/// of one.
fn is_secret(schema: &Value, components: &BTreeMap<String, Value>) -> bool {
    let alternatives = schema["oneOf"].as_array().into_iter().flatten();
    let mut beside_null = alternatives.filter(|item| item["type"] != "null");
    schema["writeOnly"] == true
        || target(schema)
            .and_then(|name| components.get(name))
            .is_some_and(|component| is_secret(component, components))
        || match (beside_null.next(), beside_null.next()) {
            (Some(item), None) => is_secret(item, components),
            _ => false,
        }
}

/// Removes secrets in the way in which serialization hides them: a field or an entry of a map is left out, an item of an
/// array and the content of an enum's variant become null.
fn strip_secrets(schema: &mut Value, is_secret: &dyn Fn(&Value) -> bool) {
    for alternative in array_mut(schema, "oneOf").into_iter().flatten() {
        if let Some(properties) = object_mut(alternative, "properties")
            && properties.len() == 1
        {
            replace_secrets(properties.values_mut(), is_secret);
        }
    }
    if let Some(properties) = object_mut(schema, "properties") {
        properties.retain(|_, property| !is_secret(property));
        let names: Vec<Value> = properties.keys().map(|name| name.as_str().into()).collect();
        if let Some(required) = array_mut(schema, "required") {
            required.retain(|name| names.contains(name));
        }
    }
    if let Some(items) = array_mut(schema, "prefixItems") {
        replace_secrets(items, is_secret);
    }
    if let Some(items) = schema.get_mut("items") {
        replace_secrets([items], is_secret);
    }
    if is_secret(&schema["additionalProperties"]) {
        schema["additionalProperties"] = false.into();
    }
}

fn replace_secrets<'a>(
    schemas: impl IntoIterator<Item = &'a mut Value>,
    is_secret: &dyn Fn(&Value) -> bool,
) {
    for schema in schemas {
        if is_secret(schema) {
            *schema = json!({"type": "null"});
        }
    }
}

fn object_mut<'a>(schema: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    schema.get_mut(key)?.as_object_mut()
}

fn array_mut<'a>(schema: &'a mut Value, key: &str) -> Option<&'a mut Vec<Value>> {
    schema.get_mut(key)?.as_array_mut()
}
