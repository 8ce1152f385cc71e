//! A binary of this package as a child process, with an environment of its own and everything that it says.

use crate::support::poll::{POLL_TIMEOUT, poll};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The binaries.
pub const CLIENT: &str = env!("CARGO_BIN_EXE_client");
pub const LOCAL: &str = env!("CARGO_BIN_EXE_local");
pub const LISTENER: &str = env!("CARGO_BIN_EXE_listener");
pub const MIGRATE: &str = env!("CARGO_BIN_EXE_migrate");

/// The password in the URLs of servers that ask for none.
pub const PASSWORD: &str = "s3cret-of-the-tests";

/// A program under way. It is killed when it is dropped.
pub struct Program {
    child: Child,
    out: Lines,
    err: Lines,
    /// Goes with the program.
    folder: Option<TempDir>,
}

/// What a program said.
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Program {
    /// Starts it in an empty folder with nothing in its environment but `PATH` and these.
    pub fn start(binary: &str, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Self::start_in(folder.path(), binary, arguments, env);
        program.folder = Some(folder);
        program
    }

    /// The same in a folder that the test has prepared.
    pub fn start_in(folder: &Path, binary: &str, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            // A backtrace in any answer is a mistake.
            .env("RUST_BACKTRACE", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (out, err) = (Lines::default(), Lines::default());
        out.follow(child.stdout.take().unwrap());
        err.follow(child.stderr.take().unwrap());
        Self {
            child,
            out,
            err,
            folder: None,
        }
    }

    /// Runs it to its end.
    pub async fn run(binary: &str, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
        Self::start(binary, arguments, env).end().await
    }

    /// Waits until it has said this, on either stream; returns all it has said.
    pub async fn until_it_says(&mut self, text: &str) -> String {
        let is_said = async || {
            let said = self.said();
            let ended = self.child.try_wait().unwrap();
            let is_said = said.contains(text);
            assert!(
                is_said || ended.is_none(),
                "it ended instead of saying {text}: {said}"
            );
            is_said
        };
        assert!(
            poll(POLL_TIMEOUT, is_said).await,
            "it never said {text}: {}",
            self.said()
        );
        self.said()
    }

    /// Where it listens, once it says so.
    pub async fn url(&mut self) -> String {
        self.until_it_says("try: curl ").await;
        let out = self.out.text();
        let line = out.lines().next().unwrap();
        line.strip_prefix("foldlog listens on ").unwrap().to_owned()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.out.text() + &self.err.text()
    }

    /// The most memory that it has had, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let pid = self.child.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<u64>().unwrap() / 1024
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().unwrap();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// Asks it to end as a supervisor does, and waits.
    pub async fn terminate(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.end().await
    }

    /// Ends it where it stands.
    pub async fn kill(self) -> Ended {
        self.signal(Signal::SIGKILL);
        self.end().await
    }

    /// Waits until it has ended.
    pub async fn end(mut self) -> Ended {
        let Ok(status) = timeout(POLL_TIMEOUT, self.child.wait()).await else {
            panic!("it does not end: {}", self.said());
        };
        // A server that it has started may keep its streams open.
        let closed = async || !self.out.is_open() && !self.err.is_open();
        poll(Duration::from_secs(5), closed).await;
        let ended = Ended {
            status: status.unwrap(),
            out: self.out.text(),
            err: self.err.text(),
        };
        for text in [&ended.out, &ended.err] {
            assert!(!text.contains(PASSWORD), "a password: {text}");
            assert!(!text.contains("panicked"), "a panic: {text}");
        }
        ended
    }
}

impl Ended {
    /// It could not go on, and said so in one line.
    pub fn one_line_of_error(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}{}", self.out, self.err);
        let lines: Vec<_> = self.err.lines().collect();
        assert_eq!(lines.len(), 1, "not one line: {}", self.err);
        lines[0].strip_prefix("foldlog: ").unwrap()
    }

    /// It ended as asked.
    pub fn well(&self) -> &Self {
        assert_eq!(self.status.code(), Some(0), "{}{}", self.out, self.err);
        self
    }
}

impl Lines {
    fn follow(&self, stream: impl AsyncRead + Unpin + Send + 'static) {
        let lines = self.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream).lines();
            while let Ok(Some(line)) = stream.next_line().await {
                let mut text = lines.0.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
                if crate::support::log::is_kept() {
                    // Not by `eprintln!`, which the test harness catches.
                    io::stderr()
                        .write_all(format!("{line}\n").as_bytes())
                        .unwrap();
                }
            }
        });
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// The other owner is the task that reads.
    fn is_open(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A database's URL with a password in it, whether the server asks for one or not.
pub fn url(options: &PgConnectOptions) -> String {
    let mut url = options.to_url_lossy();
    if url.password().is_none() {
        url.set_password(Some(PASSWORD)).unwrap();
    }
    url.to_string()
}
