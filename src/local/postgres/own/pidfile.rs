//! `postmaster.pid`: which process serves a cluster, whether it is really that one, and whether it is ready.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::client::SOCKET_NAME;

/// What `postmaster.pid` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: i32,
    /// Line 8: the server accepts connections.
    pub(super) ready: bool,
}

/// Who has the process id now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// The server of this cluster.
    Postmaster,
    /// Somebody else: the id was given out again, as after a reboot. Also a zombie.
    Stranger,
    /// Nobody.
    Gone,
}

impl PidFile {
    /// Reads the file of a cluster; none when there is none, or nothing sensible in it.
    pub(super) fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(cluster.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
        let ready = lines.nth(6).is_some_and(|line| line.trim() == "ready");
        Some(Self { pid, ready })
    }

    /// Looks who the process is.
    pub(super) fn process(self, cluster: &Path) -> Process {
        if kill(Pid::from_raw(self.pid), None) == Err(Errno::ESRCH) {
            return Process::Gone;
        }
        if !Path::new("/proc/self/cmdline").exists() {
            return self.process_by_ps(cluster);
        }
        match fs::read(format!("/proc/{}/cmdline", self.pid)) {
            Ok(line) => verdict(serves(line.split(|byte| *byte == 0), cluster)),
            Err(error) if error.kind() == ErrorKind::NotFound => Process::Gone,
            // Hidden from us, so we cannot tell: better wait for it than start a second server.
            Err(_) => Process::Postmaster,
        }
    }

    /// For systems without `/proc`, such as macOS.
    fn process_by_ps(self, cluster: &Path) -> Process {
        let output = Command::new("ps")
            .args(["-ww", "-o", "args=", "-p", &self.pid.to_string()])
            .stdin(Stdio::null())
            .output();
        let Ok(output) = output else {
            return Process::Postmaster; // No ps: as above.
        };
        let wanted = cluster.as_os_str().as_bytes();
        let has = |part: &[u8]| {
            output
                .stdout
                .windows(part.len())
                .any(|window| window == part)
        };
        verdict(has(b"postgres") && has(wanted))
    }
}

/// The cluster's server if its process is there. Cheap enough for a loop.
pub(super) fn running(cluster: &Path) -> Option<PidFile> {
    PidFile::read(cluster).filter(|file| file.process(cluster) == Process::Postmaster)
}

/// Removes the lock files of a dead server whose process id is somebody else's now, as Postgres would take that one for a
/// running server and refuse to start. Where nobody has the id, Postgres sorts it out by itself.
pub(super) fn clear_stale(cluster: &Path, socket: &Path) {
    if PidFile::read(cluster).is_some_and(|file| file.process(cluster) == Process::Stranger) {
        tracing::info!(
            "removing the process id file that a killed Postgres left in {}",
            cluster.display()
        );
        for file in [
            cluster.join("postmaster.pid"),
            socket.join(format!("{SOCKET_NAME}.lock")),
        ] {
            if let Err(error) = fs::remove_file(&file)
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!("cannot remove {}: {error}", file.display());
            }
        }
    }
}

fn verdict(serves: bool) -> Process {
    if serves {
        Process::Postmaster
    } else {
        Process::Stranger
    }
}

/// Whether a command line is that of the cluster's postmaster; its children call themselves `postgres: …`.
fn serves<'a>(mut args: impl Iterator<Item = &'a [u8]>, cluster: &Path) -> bool {
    let program = args.next().unwrap_or_default();
    let name = program
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    (name == b"postgres" || name == b"postmaster")
        && args.any(|arg| arg == cluster.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_postgres_writes_it() {
        let text =
            "4711\n/d/cluster\n1700000000\n5432\n/d/socket\n\n  5432001    32768\nready   \n";
        assert_eq!(
            PidFile::parse(text),
            Some(PidFile {
                pid: 4711,
                ready: true
            })
        );
        assert_eq!(
            PidFile::parse(&text.replace("ready   ", "starting")),
            Some(PidFile {
                pid: 4711,
                ready: false
            })
        );
        assert_eq!(
            PidFile::parse("4711\n/d/cluster\n"),
            Some(PidFile {
                pid: 4711,
                ready: false
            })
        );
        assert_eq!(PidFile::parse(""), None);
        assert_eq!(PidFile::parse("-1\n"), None);
    }

    #[test]
    fn a_process_that_got_the_id_later_is_a_stranger() {
        let me = PidFile {
            pid: i32::try_from(std::process::id()).unwrap(),
            ready: true,
        };
        assert_eq!(me.process(Path::new("/d/cluster")), Process::Stranger);
        assert_eq!(me.process_by_ps(Path::new("/d/cluster")), Process::Stranger);
        assert_eq!(
            PidFile {
                pid: i32::MAX,
                ready: true
            }
            .process(Path::new("/d/cluster")),
            Process::Gone
        );
    }

    #[test]
    fn only_the_postmaster_of_the_cluster_serves_it() {
        let of = |args: &[&'static str]| {
            serves(
                args.iter().map(|arg| arg.as_bytes()),
                Path::new("/d/cluster"),
            )
        };
        assert!(of(&["/usr/bin/postgres", "-D", "/d/cluster"]));
        assert!(!of(&["/usr/bin/postgres", "-D", "/e/cluster"]));
        assert!(!of(&[
            "postgres: foldlog foldlog [local] idle",
            "/d/cluster"
        ]));
        assert!(!of(&["ls", "/d/cluster"]));
    }
}
