//! A Lambda function that folds new events into the views, on a schedule.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::catch_up(box_office::domains())
}
