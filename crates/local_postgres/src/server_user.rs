//! The Unix user that the server runs as. Postgres refuses to run as root, so root runs it as another user.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use nix::unistd::{Uid, User, getegid, geteuid};
use tokio::process::Command;

/// The only environment variables that the server and its tools get. Others may hold secrets, which the server's user could
/// read in `/proc`.
const PASSED_VARIABLES: [&str; 5] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TZ",
    "TMPDIR",
];

/// The Unix user of the server.
#[derive(Clone, Debug)]
pub(crate) struct ServerUser {
    uid: u32,
    gid: u32,
    /// The name of the user that root switches to; `None` if the server runs as the current user.
    switch_to: Option<String>,
}

impl ServerUser {
    /// The current user, or for root: the owner of an existing `cluster`, else `postgres`, else `nobody`.
    pub(crate) fn choose(cluster: &Path) -> anyhow::Result<Self> {
        let current = geteuid();
        if !current.is_root() {
            return Ok(Self {
                uid: current.as_raw(),
                gid: getegid().as_raw(),
                switch_to: None,
            });
        }
        let path = cluster.display();
        let user = match cluster.metadata() {
            Ok(meta) if meta.uid() == 0 => {
                bail!("{path} belongs to root, but Postgres refuses to run as root: chown it to another user")
            }
            Ok(meta) => User::from_uid(Uid::from_raw(meta.uid()))?.with_context(|| {
                format!("{path} belongs to user ID {}, which does not exist", meta.uid())
            })?,
            Err(_) => ["postgres", "nobody"]
                .into_iter()
                .find_map(|name| User::from_name(name).ok().flatten())
                .context(
                    "Postgres refuses to run as root, and neither the user `postgres` nor `nobody` exists: create one, or run this program as another user",
                )?,
        };
        Ok(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            switch_to: Some(user.name),
        })
    }

    /// Whether the server runs as another user than this process.
    pub(crate) fn is_other(&self) -> bool {
        self.switch_to.is_some()
    }

    pub(crate) fn owns(&self, meta: &Metadata) -> bool {
        meta.uid() == self.uid
    }

    /// Makes this user the owner of `path`, but not of what a link at `path` points to.
    pub(crate) fn chown(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(name) = &self.switch_to {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("cannot chown {} to {name}", path.display()))?;
        }
        Ok(())
    }

    /// A command that runs as this user, with few environment variables.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .env_clear()
            .env("LC_ALL", "C");
        for name in PASSED_VARIABLES {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if self.is_other() {
            // std also drops root's supplementary groups.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// An error if a folder above `path` does not let this user pass.
    pub(crate) fn check_access(&self, path: &Path, data_dir_name: &str) -> anyhow::Result<()> {
        let Some(name) = &self.switch_to else {
            return Ok(());
        };
        for folder in path.ancestors() {
            let meta = folder
                .metadata()
                .with_context(|| format!("cannot read the mode of {}", folder.display()))?;
            let execute_bit = if meta.uid() == self.uid {
                0o100
            } else if meta.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if meta.mode() & execute_bit == 0 {
                bail!(
                    "Postgres runs as user {name}, who cannot access {} because {} is closed to other users: set {data_dir_name} to another folder",
                    path.display(),
                    folder.display()
                );
            }
        }
        Ok(())
    }
}
