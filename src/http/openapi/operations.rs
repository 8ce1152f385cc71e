//! The operations: parameters, bodies, and everything that each can answer.

use axum::http::StatusCode;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OneOfBuilder, Required, ResponseBuilder};

use super::REQUEST_ID;
use super::json::{self, AnySchema, named};
use super::schemas::{self, Names};
use super::security;
use crate::domain::Domains;
use crate::http::auth::Access;
use crate::http::problem::Kind;
use crate::http::routes::Operation;
use crate::http::routes::list::MAX_PAGE_LIMIT;

/// What can happen to every request.
const ALWAYS: &[Kind] = &[Kind::Internal, Kind::TimedOut];

/// What can happen to a caller who is asked for a token.
const OF_CALLERS: &[Kind] = &[Kind::Unauthorized, Kind::Forbidden];

/// What can happen to an append.
const OF_APPENDS: &[Kind] = &[
    Kind::Malformed,
    Kind::RuleBroken,
    Kind::IdReused,
    Kind::Deleted,
    Kind::VersionMismatch,
    Kind::TooLarge,
    Kind::WrongMediaType,
    Kind::Unprocessable,
    Kind::Unavailable,
];

const RETRY_AFTER: &str = "Retry-After";
const ETAG: (&str, &str) = ("ETag", "the version, in double quotes");
const CACHE: (&str, &str) = (
    "Cache-Control",
    "`no-cache`: it may be kept, but ask whether it still holds",
);

/// One operation; `domain` is the one in its path, if there is one.
pub(super) fn describe(
    operation: Operation,
    domain: Option<&Names>,
    domains: &Domains,
    access: Access,
) -> OperationBuilder {
    let described = match (operation, domain) {
        (Operation::AppendAny, _) => append("events", "events of any domains", &named("AnyEvent")),
        (Operation::Health, _) => {
            let what = "Whether process and database are up, and how far the projections are";
            let health = answer("They are up", named("Health"), &[]);
            answers(
                about("health", what).response("200", health.build()),
                &[Kind::Unavailable],
            )
        }
        (Operation::Document, _) => {
            let document = answer("An OpenAPI 3.1 document", json::map(), &[]);
            answers(
                about("openapi", "This document").response("200", document.build()),
                &[],
            )
        }
        (Operation::Append, Some(names)) => append_to(names),
        (Operation::List, Some(names)) => list(names, domains),
        (Operation::Get, Some(names)) => get(names),
        // These have `{domain}` in their path.
        (Operation::Append | Operation::List | Operation::Get, None) => OperationBuilder::new(),
    };
    match access {
        Access::Public => described,
        _ => security::ask(problems(described, OF_CALLERS), access, domain),
    }
}

fn append_to(names: &Names) -> OperationBuilder {
    let what = format!("events of {}", names.path);
    append(names.path, &what, &names.schema("event"))
}

fn list(names: &Names, domains: &Domains) -> OperationBuilder {
    let name = names.path;
    let what = format!("A page of {name}, in the order of their ids");
    let mut described = about(&format!("list_{name}"), &what)
        .tag(name)
        .parameter(query("limit", "rows a page; by default 100", limit()))
        .parameter(query(
            "after",
            "the `next` of an earlier page, as it is",
            json::matching(CURSOR),
        ));
    let projection = domains.projections().find(|p| p.name() == name);
    for column in projection.map(schemas::public_columns).unwrap_or_default() {
        let what = format!("only rows whose {} equals this", column.name);
        described = described.parameter(query(column.name, &what, json::filter(&column.shape)));
    }
    let page = answer("A page", names.schema("page"), &[CACHE]);
    answers(
        described.response("200", page.build()),
        &[Kind::Malformed, Kind::Unavailable],
    )
}

fn get(names: &Names) -> OperationBuilder {
    let name = names.path;
    let id = parameter(ParameterIn::Path, "id", "the aggregate", json::uuid());
    let described = about(&format!("get_{name}"), &format!("One of {name}"))
        .tag(name)
        .parameter(id.required(Required::True))
        .parameter(query(
            "consistency",
            "`strong`: with everything that is committed, projected or not",
            json::words(["eventual", "strong"]),
        ))
        .parameter(query(
            "min_version",
            "at this version at least",
            json::version(),
        ))
        .parameter(parameter(
            ParameterIn::Header,
            "If-None-Match",
            "an earlier answer's `ETag`, or several",
            json::text(None),
        ));
    let not_modified = ResponseBuilder::new().description("It is at the version that was named");
    let described = described
        .response(
            "200",
            answer("The row", names.schema("row"), &[ETAG, CACHE]).build(),
        )
        .response("304", headers(not_modified, &[ETAG, CACHE]).build());
    answers(
        described,
        &[
            Kind::Malformed,
            Kind::NotFound,
            Kind::Deleted,
            Kind::VersionMismatch,
            Kind::Unavailable,
        ],
    )
}

/// A UUID in the alphabet of URLs.
const CURSOR: &str = "^[A-Za-z0-9_-]{21}[AQgw]$";
const VERSION_TAG: &str = "^\"[1-9][0-9]{0,8}\"$";

fn append(id: &str, what: &str, event: &AnySchema) -> OperationBuilder {
    let body = ContentBuilder::new().schema(Some(schemas::one_or_many(event)));
    let body = RequestBodyBuilder::new()
        .description(Some(
            "One event or an array of them; all are stored or none",
        ))
        .required(Some(Required::True))
        .content("application/json", body.build());
    let etag = (
        ETAG.0,
        "one event: its version, in double quotes; an array has none",
    );
    let saved = |what: &str| {
        let one_or_many = OneOfBuilder::new()
            .item(named("EventSaved"))
            .item(named("EventsSaved"));
        answer(what, one_or_many.into(), &[etag])
    };
    // Where an append of one event can be seen.
    let seen = |response: ResponseBuilder| match id {
        "events" => response,
        _ => response.link(
            "row",
            LinkBuilder::new()
                .operation_id(format!("get_{id}"))
                .parameter("id", "$response.body#/aggregate_id")
                .parameter("min_version", "$response.body#/version")
                .build(),
        ),
    };
    let described = about(&format!("append_{id}"), &format!("Append {what}"))
        .tag(id)
        .parameter(parameter(
            ParameterIn::Header,
            "If-Match",
            "the aggregate must be at this version; not together with If-None-Match",
            json::matching(VERSION_TAG),
        ))
        .parameter(parameter(
            ParameterIn::Header,
            "If-None-Match",
            "`*`: no aggregate of the request may exist",
            json::words(["*"]),
        ))
        .request_body(Some(body.build()))
        .response("201", seen(saved("Stored")).build())
        .response(
            "200",
            seen(saved("Stored before, with the same content")).build(),
        );
    answers(described, OF_APPENDS)
}

fn about(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(summary))
        .parameter(parameter(
            ParameterIn::Header,
            REQUEST_ID,
            "an id of yours for the request; kept if it is a plain one of at most 128 characters",
            json::text(None),
        ))
}

/// Adds the problems that these are, and those that there always are.
fn answers(operation: OperationBuilder, kinds: &[Kind]) -> OperationBuilder {
    let kinds: Vec<Kind> = ALWAYS.iter().chain(kinds).copied().collect();
    problems(operation, &kinds)
}

/// Adds problems, a response a status.
fn problems(mut operation: OperationBuilder, kinds: &[Kind]) -> OperationBuilder {
    let mut kinds = kinds.to_vec();
    kinds.sort_by_key(|kind| kind.status());
    for same in kinds.chunk_by(|one, other| one.status() == other.status()) {
        let status = same[0].status();
        let titles: Vec<&str> = same.iter().map(|kind| kind.title()).collect();
        let schema = match same {
            [kind] => named(&schemas::problem_name(*kind)),
            _ => same
                .iter()
                .fold(OneOfBuilder::new(), |any, kind| {
                    any.item(named(&schemas::problem_name(*kind)))
                })
                .into(),
        };
        let response = ResponseBuilder::new()
            .description(titles.join("; "))
            .content(
                "application/problem+json",
                ContentBuilder::new().schema(Some(schema)).build(),
            );
        let more: &[_] = match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                &[(RETRY_AFTER, "after how many seconds to send it again")]
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                &[("WWW-Authenticate", "what is missing (RFC 6750)")]
            }
            _ => &[],
        };
        operation = operation.response(status.as_str(), headers(response, more).build());
    }
    operation
}

fn answer(description: &str, schema: AnySchema, more: &[(&str, &str)]) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", content);
    headers(response, more)
}

fn headers(response: ResponseBuilder, more: &[(&str, &str)]) -> ResponseBuilder {
    let id = (REQUEST_ID, "the request's id: yours, or a new one");
    more.iter()
        .chain([&id])
        .fold(response, |response, (name, what)| {
            let schema = if *name == RETRY_AFTER {
                json::integer(1, None)
            } else {
                json::text(None)
            };
            response.header(
                *name,
                HeaderBuilder::new()
                    .schema(Some(schema))
                    .description(Some(*what))
                    .build(),
            )
        })
}

fn query(name: &str, what: &str, schema: AnySchema) -> ParameterBuilder {
    parameter(ParameterIn::Query, name, what, schema)
}

fn parameter(place: ParameterIn, name: &str, what: &str, schema: AnySchema) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .description(Some(what))
        .schema(Some(schema))
}

fn limit() -> AnySchema {
    json::integer(1, Some(MAX_PAGE_LIMIT.into()))
}
