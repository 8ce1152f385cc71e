//! `GET /{domain}/{id}/blame`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::NO_CACHE;
use super::get::{describe_past, parse_past};
use crate::http::AppState;
use crate::http::etag::etag;
use crate::http::extract::{DomainPath, IdPath, Params};
use crate::http::openapi::{
    CACHE_CONTROL, DomainSchemas, ETAG, Operation, Response as OpenApiResponse, recorded, reference,
};
use crate::http::problem::{Kind, Problem};
use crate::query::{self, Moment};

/// The event that last set each field of a row.
pub(in crate::http) async fn blame(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    IdPath(id): IdPath,
    mut params: Params,
) -> Result<Response, Problem> {
    let moment = parse_past(&mut params)?.unwrap_or(Moment::Newest);
    params.reject_unknown()?;
    let blamed = query::blame(&state.foldlog, &served.view, id, moment).await?;
    let etag = (header::ETAG, etag(blamed.version));
    Ok(([etag, NO_CACHE], Json(blamed)).into_response())
}

/// The schema of the response.
pub(super) fn schema() -> Value {
    let mut field = recorded::setter();
    field["value"] = json!({});
    recorded::object(json!({
        "id": reference("AggregateId"),
        "version": reference("Version"),
        "fields": {"type": "object", "additionalProperties": recorded::object(field)},
    }))
}

/// Describes the route.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let response = OpenApiResponse::new("The fields of the row", &[ETAG, CACHE_CONTROL]);
    let operation = Operation::new(
        &format!("blame_{name}"),
        &format!("Find the event that last set each field of one of {name}"),
    )
    .tag(name)
    .aggregate_id();
    describe_past(operation)
        .response(StatusCode::OK, response.json(&reference("Blame")))
        .problems(&[
            Kind::Malformed,
            Kind::NotFound,
            Kind::Deleted,
            Kind::Unavailable,
        ])
}
