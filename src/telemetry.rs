//! Logs: one line a request, one line a batch of note; sentences that read alone, with fields beside them.
//!
//! Never logged: payloads, metadata values, tokens, URLs with credentials, e-mail addresses. The names of the fields are
//! listed in `CONTRIBUTING.md`.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// What is logged when `RUST_LOG` says nothing. sqlx logs statements that are slow, never their values.
const DEFAULT: &str = "info,sqlx=warn";

/// Libraries that log whole messages when they are asked for everything: payloads, tokens, credentials. Below `info` they
/// are not heard, whoever asks them.
const QUIET: [&str; 5] = ["aws_", "h2", "hyper", "lambda_", "reqwest"];

/// Starts logging to standard error, as `RUST_LOG` says. A second call does nothing.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .with_filter(filter.and(filter_fn(may_be_heard)));
    // Only an already started subscriber refuses, and then logging works.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

fn may_be_heard(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || !QUIET.iter().any(|name| line.target().starts_with(name))
}
