//! Logs: one line per request, one line per notable batch. Each message reads as a sentence by itself and has fields.
//!
//! Never logged: payloads, metadata values, tokens, URLs with credentials, e-mail addresses.

use std::env::VarError;
use std::io;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// The filter if `RUST_LOG` is not set. At `warn`, sqlx logs slow statements, but never the values bound to them.
const DEFAULT_FILTER: &str = "info,sqlx=warn";

/// These crates log payloads and credentials at debug level. They stay at info even if `RUST_LOG` names them.
const CAPPED_CRATES: [&str; 8] = [
    "aws_config=info",
    "aws_smithy_http_client=info",
    "aws_smithy_runtime=info",
    "aws_smithy_runtime_api=info",
    "h2=info",
    "hyper=info",
    "hyper_util=info",
    "lambda_runtime=info",
];

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line of text, for people: local runs and containers.
    Text,
    /// One JSON object per line, which `CloudWatch` Logs Insights queries by field: Lambda.
    Json,
}

/// Writes logs to standard error, filtered by `RUST_LOG`. If a subscriber is already installed, it stays.
pub fn init(format: Format) {
    let given = match std::env::var("RUST_LOG") {
        Err(VarError::NotPresent) => Some(DEFAULT_FILTER.to_owned()),
        given => given.ok(),
    };
    // The last directive for a crate takes precedence.
    let capped = |filter: String| EnvFilter::try_new(filter + "," + &CAPPED_CRATES.join(",")).ok();
    let filter = given.and_then(capped);
    let is_valid = filter.is_some();
    let filter = filter.unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_target(false);
    // It fails only if a subscriber is installed already, and then that one logs.
    let _ = match format {
        Format::Text => lines.try_init(),
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    if !is_valid {
        tracing::warn!(
            "RUST_LOG must be a filter like `info,foldlog=debug`; `{DEFAULT_FILTER}` is used"
        );
    }
}

/// A duration as the fields `…_ms` have it. A `u128`, as `Duration::as_millis` returns, would become text in JSON.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The fields of log lines and spans, with their meaning. `CONTRIBUTING.md` has the same table.
pub const FIELDS: &[(&str, &str)] = &[
    ("event.id", "the id of the appended event"),
    ("event.type_id", "the type of the appended event"),
    (
        "event.position",
        "the position of the appended event in the log",
    ),
    ("aggregate.id", "the aggregate of the appended event"),
    ("aggregate.version", "the version of the appended event"),
    ("domain", "the name of a domain"),
    ("projection", "the name of a projection"),
    (
        "batch.events",
        "the number of events in a batch, or in an append of several events",
    ),
    (
        "lag.events",
        "the number of events that a projection has not folded yet",
    ),
    (
        "lag.ms",
        "the age of the oldest event that a projection has not folded yet",
    ),
    ("parked.count", "the number of parked aggregates"),
    ("attempt", "the number of the attempt, from 1"),
    (
        "duration_ms",
        "how long something took; in a line about a retry, the pause before it",
    ),
    ("request.id", "the id of the request: `X-Request-Id`"),
    ("http.route", "the pattern of the route, never the path"),
    ("http.status", "the status code of the response"),
    ("problem.type", "the last part of the problem's `type`"),
    (
        "db.constraint",
        "the name of a constraint or a unique index",
    ),
    (
        "db.summary",
        "what a statement does: the first line of its file",
    ),
    (
        "log.offset",
        "what was added to the transaction ids of a restored log",
    ),
];
