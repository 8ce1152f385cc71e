//! Counts round trips: a proxy in front of Postgres or a pooler that counts how often a client sends something and then has to
//! wait for the answer. Messages that a client sends without waiting in between are one round trip.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The proxy. It stops when this value is dropped.
///
/// ```ignore
/// let round_trips = RoundTrips::start(&db.options).await;
/// let pool = Pool::new(round_trips.options(), 1);
/// // The first use of a statement prepares it, which takes a round trip more.
/// append(&pool).await;
/// let (appended, count) = round_trips.measure(append(&pool)).await;
/// assert_eq!(count, 1);
/// ```
pub struct RoundTrips {
    target: PgConnectOptions,
    address: SocketAddr,
    count: Arc<watch::Sender<u64>>,
    /// The request from which on none reaches the server.
    end: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl RoundTrips {
    /// Starts the proxy in front of the server or pooler of `target`.
    pub async fn start(target: &PgConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(watch::Sender::new(0));
        let end = Arc::new(AtomicU64::new(u64::MAX));
        let accepting = tokio::spawn({
            let (target, count, end) = (target.clone(), Arc::clone(&count), Arc::clone(&end));
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let (count, end) = (Arc::clone(&count), Arc::clone(&end));
                    tokio::spawn(forward(client, target.clone(), count, end));
                }
            }
        });
        Self {
            target: target.clone(),
            address,
            count,
            end,
            accepting,
        }
    }

    /// Options for a connection through the proxy.
    pub fn options(&self) -> PgConnectOptions {
        let url = self.target.to_url_lossy();
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.address.port())
            .username(self.target.get_username())
            .database(self.target.get_database().unwrap_or_default())
            // The proxy cannot read encrypted messages.
            .ssl_mode(PgSslMode::Disable);
        match url.password() {
            Some(password) => options.password(password),
            None => options,
        }
    }

    /// The round trips of all connections so far, without those of logging in.
    pub fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// What `work` returns; `None` if it is dropped, as the end of a process does, before its request with this number reaches Postgres.
    pub async fn kill_after<T>(&self, requests: u64, work: impl Future<Output = T>) -> Option<T> {
        let last = self.count() + requests;
        self.end.store(last, Ordering::SeqCst);
        let mut count = self.count.subscribe();
        let result = tokio::select! {
            // The connection of the request ends, which `work` must not notice.
            biased;
            reached = count.wait_for(|count| *count >= last) => {
                reached.unwrap();
                None
            }
            result = work => Some(result),
        };
        self.end.store(u64::MAX, Ordering::SeqCst);
        result
    }

    /// What `work` returns, and its round trips. Nothing else may use the proxy in the meantime.
    pub async fn measure<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let before = self.count();
        let result = work.await;
        (result, self.count() - before)
    }
}

impl Drop for RoundTrips {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    client: TcpStream,
    target: PgConnectOptions,
    count: Arc<watch::Sender<u64>>,
    end: Arc<AtomicU64>,
) {
    client.set_nodelay(true).unwrap();
    let port = target.get_port();
    if let Some(folder) = target.get_socket() {
        let path = folder.join(format!(".s.PGSQL.{port}"));
        let server = UnixStream::connect(path).await.unwrap();
        Box::pin(between(client, server, &count, &end)).await;
    } else {
        let server = TcpStream::connect((target.get_host(), port)).await.unwrap();
        server.set_nodelay(true).unwrap();
        Box::pin(between(client, server, &count, &end)).await;
    }
}

/// Copies both directions until one ends.
async fn between(
    mut client: TcpStream,
    server: impl AsyncRead + AsyncWrite + Unpin,
    count: &watch::Sender<u64>,
    end: &AtomicU64,
) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    // Whether the client has been answered, so that what it sends next begins a round trip. It is not until it has logged in.
    let answered = AtomicBool::new(false);
    let requests = async {
        let mut bytes = [0; 1 << 14];
        while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
            // Terminate is not answered.
            if bytes[0] != b'X' && answered.swap(false, Ordering::SeqCst) {
                count.send_modify(|count| *count += 1);
                if *count.borrow() >= end.load(Ordering::SeqCst) {
                    break;
                }
            }
            if to_server.write_all(&bytes[..length]).await.is_err() {
                break;
            }
        }
    };
    let answers = async {
        let mut header = [0; 5];
        while from_server.read_exact(&mut header).await.is_ok() {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
            if header[0] == b'Z' {
                answered.store(true, Ordering::SeqCst);
            }
            let mut body = (&mut from_server).take(u64::from(length - 4));
            let sent = to_client.write_all(&header).await;
            if sent.is_err() || copy(&mut body, &mut to_client).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}
