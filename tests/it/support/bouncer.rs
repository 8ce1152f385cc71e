//! A real PgBouncer in transaction mode in front of Postgres. It has fewer server connections than clients, so that the clients
//! take turns on each of them.

use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;
use std::sync::Arc;

use foldlog::db::{DbError, Pool, PoolSettings, Pooler, Role, Schema};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::poll::wait_until;

/// A running PgBouncer. It stops when this value is dropped.
pub struct Bouncer {
    _process: Child,
    _folder: TempDir,
    target: PgConnectOptions,
    port: u16,
    pooler: Pooler,
}

impl Bouncer {
    /// Starts it in front of the server of `target`, with the default settings except for the pool mode.
    pub async fn start(target: &PgConnectOptions) -> Self {
        Self::start_with(target, "").await
    }

    /// As [`Self::start`], with more lines of configuration.
    pub async fn start_with(target: &PgConnectOptions, more: &str) -> Self {
        let program = find("scripts/find-pgbouncer.sh").await;
        let program = program.unwrap_or_else(|says| panic!("{says}"));
        Self::run(&program, Pooler::Transaction, target, more).await
    }

    /// As [`Self::start_with`], with a PgBouncer that tracks named statements. `None` where none is installed or can be built;
    /// `.ci/run` lists what is skipped there.
    #[expect(clippy::print_stderr, reason = "says why a test does nothing")]
    pub async fn start_tracking(target: &PgConnectOptions, more: &str) -> Option<Self> {
        let program = find("scripts/build-pgbouncer.sh").await;
        let program = program.inspect_err(|says| eprintln!("not tested: {says}"));
        let program = program.ok()?;
        Some(Self::run(&program, Pooler::Prepared, target, more).await)
    }

    async fn run(program: &str, pooler: Pooler, target: &PgConnectOptions, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        let url = target.to_url_lossy();
        let host = target.get_socket().map_or_else(
            || target.get_host().to_owned(),
            |socket| socket.display().to_string(),
        );
        let password = url
            .password()
            .map_or(String::new(), |password| format!(" password='{password}'"));
        let config = format!(
            "[databases]\n\
             * = host={host} port={} user={}{password}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 400\n{more}\n",
            target.get_port(),
            target.get_username(),
        );
        let path = folder.path().join("pgbouncer.ini");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-q").arg(&path).kill_on_drop(true);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            // PgBouncer refuses to run as root, and possibly only its owner may open the server's socket.
            let owner = target.get_socket().map(|folder| folder.metadata().unwrap());
            let owner = owner
                .map(|owner| (owner.uid(), owner.gid()))
                .filter(|(uid, _)| *uid != 0);
            let unprivileged = || {
                let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
                (user.uid.as_raw(), user.gid.as_raw())
            };
            let (uid, gid) = owner.unwrap_or_else(unprivileged);
            for path in [folder.path(), &path] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
            command.uid(uid).gid(gid);
        }
        let bouncer = Self {
            _process: command.spawn().unwrap(),
            _folder: folder,
            target: target.clone(),
            port,
            pooler,
        };
        let options = bouncer.options().extra_float_digits(None);
        wait_until("PgBouncer accepts connections", async || {
            match options.connect().await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        bouncer
    }

    /// How foldlog uses it.
    pub const fn pooler(&self) -> Pooler {
        self.pooler
    }

    /// The same PgBouncer, used as one that does not track named statements.
    pub fn in_transaction_mode(self) -> Self {
        Self {
            pooler: Pooler::Transaction,
            ..self
        }
    }

    /// Returns a pool of connections through PgBouncer that use `role`.
    pub fn pool(&self, role: Option<Role>) -> Pool {
        Pool::open(PoolSettings {
            login: Arc::new(self.options()),
            size: 10,
            pooler: self.pooler,
            role,
            schema: Schema::default(),
        })
    }

    /// Returns the options for a connection through PgBouncer.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(self.target.get_username())
            .database(self.target.get_database().unwrap_or_default())
    }
}

/// Gives the login of `options` the defaults that `DB_POOLER=prepared` needs, in this database only: those that the error of a
/// connection without them names.
pub async fn set_login_defaults(options: &PgConnectOptions, role: Option<Role>) {
    let pool = Pool::open(PoolSettings {
        pooler: Pooler::Prepared,
        role,
        ..PoolSettings::new(options.clone(), 1)
    });
    let Err(error) = pool.acquire().await else {
        return;
    };
    let DbError::SessionDefaults { fixes, .. } = error else {
        panic!("{error}");
    };
    let here = format!(" in database {} set ", options.get_database().unwrap());
    // The login may have another default role already.
    let fixes = format!("set role none; {}", fixes.replace(" set ", &here));
    let mut connection = options.connect().await.unwrap();
    let executed = sqlx::raw_sql(AssertSqlSafe(fixes)).execute(&mut connection);
    executed.await.unwrap();
    connection.close().await.unwrap();
}

/// The path that a script prints, or what it reports instead.
async fn find(script: &str) -> Result<String, String> {
    let found = Command::new(script).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    if found.status.success() {
        Ok(text(found.stdout))
    } else {
        Err(text(found.stderr))
    }
}
