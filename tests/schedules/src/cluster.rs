//! A Postgres cluster of a schedule: a copy of a template, which is started, crashed, dumped, restored and promoted.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Child;

use crate::clock::{pause, poll};
use crate::plan::CrashKind;
use crate::programs::{as_server_user, postgres_bin, run};

/// The database of the log, and the superuser.
pub const DATABASE: &str = "log";
pub const USER: &str = "foldlog";
/// Includes recovery after a crash, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a dump is restored if other sessions make it fail.
const RESTORE_ATTEMPTS: usize = 8;

/// A cluster. Its server stops when this value is dropped.
#[derive(Debug)]
pub struct Cluster {
    pub folder: PathBuf,
    pub port: u16,
    parameters: Vec<String>,
    server: Mutex<Option<Child>>,
}

impl Cluster {
    /// Creates a cluster from nothing.
    pub async fn create(folder: PathBuf, port: u16) -> Result<Self> {
        let mut initdb = as_server_user(postgres_bin()?.join("initdb"))?;
        initdb.arg("-D").arg(&folder);
        initdb.args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"]);
        initdb.args(["--no-sync", "--no-instructions", "--wal-segsize=1"]);
        run(&mut initdb).await?;
        Ok(Self::new(folder, port, &[]))
    }

    fn new(folder: PathBuf, port: u16, parameters: &[String]) -> Self {
        Self {
            folder,
            port,
            parameters: parameters.to_vec(),
            server: Mutex::default(),
        }
    }

    /// Copies a cluster whose server is stopped.
    pub async fn copy(
        from: &Path,
        folder: PathBuf,
        port: u16,
        parameters: &[String],
    ) -> Result<Self> {
        run(as_server_user("/bin/cp")?.arg("-a").arg(from).arg(&folder)).await?;
        Ok(Self::new(folder, port, parameters))
    }

    /// Copies a cluster as the standby of the server at `primary`.
    pub async fn copy_as_standby(
        from: &Path,
        folder: PathBuf,
        port: u16,
        parameters: &[String],
        primary: u16,
    ) -> Result<Self> {
        let standby = Self::copy(from, folder, port, parameters).await?;
        run(as_server_user("/bin/touch")?.arg(standby.folder.join("standby.signal"))).await?;
        let primary = format!("primary_conninfo=host=127.0.0.1 port={primary} user={USER}");
        Ok(Self {
            parameters: [standby.parameters.clone(), vec![primary]].concat(),
            ..standby
        })
    }

    /// Raises the transaction counter of a stopped cluster, within the first page of the commit log.
    pub async fn raise_counter(&self, xid: u32) -> Result<()> {
        let mut reset = as_server_user(postgres_bin()?.join("pg_resetwal"))?;
        run(reset.arg("-x").arg(xid.to_string()).arg(&self.folder)).await
    }

    /// Starts the server and waits until it accepts connections. Backends of a killed server may still be running; then the start
    /// fails and is repeated.
    pub async fn start(&self) -> Result<()> {
        let ready = poll(START_TIMEOUT, async || {
            self.launch_unless_running().is_ok() && self.is_ready().await
        });
        if !ready.await {
            bail!("Postgres does not start; see {}.log", self.folder.display());
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let options = self.options().database("postgres");
        PgConnection::connect_with(&options).await.is_ok()
    }

    fn launch_unless_running(&self) -> Result<()> {
        let mut server = self
            .server
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(child) = server.as_mut()
            && child.try_wait()?.is_none()
        {
            return Ok(());
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.with_extension("log"))?;
        let mut command = as_server_user(postgres_bin()?.join("postgres"))?;
        command
            .arg("-D")
            .arg(&self.folder)
            .arg("-p")
            .arg(self.port.to_string());
        let fixed = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=16MB",
            "max_connections=150",
            "fsync=off",
            "wal_keep_size=64MB",
            "wal_retrieve_retry_interval=100ms",
            "log_line_prefix=%m [%p] %a ",
            "log_min_duration_statement=2000",
            "log_lock_waits=on",
            "max_prepared_transactions=8",
        ];
        let parameters = self.parameters.iter().map(String::as_str);
        for parameter in fixed.into_iter().chain(parameters) {
            command.arg("-c").arg(parameter);
        }
        command.stdout(log.try_clone()?).stderr(log);
        *server = Some(command.spawn().context("cannot start Postgres")?);
        Ok(())
    }

    /// Stops the server by a signal to the postmaster and waits for its end.
    async fn stop_by(&self, signal: Signal) -> Result<()> {
        let child = {
            let mut server = self
                .server
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            server.take()
        };
        let Some(mut child) = child else {
            return Ok(());
        };
        if let Some(pid) = child.id() {
            kill(pid_of(pid)?, signal)?;
        }
        child.wait().await?;
        Ok(())
    }

    /// A fast shutdown.
    pub async fn stop(&self) -> Result<()> {
        self.stop_by(Signal::SIGINT).await
    }

    /// Ends the server without a shutdown.
    pub async fn abandon(&self) -> Result<()> {
        self.stop_by(Signal::SIGQUIT).await
    }

    /// Crashes the server and recovers it.
    pub async fn crash(&self, kind: CrashKind, down_ms: u64) -> Result<()> {
        match kind {
            CrashKind::Immediate => self.stop_by(Signal::SIGQUIT).await?,
            CrashKind::KillPostmaster => self.stop_by(Signal::SIGKILL).await?,
            CrashKind::KillBackend => self.kill_backend().await?,
        }
        pause(down_ms).await;
        self.start().await
    }

    /// Kills one of foldlog's backends and waits until the postmaster has ended all sessions.
    async fn kill_backend(&self) -> Result<()> {
        let mut session = self.connect().await?;
        let sql = "select pid from pg_stat_activity where application_name like 'foldlog%' limit 1";
        let pid: Option<i32> = sqlx::query_scalar(sql).fetch_optional(&mut session).await?;
        // Without such a session, this one ends itself.
        let own = sqlx::query_scalar("select pg_backend_pid()");
        let pid = match pid {
            Some(pid) => pid,
            None => own.fetch_one(&mut session).await?,
        };
        // It may have ended in the meantime; then there is no crash.
        if kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
            poll(START_TIMEOUT, async || session.ping().await.is_err()).await;
        }
        Ok(())
    }

    /// Options to connect as superuser.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(USER)
            .database(DATABASE)
            .ssl_mode(PgSslMode::Disable)
            .application_name("schedule")
            .options([("default_transaction_isolation", "read committed")])
    }

    /// Connects as superuser.
    pub async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect_with(&self.options()).await?)
    }

    /// Creates the log's database.
    pub async fn create_database(&self) -> Result<()> {
        let options = self.options().database("postgres");
        let mut connection = PgConnection::connect_with(&options).await?;
        let sql = format!("create database {DATABASE}");
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }

    /// Runs statements as superuser.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }

    /// The first column of the first row, if there is a row.
    pub async fn value<T>(&self, sql: &str) -> Result<Option<T>>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let mut connection = self.connect().await?;
        let value = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_optional(&mut connection)
            .await?;
        connection.close().await?;
        Ok(value)
    }

    /// Writes everything that is committed now to the disk: a synchronous commit writes all earlier ones, too.
    pub async fn flush(&self) -> Result<()> {
        self.execute(
            "begin; set local synchronous_commit = on; \
             select pg_logical_emit_message(true, 'schedule', 'flush'); commit",
        )
        .await
    }

    /// Waits until this standby has received everything that is committed on `primary` now.
    pub async fn receive_from(&self, primary: &Self) -> Result<()> {
        primary.flush().await?;
        let end: Option<String> = primary
            .value("select pg_current_wal_flush_lsn()::text")
            .await?;
        let end = end.unwrap_or_default();
        self.wait_until_true(&format!(
            "select pg_last_wal_receive_lsn() >= '{end}'::pg_lsn"
        ))
        .await
    }

    async fn wait_until_true(&self, sql: &str) -> Result<()> {
        let is_true = poll(START_TIMEOUT, async || {
            matches!(self.value::<bool>(sql).await, Ok(Some(true)))
        });
        if !is_true.await {
            bail!("{sql} does not become true");
        }
        Ok(())
    }

    /// Makes a standby the primary and waits until it accepts writes.
    pub async fn promote(&self) -> Result<()> {
        self.value::<bool>("select pg_promote(wait => false)")
            .await?;
        self.wait_until_true("select not pg_is_in_recovery()").await
    }

    /// Dumps the log to a file.
    pub async fn dump(&self, file: &Path) -> Result<()> {
        let mut dump = self.tool("pg_dump")?;
        run(dump
            .arg("--format=custom")
            .arg("--compress=0")
            .arg("--file")
            .arg(file))
        .await
    }

    /// Restores a dump into the database while sessions use it. Fails only if it fails again and again.
    pub async fn restore(&self, file: &Path) -> Result<()> {
        let mut last = Ok(());
        for attempt in 0..RESTORE_ATTEMPTS {
            if attempt > 2 {
                self.execute(crate::faults::TERMINATE).await?;
            }
            let mut restore = self.tool("pg_restore")?;
            restore.env("PGOPTIONS", "-c lock_timeout=2s");
            restore.args([
                "--clean",
                "--if-exists",
                "--single-transaction",
                "--exit-on-error",
            ]);
            last = run(restore.arg(file)).await;
            if last.is_ok() {
                return Ok(());
            }
        }
        last
    }

    fn tool(&self, name: &str) -> Result<tokio::process::Command> {
        let mut tool = as_server_user(postgres_bin()?.join(name))?;
        tool.args(["-h", "127.0.0.1", "-U", USER, "-d", DATABASE, "-p"]);
        tool.arg(self.port.to_string());
        Ok(tool)
    }
}

/// The process id in the type that signals need.
pub fn pid_of(pid: u32) -> Result<Pid> {
    Ok(Pid::from_raw(pid.try_into()?))
}
