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

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::routing::{MethodRouter, get};
use serde_json::{Map, Value};
use utoipa::openapi::path::PathItemBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApiBuilder, PathsBuilder};

use self::schemas::Names;
use super::auth::{Auth, Need};
use super::problem::Kind;
use super::{AppState, COMMANDS, QUERIES};
use crate::domain::Domains;

/// The header of every answer.
const REQUEST_ID: &str = "X-Request-Id";

/// The route.
pub(super) fn serve() -> MethodRouter<AppState> {
    let written: Arc<OnceLock<Bytes>> = Arc::default();
    get(async move |State(state): State<AppState>| {
        let asked = matches!(state.auth, Auth::Jwt(_));
        let document = || document(&state.engine.domains, asked).to_string().into();
        let document = written.get_or_init(document);
        (
            [(header::CONTENT_TYPE, "application/json")],
            document.clone(),
        )
    })
}

/// The document for these domains. `asked`: whether callers are asked who they are.
#[must_use]
pub fn document(domains: &Domains, asked: bool) -> Value {
    let names: Vec<Names> = domains.iter().map(Names::new).collect();
    let mut paths = PathsBuilder::new();
    for (method, path, operation) in COMMANDS.iter().chain(QUERIES) {
        let mut add = |place: String, domain: Option<&Names>| {
            let need = if asked {
                security::need(method, path, domain)
            } else {
                Need::Nothing
            };
            let described = operations::describe(*operation, domain, domains, &need);
            let item = PathItemBuilder::new().operation(method.clone(), described);
            paths = std::mem::take(&mut paths).path(place, item.build());
        };
        if path.contains("{domain}") {
            for domain in &names {
                add(path.replace("{domain}", domain.path), Some(domain));
            }
        } else {
            add((*path).to_owned(), None);
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
