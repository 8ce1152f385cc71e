//! The parts of the document that several operations have in common: headers, parameters, and the responses with problems.
//! Each is described once and referred to.

use serde_json::{Map, Value, json};

/// What operations refer to in `components`, beside schemas.
#[derive(Default)]
pub(in crate::http) struct SharedParts {
    headers: Map<String, Value>,
    parameters: Map<String, Value>,
    responses: Map<String, Value>,
}

impl SharedParts {
    pub(super) fn header(&mut self, name: &str, header: Value) -> Value {
        refer("headers", &mut self.headers, name, header)
    }

    pub(super) fn parameter(&mut self, name: &str, parameter: Value) -> Value {
        refer("parameters", &mut self.parameters, name, parameter)
    }

    pub(super) fn response(&mut self, name: &str, response: Value) -> Value {
        refer("responses", &mut self.responses, name, response)
    }

    /// The members of the document's `components`.
    pub(in crate::http) fn into_components(self) -> Map<String, Value> {
        let mut components = Map::new();
        components.insert("responses".to_owned(), self.responses.into());
        components.insert("parameters".to_owned(), self.parameters.into());
        components.insert("headers".to_owned(), self.headers.into());
        components
    }
}

/// Stores a part, and answers a reference to it.
fn refer(kind: &str, parts: &mut Map<String, Value>, name: &str, part: Value) -> Value {
    let other = parts.insert(name.to_owned(), part);
    debug_assert!(
        other.is_none_or(|other| other == parts[name]),
        "two {kind} are called {name}"
    );
    json!({"$ref": format!("#/components/{kind}/{name}")})
}
