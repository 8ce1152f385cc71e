//! Where installed servers keep their programs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::binaries::VERSION_LIMIT;
use super::cluster::run;

/// The folders, for people.
pub(super) const LOOKED_IN: &[&str] = &[
    "pg_config --bindir",
    "PATH",
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "Homebrew's opt/postgresql@*/bin",
    "Postgres.app",
];

/// Folders that hold one folder a version: parent, how the versions' names begin, the way on to the programs.
const VERSIONED: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// All folders with a `postgres` in them, in the order of preference, links followed, each once.
pub(super) async fn folders(search: &OsStr) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let path: Vec<PathBuf> = std::env::split_paths(search)
        .filter(|folder| folder.is_absolute())
        .collect();
    if let Some(program) = path
        .iter()
        .map(|folder| folder.join("pg_config"))
        .find(|file| file.is_file())
    {
        folders.extend(bin_dir_of(&program).await);
    }
    folders.extend(path);
    for (parent, prefix, rest) in VERSIONED {
        folders.extend(
            versions(Path::new(parent), prefix)
                .into_iter()
                .map(|folder| folder.join(rest)),
        );
    }
    let mut found = Vec::new();
    for folder in folders {
        // PATH may hold links into the real folder: the server finds its files by the real one.
        if let Ok(postgres) = folder.join("postgres").canonicalize()
            && let Some(folder) = postgres.parent()
            && !found.iter().any(|known| known == folder)
        {
            found.push(folder.to_path_buf());
        }
    }
    found
}

/// `pg_config` often comes with a client-only package, so its word is only a hint where to look.
async fn bin_dir_of(pg_config: &Path) -> Option<PathBuf> {
    let output = run(Command::new(pg_config).arg("--bindir"), VERSION_LIMIT)
        .await
        .ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// The folders in `parent` named `prefix` + version, the highest first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name
                .to_str()?
                .strip_prefix(prefix)?
                .split('.')
                .next()?
                .parse()
                .ok()?;
            Some((version, entry.path()))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let names: Vec<_> = versions(parent.path(), "postgresql@");
        let expected = ["postgresql@18", "postgresql@16", "postgresql@9.6"]
            .map(|name| parent.path().join(name));
        assert_eq!(names, expected);
    }

    #[tokio::test]
    async fn links_lead_to_the_real_folder_once() {
        let parent = tempfile::tempdir().unwrap();
        let real = parent.path().canonicalize().unwrap().join("real");
        let links = parent.path().join("links");
        fs::create_dir(&real).unwrap();
        fs::create_dir(&links).unwrap();
        fs::write(real.join("postgres"), "").unwrap();
        std::os::unix::fs::symlink(real.join("postgres"), links.join("postgres")).unwrap();
        let found = folders(&std::env::join_paths([&links, &real]).unwrap()).await;
        assert_eq!(found.iter().filter(|folder| **folder == real).count(), 1);
        assert_eq!(found[0], real);
    }
}
