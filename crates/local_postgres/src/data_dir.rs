//! The data directory: the files in it, their owners and their modes.
//!
//! | name | content | owner and mode |
//! | --- | --- | --- |
//! | `cluster/` | the data itself, which Postgres calls its data directory | server's user, 0700 |
//! | `socket/` | the Unix socket; if its path is too long, it is in a folder in `/tmp` that `socket-folder` names | server's user, 0700 |
//! | `password` | the random password of the superuser | current user, 0600 |
//! | `postgres.log` | the server's log | current user, 0600 |
//! | `downloads/` | downloaded servers | current user, 0755 |
//! | `start.lock`, `users.lock` | see `lock` | current user, 0600 |
//! | `initdb-…/`, `download-…/` | unfinished work; the next start removes it | |
//!
//! The directory has mode 0700. If this process is root, the server's user has to pass through it: then it has mode 0711, and
//! every entry is protected by its own mode.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

use crate::Settings;
use crate::connection::{Connection, SOCKET_NAME};
use crate::pid_file::PidFile;
use crate::server_user::ServerUser;

/// The longest socket path that every system accepts: 103 bytes on macOS, 107 on Linux.
const MAX_SOCKET_PATH_BYTES: usize = 103;
/// A folder with one of these entries is a data directory. A folder with only other entries belongs to the user.
const MARKERS: [&str; 3] = ["start.lock", "cluster", "password"];

/// A data directory that belongs to the current user, and the Unix user of its server.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    /// Canonical, so that it can be compared with paths in the server's command line.
    pub(crate) root: PathBuf,
    pub(crate) server_user: ServerUser,
    /// The superuser and the database.
    name: String,
    /// What the calling program calls its data directory.
    pub(crate) setting_name: &'static str,
}

impl DataDir {
    /// Opens the data directory, and creates it if it is missing.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let setting_name = settings.setting_names.data_dir;
        let (root, server_user) = prepare(&settings.data_dir, setting_name).with_context(|| {
            format!(
                "cannot use {} as the data directory (set {setting_name} to another folder)",
                settings.data_dir.display()
            )
        })?;
        Ok(Self {
            root,
            server_user,
            name: settings.name.clone(),
            setting_name,
        })
    }

    /// What Postgres calls its data directory.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// The major version that the cluster was created with; `None` before the first start.
    pub(crate) fn major_version(&self) -> anyhow::Result<Option<u32>> {
        if !self.cluster().exists() {
            return Ok(None);
        }
        let file = self.cluster().join("PG_VERSION");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let version = text.trim().parse();
        Ok(Some(version.with_context(|| {
            format!("{} contains no version", file.display())
        })?))
    }

    /// The process of the server, if it runs.
    pub(crate) fn running_server(&self) -> Option<PidFile> {
        let cluster = self.cluster();
        PidFile::read(&cluster).filter(|file| file.is_running(&cluster))
    }

    /// Lets a new server start although a killed one left lock files whose process ID another program has now.
    ///
    /// Postgres does not start while the process that its lock files name is alive, unless it is the parent of the new server.
    /// So this writes the ID of this process into them. The rest of `postmaster.pid` must stay: it names the shared memory of
    /// the old server, and Postgres rightly does not start as long as a backend of that server is attached to it.
    pub(crate) fn replace_stale_pid(&self, socket_dir: &Path) -> anyhow::Result<()> {
        let stale = PidFile::read(&self.cluster()).filter(|file| !file.is_running(&self.cluster()));
        // An unused process ID is left in place, because Postgres recognizes it as stale.
        if stale.is_none_or(|file| kill(Pid::from_raw(file.pid), None).is_err()) {
            return Ok(());
        }
        for file in [
            self.cluster().join("postmaster.pid"),
            socket_dir.join(format!("{SOCKET_NAME}.lock")),
        ] {
            let Ok(mut open_file) = File::open(&file) else {
                continue;
            };
            // As root, never copy a file that the server's user has linked here but could not read.
            let mut text = String::new();
            if self.server_user.owns(&open_file.metadata()?)
                && open_file.read_to_string(&mut text).is_ok()
                && let Some((_, rest)) = text.split_once('\n')
            {
                let text = format!("{}\n{rest}", std::process::id());
                write_atomically(&file, text.as_bytes(), Some(&self.server_user))?;
            }
        }
        Ok(())
    }

    /// How to connect. The first call creates the password and the folder of the socket, so it requires the start lock.
    pub(crate) fn connection(&self) -> anyhow::Result<Connection> {
        Ok(Connection {
            socket_dir: self.socket_dir()?,
            password: self.password()?,
            name: self.name.clone(),
            data_dir_name: self.setting_name,
        })
    }

    /// A new private folder for work that the process may not finish. Removes the folders of earlier unfinished work.
    pub(crate) fn create_work_dir(&self, kind: &str) -> anyhow::Result<PathBuf> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(format!("{kind}-").as_bytes()) {
                remove_work_dir(&entry.path());
            }
        }
        let path = self.root.join(format!("{kind}-{}", random_hex(4)));
        create_private(&path)?;
        Ok(path)
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
                "{} is missing, and the existing data cannot be opened without it: restore the file, or set {} to another folder",
                file.display(),
                self.setting_name
            );
        }
        let password = random_hex(24);
        write_atomically(&file, password.as_bytes(), None)?;
        Ok(password)
    }

    fn socket_dir(&self) -> anyhow::Result<PathBuf> {
        let inside = self.root.join("socket");
        if inside.as_os_str().len() + 1 + SOCKET_NAME.len() <= MAX_SOCKET_PATH_BYTES {
            if !inside.exists() {
                create_private(&inside)?;
            }
            // Also for an existing folder: an earlier process may have been killed before it did this.
            fs::set_permissions(&inside, Permissions::from_mode(0o700))?;
            self.server_user.chown(&inside)?;
            return Ok(inside);
        }
        let reference = self.root.join("socket-folder");
        if let Ok(path) = fs::read(&reference) {
            let outside = PathBuf::from(OsStr::from_bytes(&path));
            if self.is_private(&outside) {
                return Ok(outside);
            }
        }
        // A new name each time, because in /tmp another user may have taken the old one.
        let outside = PathBuf::from(format!("/tmp/local_postgres-{}", random_hex(8)));
        create_private(&outside)?;
        self.server_user.chown(&outside)?;
        write_atomically(&reference, outside.as_os_str().as_bytes(), None)?;
        Ok(outside)
    }

    /// Whether only the server's user can create a socket in `folder`.
    fn is_private(&self, folder: &Path) -> bool {
        folder.symlink_metadata().is_ok_and(|meta| {
            meta.is_dir() && self.server_user.owns(&meta) && meta.mode() & 0o777 == 0o700
        })
    }
}

fn prepare(path: &Path, setting_name: &str) -> anyhow::Result<(PathBuf, ServerUser)> {
    let path = std::path::absolute(path)?;
    let server_user = ServerUser::choose(&path.join("cluster"))?;
    let mode = if server_user.is_other() { 0o711 } else { 0o700 };
    // Checked before creating folders that the server's user could not reach.
    if let Some(existing) = path.ancestors().skip(1).find(|folder| folder.is_dir()) {
        server_user.check_access(existing, setting_name)?;
    }
    DirBuilder::new().recursive(true).mode(mode).create(&path)?;
    let root = path.canonicalize()?;
    let meta = root.metadata()?;
    if !meta.is_dir() {
        bail!("it is not a folder");
    }
    if meta.uid() != geteuid().as_raw() {
        bail!("it belongs to another user (ID {})", meta.uid());
    }
    // Lists the entries before it looks for markers: a process that starts at the same moment creates its marker first.
    let has_entries = fs::read_dir(&root)?.next().is_some();
    if has_entries && !MARKERS.iter().any(|name| root.join(name).exists()) {
        bail!("it contains other files; choose a new or an empty folder");
    }
    if meta.mode() & 0o777 != mode {
        fs::set_permissions(&root, Permissions::from_mode(mode))?;
    }
    server_user.check_access(&root, setting_name)?;
    Ok((root, server_user))
}

fn create_private(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Removes a folder of unfinished work. A child of a killed process may still write to it; then the next start removes it.
pub(crate) fn remove_work_dir(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::debug!("cannot remove {} yet: {error}", path.display());
    }
}

/// Creates or replaces a file so that it has either the old or the new content at any time.
fn write_atomically(path: &Path, bytes: &[u8], owner: Option<&ServerUser>) -> anyhow::Result<()> {
    let new = path.with_added_extension("new");
    let write = || -> anyhow::Result<()> {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        if let Some(owner) = owner {
            owner.chown(&new)?;
        }
        Ok(fs::rename(&new, path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// `bytes` random bytes in hexadecimal.
fn random_hex(bytes: usize) -> String {
    let random: Vec<u8> = (0..bytes).map(|_| rand::random()).collect();
    hex::encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A temporary folder that the server's user can access.
    fn temporary_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        folder
    }

    fn open(path: &Path) -> anyhow::Result<DataDir> {
        DataDir::open(&Settings::new(path))
    }

    fn open_error(path: &Path) -> String {
        format!("{:#}", open(path).unwrap_err())
    }

    #[test]
    fn a_folder_with_other_files_is_rejected_and_left_unchanged() {
        let folder = temporary_folder();
        fs::write(folder.path().join("thesis.txt"), "").unwrap();
        let error = open_error(folder.path());
        assert!(
            error.contains("contains other files") && error.contains("set Settings::data_dir to"),
            "{error}"
        );
        assert_eq!(folder.path().metadata().unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_process_that_starts_at_the_same_moment_does_not_count_as_other_files() {
        let folder = temporary_folder();
        for round in 0..300 {
            let path = folder.path().join(round.to_string());
            let start = || {
                let data_dir = open(&path).unwrap();
                fs::write(data_dir.root.join("start.lock"), "").unwrap();
            };
            std::thread::scope(|scope| {
                scope.spawn(start);
                scope.spawn(start);
            });
        }
    }

    #[test]
    fn an_error_names_the_folder_that_is_closed_to_the_servers_user() {
        if !geteuid().is_root() {
            return; // Only root runs the server as another user.
        }
        let closed = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .unwrap();
        let error = open_error(&closed.path().join("deep/data"));
        assert!(
            error.contains(&format!("because {} is closed", closed.path().display())),
            "{error}"
        );
    }

    #[test]
    fn a_folder_of_another_user_is_rejected() {
        let error = if geteuid().is_root() {
            let folder = temporary_folder();
            std::os::unix::fs::chown(folder.path(), Some(12345), None).unwrap();
            open_error(folder.path())
        } else {
            open_error(Path::new("/usr"))
        };
        assert!(error.contains("belongs to another user"), "{error}");
    }

    #[test]
    fn a_missing_password_is_not_replaced_if_data_exists() {
        let folder = temporary_folder();
        let data_dir = open(&folder.path().join("data")).unwrap();
        let password = data_dir.password().unwrap();
        assert_eq!(password.len(), 48);
        assert_eq!(data_dir.password().unwrap(), password);
        let file = data_dir.root.join("password");
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        fs::create_dir(data_dir.cluster()).unwrap();
        fs::remove_file(file).unwrap();
        let error = data_dir.password().unwrap_err().to_string();
        assert!(error.contains("is missing"), "{error}");
    }

    #[test]
    fn a_socket_folder_in_tmp_is_replaced_if_other_users_could_access_it() {
        let folder = temporary_folder();
        let data_dir = open(&folder.path().join("d".repeat(120))).unwrap();
        let first = data_dir.socket_dir().unwrap();
        assert!(first.starts_with("/tmp") && first.as_os_str().len() < 60);
        assert_eq!(data_dir.socket_dir().unwrap(), first);
        fs::set_permissions(&first, Permissions::from_mode(0o777)).unwrap();
        let second = data_dir.socket_dir().unwrap();
        assert_ne!(second, first);
        fs::remove_dir(&first).unwrap();
        std::os::unix::fs::symlink(&second, &first).unwrap();
        assert!(!data_dir.is_private(&first));
        fs::remove_file(&first).unwrap();
        fs::remove_dir(&second).unwrap();
    }
}
