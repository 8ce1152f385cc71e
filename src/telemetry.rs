//! Logs: one line a request, one line a batch of note; sentences that read alone, with fields beside them.
//!
//! Never logged: payloads, metadata values, tokens, URLs with credentials, e-mail addresses. The names of the fields are
//! listed in `CONTRIBUTING.md`.

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` says nothing. sqlx logs statements that are slow, never their values.
const DEFAULT: &str = "info,sqlx=warn";

/// Libraries that log whole messages when they are asked for everything: payloads, tokens, credentials. They are not to be
/// asked, not even by name.
const QUIET: [&str; 8] = [
    "aws_config=info",
    "aws_smithy_http_client=info",
    "aws_smithy_runtime=info",
    "aws_smithy_runtime_api=info",
    "h2=info",
    "hyper=info",
    "hyper_util=info",
    "lambda_runtime=info",
];

/// Starts logging to standard error, as `RUST_LOG` says. A second call does nothing.
pub fn start() {
    let asked = std::env::var("RUST_LOG").unwrap_or_else(|_| DEFAULT.to_owned());
    // The last word about a library counts.
    let directives = asked + "," + &QUIET.join(",");
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    // Only an already started subscriber refuses, and then logging works.
    let _ = lines.try_init();
}
