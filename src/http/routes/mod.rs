//! The table of routes. Routers, authorization and the OpenAPI document are all made from it.

pub(super) mod activity;
pub(super) mod append;
pub(super) mod blame;
pub(super) mod diff;
pub(super) mod document;
pub(super) mod explain;
pub(super) mod feed;
pub(super) mod get;
pub(super) mod health;
pub(super) mod history;
pub(super) mod list;
pub(super) mod operator_docs;
pub(super) mod projections;
mod recent_report;
pub(super) mod revert;
pub(super) mod skipped;

use axum::Extension;
use axum::http::{HeaderName, HeaderValue, header};
use axum::routing::{MethodFilter, MethodRouter, on};

use self::recent_report::RecentReport;
use super::AppState;
use super::auth::Access;
use super::openapi::{DomainSchemas, Operation};

/// A route.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    pub side: Side,
    pub access: Access,
    pub handler: fn(MethodFilter) -> MethodRouter<AppState>,
    /// Describes the route for the OpenAPI document.
    pub operation: RouteOperation,
}

/// Which router serves a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// [`command_router`](super::command_router): it appends.
    Command,
    /// [`query_router`](super::query_router): it reads.
    Query,
}

/// The method of a route. `GET` includes `HEAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// Describes an operation of the OpenAPI document.
#[derive(Clone, Copy)]
pub(super) enum RouteOperation {
    /// The path is used as written.
    Single(fn() -> Operation),
    /// The path contains `{domain}`, and the document has one operation per domain.
    PerDomain(fn(&DomainSchemas) -> Operation),
}

/// All routes. To add one, add it here; `tests/it/tidy/watch.rs` and `tests/it/tidy/template.rs` then tell what is missing
/// in Cargo.toml and template.yaml.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::Post,
        path: "/events",
        side: Side::Command,
        access: Access::WriteEach,
        handler: |method| on(method, append::append_any),
        operation: RouteOperation::Single(append::describe_any),
    },
    Route {
        method: Method::Post,
        path: "/{domain}",
        side: Side::Command,
        access: Access::Write,
        handler: |method| on(method, append::append),
        operation: RouteOperation::PerDomain(append::describe),
    },
    Route {
        method: Method::Post,
        path: "/{domain}/{id}/revert",
        side: Side::Command,
        access: Access::ReadWrite,
        handler: |method| on(method, revert::revert),
        operation: RouteOperation::PerDomain(revert::describe),
    },
    Route {
        method: Method::Get,
        path: "/health",
        side: Side::Query,
        access: Access::Public,
        handler: |method| on(method, health::health),
        operation: RouteOperation::Single(health::describe),
    },
    Route {
        method: Method::Get,
        path: "/openapi.json",
        side: Side::Query,
        access: Access::Public,
        handler: document::serve,
        operation: RouteOperation::Single(document::describe),
    },
    Route {
        method: Method::Get,
        path: "/events",
        side: Side::Query,
        access: Access::ReadEach,
        handler: |method| on(method, feed::feed),
        operation: RouteOperation::Single(feed::describe),
    },
    Route {
        method: Method::Get,
        path: "/events/activity",
        side: Side::Query,
        access: Access::ReadAll,
        handler: |method| on(method, activity::activity),
        operation: RouteOperation::Single(activity::describe),
    },
    Route {
        method: Method::Get,
        path: "/projections",
        side: Side::Query,
        access: Access::Operate,
        handler: |method| on(method, projections::status).layer(Extension(RecentReport::default())),
        operation: RouteOperation::Single(operator_docs::describe_status),
    },
    Route {
        method: Method::Post,
        path: "/projections",
        side: Side::Command,
        access: Access::Operate,
        handler: |method| on(method, projections::operate),
        operation: RouteOperation::Single(operator_docs::describe_operate),
    },
    Route {
        method: Method::Get,
        path: "/projections/{name}",
        side: Side::Query,
        access: Access::Operate,
        handler: |method| on(method, projections::details),
        operation: RouteOperation::Single(operator_docs::describe_details),
    },
    Route {
        method: Method::Get,
        path: "/projections/{name}/parked",
        side: Side::Query,
        access: Access::Operate,
        handler: |method| on(method, projections::parked),
        operation: RouteOperation::Single(operator_docs::describe_parked),
    },
    Route {
        method: Method::Get,
        path: "/projections/{name}/differences",
        side: Side::Query,
        access: Access::Operate,
        handler: |method| on(method, projections::differences),
        operation: RouteOperation::Single(operator_docs::describe_differences),
    },
    Route {
        method: Method::Get,
        path: "/projections/{name}/skipped",
        side: Side::Query,
        access: Access::Operate,
        handler: |method| on(method, skipped::skipped),
        operation: RouteOperation::Single(skipped::describe),
    },
    Route {
        method: Method::Get,
        path: "/{domain}",
        side: Side::Query,
        access: Access::Read,
        handler: |method| on(method, list::list),
        operation: RouteOperation::PerDomain(list::describe),
    },
    Route {
        method: Method::Get,
        path: "/{domain}/{id}",
        side: Side::Query,
        access: Access::Read,
        handler: |method| on(method, get::get),
        operation: RouteOperation::PerDomain(get::describe),
    },
    Route {
        method: Method::Get,
        path: "/{domain}/{id}/events",
        side: Side::Query,
        access: Access::Read,
        handler: |method| on(method, history::history),
        operation: RouteOperation::PerDomain(history::describe),
    },
    Route {
        method: Method::Get,
        path: "/{domain}/{id}/diff",
        side: Side::Query,
        access: Access::Read,
        handler: |method| on(method, diff::diff),
        operation: RouteOperation::PerDomain(diff::describe),
    },
    Route {
        method: Method::Get,
        path: "/{domain}/{id}/blame",
        side: Side::Query,
        access: Access::Read,
        handler: |method| on(method, blame::blame),
        operation: RouteOperation::PerDomain(blame::describe),
    },
    Route {
        method: Method::Get,
        path: "/{domain}/{id}/explain",
        side: Side::Query,
        access: Access::Read,
        handler: |method| on(method, explain::explain),
        operation: RouteOperation::PerDomain(explain::describe),
    },
];

impl Method {
    /// The filter that routes this method.
    pub(super) const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
        }
    }

    /// The method's key in the OpenAPI document.
    pub(super) const fn openapi_key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
        }
    }
}

/// Lets caches store a row, but makes them revalidate it before each use.
const NO_CACHE: (HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a route requires another scope than `docs/API.md` says, above all when one is public by mistake.
    #[test]
    fn every_route_requires_the_documented_scope() {
        let required: Vec<_> = ROUTES
            .iter()
            .map(|route| (route.path, route.method, route.access))
            .collect();
        assert_eq!(
            required,
            [
                ("/events", Method::Post, Access::WriteEach),
                ("/{domain}", Method::Post, Access::Write),
                ("/{domain}/{id}/revert", Method::Post, Access::ReadWrite),
                ("/health", Method::Get, Access::Public),
                ("/openapi.json", Method::Get, Access::Public),
                ("/events", Method::Get, Access::ReadEach),
                ("/events/activity", Method::Get, Access::ReadAll),
                ("/projections", Method::Get, Access::Operate),
                ("/projections", Method::Post, Access::Operate),
                ("/projections/{name}", Method::Get, Access::Operate),
                ("/projections/{name}/parked", Method::Get, Access::Operate),
                (
                    "/projections/{name}/differences",
                    Method::Get,
                    Access::Operate
                ),
                ("/projections/{name}/skipped", Method::Get, Access::Operate),
                ("/{domain}", Method::Get, Access::Read),
                ("/{domain}/{id}", Method::Get, Access::Read),
                ("/{domain}/{id}/events", Method::Get, Access::Read),
                ("/{domain}/{id}/diff", Method::Get, Access::Read),
                ("/{domain}/{id}/blame", Method::Get, Access::Read),
                ("/{domain}/{id}/explain", Method::Get, Access::Read),
            ]
        );
        assert_eq!(Access::Read.scopes("users"), ["users:read"]);
        assert_eq!(Access::Write.scopes("users"), ["users:write"]);
        let both = ["users:read", "users:write"];
        assert_eq!(Access::ReadWrite.scopes("users"), both);
        assert_eq!(Access::Operate.scopes(""), ["operate"]);
    }
}
