//! The routes on axum, in a process of their own: this program, started again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use foldlog::config::Config;
use foldlog::db::Role;
use foldlog::http::{AppState, Auth};
use foldlog::{domains, http, run, telemetry};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const ASKED_FOR: &str = "BENCHMARK_SERVES";

/// Whether this process is to serve.
pub fn is_asked_for() -> bool {
    std::env::var_os(ASKED_FOR).is_some()
}

/// Serves as the local host does, less the listener, and says where.
pub async fn serve() {
    telemetry::start();
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
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env_clear()
            .env(ASKED_FOR, "1")
            .env("DATABASE_URL", database_url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
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
