//! A network that fails on command: a TCP proxy in front of Postgres or of the pooler.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::ports;

/// A proxy. It stops when this value is dropped.
#[derive(Debug)]
pub struct Link {
    pub port: u16,
    shared: Arc<Shared>,
    end: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    target: AtomicU16,
    refuses: AtomicBool,
    /// Cancelled to close the current connections.
    cut: Mutex<CancellationToken>,
    /// Cancelled to stop forwarding on the current connections, which stay open.
    silence: Mutex<CancellationToken>,
}

impl Link {
    /// Listens on a free port and forwards to `target`, a port of this machine.
    pub async fn start(target: u16) -> Result<Self> {
        let listener = ports::listen().await?;
        let link = Self {
            port: listener.local_addr()?.port(),
            shared: Arc::new(Shared {
                target: target.into(),
                refuses: false.into(),
                cut: Mutex::default(),
                silence: Mutex::default(),
            }),
            end: CancellationToken::new(),
        };
        let (shared, end) = (Arc::clone(&link.shared), link.end.clone());
        tokio::spawn(async move {
            while let Some(accepted) = end.run_until_cancelled(listener.accept()).await {
                let Ok((client, _)) = accepted else { continue };
                if shared.refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let (cut, silence) = (current(&shared.cut), current(&shared.silence));
                let (target, end) = (shared.target.load(Ordering::SeqCst), end.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = forward(client, target, silence) => {}
                        () = cut.cancelled() => {}
                        () = end.cancelled() => {}
                    }
                });
            }
        });
        Ok(link)
    }

    /// Closes the current connections, also those that are silent.
    pub fn cut(&self) {
        std::mem::take(&mut *lock(&self.shared.cut)).cancel();
    }

    /// Lets nothing pass on the current connections any more.
    pub fn silence(&self) {
        std::mem::take(&mut *lock(&self.shared.silence)).cancel();
    }

    /// Whether new connections are refused.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Where new connections lead.
    pub fn redirect(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn forward(mut client: TcpStream, target: u16, silence: CancellationToken) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    // Small messages pass at once, as on a connection without a proxy.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        () = silence.cancelled() => {}
    }
    std::future::pending::<()>().await;
}

fn current(token: &Mutex<CancellationToken>) -> CancellationToken {
    lock(token).clone()
}

fn lock(token: &Mutex<CancellationToken>) -> std::sync::MutexGuard<'_, CancellationToken> {
    token.lock().unwrap_or_else(PoisonError::into_inner)
}
