//! Builds the JSON of an operation: parameters, body, responses, problems and security.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::schemas::reference;
use crate::http::problem::Kind;

/// A header of a response.
#[derive(Clone, Copy)]
pub(in crate::http) struct Header {
    name: &'static str,
    description: &'static str,
    is_required: bool,
}

pub(in crate::http) const ETAG: Header = Header {
    name: "ETag",
    description: "The version, in double quotes",
    is_required: true,
};
pub(in crate::http) const CACHE_CONTROL: Header = Header {
    name: "Cache-Control",
    description: "`no-cache`: the response may be stored, but must be revalidated before each use",
    is_required: true,
};
const REQUEST_ID: Header = Header {
    name: "X-Request-Id",
    description: "The id of the request: the client's, or a new one",
    is_required: true,
};
const RETRY_AFTER: Header = Header {
    name: "Retry-After",
    description: "How many seconds to wait before the request is sent again",
    is_required: true,
};
const ACCEPT_ENCODING: Header = Header {
    name: "Accept-Encoding",
    description: "If the body was compressed: `identity`, the only content coding that is accepted",
    is_required: false,
};
const WWW_AUTHENTICATE: Header = Header {
    name: "WWW-Authenticate",
    description: "What the request lacks (RFC 6750)",
    is_required: true,
};

/// Every operation can fail in these ways.
const COMMON_PROBLEMS: [Kind; 3] = [Kind::ResponseTooLarge, Kind::Internal, Kind::TimedOut];
/// Operations that need a token can fail in these ways, too.
const AUTH_PROBLEMS: [Kind; 2] = [Kind::Unauthorized, Kind::Forbidden];

impl Header {
    /// The same header, which not every response of this operation has.
    pub(in crate::http) const fn optional(self, description: &'static str) -> Self {
        Self {
            description,
            is_required: false,
            ..self
        }
    }
}

/// A response with a status below 400.
pub(in crate::http) struct Response(Map<String, Value>);

impl Response {
    pub(in crate::http) fn new(description: &str, headers: &[Header]) -> Self {
        let headers: Map<String, Value> = headers
            .iter()
            .chain([&REQUEST_ID])
            .map(|header| {
                let schema = if header.name == RETRY_AFTER.name {
                    json!({"type": "integer", "minimum": 1})
                } else {
                    json!({"type": "string"})
                };
                let description = header.description;
                let required = header.is_required;
                let header_json =
                    json!({"description": description, "required": required, "schema": schema});
                (header.name.to_owned(), header_json)
            })
            .collect();
        let mut response = Map::new();
        response.insert("description".to_owned(), description.into());
        response.insert("headers".to_owned(), headers.into());
        Self(response)
    }

    /// Adds a JSON body.
    pub(in crate::http) fn json(self, schema: &Value) -> Self {
        self.content("application/json", schema)
    }

    fn content(mut self, media_type: &str, schema: &Value) -> Self {
        let content = json!({media_type: {"schema": schema}});
        self.0.insert("content".to_owned(), content);
        self
    }

    /// Adds a link to another operation, whose parameters are taken from this response.
    pub(in crate::http) fn link(mut self, name: &str, operation: &str, parameters: &Value) -> Self {
        let link = json!({name: {"operationId": operation, "parameters": parameters}});
        self.0.insert("links".to_owned(), link);
        self
    }
}

/// One method of one path.
pub(in crate::http) struct Operation {
    json: Map<String, Value>,
    parameters: Vec<Value>,
    responses: Map<String, Value>,
    problems: Vec<Kind>,
    /// The schema of [`Kind::RuleBroken`], if it is another one than the shared.
    rule_broken: Option<Value>,
}

impl Operation {
    pub(in crate::http) fn new(id: &str, summary: &str) -> Self {
        let mut json = Map::new();
        json.insert("operationId".to_owned(), id.into());
        json.insert("summary".to_owned(), summary.into());
        Self {
            json,
            parameters: Vec::new(),
            responses: Map::new(),
            problems: COMMON_PROBLEMS.to_vec(),
            rule_broken: None,
        }
    }

    pub(in crate::http) fn tag(mut self, tag: &str) -> Self {
        self.json.insert("tags".to_owned(), json!([tag]));
        self
    }

    pub(in crate::http) fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
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
        self.responses
            .insert(status.as_str().to_owned(), response.0.into());
        self
    }

    pub(in crate::http) fn problems(mut self, kinds: &[Kind]) -> Self {
        self.problems.extend(kinds);
        self
    }

    /// The schema of the problem that a broken rule causes.
    pub(in crate::http) fn rule_broken(mut self, schema: Value) -> Self {
        self.rule_broken = Some(schema);
        self
    }

    /// Requires a token, with these scopes.
    pub(in crate::http) fn secured(mut self, scheme: &str, scopes: &[String]) -> Self {
        self.json
            .insert("security".to_owned(), json!([{scheme: scopes}]));
        self.problems(&AUTH_PROBLEMS)
    }

    pub(in crate::http) fn into_json(mut self) -> Value {
        self.problems.sort_by_key(|kind| kind.status());
        for kinds in self.problems.chunk_by(|a, b| a.status() == b.status()) {
            let status = kinds[0].status().as_str().to_owned();
            let response = problem_response(kinds, self.rule_broken.as_ref());
            self.responses.insert(status, response);
        }
        self.json
            .insert("parameters".to_owned(), self.parameters.into());
        self.json
            .insert("responses".to_owned(), self.responses.into());
        self.json.into()
    }
}

/// The response for all kinds of problems with one status.
fn problem_response(kinds: &[Kind], rule_broken: Option<&Value>) -> Value {
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
    let mut schemas: Vec<Value> = kinds
        .iter()
        .map(|kind| match (kind, rule_broken) {
            (Kind::RuleBroken, Some(schema)) => schema.clone(),
            _ => reference(&kind.schema_name()),
        })
        .collect();
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
    response
        .content("application/problem+json", &schema)
        .0
        .into()
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
