//! `index.d.ts`: a type for every schema of the document, the constructors of events, and the client.

use std::collections::HashMap;

use serde_json::Value;

use super::ClientError;
use super::document::{Api, ApiDomain, ApiEvent, GENERATED};
use super::names;
use super::typescript::{comment, is_interface, properties, type_of};

/// The types of the client itself. They refer to the schemas by name.
const SURFACE: &str = include_str!("surface.d.ts");

/// The declaration of a type, after the words `export` and `declare`.
struct Declaration {
    comment: String,
    text: String,
}

/// A namespace: types, and namespaces inside it.
#[derive(Default)]
struct Namespace {
    /// Declarations, in the order of the document.
    types: Vec<Declaration>,
    inside: Vec<(String, Namespace)>,
}

impl Namespace {
    fn open(&mut self, path: &[String]) -> &mut Self {
        let Some((first, rest)) = path.split_first() else {
            return self;
        };
        let known = self.inside.iter().position(|(name, _)| name == first);
        let place = known.unwrap_or_else(|| {
            self.inside.push((first.clone(), Self::default()));
            self.inside.len() - 1
        });
        self.inside[place].1.open(rest)
    }

    fn write(&self, depth: usize) -> String {
        let indent = "  ".repeat(depth);
        let export = if depth == 0 { "export " } else { "" };
        let declare = if depth == 0 { "declare " } else { "" };
        let types = self
            .types
            .iter()
            .map(|Declaration { comment, text }| format!("{comment}{indent}{export}{text}\n"));
        let inside = self.inside.iter().map(|(name, namespace)| {
            format!(
                "{indent}{export}{declare}namespace {name} {{\n{}{indent}}}\n",
                namespace.write(depth + 1)
            )
        });
        types.chain(inside).collect()
    }
}

pub(super) fn write(api: &Api<'_>) -> Result<String, ClientError> {
    let mut module = Namespace::default();
    let mut seen = HashMap::new();
    for (key, schema) in api.schemas() {
        let (path, name) = names::path(key);
        let full = path
            .iter()
            .chain([&name])
            .cloned()
            .collect::<Vec<_>>()
            .join(".");
        if let Some(other) = seen.insert(full.clone(), key) {
            return Err(ClientError::SameName(
                other.to_owned(),
                key.to_owned(),
                full,
            ));
        }
        let depth = path.len();
        module
            .open(&path)
            .types
            .push(declaration(&name, schema, depth));
    }
    for domain in &api.domains {
        let path = [domain.export.clone()];
        module.open(&path).types.push(filter(domain));
    }
    Ok([
        format!("// {GENERATED}\nimport type * as $ from \"./index.js\";\n"),
        SURFACE.to_owned(),
        operator_types(api),
        problems(api),
        api.domains.iter().map(constructors).collect(),
        clients(api),
        module.write(0),
    ]
    .join("\n"))
}

fn declaration(name: &str, schema: &Value, depth: usize) -> Declaration {
    let comment = comment(schema["description"].as_str(), depth);
    let text = if is_interface(schema) {
        format!("interface {name} {}", properties(schema, depth))
    } else {
        format!("type {name} = {};", type_of(schema, depth))
    };
    Declaration { comment, text }
}

/// The columns that a list can be filtered by.
fn filter(domain: &ApiDomain<'_>) -> Declaration {
    let columns = domain.filters.iter().map(|(name, parameter)| {
        format!(
            "{}    {}?: {};\n",
            comment(parameter["description"].as_str(), 2),
            names::property(name),
            type_of(&parameter["schema"], 2)
        )
    });
    Declaration {
        comment: comment(Some("The columns by which a list can be filtered."), 1),
        text: format!("interface Filter {{\n{}  }}", columns.collect::<String>()),
    }
}

/// The types of the routes for operators that have no names in the document.
fn operator_types(api: &Api<'_>) -> String {
    let (path, method) = ("/projections", "post");
    let differences = "/projections/{name}/differences";
    let [done, handed_over] = ["200", "202"].map(|status| api.response(path, method, status));
    let types = [
        (
            "Verb",
            "What to do with a projection: one member, named like the verb.",
            type_of(api.request(path, method), 0),
        ),
        (
            "VerbDone",
            "What a verb has done, for each projection.",
            type_of(done, 0),
        ),
        (
            "VerbHandedOver",
            "The catch-up function does it; `last_results` of the projection will say how it went.",
            type_of(handed_over, 0),
        ),
        (
            "Differences",
            "A page of what the last verification has found.",
            type_of(api.response(differences, "get", "200"), 0),
        ),
    ];
    let types = types.map(|(name, description, declared)| {
        format!(
            "{}export type {name} = {declared};\n",
            comment(Some(description), 0)
        )
    });
    types.concat()
}

fn problems(api: &Api<'_>) -> String {
    let description = "What the API answers instead of a result (RFC 9457). `foreign` is an error that something in front of the \
                       API has answered.";
    let problems = api.problems().map(|(name, schema)| {
        format!(
            "  | ({} & {{ name: \"{name}\" }})\n",
            names::type_name(schema)
        )
    });
    format!(
        "{}export type Problem =\n{}  | (AnyProblem & {{ name: \"foreign\" }});\n",
        comment(Some(description), 0),
        problems.collect::<String>()
    )
}

fn constructors(domain: &ApiDomain<'_>) -> String {
    let one = |event: &ApiEvent<'_>| {
        let (path, name) = names::path(event.schema);
        let schema = format!("$.{}.{name}", path.join("."));
        let mark = if event.is_payload_optional { "?" } else { "" };
        format!(
            "{}  {}(aggregateId: string, payload{mark}: {schema}[\"payload\"], metadata?: Metadata): {schema};\n",
            comment(event.description, 1),
            names::property(&event.constructor),
        )
    };
    let description = format!(
        "Events of `{}`. An event gets its id here, so sending it again cannot append it twice.",
        domain.name
    );
    format!(
        "{}export declare const {}: {{\n{}}};\n",
        comment(Some(&description), 0),
        domain.export,
        domain.events.iter().map(one).collect::<String>()
    )
}

fn clients(api: &Api<'_>) -> String {
    let each = |generic: &str| {
        let domains = api.domains.iter().map(|domain| {
            let export = &domain.export;
            format!(
                "  {}: {generic}<$.{export}.Event, $.{export}.Row, $.{export}.Filter, $.{export}.Page, $.{export}.DryRun>;\n",
                names::property(domain.name)
            )
        });
        domains.collect::<String>()
    };
    format!(
        "/** The API. A member for each domain, and what belongs to no domain. */\n\
         export interface Client extends Shared {{\n{}}}\n\n\
         /** Query objects for TanStack Query. */\nexport interface Queries {{\n{}}}\n",
        each("DomainClient"),
        each("DomainQueries")
    )
}
