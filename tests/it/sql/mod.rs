//! Every statement of `src/**/*.sql`, as a database with the least privileges sees it: it is prepared with the types of its
//! header, planned and run as the role of its header, and its plan uses the indexes of its header.

pub mod file;

use std::borrow::Cow;
use std::fmt::Write as _;

use foldlog::db::Session;
use sqlx::{AssertSqlSafe, Row};

use self::file::SqlFile;
use crate::support::TestDb;
use crate::support::db::run;

/// Fails when a statement's binds have other types than its header says, or when its role lacks a privilege on a table or inside a
/// function that the statement calls. (Each statement is executed, with nulls, in a transaction that is rolled back; errors
/// caused by the nulls are ignored.)
#[tokio::test]
async fn every_statement_runs_as_the_role_in_its_header() {
    let db = TestDb::new().await;
    let mut connection = connect(&db).await;
    for statement in statements() {
        prepare(&mut connection, &statement).await;
        run(&mut connection, "begin").await;
        let execute = execute(&nulls(&statement));
        let ran = sqlx::raw_sql(AssertSqlSafe(execute))
            .execute(&mut connection)
            .await;
        if let Err(error) = ran {
            let code = error
                .as_database_error()
                .and_then(|e| e.code().map(Cow::into_owned));
            let code = code.unwrap_or_else(|| panic!("{}: {error}", statement.name));
            assert!(
                code.starts_with("22") || code.starts_with("23"),
                "{} as {}: {error}",
                statement.name,
                statement.role
            );
        }
        run(
            &mut connection,
            "rollback; reset role; deallocate statement",
        )
        .await;
    }
}

/// Fails when a header gives a bind another type than Postgres does when it is left to find out: a bind of a wider type may
/// be right and make an index useless.
#[tokio::test]
async fn every_bind_has_the_type_in_its_header() {
    let db = TestDb::new().await;
    let mut connection = connect(&db).await;
    for statement in statements() {
        run(
            &mut connection,
            &format!("prepare statement as {}", statement.sql),
        )
        .await;
        let found: Vec<String> = sqlx::query_scalar(
            "select unnest(parameter_types)::text from pg_prepared_statements where name = 'statement'",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let said: Vec<&str> = statement
            .types
            .iter()
            .map(|t| match t.as_str() {
                "bool" => "boolean",
                "timestamptz" => "timestamp with time zone",
                "timestamptz[]" => "timestamp with time zone[]",
                other => other,
            })
            .collect();
        assert_eq!(found, said, "{}", statement.name);
        run(&mut connection, "deallocate statement").await;
    }
}

/// Fails when a statement stops using an index that its header names: the index was dropped, or the condition no longer matches
/// it. Sequential scans are made expensive, because on tables this small they are the better plan.
#[tokio::test]
async fn every_statement_uses_the_indexes_in_its_header() {
    let db = TestDb::new().await;
    let mut connection = connect(&db).await;
    // For whatever the binds are, as `explain (generic_plan)` plans from Postgres 16 on.
    run(
        &mut connection,
        "set enable_seqscan = off; set plan_cache_mode = force_generic_plan",
    )
    .await;
    for statement in statements() {
        let used = used(&mut connection, &statement).await;
        for index in &statement.uses {
            assert!(
                used.contains(index),
                "{} does not use {index}, but:\n{used}",
                statement.name
            );
        }
    }
}

/// Fails when the planner reads the whole log, the whole locker or the whole backlog to find what is new: with a hash of the
/// locker that takes seconds at some millions of claims, and a batch that sorts the backlog makes N events cost N² / batch.
/// The read is planned in a transaction like those it runs in; its plan is kept in full, so that a change shows in review.
#[tokio::test]
async fn a_batch_reads_only_new_events() {
    let db = TestDb::new().await;
    let mut connection = connect(&db).await;
    // More than a batch, and few enough for a planner who knows that to prefer a sort of them all.
    run(
        &mut connection,
        "insert into events (id, aggregate_id, version, type_id, payload)
             select gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}' from generate_series(1, 30000);
         insert into locker select id, aggregate_id, 'users' from events;
         insert into settled (lock_domain) values ('users');
         analyze",
    )
    .await;
    let mut transaction = db.pool().begin().await.unwrap();
    // As a first pass runs them: from the beginning of the log on.
    let runs = [
        (
            "projection/sql/read.sql",
            "'users', null, null, 1000, 2000, 2000, false, false",
        ),
        ("projection/sql/lag.sql", "'users', 1000, 2000, 10000, 'a'"),
    ];
    let statements = statements();
    for (name, values) in runs {
        let statement = statements.iter().find(|s| s.name == name).unwrap();
        let plan = plan(&mut transaction, statement, values).await;
        for whole in [
            "Seq Scan on events",
            "Bitmap Heap Scan on events",
            "Seq Scan on locker",
            "Seq Scan on parked",
        ] {
            assert!(!plan.contains(whole), "{name}: {whole} in\n{plan}");
        }
        if name.ends_with("read.sql") {
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path("../../snapshots");
            settings.set_prepend_module_to_snapshot(false);
            settings.bind(|| insta::assert_snapshot!("read_plan", nodes(&plan)));
        }
    }
}

/// Fails when asking for the end of the log reads more than the end of an index: each new connection and each pass asks.
/// (`order by txid` beside a column of the select list that is named so sorts the whole log.)
#[tokio::test]
async fn log_is_behind_reads_only_the_end_of_the_log() {
    let db = TestDb::new().await;
    let mut connection = connect(&db).await;
    run(
        &mut connection,
        "insert into events (id, aggregate_id, version, type_id, payload)
             select gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}' from generate_series(1, 30000);
         analyze events",
    )
    .await;
    let mut blocks = 0;
    // The first time reads the catalog, too.
    for _ in 0..2 {
        let plan: serde_json::Value =
            sqlx::query_scalar("explain (analyze, buffers, format json) select log_is_behind()")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        let read = |name: &str| plan[0]["Plan"][name].as_i64().unwrap();
        blocks = read("Shared Hit Blocks") + read("Shared Read Blocks");
    }
    assert!(blocks < 60, "{blocks} blocks");
}

/// A statement and what its header says.
pub struct Statement {
    /// As in [`SqlFile::name`].
    pub name: String,
    pub sql: String,
    pub types: Vec<String>,
    role: String,
    uses: Vec<String>,
}

/// The statements of all files, those over a view's table with the view of users.
pub fn statements() -> Vec<Statement> {
    let fill = |text: &str| {
        text.replace("{table}", "users")
            .replace("{other}", "users")
            .replace("{serves}", "exists (select from foldlog.views g where g.name = 'users' and g.serves and g.definition_hash = '')")
            .replace("{columns}", "username, email")
            .replace(
                "{assignments}",
                "username = excluded.username, email = excluded.email",
            )
    };
    let statement = |file: &SqlFile| Statement {
        name: file.name.clone(),
        sql: fill(&format!("{}\n{}", comment(file), file.body)),
        types: file.types().into_iter().map(ToOwned::to_owned).collect(),
        role: file.role().to_owned(),
        uses: file.uses().into_iter().map(fill).collect(),
    };
    // Postgres prepares no DDL.
    let files = SqlFile::all();
    let prepared = files.iter().filter(|file| !file.body.starts_with("drop "));
    prepared.map(statement).collect()
}

/// A connection to a database that also has the ledger of earlier builds, which some statements read.
async fn connect(db: &TestDb) -> Session<'static> {
    db.run("create table _sqlx_migrations (like foldlog_migrations)")
        .await;
    Session::from(db.connect().await)
}

fn comment(file: &SqlFile) -> String {
    let lines = file.header.iter().map(|line| format!("-- {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Prepares it as `statement`, and becomes its role.
async fn prepare(connection: &mut Session<'_>, statement: &Statement) {
    let types = match statement.types.join(", ") {
        none if none.is_empty() => none,
        types => format!(" ({types})"),
    };
    let prepare = format!("prepare statement{types} as {}", statement.sql);
    run(&mut *connection, &prepare).await;
    if statement.role != "owner" {
        run(connection, &format!("set role {}", statement.role)).await;
    }
}

fn nulls(statement: &Statement) -> String {
    vec!["null"; statement.types.len()].join(", ")
}

fn execute(values: &str) -> String {
    match values {
        "" => "execute statement".to_owned(),
        values => format!("execute statement ({values})"),
    }
}

/// The plan for these values.
async fn plan(connection: &mut Session<'_>, statement: &Statement, values: &str) -> String {
    prepare(connection, statement).await;
    let explain = format!("explain (costs off) {}", execute(values));
    let rows = sqlx::raw_sql(AssertSqlSafe(explain))
        .fetch_all(&mut *connection)
        .await
        .unwrap_or_else(|e| panic!("{} as {}: {e}", statement.name, statement.role));
    run(connection, "reset role; deallocate statement").await;
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    lines.join("\n")
}

/// The plan, the plans of the SQL functions that it calls, and the unique indexes that an insert looks into.
async fn used(connection: &mut Session<'_>, statement: &Statement) -> String {
    let mut used = String::new();
    let mut texts = vec![(
        statement.sql.clone(),
        plan(connection, statement, &nulls(statement)).await,
    )];
    let functions: Vec<(String, String)> = sqlx::query_as(
        "select proname::text, prosrc from pg_proc join pg_language l on l.oid = prolang \
         where pronamespace = 'public'::regnamespace and lanname in ('sql', 'plpgsql')",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut seen = Vec::new();
    while let Some((text, plan)) = texts.pop() {
        used.push_str(&plan);
        used.push('\n');
        for (name, source) in &functions {
            if !text.contains(&format!("{name}(")) || seen.contains(name) {
                continue;
            }
            seen.push(name.clone());
            let trimmed = source.trim();
            let plan = if trimmed.starts_with("select") {
                let explain = format!("explain (costs off) {trimmed}");
                let rows = sqlx::raw_sql(AssertSqlSafe(explain))
                    .fetch_all(&mut *connection)
                    .await
                    .unwrap();
                let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
                lines.join("\n")
            } else {
                String::new()
            };
            texts.push((source.clone(), plan));
        }
    }
    let unique: Vec<(String, String)> = sqlx::query_as(
        "select indrelid::regclass::text, indexrelid::regclass::text from pg_index \
         where indisunique and indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    for (table, index) in unique {
        if used.contains(&format!("Insert on {table}")) {
            writeln!(used, "an insert into {table} looks into {index}").unwrap();
        }
    }
    used
}

/// The nodes of a plan, in its order. Without conditions, whose text differs between versions of Postgres, and without sorts:
/// newer ones see that what comes from `wanted` is sorted.
fn nodes(plan: &str) -> String {
    let node = |line: &str| {
        let text = line.trim_start();
        let node = text
            .strip_prefix("->  ")
            .or_else(|| text.starts_with("CTE ").then_some(text));
        let root = (text.len() == line.len()).then_some(text);
        node.or(root)
            .filter(|node| *node != "Sort")
            .map(ToOwned::to_owned)
    };
    let nodes: Vec<String> = plan.lines().filter_map(node).collect();
    nodes.join("\n")
}

/// Fails when a statement that writes events does not look whether the log is trusted: over an old connection to a restored log it
/// would store a transaction id below the restored ones.
#[test]
fn every_statement_that_writes_events_looks_whether_the_log_is_trusted() {
    let writing: Vec<_> = statements()
        .into_iter()
        .filter(|statement| statement.sql.contains("insert into foldlog.events"))
        .collect();
    assert!(writing.len() >= 4);
    for Statement { name, sql, .. } in writing {
        assert!(
            sql.contains("case (select txid_offset from foldlog.log where written::xid = xmin)")
                && sql.contains("else foldlog.log_txid()"),
            "{name}"
        );
    }
}
