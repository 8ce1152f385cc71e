//! Builds the JSON of an operation: parameters, body, responses, problems and security.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::schemas::{DomainSchemas, reference};
use super::shared_parts::SharedParts;
use crate::http::problem::Kind;

/// A header of a response.
#[derive(Clone, Copy)]
pub(in crate::http) struct Header {
    name: &'static str,
    description: &'static str,
    is_required: bool,
    /// Whether all responses with this header describe it alike, so that they refer to one description.
    is_shared: bool,
}

pub(in crate::http) const ETAG: Header = Header {
    name: "ETag",
    description: "The version, in double quotes",
    is_required: true,
    is_shared: true,
};
pub(in crate::http) const CACHE_CONTROL: Header = Header {
    name: "Cache-Control",
    description: "`no-cache`: the response may be stored, but must be revalidated before each use",
    is_required: true,
    is_shared: true,
};
const REQUEST_ID: Header = Header {
    name: "X-Request-Id",
    description: "The id of the request: the client's, or a new one",
    is_required: true,
    is_shared: true,
};
const RETRY_AFTER: Header = Header {
    name: "Retry-After",
    description: "How many seconds to wait before the request is sent again",
    is_required: true,
    is_shared: true,
};
const ACCEPT_ENCODING: Header = Header {
    name: "Accept-Encoding",
    description: "If the body was compressed: `identity`, the only content coding that is accepted",
    is_required: false,
    is_shared: true,
};
const WWW_AUTHENTICATE: Header = Header {
    name: "WWW-Authenticate",
    description: "What the request lacks (RFC 6750)",
    is_required: true,
    is_shared: true,
};

/// Every operation can fail in these ways.
const COMMON_PROBLEMS: [Kind; 3] = [Kind::ResponseTooLarge, Kind::Internal, Kind::TimedOut];
/// Operations that need a token can fail in these ways, too.
const AUTH_PROBLEMS: [Kind; 2] = [Kind::Unauthorized, Kind::Forbidden];

impl Header {
    /// The same header, which not every response of this operation has.
    pub(in crate::http) const fn optional(self, description: &'static str) -> Self {
        Self {
            is_required: false,
            ..self.with_description(description)
        }
    }

    /// The same header, whose value is another one in this operation.
    pub(in crate::http) const fn with_description(self, description: &'static str) -> Self {
        Self {
            description,
            is_shared: false,
            ..self
        }
    }

    fn into_json(self) -> Value {
        let schema = if self.name == RETRY_AFTER.name {
            json!({"type": "integer", "minimum": 1})
        } else {
            json!({"type": "string"})
        };
        json!({"description": self.description, "required": self.is_required, "schema": schema})
    }
}

/// A response with a status below 400.
pub(in crate::http) struct Response {
    json: Map<String, Value>,
    headers: Vec<Header>,
}

impl Response {
    pub(in crate::http) fn new(description: &str, headers: &[Header]) -> Self {
        let mut json = Map::new();
        json.insert("description".to_owned(), description.into());
        let headers = headers.iter().chain([&REQUEST_ID]).copied().collect();
        Self { json, headers }
    }

    /// Adds a JSON body.
    pub(in crate::http) fn json(self, schema: &Value) -> Self {
        self.content("application/json", schema)
    }

    fn content(mut self, media_type: &str, schema: &Value) -> Self {
        let content = json!({media_type: {"schema": schema}});
        self.json.insert("content".to_owned(), content);
        self
    }

    /// Adds a link to another operation, whose parameters are taken from this response.
    pub(in crate::http) fn link(mut self, name: &str, operation: &str, parameters: &Value) -> Self {
        let link = json!({name: {"operationId": operation, "parameters": parameters}});
        self.json.insert("links".to_owned(), link);
        self
    }

    fn into_json(mut self, shared: &mut SharedParts) -> Value {
        let mut describe = |header: Header| {
            let json = header.into_json();
            let json = if header.is_shared {
                shared.header(header.name, json)
            } else {
                json
            };
            (header.name.to_owned(), json)
        };
        let headers: Map<String, Value> = self.headers.into_iter().map(&mut describe).collect();
        self.json.insert("headers".to_owned(), headers.into());
        self.json.into()
    }
}

/// A parameter of one operation, or one that others refer to by this name as well.
struct Parameter {
    name: Option<&'static str>,
    json: Value,
}

/// One method of one path.
pub(in crate::http) struct Operation {
    json: Map<String, Value>,
    parameters: Vec<Parameter>,
    responses: Vec<(StatusCode, Response)>,
    problems: Vec<Kind>,
    /// The domain whose rules [`Kind::RuleBroken`] is about, and its schema; `None`: those of all domains.
    broken_rule: Option<(&'static str, Value)>,
}

impl Operation {
    pub(in crate::http) fn new(id: &str, summary: &str) -> Self {
        let mut json = Map::new();
        json.insert("operationId".to_owned(), id.into());
        json.insert("summary".to_owned(), summary.into());
        Self {
            json,
            parameters: Vec::new(),
            responses: Vec::new(),
            problems: COMMON_PROBLEMS.to_vec(),
            broken_rule: None,
        }
    }

    pub(in crate::http) fn tag(mut self, tag: &str) -> Self {
        self.json.insert("tags".to_owned(), json!([tag]));
        self
    }

    pub(in crate::http) fn parameter(mut self, json: Value) -> Self {
        self.parameters.push(Parameter { name: None, json });
        self
    }

    /// Adds a parameter that several operations have. `name` is its name in the document's components.
    pub(in crate::http) fn shared_parameter(mut self, name: &'static str, json: Value) -> Self {
        let name = Some(name);
        self.parameters.push(Parameter { name, json });
        self
    }

    /// Adds the parameter `id` of the path.
    pub(in crate::http) fn aggregate_id(self) -> Self {
        let id = path("id", "The id of the aggregate", &reference("AggregateId"));
        self.shared_parameter("IdOfAggregate", id)
    }

    pub(in crate::http) fn body(mut self, description: &str, schema: &Value) -> Self {
        let body = json!({
            "description": description,
            "required": true,
            "content": {"application/json": {"schema": schema}},
        });
        self.json.insert("requestBody".to_owned(), body);
        self
    }

    pub(in crate::http) fn response(mut self, status: StatusCode, response: Response) -> Self {
        self.responses.push((status, response));
        self
    }

    pub(in crate::http) fn problems(mut self, kinds: &[Kind]) -> Self {
        self.problems.extend(kinds);
        self
    }

    /// Makes the problem of a broken rule one that names the rules of this domain.
    pub(in crate::http) fn rules_of(mut self, domain: &DomainSchemas) -> Self {
        self.broken_rule = Some((domain.name, domain.reference("broken_rule")));
        self
    }

    /// Requires a token, with these scopes.
    pub(in crate::http) fn secured(mut self, scheme: &str, scopes: &[String]) -> Self {
        self.json
            .insert("security".to_owned(), json!([{scheme: scopes}]));
        self.problems(&AUTH_PROBLEMS)
    }

    pub(in crate::http) fn into_json(mut self, shared: &mut SharedParts) -> Value {
        let mut refer = |parameter: Parameter| match parameter.name {
            Some(name) => shared.parameter(name, parameter.json),
            None => parameter.json,
        };
        let parameters: Vec<Value> = self.parameters.into_iter().map(&mut refer).collect();
        let mut responses = Map::new();
        for (status, response) in self.responses {
            responses.insert(status.as_str().to_owned(), response.into_json(shared));
        }
        self.problems.sort_by_key(|kind| kind.status());
        for kinds in self.problems.chunk_by(|a, b| a.status() == b.status()) {
            let (name, response) = problem_response(kinds, self.broken_rule.as_ref());
            let response = response.into_json(shared);
            let status = kinds[0].status().as_str().to_owned();
            responses.insert(status, shared.response(&name, response));
        }
        self.json.insert("parameters".to_owned(), parameters.into());
        self.json.insert("responses".to_owned(), responses.into());
        self.json.into()
    }
}

/// The response for all kinds of problems with one status, and its name in the document's components.
fn problem_response(
    kinds: &[Kind],
    broken_rule: Option<&(&'static str, Value)>,
) -> (String, Response) {
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
    let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
    let mut name = names.join("Or");
    let mut schemas = Vec::new();
    for kind in kinds {
        schemas.push(match broken_rule {
            Some((domain, schema)) if *kind == Kind::RuleBroken => {
                name.insert_str(0, &format!("{domain}."));
                schema.clone()
            }
            _ => reference(&kind.schema_name()),
        });
    }
    let schema = match schemas.len() {
        1 => schemas.remove(0),
        _ => json!({"oneOf": schemas}),
    };
    let headers: &[Header] = match kinds[0].status() {
        StatusCode::SERVICE_UNAVAILABLE => &[RETRY_AFTER],
        StatusCode::UNSUPPORTED_MEDIA_TYPE => &[ACCEPT_ENCODING],
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => &[WWW_AUTHENTICATE],
        _ => &[],
    };
    let response = Response::new(&titles.join("; "), headers);
    (name, response.content("application/problem+json", &schema))
}

/// A parameter in the path.
pub(in crate::http) fn path(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
}

/// An optional parameter in the query string.
pub(in crate::http) fn query(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

/// An optional header of the request.
pub(in crate::http) fn header(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "header", "description": description, "schema": schema})
}
