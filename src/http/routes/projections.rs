//! `GET /projections` and below, and `POST /projections`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::health;
use super::list::{MaxPageBytes, parse_cursor, parse_limit};
use super::recent_report::RecentReport;
use crate::app::Foldlog;
use crate::event::AggregateId;
use crate::http::auth::Caller;
use crate::http::body::{parse_unambiguous, read_json};
use crate::http::extract::{Params, ProjectionPath};
use crate::http::problem::{Kind, Problem};
use crate::http::{AppState, Operations};
use crate::operate::database::DatabaseReport;
use crate::operate::{Deadline, OperateError, Operator, Report, Verb};
use crate::projection::reproject::{self, GenerationProgress};
use crate::projection::status::{ProjectionState, ProjectionStatus};
use crate::projection::verify::{self, LastVerify, ListedDifference};
use crate::projection::{self, ParkedAggregate, VerbResult};
use crate::view::{PageCursor, View};

/// How long a verb may take in process; a request is answered after 25 s at the latest.
const OPERATE_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of all projections, and what operators see of the database.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Projections {
    projections: BTreeMap<&'static str, ProjectionReport>,
    #[schema(inline)]
    database: DatabaseReport,
}

/// The state of one projection. A figure that could not be measured is null.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ProjectionReport {
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
    /// Whether a build with another fold has written the rows: then reproject.
    #[schema(required)]
    fold_changed: Option<bool>,
    workers: Workers,
    /// The number of the generation that serves readers; null if none does.
    #[schema(required)]
    generation: Option<u32>,
    /// The generation that is being filled, or waits to go live.
    #[schema(required, inline)]
    reprojection: Option<GenerationProgress>,
    /// The result of the last verification.
    #[schema(required, inline)]
    last_verify: Option<LastVerify>,
    /// What the verbs have last answered; only if one projection is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    last_results: Option<BTreeMap<String, LastResult>>,
}

/// The last answer of a verb.
#[derive(Serialize, ToSchema)]
struct LastResult {
    /// When the verb answered.
    #[serde(with = "time::serde::rfc3339")]
    answered_at: OffsetDateTime,
    /// Its answer for this projection, or `{"error": …}`.
    result: Value,
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

/// A page of differences.
#[derive(Serialize)]
pub(in crate::http) struct Differences {
    result: Vec<ListedDifference>,
    next: Option<String>,
}

impl ProjectionReport {
    async fn read(
        foldlog: &Foldlog,
        view: &View,
        status: &ProjectionStatus,
        shows_results: bool,
    ) -> Result<Self, Problem> {
        let generations = reproject::list(&foldlog.pool, view).await?;
        let serving = generations.iter().find(|generation| generation.serves);
        let generation = serving.map(|generation| generation.generation);
        let waits = |other: &GenerationProgress| matches!(&*other.state, "filling" | "filled");
        // An answer may be large; without the results, only that of the last reprojection is needed.
        let verb = (!shows_results).then_some("reproject");
        let results = projection::list_verb_results(&foldlog.pool, view, verb).await?;
        let mut reprojection = generations.into_iter().find(waits);
        if let Some(filled) = reprojection
            .as_mut()
            .filter(|filled| filled.state == "filled")
            && results
                .iter()
                .any(|result| has_refused(result, filled.generation))
        {
            "refused".clone_into(&mut filled.state);
        }
        Ok(Self {
            state: status.state,
            lag_events: status.lag_events,
            lag_seconds: status.lag_seconds,
            newest_event_at: status.newest_event_at,
            oldest_waiting_at: status.oldest_waiting_at,
            parked: status.parked,
            fold_changed: status.fold_changed,
            workers: Workers {
                last_seen: status.worker_seen_at,
            },
            generation,
            reprojection,
            last_verify: verify::last(&foldlog.pool, view).await?,
            last_results: shows_results
                .then(|| results.into_iter().map(LastResult::named).collect()),
        })
    }
}

/// Whether the last reprojection has refused to make this generation the live one.
fn has_refused(result: &VerbResult, generation: u32) -> bool {
    let reprojection = &result.result["reprojection"];
    result.verb == "reproject"
        && reprojection["state"] == "refused"
        && reprojection["generation"] == generation
}

impl LastResult {
    fn named(result: VerbResult) -> (String, Self) {
        let answer = Self {
            answered_at: result.answered_at,
            result: result.result,
        };
        (result.verb, answer)
    }
}

/// Reports the state of each projection.
pub(in crate::http) async fn status(
    State(state): State<AppState>,
    Extension(recent): Extension<RecentReport>,
    headers: HeaderMap,
    params: Params,
) -> Result<Json<Projections>, Problem> {
    params.reject_unknown()?;
    let measured = health::measure_all(&state.foldlog).await?;
    let mut projections = BTreeMap::new();
    for view in state.foldlog.views.iter() {
        let status = measured.get(view.name()).copied().unwrap_or_default();
        let report = ProjectionReport::read(&state.foldlog, view, &status, false).await?;
        projections.insert(view.name(), report);
    }
    let database = recent.read(&state.foldlog.pool, &headers).await;
    Ok(Json(Projections {
        projections,
        database,
    }))
}

/// Reports the state of one projection, and what the verbs have last answered for it.
pub(in crate::http) async fn details(
    State(state): State<AppState>,
    projection: ProjectionPath,
    params: Params,
) -> Result<Json<ProjectionReport>, Problem> {
    params.reject_unknown()?;
    let status = health::measure(&state.foldlog, projection.view()).await?;
    let report = ProjectionReport::read(&state.foldlog, projection.view(), &status, true).await?;
    Ok(Json(report))
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
            // Its answer is lost, so it records what clients have to know; see `GET /projections/{name}`.
            let payload = verb.to_payload().to_string();
            other.hand_over(payload).await.map_err(|error| {
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

/// Does what the verb says here. A projection that failed does not hide what was done for the others; if all have failed, the
/// response is the problem of the first.
async fn run(operator: &Operator, verb: &Verb) -> Result<Response, Problem> {
    let deadline = Deadline::from_now(OPERATE_TIMEOUT);
    let mut results = operator.run(verb, deadline).await;
    if results.iter().all(|(_, result)| result.is_err())
        && let Some(at) = results.iter().position(|(_, result)| result.is_err())
        && let Err(error) = results.swap_remove(at).1
    {
        return Err(error.into());
    }
    let report = |(name, result): (&'static str, Result<Report, OperateError>)| {
        let report = match result {
            Ok(report) => report.to_json(verb),
            Err(error) => json!({ "error": error.to_string() }),
        };
        (name.to_owned(), report)
    };
    let reports: Map<String, Value> = results.into_iter().map(report).collect();
    Ok(Json(json!({ "projections": reports })).into_response())
}

/// A page of the parked aggregates of a projection.
pub(in crate::http) async fn parked(
    State(state): State<AppState>,
    projection: ProjectionPath,
    max_bytes: Option<Extension<MaxPageBytes>>,
    mut params: Params,
) -> Result<Json<Parked>, Problem> {
    let limit = parse_limit(&mut params, max_bytes)?;
    let after = params.take("after");
    let after = after.map(|text| parse_cursor(&text)).transpose()?;
    params.reject_unknown()?;
    let after = after.map(|cursor| cursor.id().0);
    let (pool, view) = (&state.foldlog.pool, projection.view());
    let page = projection::list_parked(pool, view, after, limit).await?;
    let last = page.parked.last().filter(|_| page.has_more);
    let next = last.map(|last| PageCursor::begin_after(last.aggregate_id).encode());
    Ok(Json(Parked {
        result: page.parked,
        next,
    }))
}

/// A page of the differences that the last verification has found.
pub(in crate::http) async fn differences(
    State(state): State<AppState>,
    projection: ProjectionPath,
    max_bytes: Option<Extension<MaxPageBytes>>,
    mut params: Params,
) -> Result<Json<Differences>, Problem> {
    let limit = parse_limit(&mut params, max_bytes)?;
    let after = params.take("after");
    let after = after.map(|text| parse_place(&text)).transpose()?;
    params.reject_unknown()?;
    let place = after.as_ref().map(|(id, field)| (*id, &**field));
    let page = verify::list(&state.foldlog.pool, projection.view(), place, limit).await?;
    let last = page.differences.last().filter(|_| page.has_more);
    let next = last.map(|last| encode_place(last.id, &last.field));
    Ok(Json(Differences {
        result: page.differences,
        next,
    }))
}

/// A difference as the text that a client sends to get those after it.
fn encode_place(id: AggregateId, field: &str) -> String {
    URL_SAFE_NO_PAD.encode([id.0.as_bytes(), field.as_bytes()].concat())
}

fn parse_place(text: &str) -> Result<(AggregateId, String), Problem> {
    let parse = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, field) = bytes.split_at_checked(16)?;
        let field = std::str::from_utf8(field).ok()?;
        let id = Uuid::from_slice(id).ok()?;
        (!field.contains('\0')).then(|| (AggregateId(id), field.to_owned()))
    };
    let detail = "the parameter after must be the unchanged `next` of a previous page";
    parse().ok_or_else(|| Problem::new(Kind::Malformed, detail))
}

/// The body of `POST /projections`.
pub(in crate::http) struct VerbBody(Value);

impl FromRequest<AppState> for VerbBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &AppState) -> Result<Self, Problem> {
        let body = read_json(request).await?;
        // Of a `max_changes` that is given twice, the second one may allow what the first one forbids.
        let payload = parse_unambiguous(&body).map_err(|error| {
            let detail = format!("the body must be a JSON object with one verb: {error}");
            Problem::new(Kind::Malformed, detail)
        })?;
        Ok(Self(payload))
    }
}
