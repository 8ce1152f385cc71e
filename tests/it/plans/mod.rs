//! The plans of all statements, whatever statistics the database has: none yet, those of empty tables, or good ones. A plan that
//! depends on them is fast in every other test and reads the whole log in production: after the first deployment, after a
//! restore, or once a connection keeps a plan that was made while a table was empty.
//!
//! `PLANS_EVENTS=1000000` runs the tests with a larger log; CI uses 10,000 events.

mod cases;
mod explain;
mod statistics;

use foldlog::db::{Connection, Pool};
use sqlx::Row as _;
use uuid::Uuid;

use self::explain::{Indexes, WholeRead};
use self::statistics::Statistics;
use crate::sql::{Statement, statements};
use crate::support::TestDb;
use crate::support::db::run;
use crate::support::events::{append, created, deposited, opened, renamed};

/// How a session chooses between a plan for the arguments at hand and one for all arguments. foldlog's sessions have plans for all
/// arguments; behind a pooler, Postgres plans the first five executions of a statement for their arguments.
const PLAN_MODES: &[&str] = &["force_custom_plan", "force_generic_plan"];

/// Fails when a row with arguments belongs to no statement any more.
#[test]
fn every_row_with_arguments_belongs_to_a_statement() {
    let statements = statements();
    for file in cases::listed() {
        let exists = statements.iter().any(|statement| statement.name == file);
        assert!(exists, "{file} does not exist");
    }
}

/// Fails when a plan on a database that was just migrated reads a table as a whole: a plan of these first moments is kept by each
/// connection that prepares the statement then.
#[tokio::test]
async fn plans_use_indexes_on_a_fresh_database() {
    assert_plans(Statistics::None, false).await;
}

/// Fails when a plan reads a table as a whole because the table is known to be empty: an autovacuum or a `vacuum` ran before the
/// first event. Connections keep that plan while the table grows.
#[tokio::test]
async fn plans_use_indexes_on_tables_known_to_be_empty() {
    assert_plans(Statistics::OfEmptyTables, false).await;
}

/// Fails when a plan reads a table as a whole until the first autovacuum after the log has grown.
#[tokio::test]
async fn plans_use_indexes_before_the_first_autovacuum() {
    assert_plans(Statistics::None, true).await;
}

/// Fails when a plan reads a table as a whole because its statistics say that it is empty, although it has grown.
#[tokio::test]
async fn plans_use_indexes_when_the_statistics_are_those_of_empty_tables() {
    assert_plans(Statistics::OfEmptyTables, true).await;
}

/// Fails when a plan reads a table as a whole after a restore: sizes are known, because the indexes were built last, and the
/// distribution of values is not. (Before Postgres 18 a dump contains no statistics.)
#[tokio::test]
async fn plans_use_indexes_after_a_restore() {
    assert_plans(Statistics::OfARestore, true).await;
}

/// Fails when a plan reads a table as a whole although its statistics are good.
#[tokio::test]
async fn plans_use_indexes_on_an_analyzed_database() {
    assert_plans(Statistics::Analyzed, true).await;
}

/// Fails when a statement that a host composes at run time reads a table as a whole: those over view tables have no file. The
/// host's connection prepares them on tables that are known to be empty, and the plans are read as it keeps them.
#[tokio::test]
async fn a_running_host_prepares_no_statement_that_reads_a_whole_table() {
    let db = TestDb::with_inline(&["users"]).await;
    let foldlog = foldlog::Foldlog::new(
        Pool::new(db.options.clone(), 1),
        crate::support::db::DOMAINS,
        db.foldlog.inline().clone(),
    )
    .unwrap();
    db.run("vacuum analyze").await;
    let (user, account) = (Uuid::now_v7(), Uuid::now_v7());
    // An inline view, a view that is caught up, a parked aggregate, its retry, and the reads of all of them.
    append(&foldlog, &[created(user, "ada")]).await;
    append(&foldlog, &[renamed(user, "grace")]).await;
    append(&foldlog, &[opened(account), deposited(account, 13)]).await;
    let mut prepared = 0;
    for view in foldlog.views.iter() {
        let budget = foldlog::projection::Budget::default();
        foldlog::projection::catch_up(&foldlog.pool, view, 100, &budget)
            .await
            .unwrap();
        foldlog::projection::retry(&foldlog.pool, view, &budget)
            .await
            .unwrap();
    }
    let mut connection = foldlog.pool.acquire().await.unwrap();
    run(&mut *connection, "set plan_cache_mode = force_generic_plan").await;
    let indexes = Indexes::read(&mut connection).await;
    let names = sqlx::query(
        "select quote_ident(name) as name, statement, cardinality(parameter_types) as parameters from pg_prepared_statements",
    )
    .persistent(false)
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    for row in &names {
        let statement: String = row.get("statement");
        let arguments = vec!["null"; row.get::<i32, _>("parameters").unsigned_abs() as usize];
        let name: String = row.get("name");
        let Some(found) =
            explain::whole_reads(&mut connection, &indexes, &name, &arguments.join(", ")).await
        else {
            continue;
        };
        prepared += 1;
        assert!(found.is_empty(), "{found:?} in\n{statement}");
    }
    assert!(prepared > 10, "only {prepared} statements were prepared");
}

/// Reads the plans of all statements and SQL functions, for arguments of every size and in both modes, on a connection of a pool,
/// as hosts open it.
async fn assert_plans(statistics: Statistics, filled: bool) {
    let db = TestDb::new().await;
    statistics::prepare(&db, statistics, filled).await;
    // Direct connections, also where the suite runs behind a pooler.
    let pool = Pool::new(db.options.clone(), 1);
    let mut found: Vec<String> = Vec::new();
    let mut connection = pool.acquire().await.unwrap();
    db.run("create table if not exists _sqlx_migrations (like foldlog_migrations)")
        .await;
    run(&mut *connection, cases::FUNCTIONS).await;
    let indexes = Indexes::read(&mut connection).await;
    for statement in statements() {
        for mode in PLAN_MODES {
            for (arguments, reads) in plans(&mut connection, &indexes, &statement, mode).await {
                let reads = reads.into_iter();
                let reads = reads.filter(|read| !explain::is_expected(&statement.name, read));
                // A plan for one aggregate may compare it with each of a list; sessions have generic plans.
                let is_generic = *mode == "force_generic_plan";
                let reads = reads.filter(|read| is_generic || read.table != explain::PAIRS);
                let describe = |read| format!("{} ({arguments}), {mode}: {read}", statement.name);
                found.extend(reads.map(describe));
            }
        }
    }
    for (name, body) in explain::functions(&mut connection).await {
        run(&mut *connection, &format!("prepare planned as {body}")).await;
        let reads = explain::whole_reads(&mut connection, &indexes, "planned", "").await;
        let reads = reads.into_iter().flatten();
        let reads = reads.filter(|read| !explain::is_expected(&name, read));
        found.extend(reads.map(|read| format!("{name}(): {read}")));
        run(&mut *connection, "deallocate planned").await;
    }
    assert!(
        found.is_empty(),
        "{} plans read a whole table:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// For each set of arguments, the tables that its plan reads as a whole.
async fn plans(
    connection: &mut Connection,
    indexes: &Indexes,
    statement: &Statement,
    mode: &str,
) -> Vec<(String, Vec<WholeRead>)> {
    let types = match statement.types.join(", ") {
        none if none.is_empty() => none,
        types => format!("({types})"),
    };
    let prepare = format!(
        "set plan_cache_mode = {mode}; prepare planned {types} as {}",
        statement.sql
    );
    run(&mut **connection, &prepare).await;
    let mut plans = Vec::new();
    for arguments in cases::arguments(&statement.name, &statement.types) {
        let reads = explain::whole_reads(connection, indexes, "planned", &arguments).await;
        plans.push((arguments, reads.unwrap_or_default()));
    }
    run(&mut **connection, "deallocate planned").await;
    plans
}
