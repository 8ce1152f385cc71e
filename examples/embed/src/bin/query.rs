//! A Lambda function that reads views.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::query(box_office::domains())
}
