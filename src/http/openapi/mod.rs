//! `GET /openapi.json`: the API as an OpenAPI 3.1 document, made from what the code itself goes by. The routes are those
//! of the routers, the problems those of [`Kind`], and payloads and rows are what the domains' own
//! types read (see [`shape`](crate::event::shape)), so nothing is declared twice.
//!
//! `/{domain}` is written out once a domain. The document is made at the first request for it: a process that starts to
//! append something has no use for it.

mod json;
mod operations;
mod schemas;
mod security;

use serde_json::{Map, Value};
use utoipa::openapi::path::PathItemBuilder;
use utoipa::openapi::{ComponentsBuilder, HttpMethod, InfoBuilder, OpenApiBuilder, PathsBuilder};

use self::schemas::Names;
use super::auth::Access;
use super::problem::Kind;
use super::routes::{Method, ROUTES};
use crate::domain::Domains;

/// The header of every answer.
const REQUEST_ID: &str = "X-Request-Id";

/// The document for these domains. `asked`: whether callers are asked who they are.
#[must_use]
pub fn document(domains: &Domains, asked: bool) -> Value {
    let names: Vec<Names> = domains.iter().map(Names::new).collect();
    let mut paths = PathsBuilder::new();
    for route in &ROUTES {
        let (path, operation) = (route.path, route.operation);
        let method = match route.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
        };
        let mut add = |place: String, domain: Option<&Names>| {
            let access = if asked { route.access } else { Access::Public };
            let described = operations::describe(operation, domain, domains, access);
            let item = PathItemBuilder::new().operation(method.clone(), described);
            paths = std::mem::take(&mut paths).path(place, item.build());
        };
        if path.contains("{domain}") {
            for domain in &names {
                add(path.replace("{domain}", domain.path), Some(domain));
            }
        } else {
            add(path.to_owned(), None);
        }
    }
    let mut components = ComponentsBuilder::new();
    let problems = Kind::ALL.iter().map(|kind| schemas::problem(*kind));
    let of_domains = names
        .iter()
        .flat_map(|names| schemas::of_domain(names, domains));
    for (name, schema) in problems.chain(schemas::shared(domains)).chain(of_domains) {
        components = components.schema(name, schema);
    }
    if asked {
        components = components.security_scheme(security::SCHEME, security::scheme());
    }
    let document = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title(env!("CARGO_PKG_NAME"))
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .build(),
        )
        .paths(paths)
        .components(Some(components.build()))
        .build();
    let mut document = serde_json::to_value(document).unwrap_or_default();
    require_headers(&mut document);
    document
}

const DESCRIPTION: &str = "Events are appended, and views are read. Every error is a problem (RFC 9457) with a stable \
                           `type`. Any route answers 405 to a method that it does not have, and any path that is none \
                           of these 404; HEAD is answered wherever GET is.";

/// Says of headers that they are always there, which utoipa's type has no place for. Only an append's `ETag` is not: an
/// array of events has none.
fn require_headers(document: &mut Value) {
    let of = |value: &mut Value, key: &str| match value.get_mut(key) {
        Some(Value::Object(members)) => std::mem::take(members),
        _ => Map::new(),
    };
    let mut paths = of(document, "paths");
    for item in paths.values_mut().filter_map(Value::as_object_mut) {
        for (method, operation) in item {
            let mut responses = of(operation, "responses");
            for response in responses.values_mut() {
                let headers = response.get_mut("headers").and_then(Value::as_object_mut);
                for (name, header) in headers.into_iter().flatten() {
                    if let Value::Object(header) = header {
                        let always = method != "post" || name != "ETag";
                        header.insert("required".to_owned(), always.into());
                    }
                }
            }
            operation["responses"] = responses.into();
        }
    }
    document["paths"] = paths.into();
}
