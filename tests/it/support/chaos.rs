//! A network that fails on command: a proxy in front of Postgres that cuts all connections, refuses new ones, and accepts them
//! again. It also counts the statements that pass.
//!
//! The proxy listens on a Unix socket in its own folder, because connection options that name a socket cannot be changed to TCP.

use std::future::pending;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// A running proxy. It stops when this value is dropped.
pub struct Chaos {
    folder: TempDir,
    target: PgConnectOptions,
    statements: Arc<AtomicU64>,
    /// Cancelled to stop the proxy and cut its connections.
    end: CancellationToken,
    /// Cancelled to stop forwarding on the current connections, without closing them on either side.
    silence: Arc<Mutex<CancellationToken>>,
    /// The task that accepts and owns the connections. When it ends, all of them are cut and new ones are refused.
    network: Option<JoinHandle<()>>,
}

impl Chaos {
    /// Starts a proxy in front of the server of `target` that forwards everything.
    pub async fn start(target: &PgConnectOptions) -> Self {
        let mut chaos = Self {
            folder: tempfile::tempdir().unwrap(),
            target: target.clone(),
            statements: Arc::default(),
            end: CancellationToken::new(),
            silence: Arc::default(),
            network: None,
        };
        chaos.restore().await;
        chaos
    }

    /// Returns the options for a connection through the proxy.
    pub fn options(&self) -> PgConnectOptions {
        let options = self.target.clone().socket(self.folder.path());
        // The proxy cannot count encrypted statements.
        options.ssl_mode(PgSslMode::Disable)
    }

    /// Cuts every connection; new ones are accepted.
    pub async fn cut(&mut self) {
        self.refuse().await;
        self.restore().await;
    }

    /// Cuts every connection and refuses new ones, as if Postgres had stopped.
    pub async fn refuse(&mut self) {
        self.end.cancel();
        if let Some(network) = self.network.take() {
            network.await.unwrap();
        }
    }

    /// Drops all further traffic of the existing connections silently; new ones are accepted. A NAT gateway does the same with an
    /// idle connection that it has forgotten.
    #[cfg(feature = "lambda")]
    pub fn swallow(&self) {
        std::mem::take(&mut *self.silence.lock().unwrap()).cancel();
    }

    /// Accepts new connections again.
    pub async fn restore(&mut self) {
        self.refuse().await;
        let path = self.socket();
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        let (target, statements) = (self.target.clone(), Arc::clone(&self.statements));
        self.end = CancellationToken::new();
        let (end, silence) = (self.end.clone(), Arc::clone(&self.silence));
        self.network = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(accepted) = end.run_until_cancelled(listener.accept()).await {
                let (client, _) = accepted.unwrap();
                let silent = silence.lock().unwrap().clone();
                let forward = forward(client, target.clone(), Arc::clone(&statements));
                connections.spawn(async move {
                    let mut forward = pin!(forward);
                    tokio::select! {
                        () = &mut forward => {}
                        // The task keeps both sockets open.
                        () = silent.cancelled() => pending().await,
                    }
                });
                while connections.try_join_next().is_some() {}
            }
            drop(listener);
            connections.shutdown().await;
        }));
    }

    /// Returns how many statements were executed through the proxy so far. Preparing a statement and pings do not count.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::SeqCst)
    }

    fn socket(&self) -> PathBuf {
        let name = format!(".s.PGSQL.{}", self.target.get_port());
        self.folder.path().join(name)
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Forwards one connection until either side closes it.
async fn forward(client: UnixStream, target: PgConnectOptions, statements: Arc<AtomicU64>) {
    let (host, port) = (target.get_host(), target.get_port());
    let folder = target.get_socket().map(PathBuf::as_path);
    let folder = folder.or_else(|| host.starts_with('/').then_some(host.as_ref()));
    if let Some(folder) = folder {
        match UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await {
            Ok(server) => both(client, server.into_split(), &statements).await,
            Err(_) => drop(client),
        }
    } else if let Ok(server) = TcpStream::connect((host, port)).await {
        both(client, server.into_split(), &statements).await;
    }
}

async fn both(
    client: UnixStream,
    (mut from_server, mut to_server): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    statements: &AtomicU64,
) {
    let (mut from_client, mut to_client) = client.into_split();
    tokio::select! {
        _ = count(&mut from_client, &mut to_server, statements) => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}

/// Forwards the client's messages and counts those that execute a statement: `E`xecute and `Q`uery.
async fn count(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    statements: &AtomicU64,
) -> std::io::Result<()> {
    // The startup message has a length but no type byte.
    let mut kind = None;
    loop {
        let length = from.read_u32().await?;
        let mut body = vec![0; length.saturating_sub(4) as usize];
        from.read_exact(&mut body).await?;
        if matches!(kind, Some(b'E' | b'Q')) {
            statements.fetch_add(1, Ordering::SeqCst);
        }
        let mut message = Vec::from_iter(kind);
        message.extend(length.to_be_bytes());
        message.extend(body);
        to.write_all(&message).await?;
        kind = Some(from.read_u8().await?);
    }
}
