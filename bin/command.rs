//! A Lambda function behind an API gateway: appends events.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::command(foldlog::domains::ALL)
}
