//! foldlog in a database that is not its own: beside an application with tables of the same names and its own sqlx
//! migrations, beside a second foldlog, in a caller's transaction; and databases that earlier builds have migrated.

use std::sync::Arc;

use foldlog::Foldlog;
use foldlog::db::{Pool, PoolSettings, Pooler, Schema};
use foldlog::migrations::{self, MigrationError};
use foldlog::projection::{self, Budget};
use foldlog::store::{self, ExpectedHeads, Outcome};
use foldlog::view::Inline;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, SqlSafeStr as _};
use uuid::Uuid;

use crate::bins::empty;
use crate::support::TestDb;
use crate::support::bouncer::Bouncer;
use crate::support::db::{DOMAINS, run};
use crate::support::events::{append, created, opened, prepare, renamed};

/// What the earlier builds' migrations ran, and the rows that they left in `_sqlx_migrations`.
const EARLIER_BUILD: &str = include_str!("../fixtures/sql/migrated_before_own_ledger.sql");

/// Tables with the names of foldlog's, but other columns.
const APPLICATION: &str = "
    create table log (line text);
    create table events (name text);
    create table views (url text);
    create table users (login text);
    create table locker (place text);
    create function log_is_behind() returns boolean language sql as 'select true';
    insert into log values ('of the application');
    insert into events values ('of the application')";

fn foldlog_in(schema: &str, options: PgConnectOptions, pooler: Pooler) -> Foldlog {
    let pool = Pool::open(PoolSettings {
        login: Arc::new(options),
        size: 5,
        pooler,
        role: None,
        schema: schema.parse().unwrap(),
    });
    Foldlog::new(pool, DOMAINS, Inline::new()).unwrap()
}

async fn up(db: &TestDb, foldlog: &Foldlog) -> Result<(), MigrationError> {
    let mut connection = db.connect().await;
    migrations::up(
        &mut connection,
        foldlog.pool.schema(),
        &foldlog.views,
        foldlog.inline(),
    )
    .await
    .map(drop)
}

/// Appends to a user and folds it.
async fn use_it(foldlog: &Foldlog) -> Uuid {
    let user = Uuid::now_v7();
    append(foldlog, &[created(user, "ada")]).await;
    append(foldlog, &[renamed(user, "bob"), opened(Uuid::now_v7())]).await;
    for view in foldlog.views.iter() {
        let budget = Budget::default();
        let caught_up = projection::catch_up(&foldlog.pool, view, 100, &budget).await;
        assert!(caught_up.unwrap().done);
    }
    user
}

/// An application's own migrations, in sqlx's default ledger.
fn application_migrator(count: i64) -> Migrator {
    let migration = |number: i64| {
        let sql = format!("create table application_{number} (id bigint)");
        Migration::new(
            number,
            "application".into(),
            MigrationType::Simple,
            sqlx::AssertSqlSafe(sql).into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations((1..=count).map(migration).collect())
}

/// The settings of this database, for all roles and for each.
const SETTINGS: &str = "select count(*) from pg_db_role_setting \
     where setdatabase = (select oid from pg_database where datname = current_database())";

/// Fails when a statement, a function or a trigger of foldlog finds its tables through the search path, when a ledger stops
/// at the other's rows, when foldlog changes settings of a database that it shares, or when `down` touches what is not
/// foldlog's. Direct and through PgBouncer.
#[tokio::test]
async fn an_application_with_tables_of_the_same_names_shares_the_database() {
    let db = empty().await;
    db.run(APPLICATION).await;
    let mut connection = db.connect().await;
    application_migrator(1).run(&mut connection).await.unwrap();
    let direct = foldlog_in("foldlog_data", db.options.clone(), Pooler::None);
    up(&db, &direct).await.unwrap();
    application_migrator(2).run(&mut connection).await.unwrap();
    up(&db, &direct).await.unwrap();
    assert_eq!(db.count(SETTINGS).await, 0);

    let bouncer = Bouncer::start(&db.options).await;
    let pooled = foldlog_in("foldlog_data", bouncer.options(), Pooler::Transaction);
    for foldlog in [&direct, &pooled] {
        use_it(foldlog).await;
    }
    // An insert of foreign SQL uses the column defaults, whose functions read `log`.
    db.run(
        "insert into foldlog_data.events (id, aggregate_id, version, type_id, payload) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}')",
    )
    .await;
    assert_eq!(
        db.count("select count(*) from foldlog_data.events").await,
        7
    );
    assert_eq!(db.count("select count(*) from foldlog_data.users").await, 2);
    for table in ["log", "events"] {
        let rows = format!("select count(*) from public.{table}");
        assert_eq!(db.count(&rows).await, 1, "{table}");
    }

    let schema = direct.pool.schema();
    while migrations::down(&mut connection, schema)
        .await
        .unwrap()
        .is_some()
    {}
    for table in ["log", "events", "views", "users", "locker", "application_2"] {
        db.run(&format!("select from public.{table}")).await;
    }
    assert_eq!(
        db.count("select count(*) from public._sqlx_migrations")
            .await,
        2
    );
}

/// Fails when two foldlogs in one database see each other's events, when an id that one has stored is taken in the other, or
/// when the appends of one ring for the sleeping listener of the other.
#[tokio::test]
async fn two_foldlogs_in_one_database_do_not_see_each_other() {
    let db = empty().await;
    let [first, second] =
        ["first", "second"].map(|name| foldlog_in(name, db.options.clone(), Pooler::None));
    for foldlog in [&first, &second] {
        up(&db, foldlog).await.unwrap();
    }
    let shared = created(Uuid::now_v7(), "ada");
    for foldlog in [&first, &second] {
        append(foldlog, std::slice::from_ref(&shared)).await;
    }
    use_it(&first).await;
    for (table, in_first, in_second) in [("events", 4, 1), ("users", 2, 0), ("locker", 5, 0)] {
        let count = async |schema: &str| {
            db.count(&format!("select count(*) from {schema}.{table}"))
                .await
        };
        assert_eq!(count("first").await, in_first, "{table}");
        assert_eq!(count("second").await, in_second, "{table}");
    }
    let own_keys = "select count(distinct key) from pg_trigger, \
         lateral (select case tgrelid when 'first.events'::regclass then first.doorbell_key() else second.doorbell_key() end as key) k \
         where tgname = 'events_doorbell' and pg_get_triggerdef(oid) like '%' || key || '%'";
    assert_eq!(db.count(own_keys).await, 2);
}

/// Fails when an append in a caller's transaction is committed without it, when it depends on the caller's search path, or
/// when a setting of foldlog's stays behind in the transaction. Direct and through PgBouncer.
#[tokio::test]
async fn an_append_is_part_of_the_callers_transaction() {
    let db = empty().await;
    db.run(APPLICATION).await;
    let direct = foldlog_in("foldlog_data", db.options.clone(), Pooler::None);
    up(&db, &direct).await.unwrap();
    let bouncer = Bouncer::start(&db.options).await;
    let pooled = foldlog_in("foldlog_data", bouncer.options(), Pooler::Transaction);
    let options = bouncer.options().extra_float_digits(None);
    for (foldlog, options) in [(&direct, db.options.clone()), (&pooled, options)] {
        let mut connection = sqlx::PgConnection::connect_with(&options).await.unwrap();
        let before = db.count("select count(*) from foldlog_data.events").await;
        for commit in [false, true] {
            let mut transaction = connection.begin().await.unwrap();
            run(&mut *transaction, "insert into log values ('caller')").await;
            // The settings of PL/pgSQL appear when a session first uses the language, and change nothing.
            let settings = "select string_agg(name || setting, ' ' order by name) from pg_settings where name not like 'plpgsql.%'";
            let read = async |connection: &mut sqlx::PgConnection| {
                sqlx::query_scalar::<_, String>(settings)
                    .persistent(false)
                    .fetch_one(connection)
                    .await
                    .unwrap()
            };
            let own_settings = read(&mut transaction).await;
            let mut session = foldlog.pool.session_in(&mut transaction);
            let event = created(Uuid::now_v7(), "ada");
            let events = prepare(&[event]);
            let none = ExpectedHeads::new();
            let stored = store::append(&mut session, &events, &none, false)
                .await
                .unwrap();
            assert!(matches!(stored, Outcome::Stored(_)));
            // The second time the id is taken; the savepoint keeps the transaction usable.
            session.savepoint().await.unwrap();
            let taken = store::append(&mut session, &events, &none, false)
                .await
                .unwrap();
            assert!(matches!(taken, Outcome::LostRace), "{taken:?}");
            session.rollback_to_savepoint().await.unwrap();
            assert_eq!(read(&mut transaction).await, own_settings);
            if commit {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
        }
        let after = db.count("select count(*) from foldlog_data.events").await;
        assert_eq!(after, before + 1);
        connection.close().await.unwrap();
    }
    let lines = "select count(*) from public.log where line = 'caller'";
    assert_eq!(db.count(lines).await, 2);
}

/// Fails when a database that an earlier build has migrated needs a manual step, loses an event, or loses the rows of the
/// application's own migrations, which were in the same ledger.
#[tokio::test]
async fn a_database_of_an_earlier_build_migrates_without_manual_steps() {
    for shared in [false, true] {
        let db = empty().await;
        db.run(EARLIER_BUILD).await;
        if shared {
            db.run("insert into _sqlx_migrations values (1, 'application', now(), true, '', 0)")
                .await;
        }
        let mut connection = db.connect().await;
        let schema = Schema::default();
        let status = migrations::status(&mut connection, &schema).await.unwrap();
        let applied = |text: &str| text.lines().filter(|l| l.starts_with("applied")).count();
        assert_eq!(applied(&status), 6, "{status}");
        up(&db, &db.foldlog).await.unwrap();
        let status = migrations::status(&mut connection, &schema).await.unwrap();
        assert_eq!(applied(&status), status.lines().count(), "{status}");
        up(&db, &db.foldlog).await.unwrap();
        use_it(&db.foldlog).await;
        db.assert_views_equal_a_fold_from_scratch().await;
        let left = db.count("select count(*) from pg_tables where tablename = '_sqlx_migrations'");
        assert_eq!(left.await, i64::from(shared));
        if shared {
            let rows = "select count(*) from _sqlx_migrations where description = 'application'";
            assert_eq!(db.count(rows).await, 1);
        }
        let settings = "select count(*) from pg_db_role_setting, unnest(setconfig) as s \
             where s = 'jit=off' and setdatabase = (select oid from pg_database where datname = current_database())";
        assert_eq!(db.count(settings).await, 1, "the settings stay");
        while migrations::down(&mut connection, &schema)
            .await
            .unwrap()
            .is_some()
        {}
        let left = if shared { 5 } else { 0 };
        assert_eq!(
            db.count(SETTINGS).await,
            left,
            "reset only if nothing else is there"
        );
    }
}

/// Fails when a foldlog that an earlier build found through the search path is silently replaced by an empty one in
/// `public`, or when the error does not say what to set.
#[tokio::test]
async fn tables_found_through_the_search_path_must_be_named_by_db_schema() {
    let db = empty().await;
    let through_path = db.options.clone().options([("search_path", "app")]);
    db.run("create schema app").await;
    let mut connection = sqlx::PgConnection::connect_with(&through_path)
        .await
        .unwrap();
    run(&mut connection, EARLIER_BUILD).await;
    let (views, inline) = (&db.foldlog.views, db.foldlog.inline());
    let refused = migrations::up(&mut connection, &Schema::default(), views, inline).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("set DB_SCHEMA=app"), "{text}");
    let app = "app".parse().unwrap();
    migrations::up(&mut connection, &app, views, inline)
        .await
        .unwrap();
    let path: String = sqlx::query_scalar("show search_path")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(path, "app", "the connection's own path is restored");
}

/// Fails when `up` fails in an application's schema with an error of the database, or changes something there.
#[tokio::test]
async fn a_schema_with_an_applications_tables_is_rejected_with_a_hint_at_db_schema() {
    let db = empty().await;
    db.run("create table views (url text)").await;
    let error = up(&db, &db.foldlog).await.unwrap_err();
    assert!(matches!(
        error,
        MigrationError::ForeignTable { table: "views", .. }
    ));
    assert!(error.to_string().contains("set DB_SCHEMA"), "{error}");
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(db.count(tables).await, 1);
    let foldlog = foldlog_in("separate", db.options.clone(), Pooler::None);
    up(&db, &foldlog).await.unwrap();
}

/// Fails when `migrate setup-database` does not do what `up` leaves undone in a shared database.
#[tokio::test]
async fn setup_database_changes_the_settings_that_up_leaves_alone() {
    let db = empty().await;
    db.run("create table orders (id bigint)").await;
    up(&db, &db.foldlog).await.unwrap();
    assert_eq!(db.count(SETTINGS).await, 0);
    let mut connection = db.connect().await;
    migrations::setup_database(&mut connection, db.pool().schema())
        .await
        .unwrap();
    assert_eq!(
        db.count(SETTINGS).await,
        5,
        "the database's and four roles'"
    );
    // Not foldlog's alone, so `down` leaves them.
    migrations::down(&mut connection, db.pool().schema())
        .await
        .unwrap();
    assert_eq!(db.count(SETTINGS).await, 5);
}
