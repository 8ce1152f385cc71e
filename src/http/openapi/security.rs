//! Who may call what, by the same table as the door itself: [`needs`].

use axum::http::Method;
use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::schemas::Names;
use crate::http::auth::{Need, needs};

/// The name of the scheme.
pub(super) const SCHEME: &str = "token";

pub(super) fn scheme() -> SecurityScheme {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "a token with the scopes `{domain}:read` and `{domain}:write`",
        ));
    SecurityScheme::Http(bearer.build())
}

/// What a route asks of its caller.
pub(super) fn need(method: &HttpMethod, route: &str, domain: Option<&Names>) -> Need {
    let method = match method {
        HttpMethod::Get => Method::GET,
        _ => Method::POST,
    };
    needs(route, &method, domain.map(|names| names.path))
}

/// Adds it to an operation.
pub(super) fn ask(operation: OperationBuilder, need: &Need) -> OperationBuilder {
    let scopes: &[&str] = match need {
        Need::Nothing => return operation,
        Need::Scope(scope) => &[scope.as_str()],
        // Which ones depends on the body.
        Need::EachEvent | Need::Closed => &[],
    };
    operation.security(SecurityRequirement::new(SCHEME, scopes.iter().copied()))
}
