//! All integration tests, in one binary. They use a real Postgres; `support/db.rs` says where it comes from.
#![expect(
    unreachable_pub,
    reason = "the support modules are shared within this binary only"
)]
#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code; clippy recognizes only functions that are marked as tests"
)]

mod append;
mod auth;
mod bins;
mod catch_up;
mod client;
#[cfg(feature = "console")]
mod console;
mod crash;
mod deadline;
mod defects;
mod domain_lists;
mod doorbell;
mod dry_run;
mod feed;
mod history;
mod hostile;
mod http_append;
mod http_query;
mod inline;
mod inline_backlog;
mod isolation;
#[cfg(feature = "lambda")]
mod lambda;
mod lane_sharing;
mod lanes;
mod local;
mod locked;
#[cfg(feature = "aws")]
mod logins;
#[cfg(feature = "lambda")]
mod logs;
mod migrations;
mod nested_secrets;
mod openapi;
mod operate;
mod order;
mod overlap;
mod parked;
mod parked_by_hand;
mod past_list;
mod plans;
mod pooler;
mod pooler_load;
mod pooler_prepared;
mod promises;
mod properties;
mod replay;
mod replica;
mod reprojection;
mod restored;
mod revert;
mod round_trips;
mod schema;
mod secrets;
mod shared_database;
mod skip;
mod sql;
mod sqlstate;
mod strong_list;
mod support;
mod testing;
mod tidy;
mod tls;
mod typed;
mod unavailable;
