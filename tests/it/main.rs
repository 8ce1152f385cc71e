//! All integration tests, one binary. They run on a real Postgres; see `support/db.rs` for where it comes from.
#![expect(
    unreachable_pub,
    reason = "support is shared by the modules of this binary only"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of this is tests; clippy sees only the functions that are marked as such"
)]

mod append;
mod auth;
mod bins;
mod catch_up;
mod crash;
mod deadline;
mod defects;
mod doorbell;
mod hostile;
mod http_append;
mod http_query;
mod inline;
#[cfg(feature = "lambda")]
mod lambda;
mod local;
mod local_postgres;
#[cfg(feature = "aws")]
mod logins;
mod migrations;
mod openapi;
mod order;
mod parked;
mod pooler;
mod promises;
mod properties;
mod restored;
mod schema;
mod secrets;
mod sql;
mod support;
mod tidy;
mod tls;
mod unavailable;
