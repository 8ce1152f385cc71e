//! `GET /{domain}/{id}/events`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Value, json};

use super::NO_CACHE;
use super::list::{MaxPageBytes, limit_parameter, parse_limit};
use crate::http::AppState;
use crate::http::extract::{DomainPath, IdPath, Params};
use crate::http::openapi::{
    self, CACHE_CONTROL, DomainSchemas, Operation, Response as OpenApiResponse, recorded, reference,
};
use crate::http::problem::{Kind, Problem};
use crate::query::{self, HistoryCursor, HistoryEvent, HistoryQuery, Order};

#[derive(Serialize)]
struct HistoryAnswer {
    result: Vec<HistoryEvent>,
    next: Option<String>,
    revision: Option<String>,
}

/// A page of the events of an aggregate.
pub(in crate::http) async fn history(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    IdPath(id): IdPath,
    max_bytes: Option<Extension<MaxPageBytes>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let limit = parse_limit(&mut params, max_bytes)?;
    let order = match params.take("order").as_deref() {
        None | Some("asc") => Order::OldestFirst,
        Some("desc") => Order::NewestFirst,
        Some(_) => {
            let detail =
                "the parameter order must be `asc` (oldest first) or `desc` (newest first)";
            return Err(Problem::new(Kind::Malformed, detail));
        }
    };
    let after = params.take("after").map(|text| {
        let detail = "the parameter after must be the unchanged `next` of a previous page";
        HistoryCursor::decode(&text).ok_or_else(|| Problem::new(Kind::Malformed, detail))
    });
    let (after, field) = (after.transpose()?, params.take("field"));
    let actor = params.take("actor");
    params.reject_unknown()?;
    let query = HistoryQuery {
        order,
        after,
        limit,
        field: field.as_deref(),
        actor: actor.as_deref(),
    };
    let page = query::history(&state.foldlog, &served.view, id, &query).await?;
    let answer = HistoryAnswer {
        result: page.events,
        next: page.next.map(HistoryCursor::encode),
        revision: page.revision,
    };
    Ok(([NO_CACHE], Json(answer)).into_response())
}

/// The schema of a page.
pub(super) fn schema() -> Value {
    let mut event = recorded::recorded_event();
    let changes = recorded::nullable(&recorded::changes());
    event["properties"]["changes"] = changes;
    event["properties"]["error"] = json!({
        "description": "Why `changes` is null: the event cannot be folded, an earlier one cannot, or an operator has skipped it",
        "type": "string",
        "enum": ["unfoldable", "follows_unfoldable", "skipped"],
    });
    if let Some(required) = event["required"].as_array_mut() {
        required.push(json!("changes"));
    }
    let mut revision = revision();
    revision["description"] =
        json!("As in an explanation; only the first page has it, and it is null on the others");
    recorded::object(json!({
        "result": {"type": "array", "items": event},
        "next": {
            "description": "The value of `after` for the next page; null on the last one",
            "type": ["string", "null"],
        },
        "revision": revision,
    }))
}

/// The schema of a revision.
pub(super) fn revision() -> Value {
    json!({
        "description": "The hash of the projection's claims of the aggregate: equal revisions have applied equal events; null if no \
                        event is claimed",
        "type": ["string", "null"],
    })
}

/// Describes the route.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let text = json!({"type": "string"});
    let page = OpenApiResponse::new("A page", &[CACHE_CONTROL]);
    Operation::new(
        &format!("history_of_{name}"),
        &format!("List the events of one of {name}, with the fields that each changed"),
    )
    .tag(name)
    .aggregate_id()
    .shared_parameter(
        "OrderOfHistory",
        openapi::query(
            "order",
            "`asc`: the oldest event first; `desc`: the newest",
            &json!({"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
        ),
    )
    .shared_parameter("EventsPerPage", limit_parameter("The most events per page"))
    .shared_parameter(
        "AfterEvent",
        openapi::query(
            "after",
            "The unchanged `next` of the previous page",
            &json!({"type": "string", "pattern": CURSOR_PATTERN}),
        ),
    )
    .shared_parameter(
        "ChangedField",
        openapi::query(
            "field",
            "Only events that changed this field of the row",
            &text,
        ),
    )
    .shared_parameter(
        "ByActor",
        openapi::query(
            "actor",
            "Only events whose `metadata.actor` is this text",
            &text,
        ),
    )
    .response(StatusCode::OK, page.json(&reference("History")))
    .problems(&[Kind::Malformed, Kind::NotFound, Kind::Unavailable])
}

/// A cursor: a letter and a version in the URL-safe base64 alphabet.
const CURSOR_PATTERN: &str = "^[A-Za-z0-9_-]{6}[AEIMQUYcgkosw048]$";
