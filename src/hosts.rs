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
//! to standard error. The `async` functions in [`run`] and in the modules `local` and `lambda` do the same inside a
//! runtime of your own, and take the router, so that you can add routes.
//!
//! # In a program of your own
//!
//! A program that already has a server and a configuration runs the parts itself: the router and the listener.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use foldlog::Foldlog;
//! use foldlog::http::{self, AppState, Auth, Operations};
//! use foldlog::projection::Listener;
//! use sqlx::postgres::PgConnectOptions;
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example(options: PgConnectOptions, foldlog: Foldlog) -> std::io::Result<()> {
//! let stop = CancellationToken::new();
//! let listener = Listener {
//!     login: Arc::new(options),
//!     pool: foldlog.pool.clone(),
//!     views: Arc::clone(&foldlog.views),
//!     batch_size: 2000,
//!     stop: stop.clone(),
//! };
//! let listening = tokio::spawn(listener.run());
//!
//! let state = AppState { foldlog, cors_origins: [].into(), auth: Auth::None, operations: Operations::None };
//! let app = axum::Router::new().nest("/api", http::router(state.clone(), state));
//! let socket = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! http::serve(socket, app, stop.clone()).await;
//! listening.await?;
//! # Ok(())
//! # }
//! ```

use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::client;
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

/// `client DIR [--name NAME] [--check]`: writes the package of the web client for these domains, or checks that it is current. It
/// reads no configuration and needs no database.
#[must_use]
pub fn client(domains: Domains) -> ExitCode {
    let done = client::Arguments::parse(std::env::args().skip(1))
        .and_then(|arguments| client::run(&domains, &arguments));
    run::exit(done.map_err(|error| HostError::Client(error.into())))
}

fn block_on(host: impl Future<Output = Result<(), HostError>>) -> ExitCode {
    match Runtime::new() {
        Ok(runtime) => run::exit(runtime.block_on(host)),
        Err(error) => run::exit(Err(error.into())),
    }
}
