//! The schema as the catalog has it, so that an excess grant or a missing check shows in review; and what the roles can
//! really do.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::support::db::run;
use crate::support::events::append;
use crate::support::{TestDb, created};
use uuid::Uuid;

/// The tables that migrations make, as the catalog lists them, so that none can be forgotten; and users, which stands for all views.
const TABLES: &str = "(select relname::text from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
        and relname::text not in (select name from views where name <> 'users'))";

/// Fails on any change of the schema. If the change is intended, accept the new snapshot, so that a reviewer sees it.
#[tokio::test]
async fn the_database_schema_equals_its_snapshot() {
    let db = TestDb::new().await;
    let mut connection = db.connect().await;
    let mut text = String::new();
    for (title, sql) in CATALOG {
        let sql = sql.replace("TABLES", TABLES);
        let lines = lines(&mut connection, &sql).await;
        write!(text, "# {title}\n{}\n\n", lines.join("\n")).unwrap();
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("schema", text.trim_end()));
}

/// The parts of the schema. Only grants to others than the owner are listed: what an owner holds differs between versions
/// of Postgres, and so do not-null constraints, which are constraints by name from 18 on; columns say it anyway.
const CATALOG: &[(&str, &str)] = &[
    (
        "columns",
        "select concat_ws(' ', c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
             case when a.attnotnull then 'not null' end,
             case when a.attidentity = 'a' then 'generated always as identity' end,
             'default ' || pg_get_expr(d.adbin, d.adrelid))
         from pg_class c
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
         where c.relnamespace = 'public'::regnamespace and c.relname in TABLES
         order by c.relname, a.attnum",
    ),
    (
        "constraints",
        "select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
         from pg_constraint
         where connamespace = 'public'::regnamespace and contype <> 'n' and conrelid::regclass::text in TABLES
         order by conrelid::regclass::text, conname",
    ),
    (
        "indexes",
        "select indexdef from pg_indexes where schemaname = 'public' and tablename in TABLES order by tablename, indexname",
    ),
    (
        "triggers",
        "select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by tgrelid::regclass::text, tgname",
    ),
    (
        "functions",
        "select concat_ws(' ', p.oid::regprocedure, l.lanname,
             case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
             case when prosecdef then 'security definer' end, array_to_string(proconfig, ', '))
         from pg_proc p join pg_language l on l.oid = prolang
         where pronamespace = 'public'::regnamespace
         order by proname",
    ),
    (
        "grants on tables",
        "select format('%s may %s on %s', r.rolname, lower(string_agg(g.privilege_type, ', ' order by g.privilege_type)), c.relname)
         from pg_class c
         cross join aclexplode(c.relacl) g
         join pg_roles r on r.oid = g.grantee
         where c.relnamespace = 'public'::regnamespace and g.grantee <> c.relowner
             and (c.relname in TABLES or c.relkind <> 'r' and c.relname not like 'pg_%')
         group by c.relname, r.rolname
         order by c.relname, r.rolname",
    ),
    (
        "grants to everybody, on tables, columns and functions",
        "select format('everybody may %s on %s', lower(g.privilege_type), o.name)
         from (
             select relname::text as name, relacl as acl from pg_class where relnamespace = 'public'::regnamespace
             union all
             select attname::text, attacl from pg_attribute join pg_class c on c.oid = attrelid
             where c.relnamespace = 'public'::regnamespace
             union all
             select proname::text, coalesce(proacl, acldefault('f', proowner)) from pg_proc
             where pronamespace = 'public'::regnamespace
         ) o
         cross join aclexplode(o.acl) g
         where g.grantee = 0
         order by 1",
    ),
    (
        "roles",
        "select concat_ws(' ', rolname, case when rolcanlogin then 'login' end, case when rolsuper then 'superuser' end,
             case when rolcreaterole then 'createrole' end, case when rolcreatedb then 'createdb' end,
             case when rolbypassrls then 'bypassrls' end, case when rolreplication then 'replication' end)
         from pg_roles where rolname like 'foldlog\\_%' order by rolname",
    ),
];

/// Fails when a constraint or an index is named otherwise than `<table>_<columns>_{key,idx,check,fkey}` or `<table>_pkey`:
/// Rust matches on these names.
#[tokio::test]
async fn constraints_and_indexes_are_named_by_their_columns() {
    let db = TestDb::new().await;
    let mut connection = db.connect().await;
    let sql = format!(
        "select r.relname || ' ' || i.relname || ' ' || case when indisprimary then 'pkey' when indisunique then 'key' else 'idx' end
             || ' ' || coalesce((select string_agg(attname, '_' order by n) from unnest(indkey::int2[]) with ordinality k (a, n)
                 join pg_attribute on attrelid = r.oid and attnum = k.a), '')
         from pg_index join pg_class i on i.oid = indexrelid join pg_class r on r.oid = indrelid
         where r.relname in {TABLES}
         union all
         select c.conrelid::regclass || ' ' || conname || ' ' || case contype when 'c' then 'check' else 'fkey' end
             || ' ' || (select string_agg(attname, '_' order by n) from unnest(conkey) with ordinality k (a, n)
                 join pg_attribute on attrelid = conrelid and attnum = k.a)
         from pg_constraint c where contype in ('c', 'f') and conrelid::regclass::text in {TABLES}"
    );
    let found = lines(&mut connection, &sql).await;
    assert!(found.len() > 12);
    for line in found {
        let parts: Vec<&str> = line.split(' ').collect();
        let [table, name, kind, columns] = parts.as_slice() else {
            panic!("{line}")
        };
        let expected = match *kind {
            "pkey" => format!("{table}_pkey"),
            kind => format!("{table}_{columns}_{kind}"),
        };
        assert_eq!(*name, expected, "of {table} ({columns})");
    }
}

/// What each role may do to each table: the letters of select, insert, update, delete and truncate.
const MAY: &[(&str, &[(&str, &str)])] = &[
    (
        "foldlog_command",
        &[
            ("log", "s"),
            ("events", "si"),
            ("views", "s"),
            ("locker", "s"),
            ("settled", "s"),
            ("parked", ""),
            ("users", "s"),
            ("skipped", "s"),
            ("slices", "s"),
            ("verifications", ""),
            ("differences", ""),
            ("verify_ranges", ""),
            ("verb_results", ""),
            ("foldlog_migrations", ""),
        ],
    ),
    (
        "foldlog_query",
        &[
            ("log", "s"),
            ("events", "s"),
            ("views", "s"),
            ("locker", "s"),
            ("settled", "s"),
            ("parked", "s"),
            ("users", "s"),
            ("skipped", "s"),
            ("slices", "s"),
            ("verifications", "s"),
            ("differences", "s"),
            ("verify_ranges", "s"),
            ("verb_results", "s"),
            ("foldlog_migrations", "s"),
        ],
    ),
    (
        "foldlog_projection",
        &[
            ("log", "s"),
            ("events", "s"),
            ("views", "s"),
            ("locker", "siud"),
            ("settled", "siud"),
            ("parked", "siud"),
            ("users", "siud"),
            ("skipped", "si"),
            ("slices", "siud"),
            ("verifications", "siud"),
            ("differences", "siud"),
            ("verify_ranges", "siud"),
            ("verb_results", "siu"),
            ("foldlog_migrations", ""),
        ],
    ),
];

/// Fails when a role can do more than its part, or less: a command that writes views, a query that writes at all, a projection
/// that writes events. Each statement is really tried.
#[tokio::test]
async fn every_role_has_exactly_the_privileges_it_needs() {
    let db = TestDb::new().await;
    let mut connection = db.connect().await;
    let all = format!("select relname from {TABLES} t order by 1");
    let all = lines(&mut connection, &all).await;
    for (role, tables) in MAY {
        let listed: BTreeSet<_> = tables.iter().map(|(table, _)| *table).collect();
        assert!(listed.iter().eq(&all), "{role}: {listed:?}, not {all:?}");
        for (table, may) in *tables {
            let column = column(table);
            let tries = [
                ('s', format!("select 1 from {table} limit 1")),
                (
                    'i',
                    format!(
                        "insert into {table} ({column}) select {column} from {table} where false"
                    ),
                ),
                (
                    'u',
                    format!("update {table} set {column} = {column} where false"),
                ),
                ('d', format!("delete from {table} where false")),
                ('t', format!("truncate {table}")),
            ];
            for (letter, statement) in tries {
                let refused = refused(&mut connection, role, &statement).await;
                assert_eq!(
                    refused.is_none(),
                    may.contains(letter),
                    "{role}: {statement}: {refused:?}"
                );
            }
        }
        for statement in [
            "create table mine (id int)",
            "alter table events disable trigger all",
            "drop table users",
        ] {
            assert!(
                refused(&mut connection, role, statement).await.is_some(),
                "{role}: {statement}"
            );
        }
    }
}

/// Fails when the database lets a role rewrite the log, even if the role owns the table.
#[tokio::test]
async fn the_log_cannot_be_rewritten() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let mut connection = db.connect().await;
    let before = lines(&mut connection, "select e::text from events e").await;
    for statement in [
        "update events set payload = '{}'",
        "update events set version = version where false",
        "delete from events",
        "truncate events",
        "truncate events cascade",
        "insert into events (id, aggregate_id, version, type_id, payload) select id, aggregate_id, version, type_id, '{}' from events \
         on conflict (id, aggregate_id) do update set payload = excluded.payload",
    ] {
        let refused = sqlx::raw_sql(statement)
            .execute(&mut connection)
            .await
            .unwrap_err();
        let refused = refused.as_database_error().unwrap();
        assert_eq!(refused.code().as_deref(), Some("42501"), "{statement}");
        assert!(
            refused.message().starts_with("events are immutable"),
            "{statement}: {refused}"
        );
    }
    assert_eq!(
        lines(&mut connection, "select e::text from events e").await,
        before
    );
}

/// Fails when a temporary table, which any role may create and which Postgres finds first, stands in for the log's own in
/// the one function that runs as its owner: a trigger on such a table would run as the owner, too.
#[tokio::test]
async fn heal_log_ignores_temporary_tables_of_the_caller() {
    let db = TestDb::new().await;
    let mut connection = db.connect().await;
    run(
        &mut connection,
        "set role foldlog_command; create temporary table log as select 99::bigint as txid_offset, true as one",
    )
    .await;
    assert_eq!(
        lines(&mut connection, "select heal_log()::text").await,
        ["0"]
    );
}

/// Some column, to update it.
fn column(table: &str) -> &'static str {
    match table {
        "log" => "one",
        "events" => "payload",
        "settled" | "locker" | "parked" | "slices" => "lock_domain",
        "verifications" | "differences" | "verify_ranges" | "verb_results" => "projection",
        "views" => "name",
        _ => "version",
    }
}

/// Tries a statement as a role and takes it back: why it was refused, if for lack of a privilege.
async fn refused(connection: &mut PgConnection, role: &str, statement: &str) -> Option<String> {
    let mut transaction = connection.begin().await.unwrap();
    run(&mut *transaction, &format!("set local role {role}")).await;
    let result = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut *transaction)
        .await;
    transaction.rollback().await.unwrap();
    let error = result.err()?;
    let code = error
        .as_database_error()
        .and_then(|e| e.code().map(Cow::into_owned));
    assert_eq!(
        code.as_deref(),
        Some("42501"),
        "{role}: {statement}: {error}"
    );
    Some(error.to_string())
}

async fn lines(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .fetch_all(connection)
        .await;
    let rows = rows.unwrap_or_else(|e| panic!("{sql}: {e}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Fails when a role that cannot append can stop appends: with a function, or with a lock on a table of the log.
#[tokio::test]
async fn no_role_that_cannot_append_can_stop_appends() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let functions = lines(
        &mut db.connect().await,
        "select format('select %s()', proname) from pg_proc where pronamespace = 'public'::regnamespace \
         and pronargs = 0 and prorettype <> 'trigger'::regtype order by 1",
    )
    .await;
    assert!(functions.contains(&"select heal_log()".to_owned()));
    let locks = ["log", "events"].into_iter().flat_map(|table| {
        [
            format!("lock table {table} in access share mode"),
            format!("lock table {table} in row exclusive mode"),
            format!("lock table {table} in share mode"),
            format!("lock table {table} in access exclusive mode"),
            format!("select from {table} for share"),
            format!("select from {table} for update"),
        ]
    });
    for statement in functions.into_iter().chain(locks) {
        for role in ["foldlog_query", "foldlog_projection"] {
            let mut open = db.connect().await;
            run(
                &mut open,
                &format!("begin; set local role {role}; set local lock_timeout = '1s'"),
            )
            .await;
            // Refused or not: what counts is the transaction that stays open.
            let _ = sqlx::raw_sql(AssertSqlSafe(statement.clone()))
                .execute(&mut open)
                .await;
            let mut appender = db.connect().await;
            run(
                &mut appender,
                "set role foldlog_command; set lock_timeout = '2s'",
            )
            .await;
            let inserted = sqlx::raw_sql(
                "insert into events (id, aggregate_id, version, type_id, payload) \
                 values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}')",
            )
            .execute(&mut appender)
            .await;
            assert!(inserted.is_ok(), "{role}: {statement}: {inserted:?}");
            run(&mut open, "rollback").await;
        }
    }
    for role in ["foldlog_query", "foldlog_command", "foldlog_projection"] {
        let refused = refused(&mut db.connect().await, role, "select heal_log()").await;
        assert_eq!(
            refused.is_some(),
            role == "foldlog_query",
            "{role}: {refused:?}"
        );
    }
}

/// Fails when a role can store a transaction id or a settled snapshot from the future: no transaction of this cluster would ever
/// sort above it.
#[tokio::test]
async fn no_role_can_put_the_log_ahead_of_the_counter() {
    let db = TestDb::new().await;
    let mut connection = db.connect().await;
    for txid in [
        "18446744073709551615",
        "4611686018427387903",
        "1000000000000",
        "3",
    ] {
        let insert = format!(
            "insert into events (id, aggregate_id, version, type_id, payload, txid) \
             values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{{}}', '{txid}')"
        );
        for role in ["foldlog_command", "foldlog_command_inline"] {
            let refused = refused(&mut connection, role, &insert).await;
            assert!(refused.is_some(), "{role}: {txid}");
        }
    }
    let settle =
        "insert into settled (lock_domain, snapshot) values ('x', '1000000000000:1000000000000:')";
    for role in ["foldlog_projection", "foldlog_command_inline"] {
        assert!(
            refused(&mut connection, role, settle).await.is_some(),
            "{role}"
        );
    }
    // What the roles store themselves.
    run(
        &mut connection,
        "set role foldlog_command; \
         insert into events (id, aggregate_id, version, type_id, payload, txid) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}', pg_current_xact_id()); \
         set role foldlog_projection; \
         insert into settled (lock_domain, snapshot) values ('x', pg_current_snapshot())",
    )
    .await;
}

/// Fails when foreign SQL can store an event that a host cannot read, or one whose numbers no later event can follow.
#[tokio::test]
async fn an_event_that_hosts_cannot_read_is_rejected_by_a_check() {
    let db = TestDb::new().await;
    let mut connection = db.connect().await;
    for (column, value, constraint) in [
        ("created_at", "'infinity'", "events_created_at_check"),
        ("created_at", "'-infinity'", "events_created_at_check"),
        ("created_at", "'20000-01-01'", "events_created_at_check"),
        (
            "created_at",
            "'10000-01-01 00:00:00+00'",
            "events_created_at_check",
        ),
        (
            "created_at",
            "'0001-12-31 23:59:59+00 BC'",
            "events_created_at_check",
        ),
        ("txid", "'18446744073709551615'", "events_txid_check"),
        ("txid", "'4611686018427387904'", "events_txid_check"),
        ("position", "0", "events_position_check"),
        ("position", "-9223372036854775808", "events_position_check"),
        // JavaScript would round it.
        ("position", "9007199254740992", "events_position_check"),
        ("payload", "'[]'", "events_payload_check"),
        ("payload", "'null'", "events_payload_check"),
        ("metadata", "'1e400'", "events_metadata_check"),
        ("version", "0", "events_version_check"),
        ("type_id", "0", "events_type_id_check"),
    ] {
        let mut columns = vec![
            ("id", "gen_random_uuid()"),
            ("aggregate_id", "gen_random_uuid()"),
            ("version", "1"),
            ("type_id", "1000"),
            ("payload", "'{}'"),
        ];
        columns.retain(|(name, _)| *name != column);
        columns.push((column, value));
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let insert = format!(
            "insert into events ({}) overriding system value values ({})",
            names.join(", "),
            values.join(", ")
        );
        let error = sqlx::raw_sql(AssertSqlSafe(insert))
            .execute(&mut connection)
            .await
            .unwrap_err();
        assert_eq!(
            error.as_database_error().unwrap().constraint(),
            Some(constraint),
            "{column} {value}: {error}"
        );
    }
    for in_range in [
        "'9999-12-31 23:59:59.999999+00'",
        "'0001-01-01 00:00:00+00'",
    ] {
        run(
            &mut connection,
            &format!(
                "insert into events (id, aggregate_id, version, type_id, payload, created_at) \
                 values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{{}}', {in_range})"
            ),
        )
        .await;
    }
}
