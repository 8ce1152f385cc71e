//! The baseline for a function: like the function it runs in its own process, which is this program started a second time.

use std::process::Stdio;
use std::time::{Duration, Instant};

use foldlog::config::Config;
use foldlog::db::Role;
use foldlog::http::{AppState, Auth, Operations};
use foldlog::projection::{self, Budget};
use foldlog::{domains, http, run, telemetry};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Tells the second process what to run.
const BASELINE_ENV: &str = "BENCHMARK_DOES";

/// If this is the second process: runs the baseline and returns true.
pub async fn run_if_baseline() -> bool {
    match std::env::var(BASELINE_ENV).as_deref() {
        Ok("serve") => serve().await,
        Ok("catch up") => catch_up().await,
        _ => return false,
    }
    true
}

/// Environment variables that functions and baselines inherit, so that their effect can be measured.
pub fn inherited_env() -> impl Iterator<Item = (&'static str, String)> {
    let names = ["RUST_LOG", "TOKIO_WORKER_THREADS"];
    names
        .into_iter()
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
}

fn baseline(name: &str, database_url: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env_clear()
        .env(BASELINE_ENV, name)
        .env("DATABASE_URL", database_url)
        .envs(inherited_env())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Waits for a line on standard input, then catches up as the listener of the local host does.
async fn catch_up() {
    telemetry::init(telemetry::Format::Text);
    let config = Config::from_env().unwrap();
    let login = run::login(&config).unwrap();
    let foldlog = run::build_foldlog(&config, domains::ALL, login, Role::Projection, 24).unwrap();
    // A warm function also has one open connection.
    drop(foldlog.pool.acquire().await.unwrap());
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let (view, size) = (&foldlog.views[0], config.projection.batch_size);
    let caught_up = projection::catch_up(&foldlog.pool, view, size, &Budget::default()).await;
    let caught_up = caught_up.unwrap();
    assert!(caught_up.done);
    println!("{}", caught_up.applied);
}

/// Returns how long a new process takes to catch up, and how many events it applied.
pub async fn time_to_catch_up(database_url: &str) -> (Duration, String) {
    let mut process = baseline("catch up", database_url)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "ready");
    let begun = Instant::now();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"go\n").await.unwrap();
    let applied = lines.next_line().await.unwrap().unwrap();
    let after = begun.elapsed();
    process.wait().await.unwrap();
    (after, applied)
}

/// Serves HTTP as the local host does, without the listener, and prints the address.
async fn serve() {
    telemetry::init(telemetry::Format::Text);
    let config = Config::from_env().unwrap();
    let state = |role| {
        let login = run::login(&config).unwrap();
        // The size of a function's pool.
        let foldlog = run::build_foldlog(&config, domains::ALL, login, role, 2).unwrap();
        AppState {
            foldlog,
            cors_origins: [].into(),
            auth: Auth::None,
            operations: Operations::None,
        }
    };
    let routes = http::router(state(Role::Command), state(Role::Query));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", socket.local_addr().unwrap());
    axum::serve(socket, routes).await.unwrap();
}

/// The serving process, with a kept-alive connection to it.
pub struct Direct {
    process: Child,
    socket: TcpStream,
}

impl Direct {
    pub async fn start(database_url: &str) -> Self {
        let mut process = baseline("serve", database_url)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { process, socket }
    }

    /// Sends a request; returns the time until the whole response has arrived.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<String>,
        status: u16,
    ) -> Duration {
        let body = body.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let begun = Instant::now();
        self.socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::with_capacity(4096);
        while !is_complete(&answer) {
            let read = self.socket.read_buf(&mut answer).await.unwrap();
            assert_ne!(read, 0, "the server closed the connection");
        }
        let after = begun.elapsed();
        let wanted = format!("HTTP/1.1 {status} ");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&wanted), "{answer}");
        after
    }

    pub async fn end(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Whether the head and the whole body have arrived.
fn is_complete(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.unwrap().parse().unwrap();
    answer.len() >= end + 4 + length
}
