//! Running a program to its end.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// Runs a program and returns its exit status and output. A program that exceeds `timeout` is killed.
pub(crate) async fn run(command: &mut Command, timeout: Duration) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(timeout, command.output()).await;
    let program = command.as_std().get_program().to_string_lossy();
    match output {
        Ok(output) => output.with_context(|| format!("cannot run {program}")),
        Err(_) => bail!("{program} did not end within {} s", timeout.as_secs()),
    }
}

/// Like [`run`], but an exit status other than 0 is an error with the line of stderr that says why: the first one that is
/// marked as an error, else the last one.
pub(crate) async fn run_successfully(
    command: &mut Command,
    timeout: Duration,
) -> anyhow::Result<()> {
    let output = run(command, timeout).await?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines = || {
        stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let reason = lines()
        .find(|line| line.starts_with("ERROR") || line.starts_with("npm error"))
        .or_else(|| lines().next_back())
        .unwrap_or("no reason given");
    bail!("failed: {reason}")
}
