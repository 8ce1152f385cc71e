//! `migrate up | down | status | setup-database | create -n NAME`; started by Lambda without arguments, a function with the same verbs.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::migrate(foldlog::domains::ALL)
}
