//! Ports below those that the system gives to outgoing connections, so that a port is free again when its server restarts.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};
use tokio::net::TcpListener;

const MIN_PORT: u16 = 10_000;
const MAX_PORT: u16 = 30_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on which no server listens, for a process that is started later.
///
/// It is tried with a connection and not with a listener: a process that another schedule starts at this moment inherits the
/// listener until it executes its program, and the port stays in use although this process has closed it.
pub fn free() -> Result<u16> {
    for _ in MIN_PORT..MAX_PORT {
        let port = next();
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return Ok(port);
        }
    }
    bail!("a server listens on each port from {MIN_PORT} to {MAX_PORT}")
}

/// Listens on a free port.
pub async fn listen() -> Result<TcpListener> {
    for _ in MIN_PORT..MAX_PORT {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", next())).await {
            return Ok(listener);
        }
    }
    bail!("no port from {MIN_PORT} to {MAX_PORT} can be bound")
}

/// A port that this process has not given out for long.
fn next() -> u16 {
    let offset = NEXT.fetch_add(1, Ordering::SeqCst);
    // Two runs at once start at different ports.
    let start = u16::try_from(std::process::id() % 20 * 1000).unwrap_or(0);
    MIN_PORT + start.wrapping_add(offset) % (MAX_PORT - MIN_PORT)
}
