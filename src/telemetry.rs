//! Logs: one line a request, one line a batch of note; sentences that read alone, with fields beside them.
//!
//! Never logged: payloads, metadata values, tokens, URLs with credentials, e-mail addresses. The names of the fields are
//! listed in `CONTRIBUTING.md`.

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` says nothing. sqlx logs statements that are slow, never their values.
const DEFAULT: &str = "info,sqlx=warn";

/// Starts logging to standard error, as `RUST_LOG` says. A second call does nothing.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    // Only an already started subscriber refuses, and then logging works.
    let _ = lines.try_init();
}
