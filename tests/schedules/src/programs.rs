//! Programs that the schedules run: where they are, and as which user.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use nix::unistd::{User, geteuid};
use tokio::process::Command;

use crate::plan::PoolerMode;

/// The folder with `initdb` and `postgres`: `FOLDLOG_PG_BIN`, Debian's newest, or that on the path.
pub fn postgres_bin() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("FOLDLOG_PG_BIN").filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max();
    if let Some(newest) = newest {
        return Ok(format!("/usr/lib/postgresql/{newest}/bin").into());
    }
    find("postgres")
        .and_then(|path| Some(path.parent()?.to_owned()))
        .context("there is no Postgres on this machine: install it, or set FOLDLOG_PG_BIN to the folder with `postgres`")
}

/// The PgBouncer of a mode, if this machine has it.
pub fn pgbouncer(mode: PoolerMode) -> Option<PathBuf> {
    match mode {
        PoolerMode::Transaction => any_pgbouncer(),
        PoolerMode::Prepared => tracking_pgbouncer(),
    }
}

/// One that tracks named statements (1.21 or newer): an installed one, or that of `scripts/build-pgbouncer.sh`.
fn tracking_pgbouncer() -> Option<PathBuf> {
    let built = std::fs::read_dir("target/ci").into_iter().flatten();
    let built = built.filter_map(|entry| Some(entry.ok()?.path().join("pgbouncer")));
    any_pgbouncer()
        .into_iter()
        .chain(built)
        .filter_map(|path| path.canonicalize().ok())
        .find(|path| tracks_names(path))
}

fn tracks_names(path: &Path) -> bool {
    let output = std::process::Command::new(path).arg("--version").output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    let mut parts = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    (parts.next(), parts.next()) >= (Some(1), Some(21))
}

fn any_pgbouncer() -> Option<PathBuf> {
    find("pgbouncer").or_else(|| {
        let places = ["/usr/sbin/pgbouncer", "target/pgbouncer/usr/sbin/pgbouncer"];
        places.iter().map(PathBuf::from).find(|path| path.exists())
    })
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// The user of Postgres and PgBouncer, which refuse to run as root; `None` if this process does not run as root.
pub fn server_user() -> Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some((user.uid.as_raw(), user.gid.as_raw())));
        }
    }
    bail!("Postgres refuses to run as root, and neither the user `postgres` nor `nobody` exists")
}

/// A command as that user.
pub fn as_server_user(program: impl AsRef<Path>) -> Result<Command> {
    let mut command = Command::new(program.as_ref());
    if let Some((uid, gid)) = server_user()? {
        command.uid(uid).gid(gid);
    }
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .current_dir("/");
    Ok(command)
}

/// Runs a command to its end; its output is part of the error.
pub async fn run(command: &mut Command) -> Result<()> {
    let output = command.output().await.context("cannot start a program")?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!(
            "{} failed: {}",
            command.as_std().get_program().display(),
            String::from_utf8_lossy(&text)
        );
    }
    Ok(())
}
