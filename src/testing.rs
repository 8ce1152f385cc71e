//! Databases for tests: real, migrated, empty, and one per test.
//!
//! ```no_run
//! # #[cfg(feature = "users")]
//! # mod tests {
//! use foldlog::domain::prelude::*;
//! use foldlog::domains::users::{UserEvent, Users};
//! use foldlog::testing::TestDatabase;
//! use uuid::Uuid;
//!
//! #[tokio::test]
//! async fn a_new_user_appears_in_the_view() {
//!     let database = TestDatabase::new(foldlog::domains![Users]).await;
//!     let foldlog = database.foldlog();
//!     let id = Uuid::now_v7();
//!     let created = UserEvent::Created {
//!         id,
//!         username: "ada".to_owned(),
//!         email: "ada@example.org".to_owned(),
//!         password: None,
//!     };
//!     foldlog.append::<Users>(AggregateId(id), [created]).await.unwrap();
//!     database.catch_up().await;
//!     let (_user, version) = foldlog.get::<Users>(AggregateId(id)).await.unwrap().unwrap();
//!     assert_eq!(version, Version(1));
//! }
//! # }
//! ```
//!
//! The server is the one of `TEST_DATABASE_URL`, whose user must be a superuser. Without this variable, the tests find or download
//! a Postgres as `cargo run` does, keep its data in `/var/tmp/foldlog-tests-USER`, and share it with all other test processes of the
//! user. This server runs without `fsync`, because the databases of tests need not survive a crash.
//!
//! Migrations run once per set of domains, in a template database. Each test gets a copy of it, which takes some 50 ms.

use std::hash::{DefaultHasher, Hash, Hasher};

use local_postgres::ManagedPostgres;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::app::Foldlog;
use crate::db::{Pool, PoolSettings, Schema};
use crate::domain::Domains;
use crate::local::postgres::Settings;
use crate::migrations;
use crate::projection::{self, Budget};
use crate::view::{Inline, View};

/// Connections of one test.
const MAX_CONNECTIONS: usize = 10;
/// Events that [`TestDatabase::catch_up`] folds in one transaction.
const BATCH_SIZE: u32 = 100;

const DATABASE_EXISTS: &str = "select exists (select from pg_database where datname = $1)";
/// Held while the template is created. Postgres releases it when the session ends.
const LOCK_TEMPLATES: &str =
    "select pg_advisory_lock(hashtextextended('foldlog test template', 0))";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The server of this process.
static SERVER: OnceCell<PgConnectOptions> = OnceCell::const_new();

/// The database of one test, with a [`Foldlog`] that uses it.
///
/// When it is dropped, the database is dropped as well. If the test has failed, the database is kept, and its name is printed.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    server: PgConnectOptions,
    foldlog: Foldlog,
}

/// Options of a [`TestDatabase`].
#[derive(Clone, Debug)]
pub struct TestDatabaseBuilder {
    domains: Domains,
    inline: Inline,
    schema: Schema,
    setup: String,
}

impl TestDatabase {
    /// Creates a migrated, empty database for `domains`, without inline projections.
    ///
    /// # Panics
    ///
    /// If no Postgres is available or the database cannot be created.
    pub async fn new(domains: Domains) -> Self {
        Self::builder(domains).create().await
    }

    /// A database with other options.
    pub fn builder(domains: Domains) -> TestDatabaseBuilder {
        TestDatabaseBuilder {
            domains,
            inline: Inline::new(),
            schema: Schema::default(),
            setup: String::new(),
        }
    }

    /// Appends to, reads from and folds in this database.
    pub fn foldlog(&self) -> &Foldlog {
        &self.foldlog
    }

    /// Options to connect as superuser.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    /// Opens a connection as superuser.
    ///
    /// # Panics
    ///
    /// If the server does not accept it.
    pub async fn connect(&self) -> PgConnection {
        match PgConnection::connect_with(&self.connect_options()).await {
            Ok(connection) => connection,
            Err(error) => panic!("cannot connect to the database {}: {error}", self.name),
        }
    }

    /// Folds all events into all views. Events of parked aggregates are not folded.
    ///
    /// # Panics
    ///
    /// If the database cannot be reached.
    pub async fn catch_up(&self) {
        for view in self.foldlog.views.iter() {
            let budget = Budget::default();
            let result = projection::catch_up(&self.foldlog.pool, view, BATCH_SIZE, &budget).await;
            if let Err(error) = result {
                panic!("cannot catch up {}: {error}", view.name());
            }
        }
    }
}

impl TestDatabaseBuilder {
    /// Folds these projections in the transaction of each append, as the setting `INLINE` does.
    #[must_use]
    pub fn inline(mut self, projections: &[&str]) -> Self {
        self.inline = projections.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Creates foldlog's tables in this schema, as the setting `DB_SCHEMA` does.
    #[must_use]
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    /// Runs these statements after the migrations, for example to create tables of the application.
    #[must_use]
    pub fn setup(mut self, sql: &str) -> Self {
        sql.clone_into(&mut self.setup);
        self
    }

    /// Creates the database.
    ///
    /// # Panics
    ///
    /// If no Postgres is available or the database cannot be created.
    pub async fn create(self) -> TestDatabase {
        match self.try_create().await {
            Ok(database) => database,
            Err(error) => panic!("cannot create a test database: {error}"),
        }
    }

    async fn try_create(self) -> Result<TestDatabase, BoxError> {
        let server = SERVER.get_or_try_init(find_server).await?.clone();
        let mut admin = PgConnection::connect_with(&server).await?;
        let template = self.ensure_template(&server, &mut admin).await?;
        let name = format!("foldlog_test_{}", Uuid::now_v7().simple());
        let create = format!("create database {name} template {template}");
        execute(&mut admin, &create).await?;
        admin.close().await?;
        let options = server.clone().database(&name);
        let database = TestDatabase {
            foldlog: self.foldlog(options, MAX_CONNECTIONS)?,
            name,
            server,
        };
        Ok(database)
    }

    /// Creates the template database unless it exists, and returns its name.
    async fn ensure_template(
        &self,
        server: &PgConnectOptions,
        admin: &mut PgConnection,
    ) -> Result<String, BoxError> {
        let name = self.template_name();
        if database_exists(admin, &name).await? {
            return Ok(name);
        }
        execute(admin, LOCK_TEMPLATES).await?;
        // Another process may have created it in the meantime.
        if !database_exists(admin, &name).await? {
            // Renamed at the end, so that a process that is killed leaves no unfinished template.
            let unfinished = format!("{name}_unfinished");
            let drop = format!("drop database if exists {unfinished} with (force)");
            execute(admin, &drop).await?;
            execute(admin, &format!("create database {unfinished}")).await?;
            self.migrate(server.clone().database(&unfinished)).await?;
            let rename = format!("alter database {unfinished} rename to {name}");
            execute(admin, &rename).await?;
        }
        Ok(name)
    }

    async fn migrate(&self, options: PgConnectOptions) -> Result<(), BoxError> {
        let mut connection = PgConnection::connect_with(&options).await?;
        let foldlog = self.foldlog(options, 1)?;
        let schema = foldlog.pool.schema();
        migrations::up(&mut connection, schema, &foldlog.views, foldlog.inline()).await?;
        execute(&mut connection, &self.setup).await?;
        Ok(connection.close().await?)
    }

    fn foldlog(&self, options: PgConnectOptions, connections: usize) -> Result<Foldlog, BoxError> {
        let pool = Pool::open(PoolSettings {
            schema: self.schema.clone(),
            ..PoolSettings::new(options, connections)
        });
        Ok(Foldlog::new(pool, self.domains, self.inline.clone())?)
    }

    /// Contains a hash of everything that defines the template, so that a changed migration, view or fold leads to a new template.
    fn template_name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        migrations::checksums().for_each(|checksum| checksum.hash(&mut hasher));
        for projection in self.domains.projections() {
            projection.definition().hash(&mut hasher);
            // The template records the folds, and a test with another one would be told to reproject.
            let view = View::new(projection).ok();
            view.as_ref().map(View::fold_hash).hash(&mut hasher);
        }
        self.inline.hash(&mut hasher);
        self.schema.name().hash(&mut hasher);
        self.setup.hash(&mut hasher);
        format!("foldlog_template_{:016x}", hasher.finish())
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "part of the output of a failed test")]
            {
                eprintln!("kept the database {}", self.name);
            }
            return;
        }
        let server = self.server.clone();
        let drop = format!("drop database if exists {} with (force)", self.name);
        // In a thread with its own runtime, because that of the test may be about to end.
        let dropping = std::thread::spawn(move || -> Result<(), BoxError> {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build()?.block_on(async {
                let mut admin = PgConnection::connect_with(&server).await?;
                execute(&mut admin, &drop).await?;
                Ok(admin.close().await?)
            })
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            tracing::warn!("cannot drop the test database {}", self.name);
        }
    }
}

/// The server of `TEST_DATABASE_URL`, or a managed one.
async fn find_server() -> Result<PgConnectOptions, BoxError> {
    if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
        return Ok(url.parse()?);
    }
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    // Each version has its own data directory.
    let bin_dir = std::env::var("FOLDLOG_PG_BIN").unwrap_or_default();
    let suffix = bin_dir.replace('/', "-");
    let settings = Settings::managed(format!("/var/tmp/foldlog-tests-{user}{suffix}"))?
        .parameter("fsync", "off")
        .parameter("max_connections", "400");
    let postgres = ManagedPostgres::start(settings).await?;
    let options = postgres.connect_options();
    // Keeps this process registered as a user of the server until it ends.
    std::mem::forget(postgres);
    Ok(options)
}

async fn database_exists(admin: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    let exists = sqlx::query_scalar(DATABASE_EXISTS).bind(name);
    exists.fetch_one(admin).await
}

/// Runs statements that cannot have parameters. All names in them are generated here.
async fn execute(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await?;
    Ok(())
}
