//! A data directory per test, and other processes that use it.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use local_postgres::{ManagedPostgres, SettingNames, Settings};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _};

/// The folder for [`process`], which is a test that does nothing without this variable.
const DATA_DIR: &str = "TEST_DATA_DIR";
const DOWNLOAD_ONLY: &str = "TEST_DOWNLOAD_ONLY";

/// A data directory for one test. Dropping it ends the server that runs on it.
pub(crate) struct Data {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Data {
    pub(crate) fn new() -> Self {
        Self::named("data")
    }

    pub(crate) fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // As root, the server runs as another user, who has to pass through this folder.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().canonicalize().unwrap().join(name);
        Self {
            _folder: folder,
            path,
        }
    }

    /// Settings for a server that starts quickly.
    pub(crate) fn settings(&self) -> Settings {
        settings(&self.path)
    }

    pub(crate) async fn start(&self) -> ManagedPostgres {
        ManagedPostgres::start(self.settings()).await.unwrap()
    }

    /// The process ID in `postmaster.pid`, unless a restart has put that of this process there for a moment.
    pub(crate) fn pid(&self) -> Option<i32> {
        let file = fs::read_to_string(self.path.join("cluster/postmaster.pid")).ok()?;
        let pid: u32 = file.lines().next()?.parse().ok()?;
        (pid != std::process::id()).then(|| pid.try_into().unwrap())
    }

    pub(crate) fn server_is_alive(&self) -> bool {
        self.pid()
            .is_some_and(|pid| kill(Pid::from_raw(pid), None).is_ok())
    }

    pub(crate) fn kill_server(&self) {
        kill(Pid::from_raw(self.pid().unwrap()), Signal::SIGKILL).unwrap();
    }

    /// Starts another process that uses the data directory.
    pub(crate) fn start_process(&self) -> Process {
        let mut child = process_command(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Process { child, stdout }
    }

    /// The error of another process that has to download a server in this environment.
    pub(crate) fn download_error(&self, environment: &[(&str, &str)]) -> String {
        let output = process_command(&self.path)
            .env(DOWNLOAD_ONLY, "1")
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let mut lines = stdout.lines();
        let error = lines.find_map(|line| line.split_once("@error "));
        error.unwrap().1.to_owned()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        if let Ok(socket_folder) = fs::read_to_string(self.path.join("socket-folder")) {
            let _ = fs::remove_dir_all(socket_folder);
        }
    }
}

/// Another process that uses a data directory.
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Waits for the next line that the process prints, such as the server's description.
    pub(crate) fn next_line(&mut self) -> String {
        for line in self.stdout.by_ref().lines() {
            if let Some((_, text)) = line.unwrap().split_once('@') {
                return text.to_owned();
            }
        }
        panic!("the process ended without printing a line");
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the process in order. True if it stopped the server.
    pub(crate) fn end(mut self) -> bool {
        drop(self.child.stdin.take());
        let line = self.next_line();
        self.child.wait().unwrap();
        line == "stopped true"
    }
}

fn process_command(data_dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["data::process", "--exact", "--nocapture"]);
    command.env(DATA_DIR, data_dir);
    command
}

/// Not a test of its own: [`process_command`] runs it in another process.
#[tokio::test]
async fn process() {
    let Some(data_dir) = std::env::var_os(DATA_DIR) else {
        return;
    };
    let settings = Settings {
        download_only: std::env::var_os(DOWNLOAD_ONLY).is_some(),
        setting_names: SettingNames {
            other_server: Some("set DATABASE_URL"),
            ..SettingNames::default()
        },
        ..settings(Path::new(&data_dir))
    };
    match ManagedPostgres::start(settings).await {
        Ok(postgres) => {
            println!("@{}", postgres.description());
            // Until the test closes stdin.
            tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
                .await
                .unwrap()
                .unwrap();
            println!("@stopped {}", postgres.stop_if_unused().await.unwrap());
        }
        Err(error) => println!("@error {error}"),
    }
}

fn settings(data_dir: &Path) -> Settings {
    Settings::new(data_dir)
        .parameter("fsync", "off")
        .parameter("max_connections", "30")
}

/// Polls until the condition holds, for at most a minute.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn connect(postgres: &ManagedPostgres) -> PgConnection {
    postgres.connect_options().connect().await.unwrap()
}

/// Writes a row that [`assert_row_exists`] looks for.
pub(crate) async fn write_row(postgres: &ManagedPostgres) {
    let mut connection = connect(postgres).await;
    sqlx::raw_sql("create table answer (n int); insert into answer values (42)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

pub(crate) async fn assert_row_exists(postgres: &ManagedPostgres) {
    let n: i32 = sqlx::query_scalar("select n from answer")
        .fetch_one(&mut connect(postgres).await)
        .await
        .unwrap();
    assert_eq!(n, 42);
}
