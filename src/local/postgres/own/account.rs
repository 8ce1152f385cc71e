//! The account that the server runs as: we ourselves, or, as Postgres refuses root, another one when we are root.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

/// What the server and its tools get of our environment. The rest they do not need, and it may hold secrets that an account
/// other than ours could read in `/proc`.
const PASSED_ON: [&str; 5] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TZ",
    "TMPDIR",
];

/// Who runs the server.
#[derive(Clone, Debug)]
pub(super) struct Account {
    name: String,
    uid: u32,
    gid: u32,
    /// We are root and have to change into it.
    switch: bool,
}

impl Account {
    /// Ourselves, or as root: the owner of an existing cluster, else `postgres`, else `nobody`.
    pub(super) fn choose(cluster: &Path) -> anyhow::Result<Self> {
        let me = geteuid();
        if !me.is_root() {
            return Ok(Self {
                name: String::new(),
                uid: me.as_raw(),
                gid: nix::unistd::getegid().as_raw(),
                switch: false,
            });
        }
        let owner = match cluster.metadata() {
            Ok(meta) if meta.uid() == 0 => bail!("{} belongs to root, as whom Postgres refuses to run: chown it to another user", cluster.display()),
            Ok(meta) => User::from_uid(Uid::from_raw(meta.uid()))?
                .with_context(|| format!("{} belongs to user id {}, which does not exist", cluster.display(), meta.uid()))?,
            Err(_) => ["postgres", "nobody"]
                .into_iter()
                .find_map(|name| User::from_name(name).ok().flatten())
                .context("Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it: create one, or run this as a user")?,
        };
        Ok(Self {
            name: owner.name,
            uid: owner.uid.as_raw(),
            gid: owner.gid.as_raw(),
            switch: true,
        })
    }

    /// Whether the account is another one than ours.
    pub(super) fn is_other(&self) -> bool {
        self.switch
    }

    /// Whether `meta` is of a file that belongs to the account.
    pub(super) fn owns(&self, meta: &Metadata) -> bool {
        meta.uid() == self.uid
    }

    /// Gives `path` to the account.
    pub(super) fn give(&self, path: &Path) -> anyhow::Result<()> {
        if self.switch {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("cannot give {} to user {}", path.display(), self.name))?;
        }
        Ok(())
    }

    /// A command that runs as the account, with nothing of ours but what it needs.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .current_dir("/")
            .env_clear()
            .env("LC_ALL", "C");
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if self.switch {
            // std drops root's supplementary groups as well.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Errs when the account cannot get to `path` because a folder on the way is closed to it.
    pub(super) fn check_reach(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = self.closed_folder(path)? {
            bail!(
                "Postgres runs as user {} here, who cannot get into {} because {} is closed to others: set LOCAL_DATA_DIR to a folder elsewhere",
                self.name,
                path.display(),
                folder.display()
            );
        }
        Ok(())
    }

    fn closed_folder(&self, path: &Path) -> anyhow::Result<Option<PathBuf>> {
        if !self.switch {
            return Ok(None);
        }
        let mut folders: Vec<_> = path.ancestors().collect();
        folders.reverse();
        for folder in folders {
            let meta = folder
                .metadata()
                .with_context(|| format!("cannot look at {}", folder.display()))?;
            let wanted = if meta.uid() == self.uid {
                0o100
            } else if meta.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            if meta.mode() & wanted == 0 {
                return Ok(Some(folder.to_path_buf()));
            }
        }
        Ok(None)
    }
}
