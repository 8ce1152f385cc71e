//! `POST /{domain}` and `POST /events`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::app::Served;
use crate::command::{self, AggregateOutcome, Appended, DryRun, MAX_EVENTS};
use crate::event::{self, AggregateId, AppendedEvent, Position, Version};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::etag::{etag, expected_version};
use crate::http::extract::{DomainPath, Events, Params};
use crate::http::openapi::{
    DomainSchemas, ETAG, Operation, Response as OpenApiResponse, header as header_parameter, query,
    reference,
};
use crate::http::problem::{Kind, Problem};
use crate::view::Changes;

/// The response to a single event.
#[derive(Serialize, ToSchema)]
pub(super) struct EventSaved {
    #[schema(inline)]
    result: EventSavedResult,
    aggregate_id: AggregateId,
    version: Version,
    position: Position,
    #[serde(serialize_with = "event::time::serialize")]
    created_at: OffsetDateTime,
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

/// The response to a dry run.
#[derive(Serialize)]
pub(super) struct DryRunAnswer {
    result: &'static str,
    duplicate: bool,
    aggregates: Vec<DryRunAggregate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_restored: Option<Vec<String>>,
}

#[derive(Serialize)]
struct DryRunAggregate {
    aggregate_id: AggregateId,
    version: Version,
    state: Option<Box<RawValue>>,
    changes: Changes,
}

impl DryRunAnswer {
    /// `not_restored`: the fields that a revert would not restore.
    pub(super) fn new(dry_run: DryRun, not_restored: Option<Vec<String>>) -> Self {
        let aggregate = |outcome: AggregateOutcome| DryRunAggregate {
            aggregate_id: outcome.aggregate_id,
            version: outcome.version,
            state: outcome.state,
            changes: outcome.changes,
        };
        Self {
            result: "Dry run",
            duplicate: dry_run.duplicate,
            aggregates: dry_run.aggregates.into_iter().map(aggregate).collect(),
            not_restored,
        }
    }
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
    mut params: Params,
    headers: &HeaderMap,
    Events {
        mut events,
        is_array,
    }: Events,
) -> Result<Response, Problem> {
    let dry_run = params.take_flag("dry_run")?;
    params.reject_unknown()?;
    let expected = expected_version(headers)?;
    let locate = |problem: Problem| problem.in_body(is_array);
    caller.sign(state, &mut events).map_err(locate)?;
    if dry_run {
        caller.check_read(state, &events).map_err(locate)?;
        let run = command::dry_run(&state.foldlog, &events, expected, only).await;
        let run = run.map_err(Problem::from).map_err(locate)?;
        return Ok(Json(DryRunAnswer::new(run, None)).into_response());
    }
    let appended = command::execute(&state.foldlog, &events, expected, only).await;
    let appended = appended.map_err(Problem::from).map_err(locate)?;
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
                created_at: event.created_at,
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
    let operation = operation.tag(name).rules_of(domain);
    let schemas = [domain.reference("event"), domain.reference("dry_run")];
    describe_append(operation, &schemas, &link)
}

/// Describes `POST /events`.
pub(super) fn describe_any() -> Operation {
    let operation = Operation::new("append_events", "Append events of any domains").tag("events");
    let schemas = [
        reference("EventOfAnyDomain"),
        reference("DryRunOfAnyDomain"),
    ];
    describe_append(operation, &schemas, &|response| response)
}

fn describe_append(
    operation: Operation,
    [event, dry_run]: &[Value; 2],
    link: &dyn Fn(OpenApiResponse) -> OpenApiResponse,
) -> Operation {
    let array = json!({"type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS});
    let saved = |description: &str, dry_run: Option<&Value>| {
        let etag = ETAG.optional("One event: its version, in double quotes. An array has none.");
        let mut schemas = vec![reference("EventSaved"), reference("EventsSaved")];
        schemas.extend(dry_run.cloned());
        let body = json!({"oneOf": schemas});
        link(OpenApiResponse::new(description, &[etag]).json(&body))
    };
    conditions(operation)
        .shared_parameter("IfNoneMatch", header_parameter(
            "If-None-Match",
            "`*`: none of the request's aggregates may exist",
            &json!({"type": "string", "enum": ["*"]}),
        ))
        .body(
            "One event, or an array of events; either all are stored or none. The answer to an array is `EventsSaved`, also to an \
             array of one event, so a typed client sends arrays only",
            &json!({"oneOf": [event, array]}),
        )
        .response(StatusCode::CREATED, saved("The events are stored", None))
        .response(
            StatusCode::OK,
            saved(
                "The events were stored by an earlier request with the same content; or a dry run",
                Some(dry_run),
            ),
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

/// Describes the precondition and the dry run of an append.
pub(super) fn conditions(operation: Operation) -> Operation {
    operation
        .shared_parameter("DryRunOnly", query(
            "dry_run",
            "`true`: check everything, answer the resulting states and changes, and store nothing",
            &json!({"type": "boolean"}),
        ))
        .shared_parameter("IfMatch", header_parameter(
            "If-Match",
            "The version that the aggregate must be at, or several; `*`: it must exist. Not together with If-None-Match",
            &json!({"type": "string", "pattern": "^(\\*|\"[1-9][0-9]{0,8}\"(, *\"[1-9][0-9]{0,8}\")*)$"}),
        ))
}
