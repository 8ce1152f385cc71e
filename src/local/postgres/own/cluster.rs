//! Creating a cluster, starting its server, stopping it. All under the start lock.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::client::{Access, NAME, PORT};
use super::pidfile::{self, PidFile};
use super::place::Place;

/// How long `initdb` may take; a second or two is usual.
const CREATE_LIMIT: Duration = Duration::from_mins(3);
/// How long a fast shutdown may take; it ends with a checkpoint.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How often a file or a process is looked at while waiting for it.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(25);
/// A log larger than this is put aside at the next start.
const LOG_AT_MOST: u64 = 16 << 20;
/// So much of the log is worth showing.
const LOG_LINES: usize = 15;

/// How starting a server ended.
#[derive(Debug)]
pub(super) enum Started {
    /// It accepts connections.
    Ready(Child),
    /// It gave up, saying this in its log.
    Exited(ExitStatus, String),
    /// It is at something still, such as recovery.
    Slow(String),
}

/// Creates the cluster with the tools in `bin`.
///
/// It is made in a temporary folder and then renamed: `initdb` cut short leaves nothing that looks like a cluster.
pub(super) async fn create(
    place: &Place,
    bin: &Path,
    access: &Access,
    extra: &[(String, String)],
) -> anyhow::Result<()> {
    let folder = place.temporary("init")?;
    let password_file = folder.join("password");
    write_password(place, &password_file, &access.password)?;
    // Given away last: until then nobody else can put a link in the password's place.
    place.account.give(&folder)?;
    let made = folder.join("cluster");
    let mut output = initdb(place, bin, &made, &password_file, "C.UTF-8", extra).await?;
    if !output.status.success() {
        // Not every system has that locale; every one has this. Text is sorted by its bytes in both.
        output = initdb(place, bin, &made, &password_file, "C", extra).await?;
    }
    let removed = fs::remove_file(&password_file);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let _ = fs::remove_dir_all(&folder);
        bail!(
            "{} failed ({}):\n{said}",
            bin.join("initdb").display(),
            output.status
        );
    }
    removed.context("cannot remove initdb's password file")?;
    fs::rename(&made, place.cluster()).context("cannot put the new cluster in its place")?;
    File::open(&place.root)?.sync_all()?;
    fs::remove_dir(&folder).context("cannot remove initdb's folder")
}

fn write_password(place: &Place, path: &Path, password: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{password}")?;
    place.account.give(path)
}

async fn initdb(
    place: &Place,
    bin: &Path,
    cluster: &Path,
    password_file: &Path,
    locale: &str,
    extra: &[(String, String)],
) -> anyhow::Result<Output> {
    let mut command = place.account.command(&bin.join("initdb"));
    command
        .arg("-D")
        .arg(cluster)
        .arg("--pwfile")
        .arg(password_file);
    command.args([
        "-U",
        NAME,
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--locale",
        locale,
    ]);
    if extra
        .iter()
        .any(|(name, value)| name == "fsync" && value == "off")
    {
        command.arg("--no-sync");
    }
    run(&mut command, CREATE_LIMIT).await
}

/// Runs a program to its end and catches what it says.
pub(super) async fn run(command: &mut Command, limit: Duration) -> anyhow::Result<Output> {
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(limit, command.output()).await {
        Ok(output) => output.with_context(|| format!("cannot run {name}")),
        Err(_) => bail!("{name} did not end within {} s", limit.as_secs()),
    }
}

/// Starts the server and waits until it is ready, has given up, or the deadline is there.
pub(super) async fn start(
    place: &Place,
    bin: &Path,
    access: &Access,
    extra: &[(String, String)],
    deadline: Instant,
) -> anyhow::Result<Started> {
    let log = open_log(place)?;
    let log_begin = log.metadata()?.len();
    let mut command = place.account.command(&bin.join("postgres"));
    command.arg("-D").arg(place.cluster());
    for setting in server_settings(access, extra) {
        command.arg("-c").arg(setting);
    }
    // A process group of its own: Ctrl-C at the terminal is for us, who then end in order.
    let mut child = command
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", bin.join("postgres").display()))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Started::Exited(status, log_end(place, log_begin)));
        }
        if PidFile::read(&place.cluster()).is_some_and(|file| file.ready && Some(file.pid) == id) {
            return Ok(Started::Ready(child));
        }
        if Instant::now() > deadline {
            return Ok(Started::Slow(log_end(place, log_begin)));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Ends the server as Postgres's fast shutdown does: sessions are cut, everything is written. True if one was running.
pub(super) async fn stop(place: &Place) -> anyhow::Result<bool> {
    let cluster = place.cluster();
    let Some(file) = pidfile::running(&cluster) else {
        return Ok(false);
    };
    kill(Pid::from_raw(file.pid), Signal::SIGINT)
        .with_context(|| format!("cannot stop Postgres (pid {})", file.pid))?;
    let deadline = Instant::now() + STOP_LIMIT;
    while pidfile::running(&cluster).is_some_and(|now| now.pid == file.pid) {
        if Instant::now() > deadline {
            bail!(
                "Postgres (pid {}) is still stopping after {} s; see {}",
                file.pid,
                STOP_LIMIT.as_secs(),
                place.log_file().display()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(true)
}

/// What every server of ours is started with, on the command line so that no file in the cluster can undo it.
fn server_settings(access: &Access, extra: &[(String, String)]) -> Vec<OsString> {
    let mut settings: Vec<OsString> = [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        "max_connections=200",
        "shared_buffers=128MB",
        "jit=off",
        "logging_collector=off",
        "log_destination=stderr",
    ]
    .map(OsString::from)
    .to_vec();
    settings.push(format!("port={PORT}").into());
    settings.push(socket_setting(&access.socket));
    settings.extend(
        extra
            .iter()
            .map(|(name, value)| format!("{name}={value}").into()),
    );
    settings
}

/// The setting is a list of folders: quoted, so that a comma in a name separates nothing.
fn socket_setting(folder: &Path) -> OsString {
    let mut text = b"unix_socket_directories=\"".to_vec();
    for byte in folder.as_os_str().as_bytes() {
        if *byte == b'"' {
            text.push(b'"');
        }
        text.push(*byte);
    }
    text.push(b'"');
    OsString::from_vec(text)
}

fn open_log(place: &Place) -> anyhow::Result<File> {
    let path = place.log_file();
    if path.metadata().is_ok_and(|meta| meta.len() > LOG_AT_MOST) {
        fs::rename(&path, path.with_extension("log.old"))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    // A log that came from elsewhere may be open to others, and holds statements.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// The last lines that were logged since `begin`.
fn log_end(place: &Place, begin: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(place.log_file()).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        return format!("(its log cannot be read: {error})");
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_folder_with_a_comma_or_a_quote_stays_one() {
        assert_eq!(
            socket_setting(Path::new("/a,b/\"c")),
            OsString::from("unix_socket_directories=\"/a,b/\"\"c\"")
        );
    }
}
