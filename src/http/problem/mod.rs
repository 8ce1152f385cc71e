//! Errors as RFC 9457 problems: a stable `type`, and a `detail` that says what to do. A problem never contains text from
//! the database; its cause is attached to the response as an extension, for the request's log line.

mod append;
mod kind;
mod operate;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

pub(super) use self::append::OWN_RULES;
pub(super) use self::kind::Kind;
pub(crate) use self::kind::PROBLEM_URN;
use crate::db::DbError;
use crate::projection::ProjectionError;
use crate::query::QueryError;

/// When to repeat a request about an aggregate whose events cannot be folded: the shortest interval of its retries.
const UNFOLDABLE_RETRY_SECONDS: u64 = 5;

/// When to repeat a request that a projection with a backlog cannot answer.
const TOO_FAR_BEHIND_RETRY_SECONDS: u64 = 5;

/// How soon a request that needs a reprojection may succeed.
const NOT_REPROJECTED_RETRY_SECONDS: u64 = 15;

/// An error response.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    // Boxed, because every handler returns a `Result` with a problem.
    more: Box<Map<String, Value>>,
    retry_after: Option<Duration>,
    challenge: Option<String>,
    accept_encoding: Option<&'static str>,
    cause: Option<Arc<anyhow::Error>>,
}

/// The cause of a problem, for the request's log line.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub Arc<anyhow::Error>);

/// The kind of a problem, for the request's log line.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProblemType(pub &'static str);

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            more: Box::default(),
            retry_after: None,
            challenge: None,
            accept_encoding: None,
            cause: None,
        }
    }

    /// Adds an extension member.
    pub(super) fn with_member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Makes a problem of an event that no client has sent one of the field that led to the event.
    pub(super) fn about(mut self, pointer: &str) -> Self {
        self.more.remove("index");
        if let Some(member) = self.more.get_mut("pointer") {
            *member = pointer.into();
        }
        self
    }

    /// Makes the pointer of a problem of one event a pointer into the request's body: one event, or an array of events.
    pub(super) fn in_body(mut self, is_array: bool) -> Self {
        if is_array
            && let Some(index) = self.more.get("index").cloned()
            && let Some(Value::String(pointer)) = self.more.get_mut("pointer")
        {
            pointer.insert_str(0, &format!("/{index}"));
        }
        self
    }

    /// Sets the header `Retry-After`.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(Duration::from_secs(seconds));
        self
    }

    /// Sets the header `WWW-Authenticate`.
    pub(super) fn challenge(mut self, challenge: String) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Sets the header `Accept-Encoding`: the content codings that a request may have.
    pub(super) const fn accept_encoding(mut self, codings: &'static str) -> Self {
        self.accept_encoding = Some(codings);
        self
    }

    /// Attaches the cause, which is logged and not sent to the client.
    pub(super) fn because(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(Arc::new(cause.into()));
        self
    }

    pub(super) fn timed_out() -> Self {
        Self::new(
            Kind::TimedOut,
            "the request exceeded the time limit; send it again, event ids make appends idempotent",
        )
        .retry_after(1)
    }

    /// The gateway in front of this program does not pass on a response of this size.
    #[cfg(feature = "lambda")]
    pub(crate) fn response_too_large(max_bytes: usize) -> Self {
        let detail = format!(
            "the response is larger than the {max_bytes} bytes that the gateway passes on; request fewer rows with `limit`"
        );
        Self::new(Kind::ResponseTooLarge, detail)
    }

    /// A defect of this program.
    pub(super) fn internal() -> Self {
        Self::new(
            Kind::Internal,
            "an internal error occurred and was logged; quote the X-Request-Id of this response when you report it",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, slug, title) = self.kind.parts();
        let mut body = json!({
            "type": self.kind.urn(),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
        });
        if let Value::Object(members) = &mut body {
            members.extend(*self.more);
        }
        let kind = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let mut response = (status, [kind], body.to_string()).into_response();
        if let Some(wait) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, wait.as_secs().into());
        }
        if let Some(codings) = self.accept_encoding {
            let codings = HeaderValue::from_static(codings);
            response
                .headers_mut()
                .insert(header::ACCEPT_ENCODING, codings);
        }
        if let Some(challenge) = self
            .challenge
            .and_then(|text| HeaderValue::try_from(text).ok())
        {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(ProblemType(slug));
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}

/// Answers a path that matches no route.
pub(super) async fn no_route() -> Problem {
    Problem::new(
        Kind::NoRoute,
        "no route has this path; GET /openapi.json lists the routes",
    )
}

/// Answers a route's path with a method that the route does not have.
pub(super) async fn no_method() -> Problem {
    Problem::new(
        Kind::NoMethod,
        "this route does not support the method; the header Allow lists the supported ones",
    )
}

/// This build defines the view differently than its live generation, until a reprojection ends.
fn not_reprojected(error: &dyn std::error::Error) -> Problem {
    Problem::new(Kind::Unavailable, error.to_string()).retry_after(NOT_REPROJECTED_RETRY_SECONDS)
}

/// The domain cannot fold events of the aggregate until a new build can: the aggregate is parked.
fn unfoldable() -> Problem {
    Problem::new(
        Kind::Unavailable,
        "events of the aggregate cannot be folded yet; retry the request later",
    )
    .retry_after(UNFOLDABLE_RETRY_SECONDS)
    .because(anyhow::anyhow!("events of the aggregate cannot be folded"))
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        use QueryError as Error;
        let detail = error.to_string();
        match error {
            Error::Unknown | Error::NotYetCreated => Self::new(Kind::NotFound, detail),
            Error::NotYetProjected => Self::new(
                Kind::NotFound,
                format!("{detail}; add ?consistency=strong to the request, or retry it later"),
            ),
            Error::NoVersion { newest } => {
                Self::new(Kind::NotFound, detail).with_member("version", newest.0)
            }
            Error::UnknownField { .. } | Error::CursorOrder | Error::UnknownType(_) => {
                Self::new(Kind::Malformed, detail)
            }
            Error::Deleted => Self::new(Kind::Deleted, detail),
            Error::Behind { actual } => {
                Self::new(Kind::VersionMismatch, detail).with_member("version", actual.0)
            }
            // The reason may quote a payload, so it is not logged.
            Error::Unfoldable(_) => unfoldable(),
            Error::TooFarBehind => Self::new(
                Kind::Unavailable,
                format!("{detail}; retry the request later, or leave out consistency=strong"),
            )
            .retry_after(TOO_FAR_BEHIND_RETRY_SECONDS),
            Error::ReplicaBehind => Self::new(Kind::Unavailable, detail).retry_after(1),
            Error::UnknownCursor => {
                let detail = format!("{detail}; read the feed from its beginning");
                Self::new(Kind::Malformed, detail)
            }
            Error::NotServed(_) | Error::UnknownFilter(_) => Self::internal().because(error),
            Error::NotReprojected(_) => not_reprojected(&error),
            Error::Db(error) => error.into(),
        }
    }
}

impl From<ProjectionError> for Problem {
    fn from(error: ProjectionError) -> Self {
        match error {
            ProjectionError::Db(error) => error.into(),
            ProjectionError::Settled(_) => Self::internal().because(error),
            ProjectionError::TooManyEvents(_) => Self::new(
                Kind::Unavailable,
                "the view lacks too many events of the aggregate to fold them with the append; retry the request later",
            )
            .retry_after(TOO_FAR_BEHIND_RETRY_SECONDS)
            .because(error),
            ProjectionError::OtherFold(_)
            | ProjectionError::Cancelled(_)
            | ProjectionError::SnapshotLost(_)
            | ProjectionError::BreaksRule(_) => {
                Self::new(Kind::WrongReprojection, error.to_string())
            }
            ProjectionError::VerifyReplaced(_) => {
                Self::new(Kind::VerificationReplaced, error.to_string())
            }
            ProjectionError::NotDefined(_) | ProjectionError::NotReprojected(_) => {
                not_reprojected(&error)
            }
            ProjectionError::FoldFailed { .. } => Self::new(
                Kind::Unavailable,
                "an earlier event of the aggregate cannot be folded yet; retry the request later",
            )
            .retry_after(UNFOLDABLE_RETRY_SECONDS)
            .because(error),
        }
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        let away = "the database is unavailable; retry the request later, event ids make appends idempotent";
        match &error {
            DbError::Unavailable(_) => Self::new(Kind::Unavailable, away)
                .retry_after(2)
                .because(error),
            // A paused database takes about this long to resume; see `docs/OPERATIONS.md`. The others last until an operator acts.
            DbError::Waking(_)
            | DbError::Impaired(_)
            | DbError::Refused(_)
            | DbError::Untrusted(_)
            | DbError::UntrackedNames(_)
            | DbError::SessionDefaults { .. }
            | DbError::Login(_)
            | DbError::Role { .. }
            | DbError::Pooler(_)
            | DbError::Installation(_)
            | DbError::Limit(_) => Self::new(Kind::Unavailable, away)
                .retry_after(15)
                .because(error),
            DbError::Unreadable(_) => Self::new(
                Kind::Unavailable,
                "a row of the view cannot be read; retry the request when the view is repaired",
            )
            .retry_after(UNFOLDABLE_RETRY_SECONDS)
            .because(error),
            DbError::Contended(_) | DbError::TimedOut(_) => Self::new(
                Kind::Unavailable,
                "the request conflicts with concurrent requests for the same rows; retry it",
            )
            .retry_after(1)
            .because(error),
            DbError::Conflict { .. } | DbError::Data { .. } | DbError::Other(_) => {
                Self::internal().because(error)
            }
        }
    }
}
