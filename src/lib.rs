//! Event sourcing and CQRS on one Postgres: commands append events, projections fold the log into views exactly once and
//! in order, queries read the views. No broker, no leader, no checkpoint.
//!
//! Where to begin:
//!
//! - write a domain: the traits of [`domain`], with one file as an example;
//! - build a [`Foldlog`] from domains and a database, then [append](Foldlog::append), [get](Foldlog::get) and
//!   [list](Foldlog::list) in process, or append in [your own transaction](Append::in_transaction);
//! - serve the same over HTTP: [`http::router`];
//! - why foldlog loses no event and folds none twice: [`projection`], which names the test of each step;
//! - the map of the code and its invariants: `ARCHITECTURE.md`.

mod api;
mod app;
#[cfg(feature = "aws")]
pub mod aws;
pub mod command;
pub mod config;
pub mod db;
pub mod domain;
#[cfg(feature = "users")]
pub mod domains;
pub mod event;
pub mod hosts;
pub mod http;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "local")]
pub mod local;
pub mod migrations;
pub mod projection;
pub mod query;
pub mod run;
pub mod state;
pub mod store;
pub mod telemetry;
#[cfg(feature = "local")]
pub mod testing;
pub mod view;

// `events!` refers to this crate as `foldlog`, in the example domain and in unit tests as elsewhere.
#[cfg(any(test, feature = "users"))]
extern crate self as foldlog;

pub use self::api::{Append, Get, List, Row, Rows};
pub use self::app::{BuildError, Foldlog, FoldlogBuilder, NotServedError, Served};
pub use serde;
pub use utoipa;

/// The crates that the macros refer to.
#[doc(hidden)]
pub mod __private {
    pub use serde;
    pub use utoipa;
}
