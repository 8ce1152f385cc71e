//! Support for the tests: databases, servers, proxies, events and locks.

pub mod accounts;
pub mod app;
pub mod bouncer;
pub mod chaos;
pub mod conforms;
pub mod db;
pub mod events;
pub mod json;
pub mod locks;
pub mod log;
pub mod poll;
pub mod round_trips;
#[cfg(feature = "lambda")]
pub mod runtime_api;
pub mod workers;

pub use self::db::TestDb;
pub use self::events::{created, renamed};
