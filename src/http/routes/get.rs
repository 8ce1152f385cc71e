//! `GET /{domain}/{id}`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::NO_CACHE;
use crate::http::AppState;
use crate::http::etag::{self, check_if_match, etag, matches_version};
use crate::http::extract::{DomainPath, IdPath, Params};
use crate::http::moment::{parse_time, parse_version};
use crate::http::openapi::{
    self, CACHE_CONTROL, DomainSchemas, ETAG, Operation, Response as OpenApiResponse, reference,
};
use crate::http::problem::{Kind, Problem};
use crate::query::{self, Consistency, Moment, ReadAt};

/// One row of a domain's view.
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    IdPath(id): IdPath,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let at = parse_read_at(&mut params)?;
    params.reject_unknown()?;
    let row = query::get(&state.foldlog, &served.view, id, at).await?;
    check_if_match(&headers, id, row.version)?;
    let etag = (header::ETAG, etag(row.version));
    if matches_version(&headers, row.version) {
        return Ok((StatusCode::NOT_MODIFIED, [etag, NO_CACHE]).into_response());
    }
    Ok(([etag, NO_CACHE], Json(row)).into_response())
}

/// Which state of the row a request asks for.
fn parse_read_at(params: &mut Params) -> Result<ReadAt, Problem> {
    let moment = parse_past(params)?;
    let consistency = params.take("consistency");
    let min_version = params.take("min_version");
    if let Some(moment) = moment {
        if consistency.is_some() || min_version.is_some() {
            let detail = "the parameters version and as_of exclude consistency and min_version; a past state includes every event";
            return Err(Problem::new(Kind::Malformed, detail));
        }
        return Ok(ReadAt::Past(moment));
    }
    let min_version = min_version.map(|text| parse_version("min_version", &text));
    match (consistency.as_deref(), min_version.transpose()?) {
        (Some("strong"), None) => Ok(ReadAt::Live(Consistency::Strong)),
        // With both, `min_version` decides: a strong read would return an older version without an error.
        (None | Some("eventual" | "strong"), Some(version)) => {
            Ok(ReadAt::Live(Consistency::AtLeast(version)))
        }
        (None | Some("eventual"), None) => Ok(ReadAt::Live(Consistency::Eventual)),
        (Some(_), _) => Err(Problem::new(
            Kind::Malformed,
            "the parameter consistency must be `eventual` or `strong`",
        )),
    }
}

/// The moment that `version` or `as_of` names.
pub(super) fn parse_past(params: &mut Params) -> Result<Option<Moment>, Problem> {
    match (params.take("version"), params.take("as_of")) {
        (None, None) => Ok(None),
        (Some(version), None) => Ok(Some(Moment::Version(parse_version("version", &version)?))),
        (None, Some(time)) => Ok(Some(Moment::Time(parse_time("as_of", &time)?))),
        (Some(_), Some(_)) => Err(Problem::new(
            Kind::Malformed,
            "send one of the parameters version and as_of, not both",
        )),
    }
}

/// Describes the parameters that [`parse_past`] reads.
pub(super) fn describe_past(operation: Operation) -> Operation {
    operation
        .shared_parameter(
            "AtVersion",
            openapi::query(
                "version",
                "The state after the event with this version, folded from the events",
                &reference("Version"),
            ),
        )
        .shared_parameter(
            "AsOf",
            openapi::query(
                "as_of",
                "The state at this time, folded from the events; a time in the future is now",
                &json!({"type": "string", "format": "date-time"}),
            ),
        )
}

/// Describes the route.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let headers = [ETAG, CACHE_CONTROL];
    let operation = Operation::new(&format!("get_{name}"), &format!("Get one of {name}"));
    describe_past(operation)
        .tag(name)
        .aggregate_id()
        .shared_parameter("ConsistencyOfRow", openapi::query(
            "consistency",
            "`strong` includes every committed event, projected or not; the default is `eventual`",
            &json!({"type": "string", "enum": ["eventual", "strong"]}),
        ))
        .shared_parameter("MinVersion", openapi::query(
            "min_version",
            "The row must be at this version or a later one",
            &reference("Version"),
        ))
        .shared_parameter("RowIfMatch", openapi::header(
            "If-Match",
            "The row must be at one of these versions; `*` is any",
            &etag::list_schema(),
        ))
        .shared_parameter("RowIfNoneMatch", openapi::header(
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
