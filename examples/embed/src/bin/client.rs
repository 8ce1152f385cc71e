//! `box_office_client DIR [--name NAME] [--check]`: writes the package of the web client.

use std::process::ExitCode;

fn main() -> ExitCode {
    foldlog::hosts::client(box_office::domains())
}
