//! Everything in one process, on a Postgres that it finds or starts.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::local(foldlog::domains::ALL)
}
