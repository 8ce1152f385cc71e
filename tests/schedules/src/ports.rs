//! Ports below those that the system gives to outgoing connections, so that a port is free again when its server restarts.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

const MIN_PORT: u16 = 10_000;
const MAX_PORT: u16 = 30_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that is free now and that this process has not given out for long.
pub fn free() -> Result<u16> {
    for _ in MIN_PORT..MAX_PORT {
        let offset = NEXT.fetch_add(1, Ordering::SeqCst);
        // Two runs at once start at different ports.
        let start = u16::try_from(std::process::id() % 20 * 1000).unwrap_or(0);
        let port = MIN_PORT + start.wrapping_add(offset) % (MAX_PORT - MIN_PORT);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {MIN_PORT} to {MAX_PORT} is free")
}
