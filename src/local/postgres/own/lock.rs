//! The two locks of a data directory. Both are `flock`s: the kernel lets go of them however their holder ends.
//!
//! - `start.lock`, exclusive: held while a process creates, starts, joins or stops the server.
//! - `users.lock`, shared: held as long as a process uses the server. It is taken and tried under the start lock only, so
//!   nobody can join while somebody finds itself the last.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A download on a slow line is the longest that a copy may have to wait for another one.
const WAIT_AT_MOST: Duration = Duration::from_mins(10);
/// After this long, waiting is worth a line in the log.
const SAY_AFTER: Duration = Duration::from_secs(2);
const TRY_EVERY: Duration = Duration::from_millis(25);

/// The right to create, start, join or stop the server of a data directory.
#[derive(Debug)]
pub(super) struct StartLock {
    _lock: Flock<File>,
}

/// The mark that a process uses the server.
#[derive(Debug)]
pub(super) struct InUse {
    lock: Flock<File>,
}

impl StartLock {
    /// Waits until no other process is at it.
    pub(super) async fn take(root: &Path) -> anyhow::Result<Self> {
        let path = root.join("start.lock");
        let mut file = open(&path)?;
        let begun = Instant::now();
        let mut said = false;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { _lock: lock }),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            if begun.elapsed() > WAIT_AT_MOST {
                bail!(
                    "another copy of this program holds {} for minutes: end it and try again",
                    path.display()
                );
            }
            if !said && begun.elapsed() > SAY_AFTER {
                said = true;
                tracing::info!(
                    "waiting for another copy that is starting or stopping Postgres in {}",
                    root.display()
                );
            }
            // Polled, because a blocking flock could be neither timed out nor cancelled.
            tokio::time::sleep(TRY_EVERY).await;
        }
    }
}

impl InUse {
    /// Marks the server as used by us.
    pub(super) fn take(root: &Path, _: &StartLock) -> anyhow::Result<Self> {
        let path = root.join("users.lock");
        match Flock::lock(open(&path)?, FlockArg::LockSharedNonblock) {
            Ok(lock) => Ok(Self { lock }),
            Err((_, error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Whether no other process uses the server.
    pub(super) fn is_last(&self, _: &StartLock) -> anyhow::Result<bool> {
        match self.lock.relock(FlockArg::LockExclusiveNonblock) {
            Ok(()) => Ok(true),
            Err(Errno::EWOULDBLOCK) => Ok(false),
            Err(error) => Err(error).context("cannot see who else uses the data directory"),
        }
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}
