//! `GET /{domain}` and `GET /{domain}/{id}`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::command::etag;
use super::extract::{DomainPath, IdPath, Params, has_version};
use super::problem::{Kind, Problem};
use crate::db::DbError;
use crate::event::Version;
use crate::query::{self, Consistency};
use crate::view::{PageCursor, View, ViewRow};

/// Rows a page, unless the client says otherwise, and at most.
pub(super) const LIMIT: (u16, u16) = (100, 1000);

/// A page.
#[derive(Serialize)]
struct Listed {
    result: Vec<ViewRow>,
    next: Option<String>,
}

/// A page of a domain's view.
pub(super) async fn list(
    State(state): State<AppState>,
    DomainPath(domain): DomainPath,
    mut params: Params,
) -> Result<Response, Problem> {
    let view = view(&state, domain.name())?;
    let limit = params
        .take("limit")
        .map_or(Ok(LIMIT.0), |text| limit(&text))?;
    let after = params.take("after").map(|text| cursor(&text)).transpose()?;
    let filters = params
        .rest()
        .into_iter()
        .map(|(name, value)| filter(view, &name, value))
        .collect::<Result<Vec<_>, _>>()?;
    let page = match query::list(&state.engine, view, &filters, after, limit).await {
        Err(query::Error::Db(DbError::Data { .. })) => {
            let names = filters
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", ");
            return Err(Problem::new(
                Kind::Malformed,
                format!("a filter's value is not of its column's type: {names}"),
            ));
        }
        page => page?,
    };
    let listed = Listed {
        result: page.rows,
        next: page.next.map(PageCursor::encode),
    };
    Ok(([fresh_only()], Json(listed)).into_response())
}

/// One row of a domain's view.
pub(super) async fn get(
    State(state): State<AppState>,
    DomainPath(domain): DomainPath,
    IdPath(id): IdPath,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let consistency = consistency(&mut params)?;
    params.none_left()?;
    let row = query::get(&state.engine, view(&state, domain.name())?, id, consistency).await?;
    let tag = (header::ETAG, etag(row.version));
    if has_version(&headers, row.version) {
        return Ok((StatusCode::NOT_MODIFIED, [tag, fresh_only()]).into_response());
    }
    Ok(([tag, fresh_only()], Json(row)).into_response())
}

/// A cache may keep the answer, but has to ask whether it still holds.
fn fresh_only() -> (header::HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
}

fn view<'a>(state: &'a AppState, name: &str) -> Result<&'a View, Problem> {
    state.engine.view(name).ok_or_else(Problem::panicked)
}

fn limit(text: &str) -> Result<u16, Problem> {
    let limit = text
        .parse()
        .ok()
        .filter(|limit| (1..=LIMIT.1).contains(limit));
    limit.ok_or_else(|| {
        Problem::new(
            Kind::Malformed,
            format!("limit must be a number from 1 to {}", LIMIT.1),
        )
    })
}

fn cursor(text: &str) -> Result<PageCursor, Problem> {
    let what = "after must be the `next` of an earlier page, as it is";
    PageCursor::decode(text).ok_or_else(|| Problem::new(Kind::Malformed, what))
}

fn filter(view: &View, name: &str, value: String) -> Result<(&'static str, String), Problem> {
    if let Some(column) = view.public_columns().find(|column| *column == name) {
        if value.contains('\0') {
            return Err(Problem::new(
                Kind::Malformed,
                format!("the filter `{name}` holds a NUL"),
            ));
        }
        return Ok((column, value));
    }
    let known = view.public_columns().collect::<Vec<_>>().join(", ");
    Err(Problem::new(
        Kind::Malformed,
        format!("this route has no parameter `{name}`; it filters by: {known}"),
    ))
}

fn consistency(params: &mut Params) -> Result<Consistency, Problem> {
    let min_version = params.take("min_version").map(|text| {
        let version = text.parse().ok().filter(|version| *version > 0);
        version.ok_or_else(|| {
            Problem::new(Kind::Malformed, "min_version must be a version: 1, 2, 3 …")
        })
    });
    match (
        params.take("consistency").as_deref(),
        min_version.transpose()?,
    ) {
        // A strong read is at every version there is; of one below what is asked for nothing would be said.
        (Some("strong"), None) => Ok(Consistency::Strong),
        (None | Some("eventual" | "strong"), Some(version)) => {
            Ok(Consistency::AtLeast(Version(version)))
        }
        (None | Some("eventual"), None) => Ok(Consistency::Eventual),
        (Some(_), _) => Err(Problem::new(
            Kind::Malformed,
            "consistency must be eventual or strong",
        )),
    }
}
