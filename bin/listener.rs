//! A long-running worker: projects new events as they arrive.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::listener(foldlog::domains::ALL)
}
