//! The data directory: what is where in it, whose it is, and who may look.
//!
//! | name | what | whose |
//! | --- | --- | --- |
//! | `cluster/` | the data itself, Postgres's own folder | the server's account |
//! | `socket/` | the socket; deep directories have it in a short folder under `/tmp`, named in `socket-folder` | the server's account |
//! | `password` | the random password of the superuser `foldlog` | ours, 0600 |
//! | `postgres.log` | what the server says | ours, 0600 |
//! | `brought/` | downloaded servers | ours |
//! | `start.lock`, `users.lock` | see `lock` | ours, 0600 |
//! | `init-…/`, `bring-…/` | work that was cut short; cleared by the next start | |
//!
//! The directory is closed to others (0700). Where we are root, the server's account has to pass through it: then it is 0711,
//! and all that is in it is closed by its own mode.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::geteuid;

use super::account::Account;
use super::client::{Access, SOCKET_NAME};
use super::folder::{create_levels, default_folder, random_hex, write_whole};

/// The longest path of a socket that every system takes (macOS; Linux takes 107 bytes).
const SOCKET_PATH_AT_MOST: usize = 103;
/// One of these tells a data directory of ours from somebody's folder.
const MARKS: [&str; 3] = ["start.lock", "cluster", "password"];

/// A data directory that is ours, and the account whose server works in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Canonical, so that it compares with what the server says.
    pub(super) root: PathBuf,
    pub(super) account: Account,
}

impl Place {
    /// Takes `wanted` or the default folder, and creates it if need be.
    pub(super) fn open(wanted: Option<&Path>) -> anyhow::Result<Self> {
        let path = match wanted {
            Some(path) => std::path::absolute(path)
                .with_context(|| format!("{} is no path", path.display()))?,
            None => default_folder()?,
        };
        Self::prepare(&path).with_context(|| {
            format!(
                "cannot keep data in {} (LOCAL_DATA_DIR names another folder)",
                path.display()
            )
        })
    }

    fn prepare(path: &Path) -> anyhow::Result<Self> {
        let account = Account::choose(&path.join("cluster"))?;
        let mode = if account.is_other() { 0o711 } else { 0o700 };
        // Before anything is created where it would be of no use.
        if let Some(there) = path
            .ancestors()
            .find(|folder| folder.is_dir() && *folder != path)
        {
            account.check_reach(there)?;
        }
        create_levels(path, mode)?;
        let root = path.canonicalize()?;
        let meta = root.metadata()?;
        if !meta.is_dir() {
            bail!("it is not a folder");
        }
        if meta.uid() != geteuid().as_raw() {
            bail!("it belongs to another user (id {})", meta.uid());
        }
        // In this order: a copy that starts at the same moment makes its mark before anything else.
        let has_things = fs::read_dir(&root)?.next().is_some();
        if has_things && !MARKS.iter().any(|mark| root.join(mark).exists()) {
            bail!("there are other things in it: name a new or an empty folder");
        }
        if meta.mode() & 0o777 != mode {
            fs::set_permissions(&root, Permissions::from_mode(mode))?;
        }
        account.check_reach(&root)?;
        Ok(Self { root, account })
    }

    /// The folder that Postgres calls its data directory.
    pub(super) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// The server's log.
    pub(super) fn log_file(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// The major version of the data, none before the first start.
    pub(super) fn data_version(&self) -> anyhow::Result<Option<u32>> {
        let cluster = self.cluster();
        if !cluster.exists() {
            return Ok(None);
        }
        let file = cluster.join("PG_VERSION");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let major = text
            .trim()
            .parse()
            .with_context(|| format!("{} holds no version", file.display()))?;
        Ok(Some(major))
    }

    /// How to reach the server: makes the socket's folder and the password on the first call. Under the start lock only.
    pub(super) fn access(&self) -> anyhow::Result<Access> {
        Ok(Access {
            socket: self.socket_folder()?,
            password: self.password()?,
        })
    }

    /// A folder for work that may be cut short, closed to others.
    pub(super) fn temporary(&self, kind: &str) -> anyhow::Result<PathBuf> {
        self.clear_leftovers(kind)?;
        let path = self.root.join(format!("{kind}-{}", random_hex(4)));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    fn clear_leftovers(&self, kind: &str) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{kind}-"))
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                // The killed process's child may be at it still; it is in nobody's way.
                tracing::debug!(
                    "left {} for the next start: {error}",
                    entry.path().display()
                );
            }
        }
        Ok(())
    }

    fn password(&self) -> anyhow::Result<String> {
        let file = self.root.join("password");
        match fs::read_to_string(&file) {
            Ok(text) => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
        }
        if self.cluster().exists() {
            bail!(
                "{} is missing, without which nobody gets into the data beside it: bring it back, or name another LOCAL_DATA_DIR",
                file.display()
            );
        }
        let password = random_hex(24);
        write_whole(&file, password.as_bytes())?;
        Ok(password)
    }

    fn socket_folder(&self) -> anyhow::Result<PathBuf> {
        let near = self.root.join("socket");
        if near.as_os_str().len() + 1 + SOCKET_NAME.len() <= SOCKET_PATH_AT_MOST {
            if !near.exists() {
                self.create_for_server(&near)?;
            }
            // Repairs what a kill between creating and giving away has left; safe, as only we write to its parent.
            fs::set_permissions(&near, Permissions::from_mode(0o700))?;
            self.account.give(&near)?;
            return Ok(near);
        }
        let note = self.root.join("socket-folder");
        if let Ok(name) = fs::read(&note) {
            let far = PathBuf::from(OsString::from(std::ffi::OsStr::from_bytes(&name)));
            if self.is_closed(&far) {
                return Ok(far);
            }
        }
        // A new name each time: under /tmp somebody else may sit on the old one.
        let far = PathBuf::from(format!("/tmp/foldlog-{}", random_hex(8)));
        self.create_for_server(&far)?;
        write_whole(&note, far.as_os_str().as_bytes())?;
        Ok(far)
    }

    fn create_for_server(&self, folder: &Path) -> anyhow::Result<()> {
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        self.account.give(folder)
    }

    /// Whether nobody but the server's account can put a socket into `folder`.
    fn is_closed(&self, folder: &Path) -> bool {
        folder.symlink_metadata().is_ok_and(|meta| {
            meta.is_dir() && self.account.owns(&meta) && meta.mode() & 0o777 == 0o700
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary folder that the server's account can pass through.
    fn scratch() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        let folder = scratch();
        fs::write(folder.path().join("thesis.txt"), "").unwrap();
        let error = format!("{:#}", Place::open(Some(folder.path())).unwrap_err());
        assert!(
            error.contains("other things in it") && error.contains("LOCAL_DATA_DIR"),
            "{error}"
        );
        assert_eq!(folder.path().metadata().unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_copy_that_comes_a_moment_later_is_not_taken_for_other_things() {
        let folder = scratch();
        for round in 0..300 {
            let path = folder.path().join(round.to_string());
            let copy = || {
                let place = Place::open(Some(&path)).unwrap();
                fs::write(place.root.join("start.lock"), "").unwrap();
            };
            std::thread::scope(|scope| {
                scope.spawn(copy);
                scope.spawn(copy);
            });
        }
    }

    #[test]
    fn a_folder_that_the_server_cannot_get_into_is_named() {
        if !geteuid().is_root() {
            return; // Only root runs the server as somebody else.
        }
        let closed = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .unwrap();
        let error = format!(
            "{:#}",
            Place::open(Some(&closed.path().join("deep/data"))).unwrap_err()
        );
        assert!(
            error.contains(&format!("because {} is closed", closed.path().display())),
            "{error}"
        );
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        let error = if geteuid().is_root() {
            let folder = scratch();
            std::os::unix::fs::chown(folder.path(), Some(12345), None).unwrap();
            format!("{:#}", Place::open(Some(folder.path())).unwrap_err())
        } else {
            format!("{:#}", Place::open(Some(Path::new("/usr"))).unwrap_err())
        };
        assert!(error.contains("belongs to another user"), "{error}");
    }

    #[test]
    fn the_password_is_kept_and_never_made_anew_for_existing_data() {
        let folder = scratch();
        let place = Place::open(Some(&folder.path().join("data"))).unwrap();
        let password = place.password().unwrap();
        assert_eq!(password.len(), 48);
        assert_eq!(place.password().unwrap(), password);
        assert_eq!(
            place.root.join("password").metadata().unwrap().mode() & 0o777,
            0o600
        );
        fs::create_dir(place.cluster()).unwrap();
        fs::remove_file(place.root.join("password")).unwrap();
        assert!(
            place
                .password()
                .unwrap_err()
                .to_string()
                .contains("is missing")
        );
    }

    #[test]
    fn a_far_socket_folder_is_verified_before_it_is_used_again() {
        let folder = scratch();
        let place = Place::open(Some(&folder.path().join("d".repeat(120)))).unwrap();
        let first = place.socket_folder().unwrap();
        assert!(first.starts_with("/tmp") && first.as_os_str().len() < 60);
        assert_eq!(place.socket_folder().unwrap(), first);
        fs::set_permissions(&first, Permissions::from_mode(0o777)).unwrap();
        let second = place.socket_folder().unwrap();
        assert_ne!(second, first);
        fs::remove_dir(&first).unwrap();
        std::os::unix::fs::symlink(&second, &first).unwrap();
        assert!(!place.is_closed(&first));
        fs::remove_file(&first).unwrap();
        fs::remove_dir(&second).unwrap();
    }
}
