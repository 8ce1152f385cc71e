//! Authentication and authorization with `AUTH=jwt`. Both are one middleware around every route, so that a handler
//! cannot forget them; the table of `src/http/routes/mod.rs` says what each route requires.
//!
//! The claims come from one of two sources. Where an API gateway has a JWT authorizer, the gateway has verified the token
//! and passes the claims in the request context; the host puts them into the request as [`GatewayClaims`]. Otherwise the
//! bearer token is verified here. Headers never count as a gateway's claims: any client can send them.

mod claims;
mod error;
mod fetches;
mod jwks;
mod key;
mod verifier;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use self::claims::Claims;
pub use self::claims::GatewayClaims;
use self::error::TokenError;
pub use self::jwks::JwksError;
pub use self::verifier::Verifier;
use super::AppState;
use super::problem::{Kind, Problem};
use crate::config;
use crate::event::{Metadata, UntypedEvent};

/// How callers are authenticated.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Not at all: every caller may append and read.
    #[default]
    None,
    /// By the claims of an API gateway or by a bearer token.
    Jwt(Arc<Verifier>),
}

impl Auth {
    /// Authentication as configured. A JWKS file is read now, a JWKS URL when the first token arrives.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has no usable key, or the URL is neither https nor on this machine.
    pub fn new(config: &config::AuthConfig) -> Result<Self, JwksError> {
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

    /// Logs a warning if `address` serves every caller without authentication.
    pub fn warn_if_open(&self, address: &str) {
        if matches!(self, Self::None) {
            tracing::warn!(
                "AUTH=none: every client that can reach {address} may append and read; set AUTH=jwt or restrict network access"
            );
        }
    }
}

/// What a route requires of its caller; `docs/API.md` lists it for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing: no token is needed.
    Public,
    /// The scope `{domain}:read`.
    Read,
    /// The scope `{domain}:write`. A dry run, whose answer shows states, requires `{domain}:read`, too;
    /// [`Caller::check_read`] checks that.
    Write,
    /// The scopes `{domain}:read` and `{domain}:write`: the answer shows values that the caller did not send.
    ReadWrite,
    /// The scope `{domain}:read` of the domain in the parameter `domain`, or of every served domain without it.
    ReadEach,
    /// The scope `{domain}:read` of every served domain.
    ReadAll,
    /// The scope `{domain}:write` of every domain in the body. [`Caller::sign`] checks it, once the body is read. For a dry run
    /// `{domain}:read`, too.
    WriteEach,
    /// The scope `operate`.
    Operate,
}

impl Access {
    /// The scopes that this route of `domain` requires; none for routes whose scopes depend on the request or on the served domains.
    pub(super) fn scopes(self, domain: &str) -> Vec<String> {
        match self {
            Self::Public | Self::ReadEach | Self::ReadAll | Self::WriteEach => vec![],
            Self::Read => vec![read_scope(domain)],
            Self::Write => vec![write_scope(domain)],
            Self::ReadWrite => vec![read_scope(domain), write_scope(domain)],
            Self::Operate => vec!["operate".to_owned()],
        }
    }
}

fn read_scope(domain: &str) -> String {
    format!("{domain}:read")
}

fn write_scope(domain: &str) -> String {
    format!("{domain}:write")
}

/// The authenticated caller of a request.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// The route or the configuration requires no authentication.
    Anonymous,
    /// The caller has these claims.
    Authenticated(Arc<Claims>),
}

/// Passes a request on to its route if the caller has access, and gives the handler the [`Caller`].
pub(super) async fn authorize(
    State((state, access)): State<(AppState, Access)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match authenticate(&state, access, &mut parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn authenticate(
    state: &AppState,
    access: Access,
    parts: &mut Parts,
) -> Result<Caller, Problem> {
    let Auth::Jwt(verifier) = &state.auth else {
        return Ok(Caller::Anonymous);
    };
    if access == Access::Public {
        return Ok(Caller::Anonymous);
    }
    let claims = match parts.extensions.get::<GatewayClaims>() {
        Some(gateway) => verifier.gateway_verified(gateway),
        None => verifier.verify(bearer_token(&parts.headers)?).await,
    };
    let claims = claims.map_err(Problem::from)?;
    let params = RawPathParams::from_request_parts(parts, state).await.ok();
    let domain = params
        .iter()
        .flatten()
        .find(|(key, _)| *key == "domain")
        .map_or("", |(_, name)| name);
    let wanted = match access {
        Access::ReadEach => Some(domains_in_query(&parts.uri)),
        Access::ReadAll => Some(vec![]),
        _ => None,
    };
    if let Some(wanted) = wanted {
        let unread = domains_read(state, &wanted)
            .map(read_scope)
            .find(|scope| !claims.has_scope(scope));
        if let Some(scope) = unread {
            return Err(insufficient_scope(&scope));
        }
    }
    // An unknown domain is a 404 for every authenticated caller: its scope cannot exist.
    if access == Access::Operate || state.foldlog.named(domain).is_some() {
        let scopes = access.scopes(domain);
        if let Some(scope) = scopes.iter().find(|scope| !claims.has_scope(scope)) {
            return Err(insufficient_scope(scope));
        }
    }
    Ok(Caller::Authenticated(Arc::new(claims)))
}

/// The values of the parameter `domain`.
fn domains_in_query(uri: &Uri) -> Vec<String> {
    let params = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(params)| params);
    params
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| (name == "domain").then_some(value))
        .collect()
}

/// The served domains that are among `wanted`, or all of them if it is empty.
fn domains_read<'a>(state: &'a AppState, wanted: &[String]) -> impl Iterator<Item = &'a str> {
    let served = state.foldlog.served.iter();
    served
        .map(|served| served.domain.name())
        .filter(move |name| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| {
        let detail = "this route requires authentication; send `Authorization: Bearer <JWT>`";
        Problem::new(Kind::Unauthorized, detail).challenge("Bearer".to_owned())
    })?;
    let malformed = || Problem::from(TokenError::Malformed);
    if values.next().is_some() {
        return Err(malformed());
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|v| v.split_once(' '))
        .ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(malformed())
    }
}

/// Checks a scope of the domain of an event with this index. A type that belongs to no domain is rejected later, as unprocessable.
fn check_scope(
    state: &AppState,
    claims: &Claims,
    scope_of: fn(&str) -> String,
    (index, event): (usize, &UntypedEvent),
) -> Result<(), Problem> {
    let served = state.foldlog.owning(event.type_id);
    let scope = served.map(|served| scope_of(served.domain.name()));
    match scope.filter(|scope| !claims.has_scope(scope)) {
        Some(scope) => Err(insufficient_scope(&scope).with_member("index", index)),
        None => Ok(()),
    }
}

fn insufficient_scope(scope: &str) -> Problem {
    let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
    Problem::new(
        Kind::Forbidden,
        format!("the token does not have the required scope {scope}"),
    )
    .challenge(challenge)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Without `authorize` around it, a route answers 500 instead of serving unauthenticated callers.
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(Problem::internal)
    }
}

impl Caller {
    /// Sets `metadata.actor` of each event to the caller's subject, after checking the write scope of the event's domain.
    pub(super) fn sign(
        &self,
        state: &AppState,
        events: &mut [UntypedEvent],
    ) -> Result<(), Problem> {
        let Self::Authenticated(claims) = self else {
            return Ok(());
        };
        for (index, event) in events.iter_mut().enumerate() {
            check_scope(state, claims, write_scope, (index, event))?;
            self.sign_metadata(&mut event.metadata)
                .map_err(|problem| problem.with_member("index", index))?;
        }
        Ok(())
    }

    /// Checks the read scope of each event's domain: the answer to a dry run shows rows.
    pub(super) fn check_read(
        &self,
        state: &AppState,
        events: &[UntypedEvent],
    ) -> Result<(), Problem> {
        let Self::Authenticated(claims) = self else {
            return Ok(());
        };
        let mut events = events.iter().enumerate();
        events.try_for_each(|event| check_scope(state, claims, read_scope, event))
    }

    /// Sets `skip.actor` of an operator's payload to the caller's subject.
    pub(super) fn sign_verb(&self, mut payload: Value) -> Result<Value, Problem> {
        let Self::Authenticated(claims) = self else {
            return Ok(payload);
        };
        if let Some(Value::Object(skip)) = payload.get_mut("skip") {
            let subject = Value::from(claims.subject.clone());
            if skip.get("actor").is_some_and(|actor| *actor != subject) {
                let detail =
                    "skip.actor must be the subject of the token; leave it out, the server sets it";
                return Err(Problem::new(Kind::Malformed, detail));
            }
            skip.insert("actor".to_owned(), subject);
        }
        Ok(payload)
    }

    /// Sets `actor` to the caller's subject.
    pub(super) fn sign_metadata(&self, metadata: &mut Metadata) -> Result<(), Problem> {
        let Self::Authenticated(claims) = self else {
            return Ok(());
        };
        let actor = metadata.get("actor").map(|json| {
            let text: Result<String, _> = serde_json::from_str(json.get());
            text.is_ok_and(|text| text == claims.subject)
        });
        match actor {
            Some(true) => Ok(()),
            Some(false) => {
                let detail = "metadata.actor must be the subject of the token; leave it out, the server sets it";
                let problem = Problem::new(Kind::Unprocessable, detail);
                Err(problem.with_member("pointer", "/metadata/actor"))
            }
            None => metadata
                .insert("actor", &claims.subject)
                .map_err(|error| Problem::internal().because(error)),
        }
    }
}
