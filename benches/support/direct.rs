//! What a function is compared with, in a process of its own as a function is: this program, started again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use foldlog::config::Config;
use foldlog::db::Role;
use foldlog::http::{AppState, Auth};
use foldlog::projection::{self, Budget};
use foldlog::{domains, http, run, telemetry};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// What such a process is to do.
const ASKED_FOR: &str = "BENCHMARK_DOES";

/// Does what this process is started again for, if it is.
pub async fn is_asked_for() -> bool {
    match std::env::var(ASKED_FOR).as_deref() {
        Ok("serve") => serve().await,
        Ok("catch up") => catch_up().await,
        _ => return false,
    }
    true
}

/// Variables that functions and what they are compared with get from here, to see what they change.
pub fn passed_on() -> impl Iterator<Item = (&'static str, String)> {
    let names = ["RUST_LOG", "TOKIO_WORKER_THREADS"];
    names
        .into_iter()
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
}

fn again(does: &str, database_url: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env_clear()
        .env(ASKED_FOR, does)
        .env("DATABASE_URL", database_url)
        .envs(passed_on())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Waits to be told, and then catches up as the listener of the local host does once it looks.
async fn catch_up() {
    telemetry::init(telemetry::Format::Text);
    let config = Config::from_env().unwrap();
    let login = run::login(&config).unwrap();
    let engine = run::engine(&config, domains::ALL, login, Role::Projection, 24).unwrap();
    // A function has one open as well.
    drop(engine.pool.acquire().await.unwrap());
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let (view, size) = (&engine.views[0], config.projection.batch_size);
    let caught_up = projection::catch_up(&engine.pool, view, size, &Budget::default()).await;
    let caught_up = caught_up.unwrap();
    assert!(caught_up.done);
    println!("{}", caught_up.applied);
}

/// How long a new process takes from being told until it has caught up, and how many events it applied.
pub async fn time_to_catch_up(database_url: &str) -> (Duration, String) {
    let mut process = again("catch up", database_url)
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

/// Serves as the local host does, less the listener, and says where.
async fn serve() {
    telemetry::init(telemetry::Format::Text);
    let config = Config::from_env().unwrap();
    let state = |role| {
        let login = run::login(&config).unwrap();
        // As many connections as a function has.
        let engine = run::engine(&config, domains::ALL, login, role, 2).unwrap();
        AppState {
            engine,
            cors_origins: [].into(),
            auth: Auth::None,
        }
    };
    let routes = http::router(state(Role::Command), state(Role::Query));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", socket.local_addr().unwrap());
    axum::serve(socket, routes).await.unwrap();
}

/// That process, and a connection to it that is kept.
pub struct Direct {
    process: Child,
    socket: TcpStream,
}

impl Direct {
    pub async fn start(database_url: &str) -> Self {
        let mut process = again("serve", database_url)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { process, socket }
    }

    /// How long a request took until all of the answer was there.
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
        while !is_whole(&answer) {
            let read = self.socket.read_buf(&mut answer).await.unwrap();
            assert_ne!(read, 0, "the server has hung up");
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

/// Whether head and body are there.
fn is_whole(answer: &[u8]) -> bool {
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
