//! `postmaster.pid`: which process serves a cluster, and whether it is ready.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The content of `postmaster.pid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: i32,
    /// Line 8: the server accepts connections.
    pub(crate) ready: bool,
}

impl PidFile {
    /// `None` if the file is missing or incomplete.
    pub(crate) fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(cluster.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
        let ready = lines.nth(6).is_some_and(|line| line.trim() == "ready");
        Some(Self { pid, ready })
    }

    /// Whether the process is the server of `cluster`. It is not if the server was killed and the process ID is unused or
    /// belongs to another program now.
    ///
    /// True if the system hides the command line: to wait for the process is safer than to start a second server.
    pub(crate) fn is_running(self, cluster: &Path) -> bool {
        if Path::new("/proc/self/cmdline").exists() {
            match fs::read(format!("/proc/{}/cmdline", self.pid)) {
                Ok(line) => is_postmaster(line.split(|byte| *byte == 0), cluster),
                Err(error) => error.kind() != ErrorKind::NotFound,
            }
        } else {
            runs_according_to_ps(self.pid, cluster)
        }
    }
}

/// For systems without `/proc`, such as macOS.
fn runs_according_to_ps(pid: i32, cluster: &Path) -> bool {
    let output = Command::new("ps")
        .args(["-ww", "-o", "args=", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        return true;
    };
    let contains = |text: &[u8]| {
        let mut windows = output.stdout.windows(text.len());
        windows.any(|window| window == text)
    };
    contains(b"postgres") && contains(cluster.as_os_str().as_bytes())
}

/// Whether a command line is that of the cluster's main process. Its children have titles such as `postgres: checkpointer`.
fn is_postmaster<'a>(mut args: impl Iterator<Item = &'a [u8]>, cluster: &Path) -> bool {
    let program = args.next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next();
    matches!(name, Some(b"postgres" | b"postmaster"))
        && args.any(|arg| arg == cluster.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postmaster_pid_is_parsed_as_postgres_writes_it() {
        let text =
            "4711\n/d/cluster\n1700000000\n5432\n/d/socket\n\n  5432001    32768\nready   \n";
        let file = |ready| Some(PidFile { pid: 4711, ready });
        assert_eq!(PidFile::parse(text), file(true));
        assert_eq!(
            PidFile::parse(&text.replace("ready   ", "starting")),
            file(false)
        );
        assert_eq!(PidFile::parse("4711\n/d/cluster\n"), file(false));
        assert_eq!(PidFile::parse(""), None);
        assert_eq!(PidFile::parse("-1\n"), None);
    }

    #[test]
    fn a_process_id_of_another_program_is_not_the_server() {
        let cluster = Path::new("/d/cluster");
        let pid_file = |pid| PidFile { pid, ready: true };
        let this_process = i32::try_from(std::process::id()).unwrap();
        assert!(!pid_file(this_process).is_running(cluster));
        assert!(!runs_according_to_ps(this_process, cluster));
        assert!(!pid_file(i32::MAX).is_running(cluster));
    }

    #[test]
    fn only_the_postmaster_of_the_cluster_counts_as_the_server() {
        let check = |args: &[&'static str]| {
            is_postmaster(
                args.iter().map(|arg| arg.as_bytes()),
                Path::new("/d/cluster"),
            )
        };
        assert!(check(&["/usr/bin/postgres", "-D", "/d/cluster"]));
        assert!(!check(&["/usr/bin/postgres", "-D", "/e/cluster"]));
        assert!(!check(&["postgres: ada app [local] idle", "/d/cluster"]));
        assert!(!check(&["ls", "/d/cluster"]));
    }
}
