//! `POST /{domain}` and `POST /events`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::app::Served;
use crate::command::{self, Appended, MAX_EVENTS};
use crate::event::{AggregateId, AppendedEvent, Position, Version};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::etag::{etag, expected_version};
use crate::http::extract::{DomainPath, Events, Params};
use crate::http::openapi::{
    DomainSchemas, ETAG, Operation, Response as OpenApiResponse, header as header_parameter,
    reference,
};
use crate::http::problem::{Kind, Problem};

/// The response to a single event.
#[derive(Serialize, ToSchema)]
pub(super) struct EventSaved {
    #[schema(inline)]
    result: EventSavedResult,
    aggregate_id: AggregateId,
    version: Version,
    position: Position,
}

#[derive(Serialize, ToSchema)]
enum EventSavedResult {
    #[serde(rename = "Event saved")]
    EventSaved,
}

/// The response to an array of events.
#[derive(Serialize, ToSchema)]
pub(super) struct EventsSaved {
    #[schema(inline)]
    result: EventsSavedResult,
    #[schema(min_items = 1)]
    events: Vec<AppendedEvent>,
}

#[derive(Serialize, ToSchema)]
enum EventsSavedResult {
    #[serde(rename = "Events saved")]
    EventsSaved,
}

/// Appends events of one domain.
pub(in crate::http) async fn append(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    events: Events,
) -> Result<Response, Problem> {
    execute(&state, Some(&served), &caller, params, &headers, events).await
}

/// Appends events of any number of domains.
pub(in crate::http) async fn append_any(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    events: Events,
) -> Result<Response, Problem> {
    execute(&state, None, &caller, params, &headers, events).await
}

async fn execute(
    state: &AppState,
    only: Option<&Served>,
    caller: &Caller,
    params: Params,
    headers: &HeaderMap,
    Events {
        mut events,
        is_array,
    }: Events,
) -> Result<Response, Problem> {
    params.reject_unknown()?;
    let expected = expected_version(headers)?;
    caller.sign(state, &mut events)?;
    let appended = command::execute(&state.foldlog, &events, expected, only).await?;
    Ok(respond(&appended, is_array))
}

fn respond(appended: &Appended, is_array: bool) -> Response {
    let status = if appended.duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    match appended.events.as_slice() {
        [event] if !is_array => {
            let saved = EventSaved {
                result: EventSavedResult::EventSaved,
                aggregate_id: event.aggregate_id,
                version: event.version,
                position: event.position,
            };
            (status, [(header::ETAG, etag(event.version))], Json(saved)).into_response()
        }
        events => (
            status,
            Json(EventsSaved {
                result: EventsSavedResult::EventsSaved,
                events: events.to_vec(),
            }),
        )
            .into_response(),
    }
}

/// Describes `POST /{domain}`.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let read_back = json!({
        "id": "$response.body#/aggregate_id",
        "min_version": "$response.body#/version",
    });
    let link = |response: OpenApiResponse| response.link("row", &format!("get_{name}"), &read_back);
    let operation = Operation::new(
        &format!("append_{name}"),
        &format!("Append events of {name}"),
    );
    describe_append(operation.tag(name), &domain.reference("event"), &link)
}

/// Describes `POST /events`.
pub(super) fn describe_any() -> Operation {
    let operation = Operation::new("append_events", "Append events of any domains").tag("events");
    describe_append(operation, &reference("AnyEvent"), &|response| response)
}

fn describe_append(
    operation: Operation,
    event: &Value,
    link: &dyn Fn(OpenApiResponse) -> OpenApiResponse,
) -> Operation {
    let array = json!({"type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS});
    let saved = |description: &str| {
        let etag = ETAG.optional("One event: its version, in double quotes. An array has none.");
        let body = json!({"oneOf": [reference("EventSaved"), reference("EventsSaved")]});
        link(OpenApiResponse::new(description, &[etag]).json(&body))
    };
    operation
        .parameter(header_parameter(
            "If-Match",
            "The version that the aggregate must be at, or several; `*`: it must exist. Not together with If-None-Match",
            &json!({"type": "string", "pattern": "^(\\*|\"[1-9][0-9]{0,8}\"(, *\"[1-9][0-9]{0,8}\")*)$"}),
        ))
        .parameter(header_parameter(
            "If-None-Match",
            "`*`: none of the request's aggregates may exist",
            &json!({"type": "string", "enum": ["*"]}),
        ))
        .body(
            "One event, or an array of events; either all are stored or none",
            &json!({"oneOf": [event, array]}),
        )
        .response(StatusCode::CREATED, saved("The events are stored"))
        .response(
            StatusCode::OK,
            saved("The events were stored by an earlier request with the same content"),
        )
        .problems(&[
            Kind::Malformed,
            Kind::RuleBroken,
            Kind::IdReused,
            Kind::Deleted,
            Kind::VersionMismatch,
            Kind::TooLarge,
            Kind::WrongMediaType,
            Kind::Unprocessable,
            Kind::Unavailable,
        ])
}
