//! Descriptions of the routes of operators for the OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::list::limit_parameter;
use crate::http::openapi::{self, Operation, Response as OpenApiResponse, reference};
use crate::http::problem::Kind;

/// Describes `GET /projections`.
pub(super) fn describe_status() -> Operation {
    let response =
        OpenApiResponse::new("The state of each projection", &[]).json(&reference("Projections"));
    Operation::new("projections", "Report the state of each projection")
        .tag("projections")
        .response(StatusCode::OK, response)
        .problems(&[Kind::Malformed, Kind::Unavailable])
}

/// Describes `POST /projections`.
pub(super) fn describe_operate() -> Operation {
    let reports = json!({
        "type": "object",
        "properties": {"projections": {
            "type": "object",
            "additionalProperties": {"type": "object", "additionalProperties": true},
        }},
        "required": ["projections"],
    });
    let accepted = json!({
        "type": "object",
        "properties": {"result": {"type": "string", "enum": ["Handed over"]}},
        "required": ["result"],
    });
    let payload = json!({"type": "object", "additionalProperties": true});
    Operation::new(
        "operate",
        "Do what a verb says: catch up, status, retry, skip",
    )
    .tag("projections")
    .body(
        "One verb, as for the catch-up function; `{}` catches up",
        &payload,
    )
    .response(
        StatusCode::OK,
        OpenApiResponse::new("What was done for each projection", &[]).json(&reports),
    )
    .response(
        StatusCode::ACCEPTED,
        OpenApiResponse::new("The catch-up function does it", &[]).json(&accepted),
    )
    .problems(&[
        Kind::Malformed,
        Kind::NoProjection,
        Kind::NotParked,
        Kind::NotSkippable,
        Kind::WrongReprojection,
        Kind::TooLarge,
        Kind::WrongMediaType,
        Kind::Unavailable,
    ])
}

/// Describes `GET /projections/{name}/parked`.
pub(super) fn describe_parked() -> Operation {
    let summary = "List the parked aggregates of a projection";
    describe_page("parked", summary, &reference("Parked"))
}

/// Describes `GET /projections/{name}/differences`.
pub(super) fn describe_differences() -> Operation {
    let difference = json!({
        "type": "object",
        "properties": {
            "id": reference("AggregateId"),
            "field": {"description": "Empty for the row as a whole, or its claims", "type": "string"},
            "live": {"description": "The value in the view"},
            "new": {"description": "The value that the events give, or what is wrong"},
        },
        "required": ["id", "field", "live", "new"],
    });
    let page = json!({
        "type": "object",
        "properties": {
            "result": {"type": "array", "items": difference},
            "next": {
                "description": "The value of `after` for the next page; null on the last one",
                "type": ["string", "null"],
            },
        },
        "required": ["result", "next"],
    });
    let summary = "List what the last verification of a projection has found";
    describe_page("differences", summary, &page)
}

fn describe_page(id: &str, summary: &str, page: &Value) -> Operation {
    let response = OpenApiResponse::new("A page", &[]).json(page);
    Operation::new(id, summary)
        .tag("projections")
        .parameter(openapi::path(
            "name",
            "The name of the projection",
            &json!({"type": "string"}),
        ))
        .parameter(limit_parameter("The most entries per page"))
        .parameter(openapi::query(
            "after",
            "The `next` of the previous page",
            &json!({"type": "string"}),
        ))
        .response(StatusCode::OK, response)
        .problems(&[Kind::Malformed, Kind::NoProjection, Kind::Unavailable])
}
