//! The settings of a server, and what the calling program calls them.

use std::path::PathBuf;

use nix::unistd::geteuid;

use crate::PackageManager;

/// Which server to start and where its data is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder for the data, the downloads, the password and the log. It is created if it is missing.
    pub data_dir: PathBuf,
    /// The name of the superuser and of the database. By default `postgres`.
    pub name: String,
    /// Use `initdb` and `postgres` from this folder and from no other one.
    pub bin_dir: Option<PathBuf>,
    /// Ignore installed servers, and download one.
    pub download_only: bool,
    /// What to download a server with, in this order. By default pip, then npm.
    pub package_managers: Vec<PackageManager>,
    /// The oldest acceptable major version. By default 14.
    pub oldest_version: u32,
    /// Server parameters such as `("fsync", "off")`. They override those of this crate.
    pub parameters: Vec<(String, String)>,
    /// What error messages call these settings.
    pub setting_names: SettingNames,
}

/// What the calling program calls its settings, so that error messages name what its users can change.
///
/// A program that reads `APP_PG_BIN` into [`Settings::bin_dir`] sets `bin_dir: "APP_PG_BIN"` here.
#[derive(Clone, Copy, Debug)]
pub struct SettingNames {
    /// Sets [`Settings::data_dir`].
    pub data_dir: &'static str,
    /// Sets [`Settings::bin_dir`].
    pub bin_dir: &'static str,
    /// Turns [`Settings::download_only`] on.
    pub download_only: &'static str,
    /// How to use a server that this crate does not manage, such as `set DATABASE_URL`.
    pub other_server: Option<&'static str>,
}

impl Settings {
    /// Default settings with the data in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            name: "postgres".to_owned(),
            bin_dir: None,
            download_only: false,
            package_managers: vec![PackageManager::Pip, PackageManager::Npm],
            oldest_version: 14,
            parameters: Vec::new(),
            setting_names: SettingNames::default(),
        }
    }

    /// Adds a server parameter, such as `fsync` with the value `off`.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The usual place for the data of a program: `/var/lib/PROGRAM` for root, else `PROGRAM` in `$XDG_DATA_HOME` or in
    /// `~/.local/share`. `None` if the environment names no home directory.
    pub fn default_data_dir(program: &str) -> Option<PathBuf> {
        if geteuid().is_root() {
            return Some(PathBuf::from("/var/lib").join(program));
        }
        let absolute_path = |variable: &str| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        absolute_path("XDG_DATA_HOME")
            .or_else(|| Some(absolute_path("HOME")?.join(".local/share")))
            .map(|share| share.join(program))
    }
}

impl Default for SettingNames {
    fn default() -> Self {
        Self {
            data_dir: "Settings::data_dir",
            bin_dir: "Settings::bin_dir",
            download_only: "Settings::download_only",
            other_server: None,
        }
    }
}
