//! The database of a test: see [`foldlog::testing`] for the server and the template. With `TEST_POOLER=transaction` or
//! `prepared` the `Foldlog` of each test connects through its own PgBouncer.

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::domain::Domains;
use foldlog::projection::{self, Budget, CatchUp};
use foldlog::testing::TestDatabase;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};

use super::accounts;
use super::bouncer::{Bouncer, set_login_defaults};

/// The domains of the tests: users, and the accounts of the example with a second projection over their events.
pub const DOMAINS: Domains = foldlog::domains![foldlog::domains::users::Users, accounts::Accounts; projections: accounts::Ledger];

/// The database of one test.
pub struct TestDb {
    pub options: PgConnectOptions,
    pub foldlog: Foldlog,
    database: TestDatabase,
    /// With `TEST_POOLER`: the PgBouncer that the `Foldlog` connects through.
    _bouncer: Option<Bouncer>,
}

impl TestDb {
    /// Creates a migrated, empty database with no inline projections.
    pub async fn new() -> Self {
        Self::with_inline(&[]).await
    }

    /// As [`Self::new`], with these inline projections.
    pub async fn with_inline(inline: &[&str]) -> Self {
        if super::log::is_kept() {
            foldlog::telemetry::init(foldlog::telemetry::Format::Text);
        }
        let database = TestDatabase::builder(DOMAINS)
            .inline(inline)
            .setup(accounts::BALANCE_CHECK)
            .create()
            .await;
        let options = database.connect_options();
        let bouncer = match std::env::var("TEST_POOLER").as_deref() {
            Ok("transaction") => Some(Bouncer::start(&options).await),
            Ok("prepared") => {
                set_login_defaults(&options, None).await;
                // A test may hold a transaction of the same login open for longer than foldlog does.
                let name = options.get_database().unwrap();
                let role = options.get_username();
                let limit = "idle_in_transaction_session_timeout = '10min'";
                let longer = format!("alter role {role} in database {name} set {limit}");
                run(&mut database.connect().await, &longer).await;
                let bouncer = Bouncer::start_tracking(&options, "").await;
                assert!(
                    bouncer.is_some(),
                    "TEST_POOLER=prepared needs a PgBouncer that tracks names"
                );
                bouncer
            }
            Ok(other) => panic!("TEST_POOLER must be transaction or prepared, not {other}"),
            Err(_) => None,
        };
        let foldlog = match &bouncer {
            Some(bouncer) => {
                let inline = database.foldlog().inline().clone();
                Foldlog::new(bouncer.pool(None), DOMAINS, inline).unwrap()
            }
            None => database.foldlog().clone(),
        };
        Self {
            options,
            foldlog,
            database,
            _bouncer: bouncer,
        }
    }

    /// Opens a new connection.
    pub async fn connect(&self) -> PgConnection {
        self.database.connect().await
    }

    /// The pool of the `Foldlog`.
    pub fn pool(&self) -> &Pool {
        &self.foldlog.pool
    }

    /// Catches up one projection, in batches of 100.
    pub async fn catch_up(&self, projection: &str) -> CatchUp {
        let view = self.foldlog.view(projection).unwrap();
        projection::catch_up(self.pool(), view, 100, &Budget::default())
            .await
            .unwrap()
    }

    /// Runs statements on a new connection.
    pub async fn run(&self, sql: &str) {
        run(&mut self.connect().await, sql).await;
    }

    /// Runs a query that returns one number.
    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connect().await)
            .await
            .unwrap()
    }

    /// Asserts that every view equals a fold of its events from scratch, and that the locker holds each folded event once.
    pub async fn assert_views_equal_a_fold_from_scratch(&self) {
        let mut connection = self.connect().await;
        for view in self.foldlog.views.iter() {
            super::events::assert_equals_fold(&mut connection, view).await;
        }
    }
}

/// Runs statements; panics with their text if one fails.
pub async fn run(connection: impl PgExecutor<'_>, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
}
