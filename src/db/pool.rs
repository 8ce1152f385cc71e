//! The connection pool.
//!
//! sqlx's own pool asks each connection that comes back whether it lives, in a task and a round trip of its own: as many
//! round trips again as an append has. So the pool is deadpool's, and a connection is asked only where there is reason to
//! doubt it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult, Timeouts};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use super::{DbError, Login, Pooler, Role, Session};

/// How long a request waits for a connection before it is told that Postgres is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an idle connection may take to show that it lives. A gateway that has forgotten it swallows the question, and
/// the request has to have time for a new one.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that was used so recently is not asked whether it lives.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Connections to one database. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    pool: managed::Pool<Manager>,
    /// Since when a connection has to show that it lives: since another one was found dead.
    doubted: Arc<Mutex<Option<Instant>>>,
}

/// What a pool is made of.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// How its connections log in.
    pub login: Arc<dyn Login>,
    /// How many there are at most.
    pub size: usize,
    /// What stands between them and Postgres.
    pub pooler: Pooler,
    /// The role that they work as; `None` is whoever logged in.
    pub role: Option<Role>,
}

impl Pool {
    /// A pool of at most `size` direct connections that work as whoever logs in.
    #[must_use]
    pub fn new(options: PgConnectOptions, size: usize) -> Self {
        Self::open(PoolSettings {
            login: Arc::new(options),
            size,
            pooler: Pooler::None,
            role: None,
        })
    }

    /// A pool that connects when it is first used, so that a process starts while Postgres is away. Each new connection
    /// first looks whether the log came from another cluster, and heals it before any append; see
    /// `migrations/…_heal_log.up.sql`.
    #[must_use]
    pub fn open(settings: PoolSettings) -> Self {
        let doubted = Arc::default();
        let size = settings.size;
        let manager = Manager {
            settings,
            doubted: Arc::clone(&doubted),
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
        let Ok(pool) = built else {
            unreachable!("timeouts need a runtime, and it is given")
        };
        Self { pool, doubted }
    }

    /// A connection, for statements that each are a transaction of their own.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`], mostly.
    pub async fn acquire(&self) -> Result<Connection, DbError> {
        // Around all of it: deadpool's own limits are for each step, and it goes on to the next idle connection.
        match timeout(ACQUIRE_TIMEOUT, self.pool.get()).await {
            Ok(connection) => connection.map(Connection).map_err(unavailable),
            // All of them are at work, or a new one has not come.
            Err(_) if self.is_full() => Err(sqlx::Error::PoolTimedOut.into()),
            Err(_) => Err(DbError::Waking(sqlx::Error::PoolTimedOut)),
        }
    }

    /// The same as [`Self::begin`] if a connection is free now, or nothing.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`], mostly.
    pub async fn begin_at_once(&self) -> Result<Option<Transaction>, DbError> {
        let limits = Timeouts {
            wait: Some(Duration::ZERO),
            ..self.pool.timeouts()
        };
        match self.pool.timeout_get(&limits).await {
            Ok(connection) => Transaction::begin(Connection(connection)).await.map(Some),
            Err(PoolError::Timeout(managed::TimeoutType::Wait)) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Begins a writing transaction with the limits of this module.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`], mostly.
    pub async fn begin(&self) -> Result<Transaction, DbError> {
        Transaction::begin(self.acquire().await?).await
    }

    /// A connection was found dead: the others have to show that they live before they are used again. After a restart
    /// of Postgres or a fail-over all of them are dead.
    pub fn doubt(&self) {
        *self.doubted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Closes the connections that are idle, and the others when they come back. The pool is of no use afterwards.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Closes the connections that are idle now; the next request connects again. A database that pauses when nobody is
    /// connected can pause then.
    pub async fn close_idle(&self) {
        for session in self.pool.retain(|_, _| false).removed {
            // A goodbye; without one the server would notice all the same.
            let _ = timeout(ACQUIRE_TIMEOUT, session.into_inner().close()).await;
        }
    }

    fn is_full(&self) -> bool {
        let status = self.pool.status();
        status.size >= status.max_size
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options hold a password.
        f.debug_struct("Pool")
            .field("status", &self.pool.status())
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

/// A connection of the pool; it goes back when it is dropped.
#[derive(Debug)]
pub struct Connection(Object<Manager>);

impl Deref for Connection {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.0
    }
}

/// A transaction; what is not committed is rolled back, at once and not when the connection is next used: until then it
/// would hold its locks.
#[derive(Debug)]
pub struct Transaction(Option<Connection>);

impl Transaction {
    async fn begin(connection: Connection) -> Result<Self, DbError> {
        // It is one before BEGIN is sent: given up in between, it has to be rolled back.
        let mut transaction = Self(Some(connection));
        transaction.deref_mut().begin().await?;
        Ok(transaction)
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] says nothing of whether it is committed.
    pub async fn commit(mut self) -> Result<(), DbError> {
        self.end("commit").await?;
        self.0 = None;
        Ok(())
    }

    /// Rolls back.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`], mostly; the server rolls back then.
    pub async fn rollback(mut self) -> Result<(), DbError> {
        self.end("rollback").await?;
        self.0 = None;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Session;

    fn deref(&self) -> &Session {
        match &self.0 {
            Some(connection) => connection,
            None => unreachable!("it is taken only where the transaction ends"),
        }
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Session {
        match &mut self.0 {
            Some(connection) => connection,
            None => unreachable!("it is taken only where the transaction ends"),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut connection) = self.0.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The process ends, and the server rolls back.
            return;
        };
        if !connection.is_at_rest() {
            // A statement that was given up goes on until the server ends it, for seconds where it waits for a lock. The
            // next user gets another connection meanwhile.
            let mut session = Object::take(connection.0);
            runtime.spawn(async move {
                // Dropping it closes it, and closing it ends the transaction, whatever became of this.
                let _ = timeout(ACQUIRE_TIMEOUT, session.end("rollback")).await;
            });
            return;
        }
        runtime.spawn(async move {
            let rolled_back = timeout(ACQUIRE_TIMEOUT, connection.end("rollback")).await;
            if !matches!(rolled_back, Ok(Ok(()))) {
                // Not back to the pool: closing it ends the transaction.
                drop(Object::take(connection.0));
            }
        });
    }
}

struct Manager {
    settings: PoolSettings,
    doubted: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").finish_non_exhaustive()
    }
}

impl managed::Manager for Manager {
    type Type = Session;
    type Error = DbError;

    async fn create(&self) -> Result<Session, DbError> {
        let PoolSettings {
            login,
            pooler,
            role,
            ..
        } = &self.settings;
        let (pooler, role) = (*pooler, *role);
        let own = (pooler == Pooler::None).then_some(role).flatten();
        let connect = async move |options: PgConnectOptions| match own {
            Some(role) => role.session(options).connect().await,
            None => options.connect().await,
        };
        let connected = super::log_in(&**login, "foldlog", connect).await;
        let connection = connected.map_err(|error| match own {
            Some(role) => error.of_session(role),
            None => error,
        })?;
        let mut session = Session::new(connection, pooler, role);
        // Behind a pooler this is the first that is done as the role.
        let healed = super::heal_log(&mut session).await;
        healed.map_err(|error| match role {
            Some(role) => DbError::of_role(role, error),
            None => error.into(),
        })?;
        Ok(session)
    }

    async fn recycle(&self, session: &mut Session, about: &Metrics) -> RecycleResult<DbError> {
        let used = about.recycled.unwrap_or(about.created);
        let doubted = self
            .doubted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|since| used <= since);
        // A request that was given up left its statement under way; the next one would get its wait, or its error.
        if session.is_open() || !session.is_at_rest() {
            return Err(RecycleError::message("a statement is under way"));
        }
        if doubted || used.elapsed() > TRUSTED_IDLE {
            let ping = session.connection().ping().await;
            ping.map_err(|error| RecycleError::Backend(error.into()))?;
        }
        Ok(())
    }
}
