//! A PgBouncer in transaction mode.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::process::Child;

use crate::cluster::USER;
use crate::programs::{as_server_user, pgbouncer, server_user};

/// A running PgBouncer. It stops when this value is dropped.
#[derive(Debug)]
pub struct Pooler {
    process: Child,
    configuration: PathBuf,
}

impl Pooler {
    /// Starts it on `port`, in front of the server at `target`. It has fewer server connections than clients.
    pub fn start(folder: &Path, port: u16, target: u16) -> Result<Self> {
        let configuration = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={target} user={USER}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 400\n\
             server_login_retry = 0.2\nlogfile = {}\n",
            folder.join("pgbouncer.log").display()
        );
        std::fs::write(&configuration, text)?;
        if let Some((uid, gid)) = server_user()? {
            std::os::unix::fs::chown(&configuration, Some(uid), Some(gid))?;
        }
        Ok(Self {
            process: spawn(&configuration)?,
            configuration,
        })
    }

    /// Kills it and starts it again.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill().await?;
        self.process = spawn(&self.configuration)?;
        Ok(())
    }
}

fn spawn(configuration: &Path) -> Result<Child> {
    let program = pgbouncer().context("PgBouncer is not installed")?;
    let mut command = as_server_user(program)?;
    command.arg("-q").arg(configuration);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}
