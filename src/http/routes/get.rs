//! `GET /{domain}/{id}`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::NO_CACHE;
use crate::event::Version;
use crate::http::AppState;
use crate::http::etag::{self, check_if_match, etag, matches_version};
use crate::http::extract::{DomainPath, IdPath, Params};
use crate::http::openapi::{
    self, CACHE_CONTROL, DomainSchemas, ETAG, Operation, Response as OpenApiResponse, reference,
};
use crate::http::problem::{Kind, Problem};
use crate::query::{self, Consistency};

/// One row of a domain's view.
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    IdPath(id): IdPath,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let consistency = consistency(&mut params)?;
    params.reject_unknown()?;
    let row = query::get(&state.foldlog, &served.view, id, consistency).await?;
    check_if_match(&headers, id, row.version)?;
    let etag = (header::ETAG, etag(row.version));
    if matches_version(&headers, row.version) {
        return Ok((StatusCode::NOT_MODIFIED, [etag, NO_CACHE]).into_response());
    }
    Ok(([etag, NO_CACHE], Json(row)).into_response())
}

fn consistency(params: &mut Params) -> Result<Consistency, Problem> {
    let min_version = params.take("min_version").map(|text| {
        let version = text.parse().ok().filter(|version| *version > 0);
        version.ok_or_else(|| {
            let detail = "the parameter min_version must be an integer from 1 to 2147483647";
            Problem::new(Kind::Malformed, detail)
        })
    });
    match (
        params.take("consistency").as_deref(),
        min_version.transpose()?,
    ) {
        (Some("strong"), None) => Ok(Consistency::Strong),
        // With both, `min_version` decides: a strong read would return an older version without an error.
        (None | Some("eventual" | "strong"), Some(version)) => {
            Ok(Consistency::AtLeast(Version(version)))
        }
        (None | Some("eventual"), None) => Ok(Consistency::Eventual),
        (Some(_), _) => Err(Problem::new(
            Kind::Malformed,
            "the parameter consistency must be `eventual` or `strong`",
        )),
    }
}

/// Describes the route.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let headers = [ETAG, CACHE_CONTROL];
    Operation::new(&format!("get_{name}"), &format!("Get one of {name}"))
        .tag(name)
        .parameter(openapi::path(
            "id",
            "The id of the aggregate",
            &reference("AggregateId"),
        ))
        .parameter(openapi::query(
            "consistency",
            "`strong` includes every committed event, projected or not; the default is `eventual`",
            &json!({"type": "string", "enum": ["eventual", "strong"]}),
        ))
        .parameter(openapi::query(
            "min_version",
            "The row must be at this version or a later one",
            &reference("Version"),
        ))
        .parameter(openapi::header(
            "If-Match",
            "The row must be at one of these versions; `*` is any",
            &etag::list_schema(),
        ))
        .parameter(openapi::header(
            "If-None-Match",
            "The `ETag` of an earlier response, or several; a value that is not a list of tags is ignored",
            &json!({"type": "string"}),
        ))
        .response(
            StatusCode::OK,
            OpenApiResponse::new("The row", &headers).json(&domain.reference("row")),
        )
        .response(
            StatusCode::NOT_MODIFIED,
            OpenApiResponse::new("The row is at a version in If-None-Match", &headers),
        )
        .problems(&[
            Kind::Malformed,
            Kind::NotFound,
            Kind::Deleted,
            Kind::VersionMismatch,
            Kind::Unavailable,
        ])
}
