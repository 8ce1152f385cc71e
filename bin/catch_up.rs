//! A Lambda function on a schedule: projects new events.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::catch_up(foldlog::domains::ALL)
}
