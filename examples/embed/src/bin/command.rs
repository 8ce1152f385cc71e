//! A Lambda function that appends events.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::command(box_office::domains())
}
