//! What a token says of its bearer, and how a gateway passes it on.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::token::Error;

/// Longer than any issuer's names: 255 characters are what `OpenID` Connect allows.
const SUBJECT: usize = 1024;

/// The claims that an API gateway's authorizer has verified. The host puts them into the request's extensions, from the
/// request context and from nowhere else.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayClaims(pub Map<String, Value>);

impl GatewayClaims {
    /// The claims in a request context of API Gateway: `authorizer.jwt.claims` in that of an HTTP API (payload 2.0),
    /// `authorizer.claims` in that of a REST API or payload 1.0. None where no JWT authorizer stands before the route.
    #[must_use]
    pub fn of_context(context: &Value) -> Option<Self> {
        let authorizer = context.get("authorizer")?;
        let claims = authorizer
            .pointer("/jwt/claims")
            .or_else(|| authorizer.get("claims"));
        claims.and_then(Value::as_object).cloned().map(Self)
    }
}

/// Who the caller is and what they may do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct Claims {
    /// `sub`.
    pub subject: String,
    scopes: BTreeSet<String>,
}

impl Claims {
    /// Reads the claims of a token that holds.
    pub(super) fn new(claims: &Map<String, Value>) -> Result<Self, Error> {
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // It is going to be stored, and Postgres stores no NUL.
        if subject.is_empty() || subject.len() > SUBJECT || subject.contains('\0') {
            return Err(Error::Subject);
        }
        let scopes = ["scope", "scp"]
            .into_iter()
            .filter_map(|name| claims.get(name));
        Ok(Self {
            subject: subject.to_owned(),
            scopes: scopes.flat_map(words).collect(),
        })
    }

    /// Whether the caller has this scope.
    pub(super) fn has(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }
}

/// The words of a claim that is an array, a list with spaces between, or an array that a gateway made a string of:
/// `[a b]`.
pub(super) fn words(claim: &Value) -> Vec<String> {
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

    /// Fails when the claims of one of the gateways are looked for in another place, or found where a caller writes.
    #[test]
    fn claims_come_from_the_authorizer_of_either_gateway() {
        let claims = json!({"sub": "ada", "scope": "users:read"});
        for context in [
            json!({"authorizer": {"jwt": {"claims": claims, "scopes": ["users:read"]}}}),
            json!({"authorizer": {"claims": claims}}),
        ] {
            let found = GatewayClaims::of_context(&context).unwrap();
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
            assert_eq!(GatewayClaims::of_context(&context), None, "{context}");
        }
    }

    /// Fails when a scope is missed in one of its spellings, or one is made up from the parts of others.
    #[test]
    fn scopes_are_read_in_every_spelling() {
        let both = ["a:read", "b:write"];
        for claims in [
            json!({"sub": "x", "scope": "a:read b:write"}),
            json!({"sub": "x", "scp": ["a:read", "b:write"]}),
            json!({"sub": "x", "scp": "a:read b:write"}),
            json!({"sub": "x", "scp": "[a:read b:write]"}),
            json!({"sub": "x", "scope": "a:read", "scp": ["b:write"]}),
        ] {
            let read = Claims::new(claims.as_object().unwrap()).unwrap();
            assert!(both.iter().all(|scope| read.has(scope)), "{claims}");
            assert!(!read.has("a:write") && !read.has("a:read b:write") && !read.has(""));
        }
        let none = json!({"sub": "x", "scope": {"a:read": true}, "scp": [["a:read"], 1]});
        assert!(
            !Claims::new(none.as_object().unwrap())
                .unwrap()
                .has("a:read")
        );
    }

    /// Fails when an event could be signed with no name, or with one that cannot be stored.
    #[test]
    fn a_subject_is_a_name() {
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
                Err(Error::Subject)
            );
        }
        assert_eq!(Claims::new(&Map::new()), Err(Error::Subject));
    }
}
