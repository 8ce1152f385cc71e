//! Descriptions of the routes of operators for the OpenAPI document.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

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

/// Describes `GET /projections/{name}`.
pub(super) fn describe_details() -> Operation {
    let response = OpenApiResponse::new("The state of the projection", &[])
        .json(&reference("ProjectionReport"));
    let summary = "Report the state of a projection, and what the verbs have last answered for it";
    Operation::new("projection", summary)
        .tag("projections")
        .shared_parameter("NameOfProjection", projection_name())
        .response(StatusCode::OK, response)
        .problems(&[Kind::Malformed, Kind::NoProjection, Kind::Unavailable])
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
    let summary =
        "Do what a verb says: catch up, status, retry, skip, reproject, preview, cancel, verify";
    Operation::new("operate", summary)
        .tag("projections")
        .body(
            "One verb, as for the catch-up function; `{}` catches up",
            &verbs(),
        )
        .response(
            StatusCode::OK,
            OpenApiResponse::new("What was done for each projection", &[]).json(&reports),
        )
        .response(
            StatusCode::ACCEPTED,
            OpenApiResponse::new(
                "The catch-up function does it; see `last_results` of the projection",
                &[],
            )
            .json(&accepted),
        )
        .problems(&[
            Kind::Malformed,
            Kind::NoProjection,
            Kind::NotParked,
            Kind::NotSkippable,
            Kind::WrongReprojection,
            Kind::VerificationReplaced,
            Kind::TooLarge,
            Kind::WrongMediaType,
            Kind::Unavailable,
        ])
}

/// The payloads of all verbs.
fn verbs() -> Value {
    let projection = json!({"type": "string", "description": "The name of a projection"});
    let verb = |name: &str, value: Value, options: Vec<(&str, Value)>| {
        let mut properties = Map::from_iter([(name.to_owned(), value)]);
        properties.extend(
            options
                .into_iter()
                .map(|(name, schema)| (name.to_owned(), schema)),
        );
        json!({
            "title": name, "type": "object", "properties": properties, "required": [name], "additionalProperties": false,
        })
    };
    let of_projection = |name: &str| verb(name, projection.clone(), vec![]);
    let text = json!({"type": "string", "minLength": 1, "maxLength": 1024});
    let skip = json!({
        "type": "object",
        "properties": {
            "domain": projection,
            "event_id": reference("EventId"),
            "aggregate_id": reference("AggregateId"),
            "reason": text,
            "actor": text,
        },
        "required": ["domain", "event_id", "reason"],
        "additionalProperties": false,
    });
    let max_changes = json!({"type": "integer", "minimum": 0, "description": "Go live only if no more rows change"});
    let repair = json!({"type": "boolean", "default": false});
    let restart = json!({
        "type": "boolean",
        "default": false,
        "description": "Begin with the first aggregate, even if an earlier verification is not complete",
    });
    let one = json!({"description": "Retry only this aggregate", "$ref": reference("AggregateId")["$ref"]});
    json!({"oneOf": [
        {"title": "catch up", "type": "object", "maxProperties": 0},
        verb("status", json!({"type": "boolean", "enum": [true]}), vec![]),
        verb("retry", projection.clone(), vec![("aggregate_id", one)]),
        verb("skip", skip, vec![]),
        verb("reproject", projection.clone(), vec![("max_changes", max_changes)]),
        of_projection("preview"),
        of_projection("cancel"),
        verb("verify", projection.clone(), vec![("repair", repair), ("restart", restart)]),
    ]})
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

fn projection_name() -> Value {
    openapi::path(
        "name",
        "The name of the projection",
        &json!({"type": "string"}),
    )
}

pub(super) fn describe_page(id: &str, summary: &str, page: &Value) -> Operation {
    let response = OpenApiResponse::new("A page", &[]).json(page);
    Operation::new(id, summary)
        .tag("projections")
        .shared_parameter("NameOfProjection", projection_name())
        .shared_parameter(
            "EntriesPerPage",
            limit_parameter("The most entries per page"),
        )
        .shared_parameter(
            "AfterEntry",
            openapi::query(
                "after",
                "The `next` of the previous page",
                &json!({"type": "string"}),
            ),
        )
        .response(StatusCode::OK, response)
        .problems(&[Kind::Malformed, Kind::NoProjection, Kind::Unavailable])
}
