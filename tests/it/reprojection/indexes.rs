//! The indexes of a new generation.

use std::time::Duration;

use foldlog::projection::reproject::{ReprojectOptions, reproject};
use foldlog::projection::{Budget, ProjectionError};

use super::{reproject_to_the_end, some_accounts};
use crate::support::TestDb;
use crate::support::workers::assert_all_applied;

/// The indexes and constraints of a table with all that belongs to them, without their names.
fn indexes(table: &str) -> String {
    format!(
        "select string_agg(d, '; ' order by d) from (select substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), ' USING ')) \
         || coalesce(pg_get_constraintdef(k.oid), '') as d from pg_index i left join pg_constraint k on k.conindid = i.indexrelid \
         where i.indrelid = '\"{table}\"'::regclass) d"
    )
}

/// Reprojects, and returns the code of the error of Postgres.
async fn refused(db: &TestDb) -> String {
    let (options, budget) = (ReprojectOptions::default(), Budget::default());
    let view = db.foldlog.view("ledger").unwrap();
    let result = reproject(db.pool(), view, 100, options, &budget).await;
    let Err(ProjectionError::Db(error)) = result else {
        panic!("{result:?}");
    };
    error.to_string()
}

/// Fails when an index or a constraint with storage parameters is created again and again because its copy lacks them, or when a constraint
/// is copied as another one.
#[tokio::test]
async fn storage_parameters_are_copied() {
    let db = TestDb::new().await;
    some_accounts(&db, 10).await;
    db.catch_up("ledger").await;
    // An operator sets them after the index was created, or the definition of the view has them.
    db.run(
        "alter index ledger_pkey set (deduplicate_items = off, fillfactor = 80); \
         alter table ledger add constraint ledger_unique unique (id, deposits) include (version) with (fillfactor = 70) deferrable initially deferred; \
         alter table ledger add constraint ledger_exclude exclude using btree (id with =) with (fillfactor = 60) where (deposits > 5); \
         create unique index ledger_rule_idx on ledger (id, version) with (fillfactor = 55); \
         create index ledger_deposits_idx on ledger (deposits desc) with (fillfactor = 50) where deposits > 1",
    )
    .await;
    for (generation, source, target) in [(2, "ledger", "ledger#2"), (3, "ledger#2", "ledger#3")] {
        let run = reproject_to_the_end(&db.foldlog, "ledger");
        let reached = tokio::time::timeout(Duration::from_mins(1), run).await;
        assert_eq!(reached.unwrap().generation, generation);
        let same = format!(
            "select (({}) = ({}))::int::bigint",
            indexes(source),
            indexes(target)
        );
        assert_eq!(db.count(&same).await, 1, "{target}");
        assert_all_applied(&db, "ledger").await;
    }
}

/// Fails when two indexes of the live table that would have the same name in the new one replace each other for ever, or when the error
/// does not say what to do.
#[tokio::test]
async fn two_indexes_that_would_have_one_name_are_refused() {
    let db = TestDb::new().await;
    some_accounts(&db, 5).await;
    for index in ["index", "unique index"] {
        db.run(&format!(
            "create {index} ledger_idx on ledger (id, deposits); create {index} \"ledger_idx#2\" on ledger (id, version)"
        ))
        .await;
        let error = refused(&db).await;
        assert!(
            error.contains("rename or drop one of them"),
            "{index}: {error}"
        );
        db.run("drop index ledger_idx, \"ledger_idx#2\"").await;
    }
    assert_eq!(
        reproject_to_the_end(&db.foldlog, "ledger").await.generation,
        2
    );
}

/// Fails when an index that cannot be copied exactly is created again and again.
#[tokio::test]
async fn an_index_that_differs_from_its_copy_is_refused() {
    let db = TestDb::new().await;
    some_accounts(&db, 5).await;
    db.run(
        "create index ledger_deposits_idx on ledger (deposits); \
         create function change() returns event_trigger language plpgsql as $$ begin \
         if exists (select from pg_event_trigger_ddl_commands() c where c.object_identity like '%ledger_deposits_idx#%') then \
         alter index \"ledger_deposits_idx#2\" set (fillfactor = 50); end if; end $$; \
         create event trigger change on ddl_command_end when tag in ('CREATE INDEX') execute function change()",
    )
    .await;
    let error = refused(&db).await;
    assert!(error.contains("FL004"), "{error}");
    db.run("drop event trigger change").await;
    assert_eq!(
        reproject_to_the_end(&db.foldlog, "ledger").await.generation,
        2
    );
}
