//! `GET /events/activity`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::event::time::to_event_time;
use crate::http::AppState;
use crate::http::extract::{Params, parse_digits};
use crate::http::moment::parse_time;
use crate::http::openapi::{self, Operation, Response as OpenApiResponse, reference};
use crate::http::problem::{Kind, Problem};
use crate::query;

/// The most intervals. Each costs some thirty reads of an index.
const MAX_INTERVALS: u32 = 60;

/// How many events were appended over time.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Activity {
    #[schema(inline)]
    result: Vec<Interval>,
}

/// An interval, and about how many events of the whole log were appended in it.
#[derive(Serialize, ToSchema)]
struct Interval {
    /// Its beginning.
    #[serde(serialize_with = "crate::event::time::serialize")]
    from: OffsetDateTime,
    /// Its end.
    #[serde(serialize_with = "crate::event::time::serialize")]
    to: OffsetDateTime,
    /// How many events: a difference of positions, which have gaps.
    events: u64,
}

/// Counts the events of intervals.
pub(in crate::http) async fn activity(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<Activity>, Problem> {
    let mut time = |name: &'static str| {
        let text = params.take(name);
        text.map(|text| parse_time(name, &text).map(to_event_time))
            .transpose()
    };
    let (from, to) = (time("from")?, time("to")?);
    let count = params.take("intervals").map(|text| parse_count(&text));
    let count = count.transpose()?.unwrap_or(MAX_INTERVALS);
    params.reject_unknown()?;
    let to = to.unwrap_or_else(|| to_event_time(OffsetDateTime::now_utc()));
    let time = from.filter(|from| *from < to).map(|from| from..to);
    let detail =
        "the parameter from must be a time before the parameter to, which is now if it is absent";
    let time = time.ok_or_else(|| Problem::new(Kind::Malformed, detail))?;
    let counted = query::activity(&state.foldlog, time, count).await?;
    let result = counted.into_iter().map(|interval| Interval {
        from: interval.time.start,
        to: interval.time.end,
        events: interval.events,
    });
    Ok(Json(Activity {
        result: result.collect(),
    }))
}

fn parse_count(text: &str) -> Result<u32, Problem> {
    let count = parse_digits(text);
    let count = count.filter(|count| (1..=MAX_INTERVALS).contains(count));
    count.ok_or_else(|| {
        let detail =
            format!("the parameter intervals must be an integer from 1 to {MAX_INTERVALS}");
        Problem::new(Kind::Malformed, detail)
    })
}

/// Describes the route.
pub(super) fn describe() -> Operation {
    let time = json!({"type": "string", "format": "date-time"});
    let count = json!({"type": "integer", "minimum": 1, "maximum": MAX_INTERVALS, "default": MAX_INTERVALS});
    let summary = "Count the events of the whole log over time, in intervals of equal length";
    let mut from = openapi::query("from", "The beginning of the first interval", &time);
    from["required"] = json!(true);
    let to = openapi::query(
        "to",
        "The end of the last interval; now if it is absent",
        &time,
    );
    Operation::new("activity", summary)
        .tag("events")
        .parameter(from)
        .parameter(to)
        .parameter(openapi::query("intervals", "How many intervals", &count))
        .response(
            StatusCode::OK,
            OpenApiResponse::new("The intervals", &[]).json(&reference("Activity")),
        )
        .problems(&[Kind::Malformed, Kind::Unavailable])
}
