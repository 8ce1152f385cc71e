//! The security scheme of the document, and what each operation requires.

use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::schemas::Names;
use crate::http::auth::Access;

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

/// Adds the scope that an operation requires.
pub(super) fn ask(
    operation: OperationBuilder,
    access: Access,
    domain: Option<&Names>,
) -> OperationBuilder {
    let scope = domain.and_then(|names| access.scope(names.path));
    operation.security(SecurityRequirement::new(SCHEME, scope))
}
