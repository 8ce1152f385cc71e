//! The schemas of the document: events, rows and pages of each domain, responses and problems.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::derived::{Derived, to_json, visit};
use super::example::example;
use super::outcomes::dry_run;
use crate::domain::AnyDomain;
use crate::event::{AggregateId, EventId, EventType, TypeSchema, Version};
use crate::http::problem::{Kind, OWN_RULES};

/// The name of what foldlog says about the document and its schemas beyond OpenAPI.
pub(crate) const EXTENSION: &str = "x-foldlog";

/// What a reference to a schema of the document begins with; its name follows.
pub(crate) const SCHEMAS: &str = "#/components/schemas/";

/// The schemas of one domain. Their names begin with the domain's: `users.event.Created` is an event, `users.event` any of them,
/// `users.row` and `users.page` are responses, `users.rule` has the names of the rules, and `users.payload.…` and `users.row.…` are
/// types inside events and rows. The names of shared schemas have no dot.
///
/// Generators of code remove the dots, so an event's name has a word in front of it that no other schema's name has there. A
/// [`Foldlog`](crate::Foldlog) is not built from domains whose names collide nevertheless.
pub(in crate::http) struct DomainSchemas {
    /// The name of the domain.
    pub name: &'static str,
    /// The column by which people recognize a row.
    title: Option<&'static str>,
    /// The columns that can be filtered by, each with the schema of its parameter.
    pub filters: Vec<(String, Value)>,
    components: Map<String, Value>,
}

impl DomainSchemas {
    pub(in crate::http) fn new(domain: &'static dyn AnyDomain) -> Self {
        let mut schemas = Self {
            name: domain.name(),
            title: domain.title(),
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

    /// Adds a schema, with what it is in terms of foldlog. Programs cannot derive that from its name.
    fn add(&mut self, name: &str, mut schema: Value, kind: &Value) {
        schema[EXTENSION] = json!({"domain": self.name});
        for (member, value) in kind.as_object().into_iter().flatten() {
            schema[EXTENSION][member] = value.clone();
        }
        self.components.insert(self.full_name(name), schema);
    }

    fn add_events(&mut self, domain: &dyn AnyDomain) {
        let mut events = Vec::new();
        for event_type in domain.types() {
            let payload = domain
                .payload_schema(event_type.id)
                .unwrap_or_else(|| unreachable!("the domain has this type"));
            let payload = Derived::new(&payload, &self.full_name("payload"));
            let payload = payload.into_request().without_unused();
            let mut schema = event(event_type, &payload.schema);
            if let Some(example) = example(domain, event_type, &payload) {
                schema["examples"] = json!([example]);
            }
            self.components.extend(payload.components);
            let name = format!("event.{}", event_type.name);
            self.add(
                &name,
                schema,
                &json!({"event": event_type.name, "kind": "event"}),
            );
            events.push(self.reference(&name));
        }
        self.add(
            "event",
            json!({"oneOf": events}),
            &json!({"kind": "events"}),
        );
    }

    /// The names of the rules that reject an event of the domain, and the problem that has one of them.
    fn add_rules(&mut self, domain: &dyn AnyDomain) {
        let set_rules = domain.projection().set_rules().iter();
        let mut names = domain.rules();
        names.extend(set_rules.map(|rule| rule.name.to_owned()));
        names.extend(OWN_RULES.map(ToOwned::to_owned));
        let rule = json!({"type": "string", "enum": names});
        self.add("rule", rule, &json!({"kind": "rule"}));
        let problem = rule_broken(self.reference("rule"));
        self.add("broken_rule", problem, &json!({"kind": "problem"}));
    }

    fn add_row(&mut self, row_schema: &TypeSchema) {
        let row = Derived::new(row_schema, &self.full_name("row"))
            .into_response()
            .without_unused();
        let columns = row.resolve(&row.schema);
        let mut hidden = Vec::new();
        for (name, column) in row_schema.properties() {
            if !row_schema.contains_secret(column) {
                let filter = filter(&row, &columns["properties"][name]);
                self.filters.push((name.to_owned(), filter));
            } else if columns["properties"][name].is_null() {
                hidden.push(name);
            }
        }
        let mut kind = json!({"kind": "row", "hidden": hidden});
        if let Some(title) = self.title {
            kind["title"] = title.into();
        }
        let schema = with_id_and_version(columns);
        self.components.extend(row.components);
        self.add("row", schema, &kind);
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
        self.add("page", page, &json!({"kind": "page"}));
        let dry_run = dry_run(&self.reference("row"));
        self.add("dry_run", dry_run, &json!({"kind": "dry_run"}));
    }
}

/// The schema of a row, in the order in which a response has the properties.
fn with_id_and_version(columns: &Value) -> Value {
    let (id, version) = (
        ("id".to_owned(), reference(&AggregateId::name())),
        ("version".to_owned(), reference(&Version::name())),
    );
    let properties = columns["properties"].as_object().cloned();
    let properties = properties.unwrap_or_default();
    let properties = [id].into_iter().chain(properties).chain([version]);
    let required = columns["required"].as_array().cloned().unwrap_or_default();
    let required = [json!("id")].into_iter().chain(required);
    let mut schema = columns.clone();
    schema["properties"] = properties.collect::<Map<_, _>>().into();
    schema["required"] = required.chain([json!("version")]).collect();
    schema
}

/// An event as a client sends it. The doc comment of the event type describes the event, not its payload.
fn event(event_type: &EventType, payload: &Value) -> Value {
    let mut payload = payload.clone();
    let members = payload.as_object_mut();
    let description = members.and_then(|members| members.shift_remove("description"));
    let mut event = json!({
        "title": event_type.name,
        "type": "object",
        "properties": {
            "id": reference(&EventId::name()),
            "aggregate_id": reference(&AggregateId::name()),
            "type_id": {"type": "integer", "const": event_type.id},
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
    json!({"$ref": format!("{SCHEMAS}{name}")})
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
    let derived = derived.map(|(name, schema)| {
        let mut schema = to_json(&schema);
        visit(&mut schema, &mut limit_integers);
        (name, schema)
    });
    let problems = Kind::ALL
        .iter()
        .map(|kind| (kind.schema_name(), kind.schema()));
    derived.chain(problems).collect()
}

/// The largest integer up to which JavaScript has every integer. No count or position of a log reaches it.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Describes an integer of foldlog's own by what it can be, not by its Rust type, which JavaScript would round.
fn limit_integers(schema: &mut Value) {
    let maximum = schema["maximum"].as_u64();
    if maximum.is_some_and(|maximum| maximum > MAX_SAFE_INTEGER) {
        schema["maximum"] = MAX_SAFE_INTEGER.into();
    }
}

/// The schema of a type and of the types inside it, by their names.
pub(in crate::http) fn component<T: ToSchema + PartialSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    schemas
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use super::*;
    use crate::domain::prelude::*;
    use crate::domain::{domain, schema_names};

    events! {
        /// What can happen to a letter.
        enum LetterEvent in 100..200 {
            100 => Sent { to: Address },
        }
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
    struct Address {
        lines: Vec<String>,
    }

    #[derive(Debug, Serialize, Deserialize, ToSchema)]
    struct Letter {
        to: Address,
    }

    struct Letters;

    impl Domain for Letters {
        const NAME: &'static str = "letters";
        const VIEW: &'static str = "";
        type Event = LetterEvent;
        type State = Letter;
        type Error = Infallible;

        fn check(_: Option<&Letter>, _: &LetterEvent) -> Result<(), Infallible> {
            Ok(())
        }

        fn apply(letter: Option<Letter>, _: &LetterEvent) -> Option<Letter> {
            letter
        }
    }

    /// Fails when a domain has a schema whose name foldlog does not compare with those of other domains at its start.
    #[test]
    fn every_schema_of_a_domain_is_one_whose_name_is_checked() {
        let checked: BTreeSet<String> = schema_names(domain::<Letters>()).into_iter().collect();
        let schemas = DomainSchemas::new(domain::<Letters>()).into_components();
        let unchecked: Vec<_> = schemas
            .keys()
            .filter(|name| !checked.contains(*name))
            .collect();
        assert!(unchecked.is_empty(), "{unchecked:?}");
        assert!(schemas.contains_key("letters.payload.Address"));
    }
}
