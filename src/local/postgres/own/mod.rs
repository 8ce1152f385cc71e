//! A server of ours on a data directory: found running, joined, started, started again, stopped by its last user.
//!
//! Everything that changes something happens under the start lock, and what is found is judged anew each time it is held: a
//! process that was killed at any point leaves nothing behind that the next one would trust.

mod account;
mod binaries;
mod bring;
mod client;
mod cluster;
mod folder;
mod installed;
mod lock;
mod pidfile;
mod pinned;
mod place;

use std::time::{Duration, Instant};

use anyhow::bail;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;

use self::client::{Access, Facts};
use self::cluster::Started;
use self::lock::{InUse, StartLock};
use self::place::Place;
use super::Settings;

/// How long a server may take until it accepts connections, recovery after a crash included.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// How long to go on starting a server beside the remains of a killed one: its orphaned backends need a moment to notice,
/// and until then Postgres refuses, as it must.
const REMAINS_LIMIT: Duration = Duration::from_secs(15);
const REMAINS_PAUSE: Duration = Duration::from_millis(100);

/// A server of ours that this process uses.
#[derive(Debug)]
pub(super) struct Own {
    settings: Settings,
    place: Place,
    /// None once we have let go of it.
    in_use: Mutex<Option<InUse>>,
}

/// What `find_or_start` finds.
pub(super) struct Found {
    pub(super) own: Own,
    pub(super) options: PgConnectOptions,
    pub(super) url: String,
    pub(super) description: String,
}

impl Own {
    /// Joins the running server of the data directory, or starts it.
    pub(super) async fn find_or_start(settings: &Settings) -> anyhow::Result<Found> {
        let place = Place::open(settings.data_dir.as_deref())?;
        let start = StartLock::take(&place.root).await?;
        let in_use = InUse::take(&place.root, &start)?;
        let access = place.access()?;
        let (facts, how) = match join(&place, &access).await? {
            Some(facts) => (facts, "already running"),
            None => (
                start_anew(settings, &place, &access).await?,
                "started by us",
            ),
        };
        access.ensure_database().await?;
        let description = format!("{facts}, data in {}, {how}", place.root.display());
        let own = Self {
            settings: settings.clone(),
            place,
            in_use: Mutex::new(Some(in_use)),
        };
        Ok(Found {
            own,
            options: access.options(),
            url: access.url(),
            description,
        })
    }

    /// Starts the server again if its process is gone.
    pub(super) async fn ensure_running(&self) -> anyhow::Result<bool> {
        if pidfile::running(&self.place.cluster()).is_some() {
            return Ok(false);
        }
        let _start = StartLock::take(&self.place.root).await?;
        if self.in_use.lock().await.is_none() {
            return Ok(false);
        }
        let access = self.place.access()?;
        if join(&self.place, &access).await?.is_some() {
            return Ok(false);
        }
        start_anew(&self.settings, &self.place, &access).await?;
        Ok(true)
    }

    /// Lets go of the server, and stops it if nobody else uses it.
    pub(super) async fn stop_if_last(&self) -> anyhow::Result<bool> {
        let start = StartLock::take(&self.place.root).await?;
        let Some(in_use) = self.in_use.lock().await.take() else {
            return Ok(false);
        };
        if in_use.is_last(&start)? {
            cluster::stop(&self.place).await
        } else {
            Ok(false)
        }
    }
}

/// Waits for the server if its process is there; none if there is none to wait for.
async fn join(place: &Place, access: &Access) -> anyhow::Result<Option<Facts>> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let refusal = match access.ask().await? {
            Ok(facts) => return Ok(Some(facts)),
            Err(refusal) => refusal,
        };
        let Some(file) = pidfile::running(&place.cluster()) else {
            return Ok(None);
        };
        if file.ready && !access.socket.join(client::SOCKET_NAME).exists() {
            bail!(
                "Postgres (pid {}) runs on {} but its socket was removed from under it: end it with `kill -INT {}` and try again",
                file.pid,
                place.root.display(),
                file.pid
            );
        }
        if Instant::now() > deadline {
            bail!(
                "Postgres (pid {}) runs on {} but has not accepted a connection for {} s ({refusal}); see {}",
                file.pid,
                place.root.display(),
                READY_LIMIT.as_secs(),
                place.log_file().display()
            );
        }
        tokio::time::sleep(cluster::LOOK_EVERY).await;
    }
}

/// Starts the server, on a new cluster if there is none yet.
async fn start_anew(settings: &Settings, place: &Place, access: &Access) -> anyhow::Result<Facts> {
    let bin = binaries::find(settings, place).await?;
    if place.data_version()?.is_none() {
        tracing::info!(
            "creating a Postgres cluster in {} with {}",
            place.root.display(),
            bin.display()
        );
        cluster::create(place, &bin, access, &settings.extra).await?;
    }
    let begun = Instant::now();
    // A file that is there before the start belongs to a server that did not end in order.
    let remains = place.cluster().join("postmaster.pid").exists();
    loop {
        pidfile::clear_stale(&place.cluster(), &access.socket);
        match cluster::start(place, &bin, access, &settings.extra, begun + READY_LIMIT).await? {
            Started::Ready(mut child) => {
                // Somebody has to take in its exit status when it dies, or its process id would stay taken.
                tokio::spawn(async move { child.wait().await });
                break;
            }
            Started::Exited(status, log) => {
                // The server of a copy that was killed before the server had written its file may have been first.
                if let Some(facts) = join(place, access).await? {
                    return Ok(facts);
                }
                if !remains || begun.elapsed() > REMAINS_LIMIT {
                    bail!(
                        "Postgres did not start ({status}); the end of {}:\n{log}",
                        place.log_file().display()
                    );
                }
                tokio::time::sleep(REMAINS_PAUSE).await;
            }
            Started::Slow(log) => bail!(
                "Postgres is not ready after {} s and goes on by itself, so try again later; the end of {}:\n{log}",
                READY_LIMIT.as_secs(),
                place.log_file().display()
            ),
        }
    }
    match join(place, access).await? {
        Some(facts) => Ok(facts),
        None => bail!(
            "Postgres ended right after it had started; see {}",
            place.log_file().display()
        ),
    }
}
