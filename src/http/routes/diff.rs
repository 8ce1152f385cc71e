//! `GET /{domain}/{id}/diff`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::NO_CACHE;
use crate::http::AppState;
use crate::http::extract::{DomainPath, IdPath, Params};
use crate::http::moment::parse_moment;
use crate::http::openapi::{
    self, CACHE_CONTROL, DomainSchemas, Operation, Response as OpenApiResponse, recorded, reference,
};
use crate::http::problem::{Kind, Problem};
use crate::query::{self, Moment};

/// Two states of an aggregate, field by field.
pub(in crate::http) async fn diff(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    IdPath(id): IdPath,
    mut params: Params,
) -> Result<Response, Problem> {
    let Some(from) = params.take("from") else {
        let detail = "the parameter from is missing; send a version or a time, and `from=0` for the state before the first event";
        return Err(Problem::new(Kind::Malformed, detail));
    };
    let from = parse_moment("from", &from)?;
    let to = params.take("to").map(|text| parse_moment("to", &text));
    let to = to.transpose()?.unwrap_or(Moment::Newest);
    params.reject_unknown()?;
    let diff = query::diff(&state.foldlog, &served.view, id, from, to).await?;
    Ok(([NO_CACHE], Json(diff)).into_response())
}

/// The schema of the response.
pub(super) fn schema() -> Value {
    let point = recorded::object(json!({
        "version": {
            "description": "The version of the last event; 0 before the first one",
            "type": "integer", "minimum": 0, "maximum": i32::MAX,
        },
        "created_at": recorded::nullable(&recorded::time()),
        "deleted": {"type": "boolean"},
    }));
    recorded::object(json!({
        "id": reference("AggregateId"),
        "from": point,
        "to": point,
        "changes": recorded::changes(),
    }))
}

/// Describes the route.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let moment = json!({"oneOf": [
        {"type": "integer", "minimum": 0, "maximum": i32::MAX},
        {"type": "string", "format": "date-time"},
    ]});
    let mut from = openapi::query("from", "The first state: a version or a time", &moment);
    from["required"] = json!(true);
    let response = OpenApiResponse::new("The fields that differ", &[CACHE_CONTROL]);
    Operation::new(
        &format!("diff_{name}"),
        &format!("Compare two states of one of {name}, field by field"),
    )
    .tag(name)
    .aggregate_id()
    .shared_parameter("FromMoment", from)
    .shared_parameter(
        "ToMoment",
        openapi::query(
            "to",
            "The second state: a version or a time; the newest by default",
            &moment,
        ),
    )
    .response(StatusCode::OK, response.json(&reference("Diff")))
    .problems(&[Kind::Malformed, Kind::NotFound, Kind::Unavailable])
}
