//! Who may call: `AUTH=jwt`. Authentication and the scopes of a path are one middleware around the routes, so that no
//! handler can forget them; a route that `needs` does not know is closed.
//!
//! The claims come from one of two places. A gateway with an authorizer has verified the token, and its word reaches us
//! in the request's context: the host puts it into the request as [`GatewayClaims`]. Without that the token itself is
//! verified. A header never counts as a gateway's word: anybody can send one.

mod claims;
mod jwks;
mod key;
mod token;

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use self::claims::Claims;
pub use self::claims::GatewayClaims;
pub use self::jwks::BadJwks;
pub use self::token::Verifier;
use super::AppState;
use super::problem::{Kind, Problem};
use crate::config;
use crate::event::NewEvent;

/// Who may call.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Everybody.
    #[default]
    None,
    /// Whoever a gateway vouches for, or whoever brings a token that is verified.
    Jwt(Arc<Verifier>),
}

impl Auth {
    /// What the configuration asks for. A file of keys is read now, a URL when the first token comes.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no key that can be used, or the URL is neither https nor of this machine.
    pub fn new(config: &config::AuthConfig) -> Result<Self, BadJwks> {
        match config {
            config::AuthConfig::None => Ok(Self::None),
            config::AuthConfig::Jwt {
                jwks,
                issuer,
                audience,
            } => {
                let verifier =
                    Verifier::new(jwks.as_deref(), issuer.as_deref(), audience.as_deref())?;
                Ok(Self::Jwt(Arc::new(verifier)))
            }
        }
    }

    /// Warns when everybody who can reach `place` may do everything.
    pub fn warn_if_open(&self, place: &str) {
        if matches!(self, Self::None) {
            tracing::warn!(
                "AUTH=none: everybody who can reach {place} may append and read; set AUTH=jwt, or let nobody reach it"
            );
        }
    }
}

/// Who called, once it is known.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Nobody asks: `AUTH=none`.
    Anybody,
    /// This subject, with these scopes.
    Known(Arc<Claims>),
}

/// What a route asks of its caller; `docs/API.md` lists it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing, not even a name.
    Nothing,
    /// This scope.
    Scope(String),
    /// The write scope of each domain in the body; the handler looks.
    EachEvent,
    /// More than anybody has.
    Closed,
}

pub(super) fn needs(route: &str, method: &Method, domain: Option<&str>) -> Need {
    let reads = method == Method::GET || method == Method::HEAD;
    match (route, domain) {
        ("/health" | "/openapi.json", _) if reads => Need::Nothing,
        ("/events", _) if reads => Need::Scope("feed:read".to_owned()),
        ("/events", _) => Need::EachEvent,
        (_, Some(domain)) if reads => Need::Scope(format!("{domain}:read")),
        (_, Some(domain)) => Need::Scope(write(domain)),
        _ => Need::Closed,
    }
}

fn write(domain: &str) -> String {
    format!("{domain}:write")
}

/// Lets a request pass to its route when its caller may, and tells the handler who it is.
pub(super) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match caller(&state, &mut parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn caller(state: &AppState, parts: &mut Parts) -> Result<Caller, Problem> {
    let Auth::Jwt(verifier) = &state.auth else {
        return Ok(Caller::Anybody);
    };
    let params = RawPathParams::from_request_parts(parts, state).await.ok();
    let domain = params.as_ref().and_then(|params| {
        let domain = params.iter().find(|(key, _)| *key == "domain");
        domain.map(|(_, name)| name)
    });
    let route = parts.extensions.get::<MatchedPath>();
    let need = needs(route.map_or("", MatchedPath::as_str), &parts.method, domain);
    if need == Need::Nothing {
        return Ok(Caller::Anybody);
    }
    let claims = match parts.extensions.get::<GatewayClaims>() {
        Some(gateway) => verifier.vouched(gateway),
        None => verifier.verify(bearer(&parts.headers)?).await,
    };
    let claims = claims.map_err(Problem::from)?;
    // A domain that does not exist is a 404 for whoever is known here, whatever their scopes.
    let exists = domain.is_none_or(|name| state.engine.domains.named(name).is_some());
    match need {
        Need::Scope(scope) if exists && !claims.has(&scope) => return Err(lacks(&scope)),
        Need::Closed => return Err(Problem::new(Kind::Forbidden, "nobody may use this route")),
        Need::Nothing | Need::Scope(_) | Need::EachEvent => {}
    }
    Ok(Caller::Known(Arc::new(claims)))
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| {
        let detail = "send a token: Authorization: Bearer …";
        Problem::new(Kind::Unauthorized, detail).challenge("Bearer".to_owned())
    })?;
    let bad = || Problem::from(token::Error::Malformed);
    if values.next().is_some() {
        return Err(bad());
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|v| v.split_once(' '))
        .ok_or_else(bad)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(bad())
    }
}

fn lacks(scope: &str) -> Problem {
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
    Problem::new(
        Kind::Forbidden,
        format!("the token lacks the scope {scope}"),
    )
    .challenge(challenge)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // A route outside the middleware is a mistake, and not an open door.
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(Problem::panicked)
    }
}

impl Caller {
    /// Writes the caller's name onto the events, as far as every one of their domains is the caller's to write to.
    pub(super) fn sign(
        &self,
        state: &AppState,
        events: &mut [NewEvent<Value>],
    ) -> Result<(), Problem> {
        let Self::Known(claims) = self else {
            return Ok(());
        };
        for (index, event) in events.iter_mut().enumerate() {
            // A type that is nobody's is refused later, with a better reason.
            if let Some(domain) = state.engine.domains.owning(event.type_id) {
                let scope = write(domain.name());
                if !claims.has(&scope) {
                    return Err(lacks(&scope).with("index", index));
                }
            }
            let actor = Value::String(claims.subject.clone());
            let named = event
                .metadata
                .0
                .entry("actor")
                .or_insert_with(|| actor.clone());
            if *named != actor {
                let detail =
                    "metadata.actor is who sends the event, as the token says; leave it out";
                return Err(Problem::new(Kind::Unprocessable, detail).with("index", index));
            }
        }
        Ok(())
    }
}

impl From<token::Error> for Problem {
    fn from(error: token::Error) -> Self {
        let detail = error.to_string();
        match error {
            token::Error::NoKeys => Self::new(Kind::Unavailable, detail)
                .retry_after(5)
                .because(error),
            token::Error::Malformed
            | token::Error::Algorithm
            | token::Error::UnknownKey
            | token::Error::Signature
            | token::Error::Claims
            | token::Error::Subject
            | token::Error::Expired
            | token::Error::Early
            | token::Error::Issuer
            | token::Error::Audience
            | token::Error::NoVerifier => {
                let challenge = "Bearer error=\"invalid_token\"".to_owned();
                Self::new(Kind::Unauthorized, detail)
                    .challenge(challenge)
                    .because(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a route that nobody thought of is open, or a method that is not a read passes for one.
    #[test]
    fn every_route_needs_what_the_documents_say() {
        let scope = |name: &str| Need::Scope(name.to_owned());
        for (route, method, domain, need) in [
            ("/health", Method::GET, None, Need::Nothing),
            ("/health", Method::POST, None, Need::Closed),
            ("/openapi.json", Method::HEAD, None, Need::Nothing),
            ("/events", Method::GET, None, scope("feed:read")),
            ("/events", Method::POST, None, Need::EachEvent),
            ("/{domain}", Method::GET, Some("users"), scope("users:read")),
            (
                "/{domain}",
                Method::POST,
                Some("users"),
                scope("users:write"),
            ),
            (
                "/{domain}/{id}",
                Method::HEAD,
                Some("users"),
                scope("users:read"),
            ),
            (
                "/{domain}/{id}/revert",
                Method::POST,
                Some("users"),
                scope("users:write"),
            ),
            (
                "/{domain}/{id}",
                Method::DELETE,
                Some("users"),
                scope("users:write"),
            ),
            ("/admin", Method::GET, None, Need::Closed),
            ("", Method::GET, None, Need::Closed),
        ] {
            assert_eq!(needs(route, &method, domain), need, "{method} {route}");
        }
    }
}
