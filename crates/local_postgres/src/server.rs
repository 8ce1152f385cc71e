//! Creating a cluster, and starting, joining and stopping its server. All of it requires the start lock.
//!
//! Each function looks at the current state instead of trusting what an earlier process wrote down, because that process may
//! have been killed at any point.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{ExitStatus, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::connection::{Connection, PORT, SOCKET_NAME};
use crate::data_dir::{DataDir, remove_work_dir};
use crate::process::run;
use crate::{Settings, binaries};

/// `initdb` usually takes one or two seconds.
const INITDB_TIMEOUT: Duration = Duration::from_mins(3);
/// Includes recovery after a crash.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// A fast shutdown ends with a checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the backends of a killed server may take to end. Until then, Postgres refuses to start.
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(15);
const START_RETRY_INTERVAL: Duration = Duration::from_millis(100);
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// The next start moves a larger log aside.
const MAX_LOG_BYTES: u64 = 16 << 20;
/// How many lines of the log an error shows.
const MAX_LOG_LINES: usize = 15;

/// The first lets only the current user connect. The command line overrides any configuration file in the cluster.
const PARAMETERS: [&str; 7] = [
    "unix_socket_permissions=0700",
    "listen_addresses=",
    "max_connections=200",
    "shared_buffers=128MB",
    "jit=off",
    "logging_collector=off",
    "log_destination=stderr",
];

/// Waits until the running server accepts connections, and returns its version; `None` if no server runs.
pub(crate) async fn join(
    data_dir: &DataDir,
    connection: &Connection,
) -> anyhow::Result<Option<String>> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let error = match connection.version().await? {
            Ok(version) => return Ok(Some(version)),
            Err(error) => error,
        };
        let Some(file) = data_dir.running_server() else {
            return Ok(None);
        };
        let (pid, root) = (file.pid, data_dir.root.display());
        if file.ready && !connection.socket_dir.join(SOCKET_NAME).exists() {
            bail!(
                "Postgres (pid {pid}) runs on {root}, but its socket has been removed: end it with `kill -INT {pid}` and try again"
            );
        }
        if Instant::now() > deadline {
            bail!(
                "Postgres (pid {pid}) runs on {root}, but has not accepted a connection for {} s ({error}); see {}",
                START_TIMEOUT.as_secs(),
                data_dir.log_file().display()
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Starts the server and returns its version. Creates the cluster before the first start.
pub(crate) async fn start(
    settings: &Settings,
    data_dir: &DataDir,
    connection: &Connection,
) -> anyhow::Result<String> {
    let bin_dir = binaries::find(settings, data_dir).await?;
    if data_dir.major_version()?.is_none() {
        create_cluster(settings, data_dir, &bin_dir, &connection.password).await?;
    }
    let begin = Instant::now();
    // A file from before the start means that the previous server did not shut down, so its backends may still run.
    let killed_before = data_dir.cluster().join("postmaster.pid").exists();
    let log_file = data_dir.log_file();
    loop {
        data_dir.replace_stale_pid(&connection.socket_dir)?;
        let launched = launch(settings, data_dir, &bin_dir, &connection.socket_dir);
        let exit = launched.await?;
        // Also after a failure: a process that was killed may have launched a server that only now writes its pid file.
        if let Some(version) = join(data_dir, connection).await? {
            return Ok(version);
        }
        match exit {
            None => bail!(
                "Postgres exited right after its start; see {}",
                log_file.display()
            ),
            Some((status, log)) if !killed_before || begin.elapsed() > ORPHANS_TIMEOUT => bail!(
                "Postgres did not start ({status}); the end of {}:\n{log}",
                log_file.display()
            ),
            Some(_) => tokio::time::sleep(START_RETRY_INTERVAL).await,
        }
    }
}

/// Stops the server by a fast shutdown, which ends sessions and writes everything. True if a server was running.
pub(crate) async fn stop(data_dir: &DataDir) -> anyhow::Result<bool> {
    let Some(server) = data_dir.running_server() else {
        return Ok(false);
    };
    let pid = server.pid;
    kill(Pid::from_raw(pid), Signal::SIGINT)
        .with_context(|| format!("cannot stop Postgres (pid {pid})"))?;
    let deadline = Instant::now() + STOP_TIMEOUT;
    while data_dir.running_server().is_some_and(|now| now.pid == pid) {
        if Instant::now() > deadline {
            bail!(
                "Postgres (pid {pid}) is still shutting down after {} s; see {}",
                STOP_TIMEOUT.as_secs(),
                data_dir.log_file().display()
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}

/// Creates the cluster in a temporary folder and then renames it, so that an interrupted `initdb` leaves no half cluster.
async fn create_cluster(
    settings: &Settings,
    data_dir: &DataDir,
    bin_dir: &Path,
    password: &str,
) -> anyhow::Result<()> {
    let root = data_dir.root.display();
    tracing::info!(
        "creating a Postgres cluster in {root} with {}",
        bin_dir.display()
    );
    let work = data_dir.create_work_dir("initdb")?;
    let password_file = work.join("password");
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&password_file)?;
    writeln!(file, "{password}")?;
    data_dir.server_user.chown(&password_file)?;
    // Only now: an owner of the folder could have put a link in the place of the password file.
    data_dir.server_user.chown(&work)?;
    // Both locales sort text by its bytes; some systems lack C.UTF-8.
    let mut output = initdb(settings, data_dir, bin_dir, &work, "C.UTF-8").await?;
    if !output.status.success() {
        output = initdb(settings, data_dir, bin_dir, &work, "C").await?;
    }
    if !output.status.success() {
        remove_work_dir(&work);
        bail!(
            "{} failed ({}):\n{}",
            bin_dir.join("initdb").display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    fs::remove_file(&password_file).context("cannot remove the password file of initdb")?;
    fs::rename(work.join("cluster"), data_dir.cluster())
        .context("cannot move the new cluster to its place")?;
    File::open(&data_dir.root)?.sync_all()?;
    remove_work_dir(&work);
    Ok(())
}

async fn initdb(
    settings: &Settings,
    data_dir: &DataDir,
    bin_dir: &Path,
    work: &Path,
    locale: &str,
) -> anyhow::Result<Output> {
    let mut command = data_dir.server_user.command(&bin_dir.join("initdb"));
    command.arg("-D").arg(work.join("cluster"));
    command.arg("--pwfile").arg(work.join("password"));
    command.args(["-U", &settings.name, "-A", "scram-sha-256", "-E", "UTF8"]);
    command.args(["--locale", locale]);
    if settings
        .parameters
        .contains(&("fsync".to_owned(), "off".to_owned()))
    {
        command.arg("--no-sync");
    }
    run(&mut command, INITDB_TIMEOUT).await
}

/// Launches the server and waits until it is ready (`None`) or has exited (its status and the end of its log).
async fn launch(
    settings: &Settings,
    data_dir: &DataDir,
    bin_dir: &Path,
    socket_dir: &Path,
) -> anyhow::Result<Option<(ExitStatus, String)>> {
    let program = bin_dir.join("postgres");
    let log = open_log(&data_dir.log_file())?;
    let log_begin = log.metadata()?.len();
    let log_end = || end_of_log(&data_dir.log_file(), log_begin);
    let mut command = data_dir.server_user.command(&program);
    command.arg("-D").arg(data_dir.cluster());
    command.arg("-p").arg(PORT.to_string());
    command.arg("-c").arg(socket_parameter(socket_dir));
    for parameter in PARAMETERS {
        command.arg("-c").arg(parameter);
    }
    for (name, value) in &settings.parameters {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // In its own process group, so that Ctrl-C in the terminal reaches only this process, which then shuts down in order.
    let mut child = command
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some((status, log_end())));
        }
        let server = data_dir.running_server();
        if server.is_some_and(|server| server.ready && Some(server.pid) == pid) {
            // Waits for the server's exit, or its process ID would stay in use after its death.
            tokio::spawn(async move { child.wait().await });
            return Ok(None);
        }
        if Instant::now() > deadline {
            bail!(
                "Postgres is not ready after {} s and continues to start, so try again later; the end of {}:\n{}",
                START_TIMEOUT.as_secs(),
                data_dir.log_file().display(),
                log_end()
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The parameter is a list of folders, so the folder is quoted: a comma in its name separates nothing.
fn socket_parameter(folder: &Path) -> OsString {
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

fn open_log(path: &Path) -> anyhow::Result<File> {
    if path.metadata().is_ok_and(|meta| meta.len() > MAX_LOG_BYTES) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    // Also for an existing file, because the log contains statements.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// The last lines that the server has logged since `begin`.
fn end_of_log(path: &Path, begin: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        return format!("(the log cannot be read: {error})");
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(MAX_LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_folder_with_a_comma_or_a_quote_is_one_folder() {
        assert_eq!(
            socket_parameter(Path::new("/a,b/\"c")),
            OsString::from("unix_socket_directories=\"/a,b/\"\"c\"")
        );
    }
}
