//! A PgBouncer in transaction mode, which may track named statements.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Result;
use tokio::process::Child;

use crate::cluster::USER;
use crate::plan::PoolerMode;
use crate::programs::{as_server_user, server_user};
use crate::template::LOGINS;

/// A running PgBouncer. It stops when this value is dropped.
#[derive(Debug)]
pub struct Pooler {
    process: Child,
    program: PathBuf,
    configuration: PathBuf,
}

impl Pooler {
    /// Starts it on `port`, in front of the server at `target`. It has fewer server connections than clients.
    pub fn start(
        program: PathBuf,
        mode: PoolerMode,
        folder: &Path,
        port: u16,
        target: u16,
    ) -> Result<Self> {
        let file = |extension| folder.join(format!("{mode:?}-pooler.{extension}").to_lowercase());
        let (configuration, users) = (file("ini"), file("users"));
        let logins = LOGINS.map(|(login, _)| login).into_iter().chain([USER]);
        let lines: Vec<_> = logins.map(|login| format!("\"{login}\" \"\"")).collect();
        std::fs::write(&users, lines.join("\n"))?;
        let tracks = if mode == PoolerMode::Prepared {
            "max_prepared_statements = 100\n"
        } else {
            ""
        };
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={target}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 400\n\
             server_login_retry = 0.2\n{tracks}logfile = {}\n",
            users.display(),
            file("log").display()
        );
        std::fs::write(&configuration, text)?;
        if let Some((uid, gid)) = server_user()? {
            for path in [&configuration, &users] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
            }
        }
        Ok(Self {
            process: spawn(&program, &configuration)?,
            program,
            configuration,
        })
    }

    /// Kills it and starts it again.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill().await?;
        self.process = spawn(&self.program, &self.configuration)?;
        Ok(())
    }
}

fn spawn(program: &Path, configuration: &Path) -> Result<Child> {
    let mut command = as_server_user(program)?;
    command.arg("-q").arg(configuration);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}
