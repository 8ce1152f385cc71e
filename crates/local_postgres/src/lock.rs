//! The two locks of a data directory. Both are `flock`s, which the kernel releases however their holder ends.
//!
//! - `start.lock`, exclusive: held while a process creates, starts, joins or stops the server.
//! - `users.lock`, shared: held as long as a process uses the server. Processes acquire and release it only under the start
//!   lock, so no process can join a server that another process is about to stop.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::time::timeout;

/// Longer than a download over a slow line, the longest work under the start lock.
const START_LOCK_TIMEOUT: Duration = Duration::from_mins(10);
/// Waiting longer than this is logged.
const LOG_WAIT_DELAY: Duration = Duration::from_secs(2);
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(25);

/// Held by the process that creates, starts, joins or stops the server.
#[derive(Debug)]
pub(crate) struct StartLock {
    _file: File,
}

/// Held by each process that uses the server.
#[derive(Debug)]
pub(crate) struct UsageLock {
    file: File,
}

impl StartLock {
    pub(crate) async fn acquire(root: &Path) -> anyhow::Result<Self> {
        let path = root.join("start.lock");
        let file = open(&path)?;
        if let Ok(result) = timeout(LOG_WAIT_DELAY, lock(&file)).await {
            result?;
        } else {
            let root = root.display();
            tracing::info!("waiting for another process that starts or stops Postgres in {root}");
            let result = timeout(START_LOCK_TIMEOUT, lock(&file)).await;
            result.map_err(|_| {
                anyhow!(
                    "another process has held {} for {} minutes: end that process and try again",
                    path.display(),
                    START_LOCK_TIMEOUT.as_secs() / 60
                )
            })??;
        }
        Ok(Self { _file: file })
    }
}

impl UsageLock {
    pub(crate) fn acquire(root: &Path, _: &StartLock) -> anyhow::Result<Self> {
        let file = open(&root.join("users.lock"))?;
        // Does not block, because an exclusive lock exists only inside `release`, under the start lock.
        file.lock_shared().context("cannot lock users.lock")?;
        Ok(Self { file })
    }

    /// Releases the lock; true if this process was the last one that held it.
    pub(crate) fn release(self, _: &StartLock) -> anyhow::Result<bool> {
        self.file.unlock().context("cannot unlock users.lock")?;
        try_lock(&self.file)
    }
}

/// Polls, because a blocking flock could neither be cancelled nor time out.
async fn lock(file: &File) -> anyhow::Result<()> {
    while !try_lock(file)? {
        tokio::time::sleep(LOCK_RETRY_INTERVAL).await;
    }
    Ok(())
}

fn try_lock(file: &File) -> anyhow::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the data directory"),
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
