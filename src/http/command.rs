//! `POST /{domain}` and `POST /events`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::auth::Caller;
use super::extract::{DomainPath, Events, Params, expected_version};
use super::problem::Problem;
use crate::command::{self, Appended};
use crate::domain::AnyDomain;
use crate::event::{AggregateId, AppendedEvent, Position, Version};

/// The answer to one event.
#[derive(Serialize)]
struct Saved {
    result: &'static str,
    aggregate_id: AggregateId,
    version: Version,
    position: Position,
}

/// The answer to an array of events.
#[derive(Serialize)]
struct AllSaved<'a> {
    result: &'static str,
    events: &'a [AppendedEvent],
}

/// Appends events of one domain.
pub(super) async fn append(
    State(state): State<AppState>,
    DomainPath(domain): DomainPath,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
    events: Events,
) -> Result<Response, Problem> {
    execute(&state, Some(domain), &caller, params, &headers, events).await
}

/// Appends events of any domains.
pub(super) async fn append_any(
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
    Events { mut events, many }: Events,
) -> Result<Response, Problem> {
    params.none_left()?;
    let expected = expected_version(headers)?;
    caller.sign(state, &mut events)?;
    let appended = command::execute(&state.engine, &events, expected, only).await?;
    Ok(answer(&appended, many))
}

fn answer(appended: &Appended, many: bool) -> Response {
    let status = if appended.resent {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    match appended.events.as_slice() {
        [event] if !many => {
            let saved = Saved {
                result: "Event saved",
                aggregate_id: event.aggregate_id,
                version: event.version,
                position: event.position,
            };
            (status, [(header::ETAG, etag(event.version))], Json(saved)).into_response()
        }
        events => (
            status,
            Json(AllSaved {
                result: "Events saved",
                events,
            }),
        )
            .into_response(),
    }
}

/// A version as a strong entity tag.
pub(super) fn etag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}
