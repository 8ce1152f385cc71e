//! `GET /{domain}`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Value, json};

use super::NO_CACHE;
use crate::db::DbError;
use crate::http::AppState;
use crate::http::extract::{DomainPath, Params, parse_digits};
use crate::http::moment::parse_time;
use crate::http::openapi::{
    self, CACHE_CONTROL, DomainSchemas, Operation, Response as OpenApiResponse,
};
use crate::http::problem::{Kind, Problem};
use crate::query::{self, ListMoment, ListQuery, QueryError};
use crate::view::{PageCursor, PageLimit, View, ViewRow};

/// The most rows that a client may request per page.
const MAX_PAGE_LIMIT: u16 = 1000;

/// How many bytes the rows of a page may have at most, if the host's gateway passes on less than a page of foldlog has: an
/// extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPageBytes(pub usize);

#[derive(Serialize)]
struct Page {
    result: Vec<ViewRow>,
    next: Option<String>,
}

/// A page of a domain's view.
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    DomainPath(served): DomainPath,
    max_bytes: Option<Extension<MaxPageBytes>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let view = &*served.view;
    let limit = parse_limit(&mut params, max_bytes)?;
    let after = params
        .take("after")
        .map(|text| parse_cursor(&text))
        .transpose()?;
    let moment = list_moment(&mut params)?;
    let filters = params
        .into_rest()
        .into_iter()
        .map(|(name, value)| parse_filter(view, &name, value))
        .collect::<Result<Vec<_>, _>>()?;
    let query = ListQuery {
        filters: &filters,
        after,
        limit,
        moment,
    };
    let page = match query::list(&state.foldlog, view, &query).await {
        Err(QueryError::Db(DbError::Data { .. })) => {
            let names: Vec<&str> = filters.iter().map(|(name, _)| *name).collect();
            let detail = format!(
                "a filter's value does not have the type of its column; check {}",
                names.join(", ")
            );
            return Err(Problem::new(Kind::Malformed, detail));
        }
        page => page?,
    };
    let page = Page {
        result: page.rows,
        next: page.next.map(PageCursor::encode),
    };
    Ok(([NO_CACHE], Json(page)).into_response())
}

/// How large a page may be: the parameter `limit`, and what the host's gateway passes on.
pub(super) fn parse_limit(
    params: &mut Params,
    max_bytes: Option<Extension<MaxPageBytes>>,
) -> Result<PageLimit, Problem> {
    let rows = params
        .take("limit")
        .map_or(Ok(PageLimit::DEFAULT_ROWS), |text| {
            let limit = parse_digits(&text).filter(|limit| (1..=MAX_PAGE_LIMIT).contains(limit));
            limit.ok_or_else(|| {
                let detail =
                    format!("the parameter limit must be an integer from 1 to {MAX_PAGE_LIMIT}");
                Problem::new(Kind::Malformed, detail)
            })
        });
    let mut limit = PageLimit::from(rows?);
    if let Some(Extension(MaxPageBytes(max_bytes))) = max_bytes {
        limit.bytes = limit.bytes.min(max_bytes);
    }
    Ok(limit)
}

fn list_moment(params: &mut Params) -> Result<ListMoment, Problem> {
    let as_of = params.take("as_of");
    let as_of = as_of.map(|text| parse_time("as_of", &text));
    match (params.take("consistency").as_deref(), as_of.transpose()?) {
        (None, Some(time)) => Ok(ListMoment::Past(time)),
        (Some("strong"), None) => Ok(ListMoment::Newest),
        (None | Some("eventual"), None) => Ok(ListMoment::Projected),
        (Some("eventual" | "strong"), Some(_)) => Err(Problem::new(
            Kind::Malformed,
            "as_of reads the events themselves, so consistency has no meaning with it; leave it out",
        )),
        (Some(_), _) => Err(Problem::new(
            Kind::Malformed,
            "the parameter consistency must be `eventual` or `strong`",
        )),
    }
}

pub(super) fn parse_cursor(text: &str) -> Result<PageCursor, Problem> {
    let detail = "the parameter after must be the unchanged `next` of a previous page";
    PageCursor::decode(text).ok_or_else(|| Problem::new(Kind::Malformed, detail))
}

fn parse_filter<'a>(
    view: &'a View,
    name: &str,
    value: String,
) -> Result<(&'a str, String), Problem> {
    let Some(column) = view.filter_columns().find(|column| *column == name) else {
        let columns = view.filter_columns().collect::<Vec<_>>().join(", ");
        let detail = format!("unknown parameter `{name}`; this route can filter by: {columns}");
        return Err(Problem::new(Kind::Malformed, detail));
    };
    if value.contains('\0') {
        let detail =
            format!("the filter `{name}` contains a NUL character, which no row can; remove it");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    Ok((column, value))
}

/// A page cursor: a UUID in the URL-safe base64 alphabet.
const CURSOR_PATTERN: &str = "^[A-Za-z0-9_-]{21}[AQgw]$";

/// Describes the route.
pub(super) fn describe(domain: &DomainSchemas) -> Operation {
    let name = domain.name;
    let operation = Operation::new(
        &format!("list_{name}"),
        &format!("List {name}, ordered by id"),
    )
    .tag(name)
    .shared_parameter("RowsPerPage", limit_parameter("The most rows per page"))
    .shared_parameter("AfterRow", openapi::query(
        "after",
        "The unchanged `next` of the previous page",
        &json!({"type": "string", "pattern": CURSOR_PATTERN}),
    ))
    .shared_parameter("ConsistencyOfList", openapi::query(
        "consistency",
        "`strong` includes every committed event, projected or not; the default is `eventual`. Not together with as_of",
        &json!({"type": "string", "enum": ["eventual", "strong"]}),
    ))
    .shared_parameter("ListAsOf", openapi::query(
        "as_of",
        "The rows as of this time, folded from the events. A page may have fewer rows than limit and still a next one",
        &json!({"type": "string", "format": "date-time"}),
    ));
    let filters = domain.filters.iter();
    let operation = filters.fold(operation, |operation, (column, schema)| {
        let description = format!("Only rows whose {column} equals this value");
        operation.parameter(openapi::query(column, &description, schema))
    });
    let page = OpenApiResponse::new("A page", &[CACHE_CONTROL]);
    operation
        .response(StatusCode::OK, page.json(&domain.reference("page")))
        .problems(&[Kind::Malformed, Kind::Unavailable])
}

/// Describes the parameter `limit`.
pub(super) fn limit_parameter(description: &str) -> Value {
    let schema = json!({
        "type": "integer", "minimum": 1, "maximum": MAX_PAGE_LIMIT, "default": PageLimit::DEFAULT_ROWS,
    });
    openapi::query("limit", description, &schema)
}
