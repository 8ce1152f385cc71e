//! The schemas: of payloads, rows, answers and problems.

use serde_json::Value;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{ArrayBuilder, OneOfBuilder};

use super::json::{
    AnySchema, any, integer, list, named, nullable, object, of_shape, position, text, uuid,
    version, words,
};
use crate::command::MAX_EVENTS;
use crate::domain::{AnyDomain, AnyProjection, Domains};
use crate::event::shape::{Member, SAMPLE_UUID, Shape};
use crate::event::{AggregateId, EventId, EventType, Metadata, NewEvent};
use crate::http::problem::Kind;

/// What a domain is called in the document.
pub(super) struct Names {
    pub path: &'static str,
    pub domain: &'static dyn AnyDomain,
}

impl Names {
    pub(super) fn new(domain: &'static dyn AnyDomain) -> Self {
        Self {
            path: domain.name(),
            domain,
        }
    }

    /// One of the domain's schemas: an event type's has its name, which is in capitals, and the others are in small
    /// letters. With the dot they cannot be taken for another domain's, nor for a shared one.
    fn name(&self, what: &str) -> String {
        format!("{}.{what}", self.path)
    }

    pub(super) fn schema(&self, what: &str) -> AnySchema {
        named(&self.name(what))
    }
}

/// The schemas of one domain: its events and its rows.
pub(super) fn of_domain(names: &Names, domains: &Domains) -> Vec<(String, AnySchema)> {
    let name = |what: &str| names.name(what);
    let mut schemas: Vec<_> = names
        .domain
        .types()
        .iter()
        .map(|event_type| (name(event_type.name), event(names, event_type)))
        .collect();
    let all = names
        .domain
        .types()
        .iter()
        .fold(OneOfBuilder::new(), |all, event_type| {
            all.item(names.schema(event_type.name))
        });
    schemas.push((name("event"), all.into()));
    let projection = domains.projections().find(|p| p.name() == names.path);
    schemas.extend(projection.map(|projection| (name("row"), row(projection))));
    let page = object([
        ("result", list(names.schema("row"), None), true),
        ("next", nullable(text(None)), true),
    ]);
    schemas.push((name("page"), page.into()));
    schemas
}

/// The schemas that are no domain's.
pub(super) fn shared(domains: &Domains) -> Vec<(String, AnySchema)> {
    let saved = object([
        ("result", words(["Event saved"]), true),
        ("aggregate_id", uuid(), true),
        ("version", version(), true),
        ("position", position(), true),
    ]);
    let appended = object([
        ("id", uuid(), true),
        ("aggregate_id", uuid(), true),
        ("version", version(), true),
        ("position", position(), true),
    ]);
    let all_saved = object([
        ("result", words(["Events saved"]), true),
        ("events", list(appended.into(), Some(1)), true),
    ]);
    let count = || -> AnySchema { integer(0, None) };
    let status = object([
        ("lag_events", count(), true),
        (
            "lag_seconds",
            ObjectBuilder::new().schema_type(Type::Number).into(),
            true,
        ),
        ("parked", count(), true),
    ]);
    let projections = domains
        .projections()
        .map(|p| (p.name(), named("ProjectionStatus"), true));
    let health = object([
        ("status", words(["up"]), true),
        ("database", words(["up"]), true),
        ("projections", object(projections).into(), true),
    ]);
    let any_event = domains.iter().fold(OneOfBuilder::new(), |any, domain| {
        any.item(Names::new(domain).schema("event"))
    });
    [
        ("EventSaved", saved.into()),
        ("EventsSaved", all_saved.into()),
        ("ProjectionStatus", status.into()),
        ("Health", health.into()),
        ("AnyEvent", any_event.into()),
    ]
    .map(|(name, schema): (&str, AnySchema)| (name.to_owned(), schema))
    .into()
}

/// A problem of one kind.
pub(super) fn problem(kind: Kind) -> (String, AnySchema) {
    let standard = [
        ("type", words([kind.urn()]), true),
        ("title", words([kind.title()]), true),
        ("status", words([kind.status().as_u16()]), true),
        ("detail", text(None), true),
    ];
    let member = |(name, always): &(&'static str, bool)| {
        let schema = match *name {
            "index" => integer(0, None),
            "version" => integer(0, Some(i32::MAX.unsigned_abs().into())),
            "aggregate_id" => uuid(),
            _ => any(),
        };
        (*name, schema, *always)
    };
    let problem = object(
        standard
            .into_iter()
            .chain(kind.members().iter().map(member)),
    );
    (problem_name(kind), problem.into())
}

/// What the schema of a problem is called.
pub(super) fn problem_name(kind: Kind) -> String {
    format!("Problem{kind:?}")
}

/// A body of one event, or of many.
pub(super) fn one_or_many(event: &AnySchema) -> AnySchema {
    let many = ArrayBuilder::new()
        .items(event.clone())
        .min_items(Some(1))
        .max_items(Some(MAX_EVENTS));
    OneOfBuilder::new().item(event.clone()).item(many).into()
}

/// An event as a client writes it. Its example is one that the domain's own rules take, or there is none.
fn event(names: &Names, event_type: &EventType) -> AnySchema {
    let sketch = (event_type.sketch)();
    let metadata =
        ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Object, Type::Null]));
    let event = object([
        ("id", uuid(), true),
        ("aggregate_id", uuid(), true),
        ("type_id", words([event_type.id.0]), true),
        ("payload", of_shape(&sketch.shape, true), true),
        (
            "metadata",
            metadata
                .additional_properties(Some(AdditionalProperties::FreeForm(true)))
                .into(),
            false,
        ),
    ])
    .title(Some(event_type.name))
    .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    match sketch
        .sample
        .as_ref()
        .and_then(|payload| example(names.domain, event_type, payload))
    {
        Some(example) => event.examples([example]).into(),
        None => event.into(),
    }
}

const BASE: u128 = 0x0195_d6f0_0000_7000_8000_0000_0000_0000;

fn example(domain: &dyn AnyDomain, event_type: &EventType, payload: &Value) -> Option<Value> {
    // All examples of a domain are of one aggregate; an id in a payload may have to be the aggregate's own.
    let id = |last: i16| uuid::Uuid::from_u128(BASE | u128::from(last.unsigned_abs()));
    let aggregate_id = id(domain.block().start);
    let payload = payload
        .to_string()
        .replace(SAMPLE_UUID, &aggregate_id.to_string());
    let event = NewEvent {
        id: EventId(id(i16::MIN + event_type.id.0)),
        aggregate_id: AggregateId(aggregate_id),
        type_id: event_type.id,
        payload: serde_json::from_str(&payload).ok()?,
        metadata: Metadata::default(),
    };
    domain.validate(&event).ok()?;
    Some(serde_json::json!({
        "id": event.id,
        "aggregate_id": event.aggregate_id,
        "type_id": event.type_id,
        "payload": event.payload,
    }))
}

/// A row of a view, less what is hidden.
fn row(projection: &dyn AnyProjection) -> AnySchema {
    let columns = public_columns(projection);
    let columns = columns
        .iter()
        .map(|column| (column.name, of_shape(&column.shape, false), true));
    let own = [("id", uuid(), true), ("version", version(), true)];
    object(own.into_iter().chain(columns)).into()
}

/// The columns that everybody may see.
pub(super) fn public_columns(projection: &dyn AnyProjection) -> Vec<Member> {
    let Shape::Object(mut members) = projection.sketch().shape else {
        return Vec::new();
    };
    let row = projection.row_schema();
    let columns = row.properties();
    members.retain(|member| {
        columns
            .iter()
            .any(|(name, schema)| *name == member.name && !row.is_secret(schema))
    });
    members
}
