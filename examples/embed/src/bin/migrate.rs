//! `migrate up | down | status` of foldlog's tables. The application's own migrations run separately.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::migrate(box_office::domains())
}
