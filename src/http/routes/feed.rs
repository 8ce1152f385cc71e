//! `GET /events`.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::NO_CACHE;
use super::list::{MaxPageBytes, limit_parameter, parse_limit};
use crate::app::Foldlog;
use crate::event::ShownEvent;
use crate::http::extract::{Params, parse_digits};
use crate::http::openapi::{
    self, CACHE_CONTROL, Operation, Response as OpenApiResponse, recorded, reference,
};
use crate::http::problem::{Kind, Problem};
use crate::http::{AppState, Stop};
use crate::query::{self, FeedCursor, FeedDirection, FeedRequest, FeedWaiting};

/// The longest wait of a request. API Gateway ends requests after 29 s, and foldlog after 25 s.
const MAX_WAIT_SECONDS: u64 = 20;

/// How long a request for the feed may wait, if the host has less time than a client may ask for: an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxWait(pub Duration);

#[derive(Serialize)]
struct FeedAnswer {
    result: Vec<ShownEvent<Box<RawValue>>>,
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<String>,
    waiting: Option<FeedWaiting>,
}

/// A part of the feed.
pub(in crate::http) async fn feed(
    State(state): State<AppState>,
    max_bytes: Option<Extension<MaxPageBytes>>,
    max_wait: Option<Extension<MaxWait>>,
    stop: Option<Extension<Stop>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let direction = direction(&mut params)?;
    let limit = parse_limit(&mut params, max_bytes)?;
    let wait = params.take("wait").map(|text| parse_wait(&text));
    let mut wait = wait.transpose()?.unwrap_or_default();
    if !wait.is_zero() && matches!(direction, FeedDirection::Backward(_)) {
        let detail = "the parameter wait needs the order `asc`: new events are at that end";
        return Err(Problem::new(Kind::Malformed, detail));
    }
    if let Some(Extension(MaxWait(max_wait))) = max_wait {
        wait = wait.min(max_wait);
    }
    let domain = params.take("domain");
    let domain = domain.map(|name| find_domain(&state.foldlog, &name));
    let domain = domain.transpose()?;
    let types = params.take("type");
    let types = types.map(|names| names.split(',').map(ToOwned::to_owned).collect());
    params.reject_unknown()?;
    let mut request = FeedRequest {
        direction,
        domain,
        types,
        limit,
        wait_until: Instant::now().checked_add(wait),
    };
    let stop = stop.map(|Extension(Stop(stop))| stop).unwrap_or_default();
    let reading = query::feed(&state.foldlog, &request);
    let read = stop.run_until_cancelled(reading).await;
    let page = if let Some(page) = read {
        page?
    } else {
        // The server stops. A reader that waits is answered, so that it continues elsewhere.
        request.wait_until = None;
        query::feed(&state.foldlog, &request).await?
    };
    let feed = FeedAnswer {
        result: page.events,
        next: page.next.map(FeedCursor::encode),
        newest: page.newest.map(FeedCursor::encode),
        waiting: page.waiting,
    };
    Ok(([NO_CACHE], Json(feed)).into_response())
}

fn direction(params: &mut Params) -> Result<FeedDirection, Problem> {
    let mut cursor = |name: &'static str| {
        let text = params.take(name);
        text.map(|text| parse_cursor(name, &text)).transpose()
    };
    let (after, before) = (cursor("after")?, cursor("before")?);
    let order = params.take("order");
    match (order.as_deref(), after, before) {
        (None | Some("asc"), after, None) => Ok(FeedDirection::Forward(
            after.unwrap_or(FeedCursor::BEGINNING),
        )),
        (None | Some("desc"), None, before) => Ok(FeedDirection::Backward(before)),
        (Some("asc" | "desc") | None, ..) => Err(Problem::new(
            Kind::Malformed,
            "the parameter after needs the order `asc`, and before the order `desc`; send one of them",
        )),
        (Some(_), ..) => Err(Problem::new(
            Kind::Malformed,
            "the parameter order must be `asc` or `desc`",
        )),
    }
}

fn parse_cursor(name: &str, text: &str) -> Result<FeedCursor, Problem> {
    FeedCursor::decode(text).ok_or_else(|| {
        let detail = format!(
            "the parameter {name} must be the unchanged `next` or `newest` of a previous response"
        );
        Problem::new(Kind::Malformed, detail)
    })
}

fn parse_wait(text: &str) -> Result<Duration, Problem> {
    let seconds = parse_digits(text);
    let seconds = seconds.filter(|seconds| *seconds <= MAX_WAIT_SECONDS);
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let detail =
            format!("the parameter wait must be an integer from 0 to {MAX_WAIT_SECONDS}: seconds");
        Problem::new(Kind::Malformed, detail)
    })
}

fn find_domain(foldlog: &Foldlog, name: &str) -> Result<&'static str, Problem> {
    if let Some(served) = foldlog.named(name) {
        return Ok(served.domain.name());
    }
    let served = foldlog.served.iter();
    let names: Vec<&str> = served.map(|served| served.domain.name()).collect();
    let names = names.join(", ");
    let detail = format!("the parameter domain must be one of the domains: {names}");
    Err(Problem::new(Kind::Malformed, detail))
}

/// A cursor of the feed: 20 bytes in the URL-safe base64 alphabet.
const CURSOR_PATTERN: &str = "^[A-Za-z0-9_-]{26}[AEIMQUYcgkosw048]$";

/// Describes the route.
pub(super) fn describe() -> Operation {
    let cursor = json!({"type": "string", "pattern": CURSOR_PATTERN});
    let wait = json!({"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0});
    let order = json!({"type": "string", "enum": ["asc", "desc"], "default": "asc"});
    let text = json!({"type": "string"});
    let parameters = [
        openapi::query(
            "after",
            "Only events after this cursor; with the order `asc`",
            &cursor,
        ),
        openapi::query(
            "before",
            "Only events before this cursor; with the order `desc`",
            &cursor,
        ),
        openapi::query(
            "order",
            "`asc`: the oldest events first. `desc`: the newest events first, which is the default with before",
            &order,
        ),
        limit_parameter("The most events of a response"),
        openapi::query(
            "wait",
            "How many seconds to wait for an event if there is none yet; with the order `asc`",
            &wait,
        ),
        openapi::query("domain", "Only events of this domain", &text),
        openapi::query(
            "type",
            "Only events of this type, by its name or its type id; several are separated by commas",
            &text,
        ),
    ];
    let summary = "Read the events of all domains in log order";
    let operation = Operation::new("feed", summary).tag("events");
    let operation = parameters.into_iter().fold(operation, Operation::parameter);
    let feed = OpenApiResponse::new("A part of the feed", &[CACHE_CONTROL]);
    operation
        .response(StatusCode::OK, feed.json(&reference("Feed")))
        .problems(&[Kind::Malformed, Kind::Unavailable])
}

/// The schema of the response.
pub(super) fn schema() -> Value {
    let waiting = recorded::object(json!({
        "since": {
            "description": "When the first of these events was recorded",
            "type": "string",
            "format": "date-time",
        },
        "events": {
            "description": "How many there are; at most 1000 are counted",
            "type": "integer",
            "minimum": 1,
        },
    }));
    let mut schema = recorded::object(json!({
        "result": {"type": "array", "items": recorded::recorded_event()},
        "next": {
            "description": "Where to continue: the next value of after or before. Null only with the order `desc`, at the first event",
            "type": ["string", "null"],
        },
        "waiting": recorded::nullable(&waiting),
    }));
    schema["properties"]["newest"] = json!({
        "description": "With the order `desc`: the value of after with which a reader follows the feed from here on",
        "type": "string",
    });
    schema
}
