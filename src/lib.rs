//! foldlog

pub mod command;
pub mod config;
pub mod db;
pub mod domain;
pub mod domains;
pub mod engine;
pub mod event;
pub mod http;
#[cfg(feature = "local")]
pub mod local;
pub mod migrations;
pub mod projection;
pub mod query;
pub mod run;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod view;

/// What the macros need of other crates.
#[doc(hidden)]
pub mod __private {
    pub use serde;
    pub use serde_json;
}
