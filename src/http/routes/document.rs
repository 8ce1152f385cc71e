//! `GET /openapi.json`: the API as an OpenAPI 3.1 document. Routes come from [`ROUTES`], schemas from the domains' own types,
//! so that nothing is declared twice. A path with `{domain}` is expanded for each domain.

use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Map, Value, json};

use super::append::{EventSaved, EventsSaved};
use super::health::Health;
use super::projections::{Parked, Projections};
use super::{ROUTES, Route, RouteOperation, blame, diff, explain, feed, history};
use crate::domain::{AnyDomain, Domains};
use crate::http::auth::{Access, Auth};
use crate::http::openapi::{
    DomainSchemas, Operation, Response, component, dry_run, outcomes, rule_broken, shared,
};
use crate::http::problem::Kind;
use crate::http::{AppState, BasePath};

const DESCRIPTION: &str = "Events are appended, and views are read. Every error is a problem (RFC 9457) with a stable \
                           `type`. Every route answers 405 to a method that it does not support, and every other path \
                           is a 404. HEAD is supported wherever GET is.";

/// The name of the security scheme.
const SCHEME: &str = "token";

/// Serves the document. It is built at the first request for it, so that a cold start does not pay for it.
pub(in crate::http) fn serve(method: MethodFilter) -> MethodRouter<AppState> {
    let text: Arc<OnceLock<Bytes>> = Arc::default();
    let serve = async move |State(state): State<AppState>,
                            base_path: Option<Extension<BasePath>>| {
        let is_secured = matches!(state.auth, Auth::Jwt(_));
        let build = || {
            let domains = state.foldlog.served.iter().map(|served| served.domain);
            describe_api(domains, is_secured)
        };
        let text = match base_path {
            None => text.get_or_init(|| build().to_string().into()).clone(),
            Some(Extension(BasePath(base_path))) => {
                let mut document = build();
                document["servers"] = json!([{"url": base_path}]);
                document.to_string().into()
            }
        };
        ([(header::CONTENT_TYPE, "application/json")], text)
    };
    on(method, serve)
}

/// The OpenAPI document for these domains. `is_secured`: whether callers need a token (`AUTH=jwt`).
///
/// ```
/// let document = foldlog::http::document(&foldlog::domains![], false);
/// assert!(document["paths"]["/health"]["get"].is_object());
/// ```
#[must_use]
pub fn document(domains: &Domains, is_secured: bool) -> Value {
    describe_api(domains.iter(), is_secured)
}

fn describe_api(domains: impl Iterator<Item = &'static dyn AnyDomain>, is_secured: bool) -> Value {
    let domains: Vec<DomainSchemas> = domains.map(DomainSchemas::new).collect();
    let mut paths = Map::new();
    for route in ROUTES {
        let mut add = |path: String, operation: Operation, domain: &str| {
            let operation = if is_secured && route.access != Access::Public {
                operation.secured(SCHEME, &route.access.scopes(domain))
            } else {
                operation
            };
            paths.entry(path).or_insert_with(|| json!({}))[route.method.openapi_key()] =
                operation.into_json();
        };
        match route.operation {
            RouteOperation::Single(describe) => add(route.path.to_owned(), describe(), ""),
            RouteOperation::PerDomain(describe) => {
                for domain in &domains {
                    add(path_of(route, domain), describe(domain), domain.name);
                }
            }
        }
    }
    let mut components = json!({"schemas": schemas(domains)});
    if is_secured {
        components["securitySchemes"] = json!({SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token with the scopes `{domain}:read`, `{domain}:write` and `operate`",
        }});
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
        },
        "paths": paths,
        "components": components,
    })
}

fn path_of(route: &Route, domain: &DomainSchemas) -> String {
    route.path.replace("{domain}", domain.name)
}

fn schemas(domains: Vec<DomainSchemas>) -> Map<String, Value> {
    let any_event: Vec<Value> = domains
        .iter()
        .map(|domain| domain.reference("event"))
        .collect();
    let responses = [
        component::<EventSaved>(),
        component::<EventsSaved>(),
        component::<Health>(),
        component::<Projections>(),
        component::<Parked>(),
    ];
    let any_rule: Vec<Value> = domains
        .iter()
        .map(|domain| domain.reference("rule"))
        .collect();
    let any_row: Vec<Value> = domains
        .iter()
        .map(|domain| domain.reference("row"))
        .collect();
    let mut schemas = shared(responses);
    schemas.extend(outcomes());
    schemas.insert("AnyDryRun".to_owned(), dry_run(&json!({"anyOf": any_row})));
    schemas.insert("AnyEvent".to_owned(), json!({"oneOf": any_event}));
    for (name, schema) in [
        ("History", history::schema()),
        ("Diff", diff::schema()),
        ("Blame", blame::schema()),
        ("Explanation", explain::schema()),
        ("Feed", feed::schema()),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
    let problem = rule_broken(json!({"anyOf": any_rule}));
    schemas.insert(Kind::RuleBroken.schema_name(), problem);
    schemas.extend(domains.into_iter().flat_map(DomainSchemas::into_components));
    schemas
}

/// Describes the route.
pub(super) fn describe() -> Operation {
    let document = json!({"type": "object", "additionalProperties": true});
    let response = Response::new("An OpenAPI 3.1 document", &[]).json(&document);
    Operation::new("openapi", "Get this document").response(StatusCode::OK, response)
}
