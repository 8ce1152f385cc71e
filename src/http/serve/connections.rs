//! The connections of the server, and what each of them waits for.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// How long the head of a request may take, from the first byte on, or from the connection on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may be idle between two requests. Load balancers keep theirs for 60 s, and the server must not be
/// the first to close it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// When all connections are in use, one that has waited this long for the rest of a request is closed for a new one.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of the first request has arrived.
    New,
    /// A response was made, and nothing of the next request has arrived.
    Idle,
    /// A part of a request's head has arrived.
    Head,
    /// The head has arrived. The handler limits how long the body may take.
    Body,
    /// The request has arrived.
    Responding,
}

/// A connection, as the limits see it.
#[derive(Debug)]
pub(super) struct ClientConnection {
    phase: Mutex<(Phase, Instant)>,
    /// Tells the connection to end, for a new one.
    pub(super) closed: Notify,
    /// Notified when a head begins after an idle time, because its limit is shorter.
    head_began: Notify,
}

impl ClientConnection {
    fn phase(&self) -> (Phase, Instant) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = (phase, Instant::now());
    }

    /// Bytes have arrived. The first bytes after an idle time begin a head; its further bytes do not extend the limit.
    fn note_bytes(&self) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        match phase.0 {
            // From the connection on, the first head has one limit.
            Phase::New => phase.0 = Phase::Head,
            Phase::Idle => {
                *phase = (Phase::Head, Instant::now());
                self.head_began.notify_one();
            }
            Phase::Head | Phase::Body | Phase::Responding => {}
        }
    }

    /// Since when it has waited for the client; `None` while it works.
    fn waiting_since(&self) -> Option<Instant> {
        let (phase, since) = self.phase();
        (phase != Phase::Responding).then_some(since)
    }

    /// Waits until the client has exceeded a limit.
    pub(super) async fn wait_until_overdue(&self) {
        loop {
            let (phase, since) = self.phase();
            let limit = match phase {
                Phase::New | Phase::Head => HEAD_TIMEOUT,
                Phase::Idle => IDLE_TIMEOUT,
                // Looks again later: the handler has a limit of its own.
                Phase::Body | Phase::Responding => {
                    sleep(HEAD_TIMEOUT).await;
                    continue;
                }
            };
            tokio::select! {
                () = sleep_until(since + limit) => {}
                () = self.head_began.notified() => {}
            }
            if self.phase() == (phase, since) && since.elapsed() >= limit {
                return;
            }
        }
    }
}

/// The open connections.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientConnections {
    open: Arc<Mutex<HashMap<u64, Arc<ClientConnection>>>>,
    /// Notified when one ends.
    ended: Arc<Notify>,
}

impl ClientConnections {
    pub(super) fn add(&self, number: u64) -> Arc<ClientConnection> {
        let connection = Arc::new(ClientConnection {
            phase: Mutex::new((Phase::New, Instant::now())),
            closed: Notify::new(),
            head_began: Notify::new(),
        });
        self.lock().insert(number, Arc::clone(&connection));
        connection
    }

    pub(super) fn remove(&self, number: u64) {
        self.lock().remove(&number);
        self.ended.notify_one();
    }

    /// Waits until one more connection is allowed, and closes the one that has waited longest.
    pub(super) async fn make_room(&self, max: usize) {
        while self.lock().len() >= max {
            if self.close_longest_waiting() {
                self.ended.notified().await;
            } else {
                // All of them work, or have only just begun.
                let _ = tokio::time::timeout(MIN_WAIT, self.ended.notified()).await;
            }
        }
    }

    /// Whether there was a connection to close.
    pub(super) fn close_longest_waiting(&self) -> bool {
        let open = self.lock();
        let waiting = open
            .values()
            .filter_map(|connection| Some((connection.waiting_since()?, connection)));
        let longest = waiting.min_by_key(|(since, _)| *since);
        let longest = longest.filter(|(since, _)| since.elapsed() >= MIN_WAIT);
        if let Some((_, connection)) = longest {
            connection.closed.notify_one();
        }
        longest.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<ClientConnection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that tells its connection when bytes arrive.
pub(super) struct ObservedStream {
    pub(super) stream: TcpStream,
    pub(super) connection: Arc<ClientConnection>,
}

impl AsyncRead for ObservedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.note_bytes();
        }
        polled
    }
}

impl AsyncWrite for ObservedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
