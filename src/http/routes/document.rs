//! `GET /openapi.json`: the API as an OpenAPI 3.1 document. Routes come from [`ROUTES`], schemas from the domains' own types,
//! so that nothing is declared twice. A path with `{domain}` is expanded for each domain.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Map, Value, json};

use super::activity::Activity;
use super::append::{EventSaved, EventsSaved};
use super::health::Health;
use super::projections::{Parked, Projections};
use super::skipped::Skipped;
use super::{NO_CACHE, ROUTES, Route, RouteOperation, blame, diff, explain, feed, history};
use crate::domain::{AnyDomain, Domains};
use crate::http::auth::{Access, Auth};
use crate::http::etag::matches_tag;
use crate::http::openapi::{
    self, CACHE_CONTROL, DomainSchemas, ETAG, EXTENSION, Operation, Response, SharedParts,
    component, dry_run, outcomes, rule_broken, shared, use_const,
};
use crate::http::problem::Kind;
use crate::http::{AppState, BasePath};
use crate::view::Fnv1a;

const DESCRIPTION: &str = "Events are appended, and views are read. Every error is a problem (RFC 9457) with a stable \
                           `type`. Every route answers 405 to a method that it does not support, and every other path \
                           is a 404. HEAD is supported wherever GET is. A request may have the header X-Request-Id; \
                           its value is kept if it has 1 to 128 characters of `A-Za-z0-9-_.:/+=`. The body of an append \
                           is one event or an array; a typed client sends arrays only, also of one event, because the \
                           type of the answer then does not depend on what was sent. `x-foldlog` has what OpenAPI has no \
                           word for: of the document, its `hash` without the differences between servers (`security`, \
                           `servers`); of a schema, its `kind` and `domain`, and the name of an `event`; of a row, the \
                           column that is its `title` and the columns that are `hidden`; of a property, that it is a \
                           `secret`.";

/// The tag of the routes that are about the service itself.
pub(super) const SYSTEM_TAG: &str = "system";

/// The name of the security scheme.
const SCHEME: &str = "token";

/// The document below each base path; `None` is the one without.
type Documents = Mutex<HashMap<Option<String>, Text>>;

/// How many base paths are remembered: a gateway decides how many there are.
const MAX_BASE_PATHS: usize = 16;

/// Serves the document. It is built at the first request for it, so that a cold start does not pay for it.
pub(in crate::http) fn serve(method: MethodFilter) -> MethodRouter<AppState> {
    let cached: Arc<Documents> = Arc::default();
    let serve = async move |State(state): State<AppState>,
                            base_path: Option<Extension<BasePath>>,
                            headers: HeaderMap| {
        let is_secured = matches!(state.auth, Auth::Jwt(_));
        let base_path = base_path.map(|Extension(BasePath(base_path))| base_path);
        let Text { json, tag } = remembered(&cached, base_path, |base_path| {
            let domains: Vec<_> = state
                .foldlog
                .served
                .iter()
                .map(|served| served.domain)
                .collect();
            Text::new(describe_api(&domains, is_secured), is_secured, base_path)
        });
        let is_current = matches_tag(&headers, &tag);
        let headers = [(header::ETAG, format!("\"{tag}\""))];
        if is_current {
            return (StatusCode::NOT_MODIFIED, headers, [NO_CACHE]).into_response();
        }
        (
            headers,
            [NO_CACHE],
            [(header::CONTENT_TYPE, "application/json")],
            json,
        )
            .into_response()
    };
    on(method, serve)
}

/// The document below this base path, built if it is not known yet.
fn remembered(
    documents: &Documents,
    base_path: Option<String>,
    build: impl FnOnce(Option<String>) -> Text,
) -> Text {
    let mut documents = documents.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = documents.get(&base_path) {
        return text.clone();
    }
    let text = build(base_path.clone());
    if documents.len() < MAX_BASE_PATHS {
        documents.insert(base_path, text.clone());
    }
    text
}

/// The document as it is served.
#[derive(Clone)]
struct Text {
    json: Bytes,
    /// The opaque part of its entity tag.
    tag: String,
}

impl Text {
    /// The tag begins with the document's hash, so that a HEAD request tells a client whether it was generated from this API. What
    /// differs between servers is in the rest.
    fn new(mut document: Value, is_secured: bool, base_path: Option<String>) -> Self {
        let mut tag = document[EXTENSION]["hash"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let is_canonical = is_secured && base_path.is_none();
        if let Some(base_path) = base_path {
            document["servers"] = json!([{"url": base_path}]);
        }
        let json = document.to_string();
        if !is_canonical {
            tag = format!("{tag}-{}", hash(&json));
        }
        Self {
            json: json.into(),
            tag,
        }
    }
}

fn hash(text: &str) -> String {
    let mut hash = Fnv1a::default();
    hash.write(text.as_bytes());
    hash.finish()
}

/// The OpenAPI document for these domains. `is_secured`: whether callers need a token (`AUTH=jwt`).
///
/// ```
/// let document = foldlog::http::document(&foldlog::domains![], false);
/// assert!(document["paths"]["/health"]["get"].is_object());
/// ```
#[must_use]
pub fn document(domains: &Domains, is_secured: bool) -> Value {
    describe_api(&domains.iter().collect::<Vec<_>>(), is_secured)
}

/// The document with its hash: that of the document for callers with tokens, so that it does not depend on `AUTH`.
fn describe_api(domains: &[&'static dyn AnyDomain], is_secured: bool) -> Value {
    let secured = describe_domains(domains, true);
    let hash = hash(&secured.to_string());
    let mut document = if is_secured {
        secured
    } else {
        describe_domains(domains, false)
    };
    document[EXTENSION] = json!({"hash": hash});
    document
}

fn describe_domains(domains: &[&'static dyn AnyDomain], is_secured: bool) -> Value {
    let domains: Vec<DomainSchemas> = domains.iter().copied().map(DomainSchemas::new).collect();
    let tags = tags(&domains);
    let (mut paths, mut shared) = (Map::new(), SharedParts::default());
    for route in ROUTES {
        let mut add = |path: String, operation: Operation, domain: &str| {
            let operation = if is_secured && route.access != Access::Public {
                operation.secured(SCHEME, &route.access.scopes(domain))
            } else {
                operation
            };
            paths.entry(path).or_insert_with(|| json!({}))[route.method.openapi_key()] =
                operation.into_json(&mut shared);
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
    for (kind, parts) in shared.into_components() {
        components[kind] = parts;
    }
    if is_secured {
        components["securitySchemes"] = json!({SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token with the scopes `{domain}:read`, `{domain}:write` and `operate`",
        }});
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": components,
    });
    use_const(&mut document);
    document
}

/// The tags of the operations, in the order in which viewers show them.
fn tags(domains: &[DomainSchemas]) -> Vec<Value> {
    let of_domain = |domain: &DomainSchemas| {
        let name = domain.name;
        (
            name,
            format!("Append events of `{name}`, and read its rows and their past"),
        )
    };
    let shared = [
        (
            "events",
            "Append events of any domains, and read all events in the order of the log",
        ),
        ("projections", "See how projections are, and operate them"),
        (
            SYSTEM_TAG,
            "See whether the service is up, and what it can do",
        ),
    ];
    let shared = shared.map(|(name, description)| (name, description.to_owned()));
    let tags = domains.iter().map(of_domain).chain(shared);
    let tag = |(name, description)| json!({"name": name, "description": description});
    tags.map(tag).collect()
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
        component::<Activity>(),
        component::<Health>(),
        component::<Projections>(),
        component::<Parked>(),
        component::<Skipped>(),
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
    schemas.insert(
        "DryRunOfAnyDomain".to_owned(),
        dry_run(&json!({"anyOf": any_row})),
    );
    schemas.insert("EventOfAnyDomain".to_owned(), json!({"oneOf": any_event}));
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
    let tag = "The document's `x-foldlog.hash`, and behind it what is special to this server, in double quotes";
    let headers = [ETAG.with_description(tag), CACHE_CONTROL];
    let response = Response::new("An OpenAPI 3.1 document", &headers).json(&document);
    let unchanged = Response::new("The document has a tag in If-None-Match", &headers);
    Operation::new("openapi", "Get this document")
        .tag(SYSTEM_TAG)
        .parameter(openapi::header(
            "If-None-Match",
            "The `ETag` of an earlier response, or several",
            &json!({"type": "string"}),
        ))
        .response(StatusCode::OK, response)
        .response(StatusCode::NOT_MODIFIED, unchanged)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fails when the document is built for each request below a base path, or has the server of another one.
    #[test]
    fn the_document_is_built_once_for_each_base_path() {
        let documents = Documents::default();
        let built = std::cell::Cell::new(0);
        let read = |base_path: Option<&str>| {
            remembered(&documents, base_path.map(ToOwned::to_owned), |base_path| {
                built.set(built.get() + 1);
                Text::new(json!({"servers": [{"url": "/"}]}), false, base_path)
            })
        };
        for _ in 0..2 {
            assert_eq!(read(None).json, r#"{"servers":[{"url":"/"}]}"#);
            assert_eq!(read(Some("/v1")).json, r#"{"servers":[{"url":"/v1"}]}"#);
        }
        assert_eq!(built.get(), 2);
        for n in 0..2 * MAX_BASE_PATHS {
            read(Some(&format!("/{n}")));
        }
        assert_eq!(documents.lock().unwrap().len(), MAX_BASE_PATHS);
    }
}
