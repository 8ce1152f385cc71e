//! The connection pool.
//!
//! sqlx's own pool pings each connection that is returned, in a separate task: one more round trip for every append, which
//! itself has only one. So the pool is deadpool's, and it pings a connection only if the connection is suspect.

use std::convert::identity;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, Metrics, PoolError, RecycleError, RecycleResult, Timeouts};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::health::{Health, Suspicions};
use super::pooler;
use super::share::{Shares, key_of};
use super::transaction::{Connection, Transaction};
use super::{DbError, Login, Pooler, Role, Schema, Session, Share};

/// How long a request waits for a connection before it fails because Postgres is unavailable.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an idle connection may take to answer a ping. A NAT gateway drops packets of a forgotten connection silently; the ping
/// must fail early enough to leave time for a new connection.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that was idle for a shorter time is used without a ping.
const MAX_IDLE_WITHOUT_PING: Duration = Duration::from_secs(1);

/// Connections to one database. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    connections: managed::Pool<Manager>,
    schema: Schema,
    pooler: Pooler,
    suspicions: Arc<Suspicions>,
    shares: Arc<Shares>,
    view_shares: Arc<Shares>,
}

/// The settings of a pool.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// How its connections log in.
    pub login: Arc<dyn Login>,
    /// The maximum number of connections.
    pub size: usize,
    /// The pooler between the connections and Postgres, if any.
    pub pooler: Pooler,
    /// The role that its connections work as; `None` is the login's own role.
    pub role: Option<Role>,
    /// The schema that holds foldlog's tables.
    pub schema: Schema,
}

impl PoolSettings {
    /// Direct connections that keep the privileges of their login, with foldlog's tables in the schema `public`.
    ///
    /// ```
    /// use foldlog::db::{Pool, PoolSettings};
    /// use sqlx::postgres::PgConnectOptions;
    ///
    /// # fn example(options: PgConnectOptions) -> Result<Pool, foldlog::db::SchemaError> {
    /// let pool = Pool::open(PoolSettings {
    ///     schema: "orders".parse()?,
    ///     ..PoolSettings::new(options, 4)
    /// });
    /// # Ok(pool)
    /// # }
    /// ```
    #[must_use]
    pub fn new(options: PgConnectOptions, size: usize) -> Self {
        Self {
            login: Arc::new(options),
            size,
            pooler: Pooler::None,
            role: None,
            schema: Schema::default(),
        }
    }
}

impl Pool {
    /// Opens a pool of at most `size` direct connections that keep the privileges of their login.
    #[must_use]
    pub fn new(options: PgConnectOptions, size: usize) -> Self {
        Self::open(PoolSettings::new(options, size))
    }

    /// Opens a pool. It connects when it is first used, so that a process can start while Postgres is unavailable. Each new
    /// connection first checks whether the log was restored from another cluster, and heals it before any append; see
    /// `migrations/…_heal_log.up.sql`.
    #[must_use]
    pub fn open(settings: PoolSettings) -> Self {
        let suspicions = Arc::default();
        let (size, schema, pooler) = (settings.size, settings.schema.clone(), settings.pooler);
        let manager = Manager {
            settings,
            suspicions: Arc::clone(&suspicions),
            names_verified: OnceCell::new(),
        };
        let limits = Timeouts {
            wait: Some(ACQUIRE_TIMEOUT),
            create: Some(ACQUIRE_TIMEOUT),
            recycle: Some(PING_TIMEOUT),
        };
        let config = managed::PoolConfig {
            max_size: size,
            timeouts: limits,
            queue_mode: managed::QueueMode::Lifo,
        };
        let runtime = deadpool::Runtime::Tokio1;
        let built = managed::Pool::builder(manager)
            .config(config)
            .runtime(runtime)
            .build();
        let Ok(connections) = built else {
            unreachable!("a pool with timeouts needs a runtime, and it has one")
        };
        Self {
            connections,
            schema,
            pooler,
            suspicions,
            shares: Arc::new(Shares::new(size)),
            view_shares: Arc::new(Shares::leave_quarter(size)),
        }
    }

    /// A connection, for statements that each are a transaction of their own.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] if Postgres cannot be reached or all connections stay in use; otherwise any [`DbError`].
    pub async fn acquire(&self) -> Result<Connection, DbError> {
        // One limit around all steps: deadpool's limits apply to each step, and it tries the next idle connection after each.
        match timeout(ACQUIRE_TIMEOUT, self.connections.get()).await {
            Ok(connection) => connection.map(Connection::new).map_err(unavailable),
            // Either all connections are in use, or a new one could not be opened in time.
            Err(_) if self.is_full() => Err(sqlx::Error::PoolTimedOut.into()),
            Err(_) => Err(DbError::Waking(sqlx::Error::PoolTimedOut)),
        }
    }

    /// The right to use the pool for these keys while the returned value lives. The requests for one key use at most a quarter of the
    /// connections, so that those that wait for the same lock leave connections for the others.
    ///
    /// # Errors
    ///
    /// [`DbError::TimedOut`] if other requests use one of the keys for too long.
    pub async fn share(&self, keys: impl IntoIterator<Item = u128>) -> Result<Share, DbError> {
        self.shares.take(keys).await
    }

    /// The right to use the pool for these views while the returned value lives. The requests for one view leave a quarter of the
    /// connections for the others. A request must not ask again before it has given the value back.
    ///
    /// # Errors
    ///
    /// [`DbError::TimedOut`] if other requests use one of the views for too long.
    pub async fn share_of_views<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Share, DbError> {
        let keys: Vec<u128> = names.into_iter().map(key_of).collect();
        self.view_shares.take(keys).await
    }

    /// Like [`Self::begin`], but returns `None` if no connection is free now.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] if Postgres cannot be reached or all connections stay in use; otherwise any [`DbError`].
    pub async fn begin_at_once(&self) -> Result<Option<Transaction>, DbError> {
        let limits = Timeouts {
            wait: Some(Duration::ZERO),
            ..self.connections.timeouts()
        };
        match self.connections.timeout_get(&limits).await {
            Ok(connection) => Transaction::begin(Connection::new(connection))
                .await
                .map(Some),
            Err(PoolError::Timeout(managed::TimeoutType::Wait)) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Begins a transaction with foldlog's limits.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] if Postgres cannot be reached or all connections stay in use; otherwise any [`DbError`].
    pub async fn begin(&self) -> Result<Transaction, DbError> {
        Transaction::begin(self.acquire().await?).await
    }

    /// Whether a transaction-mode pooler is between the connections and Postgres.
    #[must_use]
    pub fn is_behind_pooler(&self) -> bool {
        self.pooler != Pooler::None
    }

    /// The schema that holds foldlog's tables.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A session for this pool's database inside the transaction that is open on the caller's own `connection`, which goes
    /// through a pooler if this pool's connections do; see [`Session::in_transaction`].
    #[must_use]
    pub fn session_in<'c>(&self, connection: &'c mut PgConnection) -> Session<'c> {
        Session::in_transaction(connection, self.schema.clone(), self.pooler)
    }

    /// Pings every other connection before its next use, because one was found dead: after a restart of Postgres or a
    /// fail-over all of them are.
    pub fn mark_suspect(&self) {
        self.suspicions.ping_all();
    }

    /// Closes idle connections now and the others when they are returned. The pool cannot be used afterwards.
    pub fn close(&self) {
        self.connections.close();
    }

    /// Closes all idle connections; the next request connects again. A serverless database can pause once it has no connections.
    pub async fn close_idle(&self) {
        for session in self.connections.retain(|_, _| false).removed {
            // Terminates the session properly; if that fails, the server notices the closed socket.
            let _ = timeout(ACQUIRE_TIMEOUT, session.close()).await;
        }
    }

    fn is_full(&self) -> bool {
        let status = self.connections.status();
        status.size >= status.max_size
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options hold a password.
        f.debug_struct("Pool")
            .field("status", &self.connections.status())
            .finish_non_exhaustive()
    }
}

fn unavailable(error: PoolError<DbError>) -> DbError {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(managed::TimeoutType::Create) => {
            DbError::Waking(sqlx::Error::PoolTimedOut)
        }
        PoolError::Closed => sqlx::Error::PoolClosed.into(),
        PoolError::Timeout(_) | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            sqlx::Error::PoolTimedOut.into()
        }
    }
}

pub(super) struct Manager {
    settings: PoolSettings,
    suspicions: Arc<Suspicions>,
    /// Set once the first connection has verified that the pooler tracks named statements.
    names_verified: OnceCell<()>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}

impl Manager {
    /// Opens a connection, and heals the log if it was restored.
    async fn open(&self) -> Result<Session<'static>, DbError> {
        let PoolSettings {
            login,
            pooler,
            role,
            schema,
            ..
        } = &self.settings;
        let (pooler, role) = (*pooler, *role);
        let health = Health::in_pool(Arc::clone(&self.suspicions));
        let application = "foldlog";
        let connection = match pooler {
            Pooler::None => {
                let connect = async move |options: PgConnectOptions| match role {
                    Some(role) => options.options([("role", role.name())]).connect().await,
                    None => options.connect().await,
                };
                let connected = super::log_in(&**login, application, connect).await;
                connected.map_err(|error| error.into_session_error(role))?
            }
            Pooler::Transaction | Pooler::Prepared => {
                let connect = async |options: PgConnectOptions| options.connect().await;
                super::log_in_with(&**login, application, identity, connect).await?
            }
        };
        let mut session = Session::with_role(connection, schema.clone(), pooler, role, health);
        if pooler == Pooler::Prepared {
            // Boxed, so that every connection does not carry the futures of this check.
            let verify = Box::pin(pooler::verify_names(&mut session, &**login));
            self.names_verified.get_or_try_init(|| verify).await?;
            Box::pin(pooler::verify_defaults(&mut session, role)).await?;
        }
        // Behind a pooler this is the first statement that runs as the role.
        let healed = Box::pin(super::heal_log(&mut session)).await;
        healed.map_err(|error| DbError::from_role(role, error))?;
        Ok(session)
    }
}

impl managed::Manager for Manager {
    type Type = Session<'static>;
    type Error = DbError;

    async fn create(&self) -> Result<Session<'static>, DbError> {
        // Boxed, because every request that waits for a connection would carry this large future.
        Box::pin(self.open()).await
    }

    async fn recycle(
        &self,
        session: &mut Session<'static>,
        about: &Metrics,
    ) -> RecycleResult<DbError> {
        if !session.is_reusable() {
            return Err(RecycleError::message("the connection is at fault"));
        }
        let settled = session.settle().await;
        settled.map_err(|error| RecycleError::Backend(error.into()))?;
        let used = about.recycled.unwrap_or(about.created);
        if self.suspicions.is_suspect(used) {
            // The check of a new connection is also a ping, and the log may have been restored since the connection was new.
            let healed = Box::pin(super::heal_log(session)).await;
            healed.map_err(|error| RecycleError::Backend(error.into()))?;
        } else if used.elapsed() > MAX_IDLE_WITHOUT_PING {
            let ping = Box::pin(session.ping()).await;
            ping.map_err(|error| RecycleError::Backend(error.into()))?;
        }
        Ok(())
    }
}
