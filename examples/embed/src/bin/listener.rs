//! A long-running worker that folds new events into the views.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::listener(box_office::domains())
}
