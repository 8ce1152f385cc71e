//! Migrations forwards and backwards, and the views that follow from the code after them.

use foldlog::command;
use foldlog::domains::users::UserEvent;
use foldlog::event::ExpectedVersion;
use foldlog::migrations::MigrationError;
use foldlog::query::QueryError;
use foldlog::view::{FromServing, Inline};
use foldlog::{Foldlog, migrations};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::bins::empty;
use crate::reprojection::{first_page, reproject_to_the_end};
use crate::support::db::run;
use crate::support::events::{append, event, opened};
use crate::support::workers::assert_all_applied;
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
    .map(drop)
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

/// Fails when a build does not start because a newer one has added to the schema, or when it starts although a newer one has
/// removed what it uses.
#[tokio::test]
async fn an_older_build_starts_unless_a_newer_migration_requires_a_newer_one() {
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
    up(&db, &[]).await.unwrap();
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;

    db.run("update log set required_migration = 30000101000000")
        .await;
    let error = format!("{:#}", up(&db, &[]).await.unwrap_err());
    assert!(
        error.contains("needs a build that knows the migration 30000101000000"),
        "{error}"
    );
    let error = migrations::down(&mut connection, db.pool().schema())
        .await
        .unwrap_err();
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("30000101000000"), "{error}");
}

/// Fails when events that an earlier build let in stop the migration that would refuse them now.
#[tokio::test]
async fn events_that_violate_a_new_check_do_not_stop_its_migration() {
    let db = TestDb::new().await;
    let mut connection = db.connect().await;
    while db
        .count("select count(*) from foldlog_migrations where version >= 20261126000004")
        .await
        > 0
    {
        migrations::down(&mut connection, db.pool().schema())
            .await
            .unwrap();
    }
    db.run(
        "insert into events (id, aggregate_id, version, type_id, payload, created_at) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}', 'infinity')",
    )
    .await;
    up(&db, &[]).await.unwrap();
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
}

/// Fails when a view's definition is compared by its spelling.
#[tokio::test]
async fn another_spelling_of_a_view_definition_is_accepted() {
    let db = TestDb::new().await;
    for spelling in [
        "replace(definition, e'\\n', e'\\r\\n')",
        "e'-- Another comment.\\n' || definition",
        "replace(definition, 'create table', 'CREATE  TABLE')",
        "regexp_replace(definition, '--[^\\n]*', '', 'g')",
    ] {
        db.run(&format!("update views set definition = {spelling}"))
            .await;
        up(&db, &[])
            .await
            .unwrap_or_else(|e| panic!("{spelling}: {e:#}"));
    }
    db.run("update views set definition = replace(definition, 'integer', 'bigint') where name = 'users'")
        .await;
    up(&db, &[]).await.unwrap();
    let generations = "select count(*) from views where projection = 'users'";
    assert_eq!(db.count(generations).await, 2);
}

/// Fails when the events of types that a new build adds to a projection stay behind what an older build has settled.
#[tokio::test]
async fn a_projection_that_folds_more_types_reads_the_log_again() {
    let db = TestDb::new().await;
    let (user, account) = (Uuid::now_v7(), Uuid::now_v7());
    append(&db.foldlog, &[created(user, "ada"), opened(account)]).await;
    // As after a build whose projections folded other types.
    db.run(
        "update views set first_type = 2900, end_type = 3000 where name in ('accounts', 'ledger'); \
         insert into settled (lock_domain, snapshot) \
         select name, pg_current_snapshot() from unnest(array['accounts', 'ledger', 'users']) as name",
    )
    .await;
    assert_eq!(db.catch_up("ledger").await.applied, 0, "the arrangement");
    up(&db, &[]).await.unwrap();
    assert_eq!(db.catch_up("ledger").await.applied, 1);
    assert_eq!(db.catch_up("accounts").await.applied, 1);
    assert_eq!(
        db.count("select count(*) from settled where lock_domain = 'users'")
            .await,
        1,
        "its types are the same"
    );
    assert_eq!(
        db.count("select count(*) from views where name = 'ledger' and first_type = 2000 and end_type = 3000")
            .await,
        1
    );
    // A host of the older build migrates again.
    let settled = "select count(*) from settled where lock_domain = 'ledger'";
    up(&db, &[]).await.unwrap();
    assert_eq!(db.count(settled).await, 1);
}

/// Fails when a changed view definition is not noticed, when rows of the old definition are read, or when a reprojection does not fill the
/// new generation.
#[tokio::test]
async fn a_changed_view_definition_is_a_generation_that_a_reprojection_fills() {
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
    up(&db, &[]).await.unwrap();
    let view = db.foldlog.view("users").unwrap();
    let listed = first_page(&db.foldlog, view).await;
    assert!(
        matches!(listed, Err(QueryError::NotReprojected("users"))),
        "{listed:?}"
    );
    let reached = reproject_to_the_end(&db.foldlog, "users").await;
    assert_eq!((reached.generation, reached.events), (2, 3));
    let page = first_page(&db.foldlog, view).await.unwrap();
    assert_eq!(page.rows.len(), 3);
    assert_all_applied(&db, "users").await;
    assert_eq!(db.catch_up("accounts").await.applied, 0, "it is another's");
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

/// Whether an inline append of a user with this e-mail address is accepted; `Err` is the error's text.
async fn add_user(foldlog: &Foldlog, email: &str) -> Result<(), String> {
    let id = Uuid::now_v7();
    let created = UserEvent::Created {
        id,
        username: "bob".to_owned(),
        email: email.to_owned(),
        password: None,
    };
    command::execute(foldlog, &[event(id, created)], ExpectedVersion::Any, None)
        .await
        .map(drop)
        .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

/// Fails when a view with a set rule whose definition has changed accepts an append before it is reprojected: the rule would be checked
/// against no rows.
#[tokio::test]
async fn an_inline_view_with_a_new_definition_refuses_appends_until_it_is_reprojected() {
    let db = TestDb::with_inline(&["users"]).await;
    for index in 0..3 {
        add_user(&db.foldlog, &format!("ada{index}@example.org"))
            .await
            .unwrap();
    }
    db.run("update views set definition = 'before' where name = 'users'")
        .await;
    up(&db, &["users"]).await.unwrap();
    for email in ["ADA1@example.org", "new@example.org"] {
        let refused = add_user(&db.foldlog, email).await.unwrap_err();
        assert!(refused.contains("reproject it"), "{refused}");
    }
    assert_eq!(db.count("select count(*) from events").await, 3);
    reproject_to_the_end(&db.foldlog, "users").await;
    let refused = add_user(&db.foldlog, "ADA1@example.org").await.unwrap_err();
    assert!(refused.contains("taken"), "{refused}");
    add_user(&db.foldlog, "new@example.org").await.unwrap();
    assert_eq!(db.count("select count(*) from parked").await, 0);
    up(&db, &["users"]).await.unwrap();
    assert_all_applied(&db, "users").await;
}

/// Fails when a projection that becomes inline while it is behind accepts a duplicate of a row that it does not have yet.
#[tokio::test]
async fn a_view_that_becomes_inline_refuses_appends_until_it_has_caught_up() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    add_user(&db.foldlog, "ada@example.org").await.unwrap();
    up(&db, &["users"]).await.unwrap();
    let inline = Foldlog::new(
        foldlog::db::Pool::new(db.options.clone(), 4),
        crate::support::db::DOMAINS,
        Inline::from(["users".to_owned()]),
    )
    .unwrap();
    assert!(add_user(&inline, "Ada@example.org").await.is_err());
    db.catch_up("users").await;
    let refused = add_user(&inline, "Ada@example.org").await.unwrap_err();
    assert!(refused.contains("taken"), "{refused}");
    add_user(&inline, "bob@example.org").await.unwrap();
}

/// Fails when an index of a rule's name is taken for the rule, though it is on another table or enforces something else.
#[tokio::test]
async fn a_rule_is_enforced_by_its_own_index_only() {
    let db = TestDb::with_inline(&["users"]).await;
    // The definition of an earlier build.
    db.run(
        "drop index users_email_key; create unique index users_email_key on users (lower(email))",
    )
    .await;
    up(&db, &["users"]).await.unwrap();
    let definition = "select count(*) from pg_indexes where indexname = 'users_email_key' and tablename = 'users' \
                      and indexdef like '%COLLATE%'";
    assert_eq!(db.count(definition).await, 1);
    db.run("drop index users_email_key; create index users_email_key on users (lower(email collate \"C\"))")
        .await;
    up(&db, &["users"]).await.unwrap();
    assert_eq!(
        db.count("select count(*) from pg_indexes where indexname = 'users_email_key' and indexdef like 'CREATE UNIQUE%'")
            .await,
        1
    );

    db.run("alter table users rename to users_before; alter index users_pkey rename to users_before_pkey; \
            alter index users_username_idx rename to users_before_idx; delete from views where name = 'users'")
        .await;
    let error = format!("{:#}", up(&db, &["users"]).await.unwrap_err());
    assert!(error.contains("is on the table `users_before`"), "{error}");
    let (_, rest) = error.split_once("run `").unwrap();
    db.run(rest.split_once('`').unwrap().0).await;
    up(&db, &["users"]).await.unwrap();
    assert_eq!(db.count(definition).await, 1);
}

/// Fails when a database that cannot hold every text is migrated, or refused with an error that does not name the cause.
#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let db = TestDb::new().await;
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!(
            "{}_{}",
            db.options.get_database().unwrap(),
            encoding.to_lowercase()
        );
        db.run(&format!(
            "create database {name} template template0 encoding '{encoding}' locale 'C'"
        ))
        .await;
        let options = db.options.clone().database(&name);
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let (schema, views) = (db.pool().schema(), &db.foldlog.views);
        let refused = migrations::up(&mut connection, schema, views, &Inline::new()).await;
        assert!(
            matches!(&refused, Err(MigrationError::Encoding(found)) if found == encoding),
            "{refused:?}"
        );
        connection.close().await.unwrap();
        db.run(&format!("drop database {name}")).await;
    }
}

/// Fails when two e-mail addresses are the same or not depending on the database's locale: in Turkish, `I` and `i` are two letters.
#[tokio::test]
async fn an_email_address_is_unique_in_every_locale() {
    let db = TestDb::new().await;
    let name = format!("{}_tr", db.options.get_database().unwrap());
    let mut admin = db.connect().await;
    let created = sqlx::raw_sql(AssertSqlSafe(format!(
        "create database {name} template template0 encoding 'UTF8' locale_provider icu icu_locale 'tr' locale 'C.UTF-8'"
    )))
    .execute(&mut admin)
    .await;
    if let Err(error) = created {
        // Postgres 14 has no ICU databases, and a build may have no ICU.
        let code = error
            .as_database_error()
            .and_then(|e| e.code().map(std::borrow::Cow::into_owned));
        assert!(
            matches!(code.as_deref(), Some("42601" | "0A000" | "22023")),
            "{error}"
        );
        return;
    }
    let options = db.options.clone().database(&name);
    let foldlog = Foldlog::new(
        foldlog::db::Pool::new(options.clone(), 4),
        crate::support::db::DOMAINS,
        Inline::from(["users".to_owned()]),
    )
    .unwrap();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    migrations::up(
        &mut connection,
        foldlog.pool.schema(),
        &foldlog.views,
        foldlog.inline(),
    )
    .await
    .unwrap();
    add_user(&foldlog, "INFO@example.org").await.unwrap();
    let refused = add_user(&foldlog, "info@example.org").await.unwrap_err();
    assert!(refused.contains("taken"), "{refused}");
    for (column, value) in [("email", "INFO@example.org"), ("username", "bob")] {
        let view = foldlog.view("users").unwrap();
        let page = foldlog::view::list(
            &mut foldlog.pool.acquire().await.unwrap(),
            view,
            &[(column, value.to_owned())],
            None,
            10,
        )
        .await
        .unwrap();
        let FromServing::Read(page) = page else {
            panic!("no generation serves this build");
        };
        assert_eq!(page.rows.len(), 1, "{column}");
    }
    foldlog.pool.close();
    connection.close().await.unwrap();
    run(&mut admin, &format!("drop database {name} with (force)")).await;
}
