//! The box office in one process: HTTP server, listener and, without `DATABASE_URL`, a Postgres.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::local(box_office::domains())
}
