//! Tests with real servers, real processes and real kills.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy exempts only functions that are marked as tests, not their helpers"
)]

mod data;
mod downloads;
mod privacy;
mod recovery;
mod sharing;
