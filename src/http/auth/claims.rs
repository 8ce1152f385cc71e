//! The claims of a caller: from a verified token, or from an API gateway that verified it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::TokenError;

/// `OpenID` Connect limits a subject to 255 characters; other issuers may use more.
const MAX_SUBJECT_BYTES: usize = 1024;

/// The claims that an API gateway's authorizer has verified. The host takes them from the request context, never from a
/// header, and puts them into the request's extensions.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayClaims(pub Map<String, Value>);

impl GatewayClaims {
    /// Reads the claims from a request context of API Gateway: `authorizer.jwt.claims` for an HTTP API (payload 2.0),
    /// `authorizer.claims` for a REST API or payload 1.0. `None` when the route has no JWT authorizer.
    #[must_use]
    pub fn from_context(context: &Value) -> Option<Self> {
        let authorizer = context.get("authorizer")?;
        let claims = authorizer
            .pointer("/jwt/claims")
            .or_else(|| authorizer.get("claims"));
        claims.and_then(Value::as_object).cloned().map(Self)
    }
}

/// The caller's subject and scopes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct Claims {
    /// `sub`.
    pub subject: String,
    scopes: BTreeSet<String>,
}

impl Claims {
    /// Reads the claims of a verified token.
    pub(super) fn new(claims: &Map<String, Value>) -> Result<Self, TokenError> {
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // The subject becomes `metadata.actor` of stored events, and Postgres cannot store NUL in jsonb.
        if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || subject.contains('\0') {
            return Err(TokenError::Subject);
        }
        let scopes = ["scope", "scp"]
            .into_iter()
            .filter_map(|name| claims.get(name));
        Ok(Self {
            subject: subject.to_owned(),
            scopes: scopes.flat_map(split_list).collect(),
        })
    }

    /// Whether the token grants this scope.
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }
}

/// Splits a claim that is a JSON array, a space-separated list, or an array that API Gateway flattened to the text
/// `[a b]`.
pub(super) fn split_list(claim: &Value) -> Vec<String> {
    match claim {
        Value::String(text) => {
            let array = text
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'));
            let words = array.unwrap_or(text).split_whitespace();
            words.map(ToOwned::to_owned).collect()
        }
        Value::Array(items) => {
            let words = items.iter().filter_map(Value::as_str);
            words.map(ToOwned::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Fails when the claims of one gateway type are not found, or are read from a place that a caller controls.
    #[test]
    fn gateway_claims_are_read_from_the_authorizer_of_http_and_rest_apis() {
        let claims = json!({"sub": "ada", "scope": "users:read"});
        for context in [
            json!({"authorizer": {"jwt": {"claims": claims, "scopes": ["users:read"]}}}),
            json!({"authorizer": {"claims": claims}}),
        ] {
            let found = GatewayClaims::from_context(&context).unwrap();
            assert_eq!(Value::Object(found.0), claims);
        }
        for context in [
            json!({}),
            json!({"authorizer": null}),
            json!({"authorizer": {"claims": "sub=ada"}}),
            json!({"authorizer": {"lambda": {"claims": claims, "jwt": {"claims": claims}}}}),
            json!({"authorizer": {"iam": {"userId": "ada"}}}),
            json!({"elb": {"targetGroupArn": "x"}, "claims": claims}),
            json!({"http": {"headers": {"authorizer": {"claims": claims}}}}),
        ] {
            assert_eq!(GatewayClaims::from_context(&context), None, "{context}");
        }
    }

    /// Fails when a spelling of the scope claim is not read, or when parts of several scopes combine to another one.
    #[test]
    fn scope_and_scp_claims_are_read_in_every_spelling() {
        let both = ["a:read", "b:write"];
        for claims in [
            json!({"sub": "x", "scope": "a:read b:write"}),
            json!({"sub": "x", "scp": ["a:read", "b:write"]}),
            json!({"sub": "x", "scp": "a:read b:write"}),
            json!({"sub": "x", "scp": "[a:read b:write]"}),
            json!({"sub": "x", "scope": "a:read", "scp": ["b:write"]}),
        ] {
            let read = Claims::new(claims.as_object().unwrap()).unwrap();
            assert!(both.iter().all(|scope| read.has_scope(scope)), "{claims}");
            for scope in ["a:write", "a:read b:write", ""] {
                assert!(!read.has_scope(scope), "{claims}");
            }
        }
        let none = json!({"sub": "x", "scope": {"a:read": true}, "scp": [["a:read"], 1]});
        let read = Claims::new(none.as_object().unwrap()).unwrap();
        assert!(!read.has_scope("a:read"));
    }

    /// Fails when a missing subject, or one that Postgres cannot store, would become an event's actor.
    #[test]
    fn a_subject_that_is_missing_or_cannot_be_stored_is_rejected() {
        for sub in [
            json!(""),
            json!(null),
            json!(7),
            json!("a\0"),
            json!("a".repeat(1025)),
        ] {
            let claims = json!({"sub": sub});
            assert_eq!(
                Claims::new(claims.as_object().unwrap()),
                Err(TokenError::Subject)
            );
        }
        assert_eq!(Claims::new(&Map::new()), Err(TokenError::Subject));
    }
}
