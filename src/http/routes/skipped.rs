//! `GET /projections/{name}/skipped`.

use axum::extract::State;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::list::{MaxPageBytes, parse_limit};
use super::operator_docs::describe_page;
use crate::event::{AggregateId, Version};
use crate::http::AppState;
use crate::http::extract::{Params, ProjectionPath};
use crate::http::openapi::{Operation, reference};
use crate::http::problem::{Kind, Problem};
use crate::projection::{self, SkippedEvent};

/// A page of the events that operators have skipped.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Skipped {
    result: Vec<SkippedEvent>,
    /// The value of `after` for the next page; null on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// A page of the events that operators have skipped in a projection.
pub(in crate::http) async fn skipped(
    State(state): State<AppState>,
    projection: ProjectionPath,
    max_bytes: Option<Extension<MaxPageBytes>>,
    mut params: Params,
) -> Result<Json<Skipped>, Problem> {
    let limit = parse_limit(&mut params, max_bytes)?;
    let after = params.take("after");
    let after = after.map(|text| parse_place(&text)).transpose()?;
    params.reject_unknown()?;
    let page =
        projection::list_skipped(&state.foldlog.pool, projection.view(), after, limit).await?;
    let last = page.skipped.last().filter(|_| page.has_more);
    let next = last.map(|last| encode_place(last.aggregate_id, last.version));
    Ok(Json(Skipped {
        result: page.skipped,
        next,
    }))
}

/// An event as the text that a client sends to get those after it.
fn encode_place(id: AggregateId, version: Version) -> String {
    URL_SAFE_NO_PAD.encode([&id.0.as_bytes()[..], &version.0.to_be_bytes()].concat())
}

fn parse_place(text: &str) -> Result<(AggregateId, Version), Problem> {
    let parse = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, version) = bytes.split_at_checked(16)?;
        let version = i32::from_be_bytes(version.try_into().ok()?);
        Some((AggregateId(Uuid::from_slice(id).ok()?), Version(version)))
    };
    let detail = "the parameter after must be the unchanged `next` of a previous page";
    parse().ok_or_else(|| Problem::new(Kind::Malformed, detail))
}

/// Describes the route.
pub(super) fn describe() -> Operation {
    let summary = "List the events that operators have skipped in a projection";
    describe_page("skipped", summary, &reference("Skipped"))
}
