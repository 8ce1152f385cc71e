//! Migrations forwards and backwards, and the views that follow from the code after them.

use foldlog::domains::users::UserEvent;
use foldlog::migrations;
use foldlog::view::Inline;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::bins::empty;
use crate::support::db::run;
use crate::support::events::{append, event, opened};
use crate::support::{TestDb, created};

/// Everything that the catalog knows of the schema `public` and of this database's settings, a line each.
const CATALOG: &str = "
    select string_agg(line, e'\\n' order by line) from (
        select format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            pg_get_expr(d.adbin, d.adrelid)) as line
        from pg_attribute a join pg_class c on c.oid = a.attrelid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped
        union all
        select format('relation %s %s %s', relname, relkind, relacl)
        from pg_class where relnamespace = 'public'::regnamespace
        union all
        select format('index %s', pg_get_indexdef(i.indexrelid))
        from pg_index i join pg_class c on c.oid = i.indexrelid where c.relnamespace = 'public'::regnamespace
        union all
        select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
        from pg_constraint where connamespace = 'public'::regnamespace
        union all
        select format('function %s %s', pg_get_functiondef(oid), proacl)
        from pg_proc where pronamespace = 'public'::regnamespace
        union all
        select format('trigger %s', pg_get_triggerdef(t.oid))
        from pg_trigger t join pg_class c on c.oid = t.tgrelid where c.relnamespace = 'public'::regnamespace and not t.tgisinternal
        union all
        select format('setting %s', setting)
        from pg_db_role_setting s, unnest(s.setconfig) as setting
        where s.setdatabase = (select oid from pg_database where datname = current_database())
    ) as lines";

async fn catalog(connection: &mut PgConnection) -> String {
    let lines: Option<String> = sqlx::query_scalar(CATALOG)
        .fetch_one(connection)
        .await
        .unwrap();
    lines.unwrap_or_default()
}

/// Migrates, with nothing folded inline but this.
async fn up(db: &TestDb, inline: &[&str]) -> anyhow::Result<()> {
    let inline: Inline = inline.iter().map(|name| (*name).to_owned()).collect();
    migrations::up(
        &mut db.connect().await,
        db.pool().schema(),
        &db.foldlog.views,
        &inline,
    )
    .await
    .map_err(anyhow::Error::from)
}

/// Fails when a `.down.sql` leaves something behind or takes too much with it, from whichever migration on.
#[tokio::test]
async fn up_down_up_leaves_the_same_schema() {
    // Not as the tests' databases are made: a clone has not its template's settings.
    let db = empty().await;
    up(&db, &["users"]).await.unwrap();
    let mut connection = db.connect().await;
    let there = catalog(&mut connection).await;
    for object in [
        "users_email_key",
        "events_doorbell",
        "foldlog_projection",
        "jit=off",
    ] {
        assert!(there.contains(object), "{object} is not in: {there}");
    }
    let count = migrations::status(&mut connection, db.pool().schema())
        .await
        .unwrap()
        .lines()
        .count();
    for steps in 1..=count {
        for _ in 0..steps {
            assert!(
                migrations::down(&mut connection, db.pool().schema())
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        if steps == count {
            let left = catalog(&mut connection).await;
            let of_ours = left
                .lines()
                .find(|line| !line.contains("foldlog_migrations"));
            assert_eq!(of_ours, None);
            assert_eq!(
                migrations::down(&mut connection, db.pool().schema())
                    .await
                    .unwrap(),
                None
            );
        }
        up(&db, &["users"]).await.unwrap();
        assert_eq!(catalog(&mut connection).await, there, "after {steps} steps");
    }
}

/// Fails without the locks: both create the first table, or the first view.
#[tokio::test]
async fn concurrent_migrations_are_serialized() {
    // Not as the tests' databases are made: a clone has not its template's settings.
    let db = empty().await;
    up(&db, &["users"]).await.unwrap();
    let mut connection = db.connect().await;
    let there = catalog(&mut connection).await;
    for _ in 0..3 {
        run(
            &mut connection,
            "drop schema public cascade; create schema public",
        )
        .await;
        let all = [
            up(&db, &["users"]),
            up(&db, &["users"]),
            up(&db, &["users"]),
            up(&db, &["users"]),
        ];
        for migrated in futures_util::future::join_all(all).await {
            migrated.unwrap();
        }
        assert_eq!(catalog(&mut connection).await, there);
    }
}

/// Fails when a database of a newer version is taken for one of this version.
#[tokio::test]
async fn an_applied_migration_of_a_newer_version_is_reported() {
    let db = TestDb::new().await;
    db.run("insert into foldlog_migrations (version, description, success, checksum, execution_time) values (30000101000000, 'x', true, '', 0)")
        .await;
    let mut connection = db.connect().await;
    let status = migrations::status(&mut connection, db.pool().schema())
        .await
        .unwrap();
    assert!(
        status.contains("unknown  30000101000000 (of a newer foldlog)"),
        "{status}"
    );
    let error = format!("{:#}", up(&db, &[]).await.unwrap_err());
    assert!(error.contains("30000101000000"), "{error}");
    let error = migrations::down(&mut connection, db.pool().schema())
        .await
        .unwrap_err();
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("30000101000000"), "{error}");
}

/// Fails when a changed view definition is accepted, when the error does not say what to do, or when following its instructions to
/// the letter does not rebuild the view.
#[tokio::test]
async fn a_changed_view_definition_is_rejected_with_instructions() {
    let db = TestDb::new().await;
    for _ in 0..3 {
        append(
            &db.foldlog,
            &[created(Uuid::now_v7(), "ada"), opened(Uuid::now_v7())],
        )
        .await;
    }
    for view in ["users", "accounts", "ledger"] {
        db.catch_up(view).await;
    }
    // As if the code had been changed since: the table lacks a column.
    db.run("alter table users drop column email; update views set definition = 'before' where name = 'users'")
        .await;
    let error = format!("{:#}", up(&db, &[]).await.unwrap_err());
    assert!(
        error.contains("the definition of the view `users` has changed"),
        "{error}"
    );
    let (_, rest) = error.split_once("run `").unwrap();
    let (statements, rest) = rest.split_once('`').unwrap();
    assert!(rest.contains("migrate again"), "{error}");
    db.run(statements).await;
    up(&db, &[]).await.unwrap();
    assert_eq!(db.catch_up("users").await.applied, 3);
    db.assert_views_equal_a_fold_from_scratch().await;
    assert_eq!(db.catch_up("accounts").await.applied, 0, "it is another's");
    assert_eq!(db.count("select count(*) from users").await, 3);
}

/// Fails when the index is not made, or is taken away by a process that does not fold inline while another promises it.
#[tokio::test]
async fn set_rules_are_created_with_inline_and_kept() {
    let db = TestDb::new().await;
    let there = "select count(*) from pg_class where relname = 'users_email_key'";
    up(&db, &[]).await.unwrap();
    assert_eq!(db.count(there).await, 0);
    up(&db, &["users"]).await.unwrap();
    up(&db, &["users"]).await.unwrap();
    assert_eq!(db.count(there).await, 1);
    // Another process, whose INLINE is empty, does not end what this one promises.
    up(&db, &[]).await.unwrap();
    assert_eq!(db.count(there).await, 1);
}

/// Fails when rows that break a set rule already are answered by the database's own text, which quotes them, or when a
/// part of the migration stays.
#[tokio::test]
async fn existing_duplicates_of_a_set_rule_are_reported() {
    let db = TestDb::new().await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let twin = event(
        two,
        UserEvent::Created {
            id: two,
            username: "bob".to_owned(),
            email: format!("{one}@EXAMPLE.org"),
            password: None,
        },
    );
    append(&db.foldlog, &[created(one, "ada"), twin]).await;
    db.catch_up("users").await;
    let error = format!("{:#}", up(&db, &["users"]).await.unwrap_err());
    assert!(
        error.starts_with("users_email_key: existing rows break this rule"),
        "{error}"
    );
    assert!(!error.to_lowercase().contains("@example.org"), "{error}");
    up(&db, &[]).await.unwrap();
    assert_eq!(db.count("select count(*) from users").await, 2);
}

/// Fails when a failed statement leaves half of the views behind.
#[tokio::test]
async fn views_are_created_all_or_none() {
    let db = TestDb::new().await;
    db.run("drop table users, ledger; delete from views where name in ('users', 'ledger')")
        .await;
    // A table of another application has the name of the second view.
    db.run("create table ledger (id uuid)").await;
    assert!(up(&db, &[]).await.is_err());
    assert_eq!(
        db.count("select count(*) from pg_class where relname = 'users'")
            .await,
        0
    );
    db.run("drop table ledger").await;
    up(&db, &[]).await.unwrap();
}
