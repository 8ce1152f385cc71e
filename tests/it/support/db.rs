//! One database per test, cloned from a template that is migrated once per cluster.
//!
//! The cluster is the one in `TEST_DATABASE_URL` (a superuser's), or the tests find or download a Postgres as `cargo run` does and
//! keep its data in `/var/tmp/foldlog-tests-…`. A test's database is dropped when the test passes; when it fails, the database is
//! kept and its name printed. With `TEST_POOLER=transaction` the engine of each test connects through its own PgBouncer.

use std::str::FromStr;

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::domain::Domains;
use foldlog::local::postgres::{ManagedPostgres, Settings};
use foldlog::migrations;
use foldlog::projection::{self, Budget, CatchUp};
use foldlog::view::Inline;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgExecutor};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::accounts;
use super::bouncer::Bouncer;

static CLUSTER: OnceCell<PgConnectOptions> = OnceCell::const_new();

/// The domains of the tests: users, and the accounts of the example with a second projection over their events.
pub const DOMAINS: Domains = foldlog::domains![foldlog::domains::users::Users, accounts::Accounts; projections: accounts::Ledger];

/// The database of one test.
pub struct TestDb {
    pub options: PgConnectOptions,
    pub engine: Foldlog,
    name: String,
    /// With `TEST_POOLER=transaction`: the PgBouncer that the engine connects through.
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
        let cluster = CLUSTER.get_or_init(cluster).await;
        let name = format!("foldlog_test_{}", Uuid::now_v7().simple());
        let mut admin = PgConnection::connect_with(cluster).await.unwrap();
        run(
            &mut admin,
            &format!("create database {name} template {}", template()),
        )
        .await;
        let options = cluster.clone().database(&name);
        let inline: Inline = inline.iter().map(|name| (*name).to_owned()).collect();
        let (pool, bouncer) = match std::env::var("TEST_POOLER").as_deref() {
            Ok("transaction") => {
                let bouncer = Bouncer::start(&options).await;
                (bouncer.pool(None), Some(bouncer))
            }
            _ => (Pool::new(options.clone(), 10), None),
        };
        let engine = Foldlog::new(pool, DOMAINS, inline).unwrap();
        if !engine.inline().is_empty() {
            migrations::up(
                &mut PgConnection::connect_with(&options).await.unwrap(),
                engine.pool.schema(),
                &engine.views,
                engine.inline(),
            )
            .await
            .unwrap();
        }
        Self {
            options,
            engine,
            name,
            _bouncer: bouncer,
        }
    }

    /// Opens a new connection.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options).await.unwrap()
    }

    /// The pool of the engine.
    pub fn pool(&self) -> &Pool {
        &self.engine.pool
    }

    /// Catches up one projection, in batches of 100.
    pub async fn catch_up(&self, projection: &str) -> CatchUp {
        let view = self.engine.view(projection).unwrap();
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
        for view in self.engine.views.iter() {
            super::events::assert_equals_fold(&mut connection, view).await;
        }
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept the database {}", self.name);
            return;
        }
        let (Some(cluster), name) = (CLUSTER.get().cloned(), self.name.clone()) else {
            return;
        };
        let drop = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect_with(&cluster).await.unwrap();
                run(
                    &mut admin,
                    &format!("drop database if exists {name} with (force)"),
                )
                .await;
            });
        };
        std::thread::spawn(drop).join().unwrap();
    }
}

/// Runs statements; panics with their text if one fails.
pub async fn run(connection: impl PgExecutor<'_>, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// Finds or starts the cluster and creates the migrated template.
async fn cluster() -> PgConnectOptions {
    let options = match std::env::var("TEST_DATABASE_URL") {
        Ok(url) => PgConnectOptions::from_str(&url).unwrap(),
        Err(_) => find_or_start().await,
    };
    let mut admin = PgConnection::connect_with(&options).await.unwrap();
    run(
        &mut admin,
        "select pg_advisory_lock(hashtextextended('foldlog test template', 0))",
    )
    .await;
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(template())
            .fetch_one(&mut admin)
            .await
            .unwrap();
    if !there {
        run(&mut admin, &format!("create database {}", template())).await;
        let options = options.clone().database(&template());
        let engine = Foldlog::new(Pool::new(options.clone(), 1), DOMAINS, Inline::new()).unwrap();
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        migrations::up(
            &mut connection,
            engine.pool.schema(),
            &engine.views,
            engine.inline(),
        )
        .await
        .unwrap();
        run(&mut connection, accounts::BALANCE_CHECK).await;
        connection.close().await.unwrap();
        engine.pool.close();
    }
    admin.close().await.unwrap();
    options
}

/// The name of the template is a hash of its definition, so that a changed migration or view leads to a new template.
fn template() -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let mut files: Vec<_> = std::fs::read_dir("migrations")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in files {
        std::fs::read(path).unwrap().hash(&mut hasher);
    }
    for projection in DOMAINS.projections() {
        projection.definition().hash(&mut hasher);
    }
    accounts::BALANCE_CHECK.hash(&mut hasher);
    format!("foldlog_template_{:016x}", hasher.finish())
}

async fn find_or_start() -> PgConnectOptions {
    let bin_dir = std::env::var("FOLDLOG_PG_BIN").unwrap_or_default();
    let suffix = bin_dir.replace('/', "-");
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let settings = Settings::managed(format!("/var/tmp/foldlog-tests-{user}{suffix}"))
        .unwrap()
        .parameter("fsync", "off")
        .parameter("max_connections", "400");
    let server = ManagedPostgres::start(settings).await.unwrap();
    let options = server.connect_options();
    // The server is in use until the process ends.
    std::mem::forget(server);
    options
}
