//! The schemas of the document: events, rows and pages of each domain, responses and problems.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::derived::{Derived, to_json};
use super::example::example;
use super::outcomes::dry_run;
use crate::domain::AnyDomain;
use crate::event::{AggregateId, EventId, EventType, TypeSchema, Version};
use crate::http::problem::{Kind, OWN_RULES};

/// The schemas of one domain. Their names begin with the domain's: `users.Created` is an event, `users.event` any of them,
/// `users.row` and `users.page` are responses, `users.rule` has the names of the rules, and `users.event.…` and `users.row.…` are types inside them. The names of
/// shared schemas have no dot.
pub(in crate::http) struct DomainSchemas {
    /// The name of the domain.
    pub name: &'static str,
    /// The columns that can be filtered by, each with the schema of its parameter.
    pub filters: Vec<(String, Value)>,
    components: Map<String, Value>,
}

impl DomainSchemas {
    pub(in crate::http) fn new(domain: &'static dyn AnyDomain) -> Self {
        let mut schemas = Self {
            name: domain.name(),
            filters: Vec::new(),
            components: Map::new(),
        };
        schemas.add_events(domain);
        schemas.add_rules(domain);
        schemas.add_row(&domain.projection().row_schema());
        schemas
    }

    /// A reference to one of the domain's schemas.
    pub(in crate::http) fn reference(&self, schema: &str) -> Value {
        reference(&self.full_name(schema))
    }

    pub(in crate::http) fn into_components(self) -> Map<String, Value> {
        self.components
    }

    fn full_name(&self, schema: &str) -> String {
        format!("{}.{schema}", self.name)
    }

    fn add(&mut self, name: &str, schema: Value) {
        self.components.insert(self.full_name(name), schema);
    }

    fn add_events(&mut self, domain: &dyn AnyDomain) {
        let mut events = Vec::new();
        for event_type in domain.types() {
            let payload = domain
                .payload_schema(event_type.id)
                .unwrap_or_else(|| unreachable!("the domain has this type"));
            let payload = Derived::new(&payload, &self.full_name("event"));
            let payload = payload.into_request().without_unused();
            let mut schema = event(event_type, &payload.schema);
            if let Some(example) = example(domain, event_type, &payload) {
                schema["examples"] = json!([example]);
            }
            self.components.extend(payload.components);
            self.add(event_type.name, schema);
            events.push(self.reference(event_type.name));
        }
        self.add("event", json!({"oneOf": events}));
    }

    /// The names of the rules that reject an event of the domain, and the problem that has one of them.
    fn add_rules(&mut self, domain: &dyn AnyDomain) {
        let set_rules = domain.projection().set_rules().iter();
        let mut names = domain.rules();
        names.extend(set_rules.map(|rule| rule.name.to_owned()));
        names.extend(OWN_RULES.map(ToOwned::to_owned));
        self.add("rule", json!({"type": "string", "enum": names}));
        let problem = rule_broken(self.reference("rule"));
        self.add("rule_broken", problem);
    }

    fn add_row(&mut self, row_schema: &TypeSchema) {
        let row = Derived::new(row_schema, &self.full_name("row"))
            .into_response()
            .without_unused();
        let columns = row.resolve(&row.schema);
        for (name, column) in row_schema.properties() {
            if !row_schema.contains_secret(column) {
                let filter = filter(&row, &columns["properties"][name]);
                self.filters.push((name.to_owned(), filter));
            }
        }
        let mut schema = columns.clone();
        schema["properties"]["id"] = reference(&AggregateId::name());
        schema["properties"]["version"] = reference(&Version::name());
        let required = schema["required"].as_array().into_iter().flatten();
        schema["required"] = [&json!("id"), &json!("version")]
            .into_iter()
            .chain(required)
            .cloned()
            .collect();
        self.components.extend(row.components);
        self.add("row", schema);
        let row = self.reference("row");
        let page = json!({
            "type": "object",
            "properties": {
                "result": {"type": "array", "items": row},
                "next": {
                    "description": "The value of `after` for the next page; null on the last one",
                    "type": ["string", "null"],
                },
            },
            "required": ["result", "next"],
        });
        self.add("page", page);
        let dry_run = dry_run(&self.reference("row"));
        self.add("dry_run", dry_run);
    }
}

/// An event as a client sends it. The doc comment of the event type describes the event, not its payload.
fn event(event_type: &EventType, payload: &Value) -> Value {
    let mut payload = payload.clone();
    let members = payload.as_object_mut();
    let description = members.and_then(|members| members.remove("description"));
    let mut event = json!({
        "title": event_type.name,
        "type": "object",
        "properties": {
            "id": reference(&EventId::name()),
            "aggregate_id": reference(&AggregateId::name()),
            "type_id": {"type": "integer", "enum": [event_type.id]},
            "payload": payload,
            "metadata": {"type": ["object", "null"], "additionalProperties": true},
        },
        "required": ["id", "aggregate_id", "type_id", "payload"],
        "additionalProperties": false,
    });
    if let Some(description) = description {
        event["description"] = description;
    }
    event
}

/// The schema of a filter: the text of a column's value.
fn filter(row: &Derived, column: &Value) -> Value {
    let column = row.resolve(column);
    if let Some(alternatives) = column["oneOf"].as_array() {
        let mut values = alternatives.iter().filter(|item| item["type"] != "null");
        return match (values.next(), values.next()) {
            (Some(value), None) => filter(row, value),
            _ => json!({"type": "string"}),
        };
    }
    let mut schema = column.clone();
    if let Some(types) = column["type"].as_array() {
        schema["type"] = types
            .iter()
            .find(|name| *name != "null")
            .cloned()
            .unwrap_or_default();
    }
    match schema["type"].as_str() {
        Some("integer" | "number" | "boolean") => schema,
        Some("string") if !schema["format"].is_null() || schema["enum"].is_array() => schema,
        // Postgres stores no NUL in text.
        Some("string") => json!({"type": "string", "pattern": "^[^\\u0000]*$"}),
        _ => json!({"type": "string"}),
    }
}

/// The schema of the problem that names a broken rule.
pub(in crate::http) fn rule_broken(rule: Value) -> Value {
    let mut problem = Kind::RuleBroken.schema();
    problem["properties"]["rule"] = rule;
    problem
}

/// A reference to a schema of the document.
pub(in crate::http) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schemas that belong to no domain: ids, problems, and those of `responses`, each with the types inside it.
pub(in crate::http) fn shared(
    responses: impl IntoIterator<Item = Vec<(String, RefOr<Schema>)>>,
) -> Map<String, Value> {
    let ids = [
        component::<EventId>(),
        component::<AggregateId>(),
        component::<Version>(),
    ];
    let derived = ids.into_iter().chain(responses).flatten();
    let derived = derived.map(|(name, schema)| (name, to_json(&schema)));
    let problems = Kind::ALL
        .iter()
        .map(|kind| (kind.schema_name(), kind.schema()));
    derived.chain(problems).collect()
}

/// The schema of a type and of the types inside it, by their names.
pub(in crate::http) fn component<T: ToSchema + PartialSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    schemas
}
