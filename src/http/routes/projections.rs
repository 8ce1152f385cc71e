//! `GET /projections`, `POST /projections` and `GET /projections/{name}/parked`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::health;
use super::list::{DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, parse_cursor, parse_limit};
use crate::http::auth::Caller;
use crate::http::body::read_json;
use crate::http::extract::Params;
use crate::http::openapi::{self, Operation, Response as OpenApiResponse, reference};
use crate::http::problem::{Kind, Problem};
use crate::http::{AppState, Operations};
use crate::operate::{Deadline, Operator, UnknownProjectionError, Verb};
use crate::projection::status::{ProjectionState, ProjectionStatus};
use crate::projection::{self, ParkedAggregate};
use crate::view::PageCursor;

/// How long a verb may take in process; a request is answered after 25 s at the latest.
const OPERATE_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of all projections.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Projections {
    projections: BTreeMap<&'static str, ProjectionReport>,
}

/// The state of one projection. A figure that could not be measured is null.
#[derive(Serialize, ToSchema)]
struct ProjectionReport {
    #[schema(schema_with = <ProjectionState as utoipa::PartialSchema>::schema)]
    state: ProjectionState,
    #[schema(required)]
    lag_events: Option<u64>,
    #[schema(required)]
    lag_seconds: Option<f64>,
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    #[schema(required)]
    newest_event_at: Option<OffsetDateTime>,
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    #[schema(required)]
    oldest_waiting_at: Option<OffsetDateTime>,
    #[schema(required)]
    parked: Option<u64>,
    workers: Workers,
}

/// The workers of a projection.
#[derive(Serialize, ToSchema)]
struct Workers {
    /// When one of them last looked for events; null if none has.
    #[serde(serialize_with = "crate::event::time::serialize_option")]
    #[schema(required)]
    last_seen: Option<OffsetDateTime>,
}

/// A page of parked aggregates.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Parked {
    result: Vec<ParkedAggregate>,
    /// The value of `after` for the next page; null on the last one.
    #[schema(required)]
    next: Option<String>,
}

impl From<&ProjectionStatus> for ProjectionReport {
    fn from(status: &ProjectionStatus) -> Self {
        Self {
            state: status.state,
            lag_events: status.lag_events,
            lag_seconds: status.lag_seconds,
            newest_event_at: status.newest_event_at,
            oldest_waiting_at: status.oldest_waiting_at,
            parked: status.parked,
            workers: Workers {
                last_seen: status.worker_seen_at,
            },
        }
    }
}

/// Reports the state of each projection.
pub(in crate::http) async fn status(
    State(state): State<AppState>,
    params: Params,
) -> Result<Json<Projections>, Problem> {
    params.reject_unknown()?;
    let measured = health::measure_all(&state.foldlog).await?;
    let projections = measured.iter().map(|(name, status)| (*name, status.into()));
    Ok(Json(Projections {
        projections: projections.collect(),
    }))
}

/// Does what a verb says, or hands it over to the process that does.
pub(in crate::http) async fn operate(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
    VerbBody(payload): VerbBody,
) -> Result<Response, Problem> {
    params.reject_unknown()?;
    let payload = caller.sign_verb(payload)?;
    let malformed =
        |error: crate::operate::VerbError| Problem::new(Kind::Malformed, error.to_string());
    let verb = Verb::parse(&payload).map_err(malformed)?;
    verb.check_projection(&state.foldlog)?;
    match &state.operations {
        Operations::InProcess(operator) => run(operator, &verb).await,
        Operations::HandedOver(other) => {
            other.hand_over(payload.to_string()).await.map_err(|error| {
                let detail = "the catch-up function was not invoked; retry the request later";
                Problem::new(Kind::Unavailable, detail)
                    .retry_after(2)
                    .because(error)
            })?;
            let accepted = json!({"result": "Handed over"});
            Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
        }
        Operations::None => Err(Problem::new(
            Kind::Unavailable,
            "this process does not operate projections; set CATCH_UP_FUNCTION, or send the verb to the catch-up function",
        )
        .retry_after(60)),
    }
}

async fn run(operator: &Operator, verb: &Verb) -> Result<Response, Problem> {
    let deadline = Deadline::from_now(OPERATE_TIMEOUT);
    let mut reports = Map::new();
    for (name, result) in operator.run(verb, deadline).await {
        reports.insert(name.to_owned(), result?.to_json(verb));
    }
    Ok(Json(json!({ "projections": reports })).into_response())
}

/// A page of the parked aggregates of a projection.
pub(in crate::http) async fn parked(
    State(state): State<AppState>,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Json<Parked>, Problem> {
    let limit = parse_limit(&mut params, None)?.rows;
    let after = params.take("after");
    let after = after.map(|text| parse_cursor(&text)).transpose()?;
    params.reject_unknown()?;
    let view = state
        .foldlog
        .view(&name)
        .ok_or_else(|| UnknownProjectionError::new(&state.foldlog, &name))?;
    let after = after.map(|cursor| cursor.id().0);
    let page = projection::list_parked(&state.foldlog.pool, view, after, limit).await?;
    let last = page.parked.last().filter(|_| page.has_more);
    let next = last.map(|last| PageCursor::begin_after(last.aggregate_id).encode());
    Ok(Json(Parked {
        result: page.parked,
        next,
    }))
}

/// The body of `POST /projections`.
pub(in crate::http) struct VerbBody(Value);

impl FromRequest<AppState> for VerbBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &AppState) -> Result<Self, Problem> {
        let body = read_json(request).await?;
        let payload = serde_json::from_slice(&body).map_err(|error| {
            Problem::new(
                Kind::Malformed,
                format!("the body must be a JSON object with one verb: {error}"),
            )
        })?;
        Ok(Self(payload))
    }
}

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
        Kind::TooLarge,
        Kind::WrongMediaType,
        Kind::Unavailable,
    ])
}

/// Describes `GET /projections/{name}/parked`.
pub(super) fn describe_parked() -> Operation {
    let response =
        OpenApiResponse::new("A page of parked aggregates", &[]).json(&reference("Parked"));
    let limit = json!({
        "type": "integer", "minimum": 1, "maximum": MAX_PAGE_LIMIT, "default": DEFAULT_PAGE_LIMIT,
    });
    Operation::new("parked", "List the parked aggregates of a projection")
        .tag("projections")
        .parameter(openapi::path(
            "name",
            "The name of the projection",
            &json!({"type": "string"}),
        ))
        .parameter(openapi::query("limit", "Aggregates per page", &limit))
        .parameter(openapi::query(
            "after",
            "The `next` of the previous page",
            &json!({"type": "string"}),
        ))
        .response(StatusCode::OK, response)
        .problems(&[Kind::Malformed, Kind::NoProjection, Kind::Unavailable])
}
