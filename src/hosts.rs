//! The whole `main` of each program, for one line in a binary of your own crate:
//!
//! ```no_run
//! # #[cfg(all(feature = "local", feature = "users"))]
//! # mod bin {
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     foldlog::hosts::local(foldlog::domains::ALL)
//! }
//! # }
//! ```
//!
//! Each function starts a Tokio runtime, reads the configuration, runs until SIGTERM or SIGINT, and prints an error as one line
//! to standard error. To add routes, or to run foldlog inside a program of your own, call the `async` functions in
//! [`run`], [`local`](crate::local) and [`lambda`](crate::lambda) instead.

use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::domain::Domains;
#[cfg(any(feature = "lambda", feature = "local"))]
use crate::http;
use crate::run::{self, HostError};

/// `local`: the HTTP server, a listener and, without `DATABASE_URL`, a Postgres, in one process.
#[cfg(feature = "local")]
#[must_use]
pub fn local(domains: Domains) -> ExitCode {
    block_on(crate::local::serve(domains, http::router))
}

/// `listener`: projects new events as they arrive.
#[must_use]
pub fn listener(domains: Domains) -> ExitCode {
    block_on(run::listen(domains))
}

/// `migrate up | down | status | setup-database | create -n NAME`; without arguments on Lambda, a function with the same verbs.
#[must_use]
pub fn migrate(domains: Domains) -> ExitCode {
    let arguments = std::env::args().skip(1);
    #[cfg(feature = "lambda")]
    if arguments.len() == 0 && crate::lambda::is_function() {
        return block_on(crate::lambda::migrate(domains));
    }
    block_on(run::migrate(domains, arguments))
}

/// `command`: a Lambda function behind an API gateway that appends events.
#[cfg(feature = "lambda")]
#[must_use]
pub fn command(domains: Domains) -> ExitCode {
    crate::lambda::block_on(crate::lambda::command(domains, http::command_router))
}

/// `query`: a Lambda function behind an API gateway that reads views.
#[cfg(feature = "lambda")]
#[must_use]
pub fn query(domains: Domains) -> ExitCode {
    crate::lambda::block_on(crate::lambda::query(domains, http::query_router))
}

/// `catch_up`: a Lambda function on a schedule that projects new events.
#[cfg(feature = "lambda")]
#[must_use]
pub fn catch_up(domains: Domains) -> ExitCode {
    block_on(crate::lambda::catch_up(domains))
}

fn block_on(host: impl Future<Output = Result<(), HostError>>) -> ExitCode {
    match Runtime::new() {
        Ok(runtime) => run::exit(runtime.block_on(host)),
        Err(error) => run::exit(Err(error.into())),
    }
}
