//! What operators are told about the database.

use std::time::{Duration, Instant};

use foldlog::db::{Pool, PoolSettings, Role};
use foldlog::migrations;
use foldlog::operate::database::{DatabaseReport, Deviation, report};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use crate::support::TestDb;
use crate::support::app::{App, send};
use crate::support::locks::Held;

const GUIDE: &str = include_str!("../../../docs/OPERATIONS.md");

/// The report, with every transaction that is open.
async fn read(db: &TestDb) -> DatabaseReport {
    let deadline = Instant::now() + Duration::from_mins(1);
    report(db.pool(), Duration::ZERO, deadline).await
}

async fn names(db: &TestDb, sql: &str) -> Vec<[String; 3]> {
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&mut db.connect().await)
        .await
        .unwrap();
    rows.iter()
        .map(|row| [0, 1, 2].map(|column| row.get(column)))
        .collect()
}

/// Fails when operators are not told what the host is connected to, when a database that was just set up looks wrong, or when anonymous
/// callers of `/health` are told more than that the database is up.
#[tokio::test]
async fn operators_are_told_what_the_host_is_connected_to() {
    let app = App::new().await;
    let database = app.read("/projections").await.body["database"].clone();
    let version = &app
        .db
        .count("select current_setting('server_version_num')::bigint / 10000")
        .await;
    let postgres = database["connection"]["postgres"].as_str().unwrap();
    assert!(
        postgres.starts_with(&format!("{version}.")) || postgres.starts_with(&version.to_string())
    );
    assert!(!postgres.contains(' '), "{postgres}");
    let roles = database["roles"].as_array().unwrap();
    assert_eq!(roles.len(), 4);
    for role in roles {
        assert_eq!(
            (&role["is_present"], &role["lacks"]),
            (&json!(true), &json!([])),
            "{role}"
        );
    }
    let migrations = &database["migrations"];
    assert_eq!(migrations["applied"], migrations["expected"]);
    assert_eq!(
        (&migrations["pending"], &migrations["newer"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(
        database["open_transactions"],
        json!({"result": [], "hidden": 0})
    );
    // The server of the tests runs without fsync.
    assert_eq!(database["settings"][0]["name"], "fsync");
    assert_eq!(app.read("/health").await.body["database"], "up");
}

/// Fails when a migration grants something that the report does not look for, or a privilege that a role has lost is not reported.
#[tokio::test]
async fn a_privilege_that_was_revoked_is_reported() {
    let db = TestDb::new().await;
    let granted = names(
        &db,
        "select r.rolname::text, lower(g.privilege_type), c.oid::regclass::text
         from pg_class c cross join aclexplode(c.relacl) g join pg_roles r on r.oid = g.grantee
         where c.relnamespace = 'public'::regnamespace and r.rolname like 'foldlog\\_%'
         union
         select r.rolname, lower(g.privilege_type), a.attrelid::regclass::text
         from pg_attribute a cross join aclexplode(a.attacl) g join pg_roles r on r.oid = g.grantee
         where r.rolname like 'foldlog\\_%'
         union
         select r.rolname, lower(g.privilege_type), 'function ' || p.oid::regprocedure::text
         from pg_proc p cross join aclexplode(p.proacl) g join pg_roles r on r.oid = g.grantee
         where p.pronamespace = 'public'::regnamespace and r.rolname like 'foldlog\\_%'
         order by 1, 3, 2",
    )
    .await;
    assert!(granted.len() > 50, "{granted:?}");
    let mut wrong = Vec::new();
    for [role, privilege, object] in granted {
        let columns = "(id, aggregate_id, version, type_id, payload, metadata, txid, created_at)";
        let columns = [("events", "insert")]
            .contains(&(&*object, &*privilege))
            .then_some(columns);
        let columns = columns.unwrap_or_default();
        db.run(&format!(
            "revoke {privilege} {columns} on {object} from {role}"
        ))
        .await;
        let roles = read(&db).await.roles.unwrap();
        let lacks = roles
            .into_iter()
            .find(|found| found.name == role)
            .unwrap()
            .lacks;
        let name = object
            .trim_start_matches("function ")
            .split('(')
            .next()
            .unwrap();
        if lacks != Some(vec![format!("{privilege} on {name}")]) {
            wrong.push((role.clone(), privilege.clone(), object.clone(), lacks));
        }
        db.run(&format!(
            "grant {privilege} {columns} on {object} to {role}"
        ))
        .await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        read(&db)
            .await
            .roles
            .unwrap()
            .iter()
            .all(|role| role.lacks == Some(Vec::new()))
    );
}

/// Fails when a migration that is missing, or one that a newer build has applied, is not named; or when what cannot be read is taken for
/// a database without migrations, or hides the rest.
#[tokio::test]
async fn pending_and_newer_migrations_are_named() {
    let db = &TestDb::new().await;
    db.run("delete from foldlog_migrations where version = (select max(version) from foldlog_migrations)")
        .await;
    db.run("insert into foldlog_migrations values (29990101000001, 'from the future', now(), true, '\\x00', 0)")
        .await;
    let migrations = read(db).await.migrations.unwrap();
    assert_eq!(migrations.applied, migrations.expected);
    let [pending] = migrations.pending.as_slice() else {
        panic!("{migrations:?}")
    };
    assert!(pending.contains(' '), "{pending}");
    assert_eq!(migrations.newer, [29_990_101_000_001]);
    db.run("revoke select on foldlog_migrations from foldlog_query")
        .await;
    let login = PoolSettings::new(db.options.clone(), 1);
    let host = Pool::open(PoolSettings {
        role: Some(Role::Query),
        ..login
    });
    let deadline = Instant::now() + Duration::from_mins(1);
    let seen = report(&host, Duration::ZERO, deadline).await;
    assert_eq!(seen.migrations, None);
    assert_eq!(seen.connection.unwrap().role, "foldlog_query");
    let query = seen.roles.unwrap().swap_remove(2);
    assert_eq!(
        query.lacks,
        Some(vec!["select on foldlog_migrations".to_owned()])
    );
}

/// Fails when a transaction that delays the feed is not shown, when it is shown with its statement, or when sessions that cannot be looked at are
/// taken for sessions without a transaction.
#[tokio::test]
async fn open_transactions_are_shown_without_their_statements() {
    let app = App::new().await;
    let db = &app.db;
    let held = Held::open(db, "update log set slots = slots /* a secret */").await;
    let report = read(db).await;
    let open = report.open_transactions.clone().unwrap();
    let [one] = open.result.as_slice() else {
        panic!("{open:?}")
    };
    assert_eq!(
        (one.has_written, one.state.as_deref(), open.hidden),
        (true, Some("idle in transaction"), 0)
    );
    let text = serde_json::to_string(&report).unwrap();
    assert!(
        !text.contains("a secret") && !text.contains("update"),
        "{text}"
    );
    // Nothing has been open for ten seconds.
    let shown = app.read("/projections").await.body["database"]["open_transactions"].clone();
    assert_eq!(shown, json!({"result": [], "hidden": 0}));
    // The owner of the schema may be a login without rights over others.
    db.run("alter function open_transactions() owner to foldlog_projection")
        .await;
    let open = read(db).await.open_transactions.unwrap();
    assert!(open.result.is_empty() && open.hidden > 0, "{open:?}");
    held.release().await;
}

/// The settings of a new session that differ: sessions keep what the database gave them at their start.
async fn deviations(db: &TestDb) -> Vec<Deviation> {
    let fresh = Pool::open(PoolSettings::new(db.options.clone(), 1));
    let deadline = Instant::now() + Duration::from_mins(1);
    let report = report(&fresh, Duration::ZERO, deadline).await;
    report.settings.unwrap()
}

/// Fails when a setting that loses events, or that the guide recommends otherwise, is not reported, or the guide says something else.
#[tokio::test]
async fn a_setting_that_differs_is_reported_with_what_the_guide_recommends() {
    let db = TestDb::new().await;
    migrations::setup_database(&mut db.connect().await, db.pool().schema())
        .await
        .unwrap();
    // The server of the tests runs without fsync.
    assert_eq!(deviations(&db).await.len(), 1);
    let name = db.options.get_database().unwrap();
    for change in [
        "set jit = on",
        "set synchronous_commit = off",
        "set client_connection_check_interval = 0",
        "reset tcp_keepalives_idle",
        "set tcp_keepalives_interval = 50",
        "set tcp_keepalives_count = 30",
    ] {
        db.run(&format!("alter database {name} {change}")).await;
    }
    let deviations = deviations(&db).await;
    let values: Vec<_> = deviations
        .iter()
        .map(|setting| (&*setting.name, setting.value.as_deref()))
        .collect();
    assert_eq!(
        values,
        [
            ("fsync", Some("off")),
            ("synchronous_commit", Some("off")),
            ("client_connection_check_interval", Some("0")),
            ("jit", Some("on")),
            ("tcp_keepalives_idle", None),
            ("tcp_keepalives_interval", Some("50")),
            ("tcp_keepalives_count", Some("30")),
        ]
    );
    for setting in &deviations {
        let row = format!("| `{}` | `{}` |", setting.name, setting.recommended);
        assert!(GUIDE.contains(&row), "docs/OPERATIONS.md has no row {row}");
        assert!(!setting.why.starts_with("as "), "{setting:?}");
    }
}

/// Fails when a value that is better than the recommended one, or the same one in another spelling, is reported.
#[tokio::test]
async fn a_setting_that_is_as_good_is_not_reported() {
    let db = TestDb::new().await;
    migrations::setup_database(&mut db.connect().await, db.pool().schema())
        .await
        .unwrap();
    let name = db.options.get_database().unwrap();
    for (changes, reported) in [
        (
            [
                "client_connection_check_interval = 2000",
                "jit = false",
                "tcp_keepalives_idle = '10s'",
                "tcp_keepalives_interval = '2000ms'",
                "tcp_keepalives_count = 2",
            ],
            false,
        ),
        (
            [
                "client_connection_check_interval = '6s'",
                "jit = 'yes'",
                "tcp_keepalives_idle = '1min'",
                "tcp_keepalives_interval = 0",
                "tcp_keepalives_count = 0",
            ],
            true,
        ),
        (
            [
                "client_connection_check_interval = '5s'",
                "jit = 'NO'",
                "tcp_keepalives_idle = 5",
                "tcp_keepalives_interval = ' 5 s'",
                "tcp_keepalives_count = '3'",
            ],
            false,
        ),
    ] {
        for change in changes {
            db.run(&format!("alter database {name} set {change}")).await;
        }
        let found = deviations(&db).await;
        // The server of the tests runs without fsync.
        let expected = if reported { 1 + changes.len() } else { 1 };
        assert_eq!(found.len(), expected, "{changes:?}: {found:?}");
    }
}

/// Fails when each request of a page that polls reads the database anew, when a report that lacks a part is kept, or when a client cannot
/// ask for a new one.
#[tokio::test]
async fn pages_that_poll_get_the_last_report_of_the_database() {
    let app = App::new().await;
    let polled = async || app.read("/projections").await.body["database"].clone();
    let anew = async || {
        let request = app.request(Method::GET, "/projections");
        let answer = send(request.header("cache-control", "max-age=0, no-cache")).await;
        answer.body["database"].clone()
    };
    let first = polled().await;
    app.db
        .run("revoke select on skipped from foldlog_command")
        .await;
    assert_eq!(polled().await, first);
    let second = anew().await;
    assert_eq!(second["roles"][0]["lacks"], json!(["select on skipped"]));
    assert_eq!(polled().await, second);

    app.db
        .run("alter table foldlog_migrations rename to renamed")
        .await;
    let incomplete = anew().await;
    assert_eq!(incomplete["migrations"], Value::Null);
    app.db
        .run("alter table renamed rename to foldlog_migrations")
        .await;
    assert_eq!(polled().await, second);
}
