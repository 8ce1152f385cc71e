//! `POST /{domain}` and `POST /events`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::command::{self, Appended};
use crate::domain::AnyDomain;
use crate::event::{AggregateId, AppendedEvent, Position, Version};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::etag::{etag, expected_version};
use crate::http::extract::{DomainPath, Events, Params};
use crate::http::problem::Problem;

/// The response to a single event.
#[derive(Serialize)]
struct EventSaved {
    result: &'static str,
    aggregate_id: AggregateId,
    version: Version,
    position: Position,
}

/// The response to an array of events.
#[derive(Serialize)]
struct EventsSaved<'a> {
    result: &'static str,
    events: &'a [AppendedEvent],
}

/// Appends events of one domain.
pub(in crate::http) async fn append(
    State(state): State<AppState>,
    DomainPath(domain): DomainPath,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    events: Events,
) -> Result<Response, Problem> {
    execute(&state, Some(domain), &caller, params, &headers, events).await
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
    only: Option<&'static dyn AnyDomain>,
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
    let appended = command::execute(&state.engine, &events, expected, only).await?;
    Ok(respond(&appended, is_array))
}

fn respond(appended: &Appended, is_array: bool) -> Response {
    let status = if appended.resent {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    match appended.events.as_slice() {
        [event] if !is_array => {
            let saved = EventSaved {
                result: "Event saved",
                aggregate_id: event.aggregate_id,
                version: event.version,
                position: event.position,
            };
            (status, [(header::ETAG, etag(event.version))], Json(saved)).into_response()
        }
        events => (
            status,
            Json(EventsSaved {
                result: "Events saved",
                events,
            }),
        )
            .into_response(),
    }
}
