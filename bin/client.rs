//! `client DIR [--name NAME] [--check]`: writes the package of the web client, or checks that it is current.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::client(foldlog::domains::ALL)
}
