//! `GET /{domain}/{id}/explain`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::NO_CACHE;
use super::history::revision;
use crate::http::AppState;
use crate::http::extract::{DomainPath, IdPath, Params};
use crate::http::openapi::{
    CACHE_CONTROL, DomainSchemas, Operation, Response as OpenApiResponse, recorded, reference,
};
use crate::http::problem::{Kind, Problem};
use crate::query;

/// Which events made the row of an aggregate, and which wait.
pub(in crate::http) async fn explain(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    IdPath(id): IdPath,
    params: Params,
) -> Result<Response, Problem> {
    params.reject_unknown()?;
    let explanation = query::explain(&state.foldlog, &served.view, id).await?;
    Ok(([NO_CACHE], Json(explanation)).into_response())
}

/// The schema of the response.
pub(super) fn schema() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    let ranges = json!({
        "description": "The first and the last version of each range; at most the newest hundred ranges",
        "type": "array",
        "items": {"type": "array", "items": reference("Version"), "minItems": 2},
    });
    let optional_time = recorded::nullable(&recorded::time());
    let parked = recorded::object(json!({
        "event_id": reference("EventId"),
        "version": reference("Version"),
        "class": {"description": "What kind of failure it is", "type": "string"},
        "attempts": {"type": "integer", "minimum": 1},
        "parked_at": recorded::time(),
        "next_try": optional_time,
        "foldable": {
            "description": "Whether this build can fold the event: then the database rejects the row, or the next try succeeds",
            "type": "boolean",
        },
    }));
    let mut event = recorded::setter();
    event["claimed"] = json!({"type": "boolean"});
    recorded::object(json!({
        "id": reference("AggregateId"),
        "projection": {"type": "string"},
        "state": {
            "type": "string",
            "enum": ["current", "behind", "parked", "deleted", "inconsistent"],
        },
        "version": {"description": "The version of the row; null if there is none", "oneOf": [
            {"type": "null"}, reference("Version"),
        ]},
        "newest": reference("Version"),
        "revision": revision(),
        "claimed": recorded::object(json!({"events": count, "ranges": ranges})),
        "waiting": recorded::object(json!({
            "events": count,
            "ranges": ranges,
            "reason": {
                "type": ["string", "null"],
                "enum": ["not_projected", "parked", "claim_lost", null],
            },
            "since": optional_time,
        })),
        "parked": recorded::nullable(&parked),
        "events": {
            "description": "The newest events, newest first",
            "type": "array",
            "items": recorded::object(event),
        },
    }))
}

/// Describes the route.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let response = OpenApiResponse::new("What made the row, and what waits", &[CACHE_CONTROL]);
    Operation::new(
        &format!("explain_{name}"),
        &format!("Explain the row of one of {name}: which events made it, which wait, and why"),
    )
    .tag(name)
    .aggregate_id()
    .response(StatusCode::OK, response.json(&reference("Explanation")))
    .problems(&[Kind::Malformed, Kind::NotFound, Kind::Unavailable])
}
