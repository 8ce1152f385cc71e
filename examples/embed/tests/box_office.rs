//! The application on a real Postgres that it shares with foldlog: transactions, migrations, settings, hosts.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::process::Stdio;

use box_office::bookings::{Booking, BookingEvent, Bookings, Visitor};
use box_office::{BookError, BoxOffice, MIGRATIONS, SCHEMA};
use foldlog::command::AppendError;
use foldlog::domain::prelude::*;
use foldlog::testing::TestDatabase;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use uuid::Uuid;

const HAMLET: Uuid = Uuid::from_u128(1);

/// A database with foldlog's tables and those of the application, and one event with ten free seats.
async fn open() -> (TestDatabase, BoxOffice) {
    let database = TestDatabase::builder(box_office::domains())
        .inline(&["bookings"])
        .schema(SCHEMA.parse().unwrap())
        .create()
        .await;
    let office = BoxOffice::new(database.connect_options()).unwrap();
    MIGRATIONS.run(&office.pool).await.unwrap();
    sqlx::query("insert into events (id, title, free_seats) values ($1, 'Hamlet', 10)")
        .bind(HAMLET)
        .execute(&office.pool)
        .await
        .unwrap();
    (database, office)
}

async fn free_seats(office: &BoxOffice) -> i32 {
    let seats = sqlx::query_scalar("select free_seats from events where id = $1");
    seats.bind(HAMLET).fetch_one(&office.pool).await.unwrap()
}

fn ada() -> Visitor {
    Visitor {
        name: "Ada".to_owned(),
        phone: Some(Secret::new("555 0100".to_owned())),
    }
}

fn new_id() -> AggregateId {
    AggregateId(Uuid::now_v7())
}

// Fails when the event, the inline view or the application's row is committed without the others.
#[tokio::test]
async fn a_booking_and_its_seats_are_committed_in_one_transaction() {
    let (_database, office) = open().await;
    let id = new_id();
    let version = office.book(id, HAMLET, 4, ada()).await.unwrap();
    assert_eq!((version, free_seats(&office).await), (Version(1), 6));
    // Not `strong`: the view is folded inline, so it is never behind.
    let (booking, version) = office.foldlog.get::<Bookings>(id).await.unwrap().unwrap();
    let expected = Booking {
        event: HAMLET,
        seats: 4,
        name: "Ada".to_owned(),
    };
    assert_eq!((booking, version), (expected, Version(1)));
    assert_eq!(office.reduce(id, 1).await.unwrap(), Version(2));
    assert_eq!(free_seats(&office).await, 9);
}

// Fails when a failed booking keeps its seats, or a failed update keeps its event.
#[tokio::test]
async fn a_failed_booking_changes_nothing() {
    let (_database, office) = open().await;
    let id = new_id();
    office.book(id, HAMLET, 4, ada()).await.unwrap();
    let again = office.book(id, HAMLET, 1, ada()).await.unwrap_err();
    assert!(matches!(again, BookError::Append(_)), "{again}");
    let sold_out = office.book(new_id(), HAMLET, 7, ada()).await.unwrap_err();
    assert!(matches!(sold_out, BookError::SoldOut(7)), "{sold_out}");
    assert_eq!(free_seats(&office).await, 6);
    let page = office.foldlog.list::<Bookings>().await.unwrap();
    assert_eq!(page.rows.len(), 1);
}

// Fails when a rejected append aborts the application's transaction.
#[tokio::test]
async fn the_transaction_continues_after_a_rejected_append() {
    let (_database, office) = open().await;
    office.book(new_id(), HAMLET, 1, ada()).await.unwrap();
    let mut transaction = office.pool.begin().await.unwrap();
    let booked = BookingEvent::Booked {
        event: HAMLET,
        seats: 1,
        visitor: ada(),
    };
    let twice = office
        .foldlog
        .append::<Bookings>(new_id(), [booked])
        .in_transaction(&mut transaction)
        .await
        .unwrap_err();
    assert!(matches!(twice, AppendError::SetRule { .. }), "{twice}");
    sqlx::query("insert into log (line) values ($1)")
        .bind(twice.to_string())
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let line: String = sqlx::query_scalar("select line from log")
        .fetch_one(&office.pool)
        .await
        .unwrap();
    assert!(line.contains("already booked seats"), "{line}");
}

// Fails when the typed list ignores its filter or limit, or a second projection does not follow the events.
#[tokio::test]
async fn views_are_read_with_their_types() {
    let (database, office) = open().await;
    let ids = [new_id(), new_id()];
    for (id, name) in ids.iter().zip(["Ada", "Bob"]) {
        let visitor = Visitor {
            name: name.to_owned(),
            phone: None,
        };
        office.book(*id, HAMLET, 2, visitor).await.unwrap();
    }
    let page = office.foldlog.list::<Bookings>().filter("name", "Bob");
    let page = page.limit(10).await.unwrap();
    assert_eq!((page.rows[0].id, page.rows.len()), (ids[1], 1));
    office.reduce(ids[0], 1).await.unwrap();
    database.catch_up().await;
    let count = format!("select changes from {SCHEMA}.booking_changes where id = $1");
    let changes: i32 = sqlx::query_scalar(AssertSqlSafe(count))
        .bind(ids[0].0)
        .fetch_one(&office.pool)
        .await
        .unwrap();
    assert_eq!(changes, 1);
}

// Fails when one of the two sets of migrations stops at the rows of the other or touches its tables, or when foldlog's change a
// setting of the database.
#[tokio::test]
async fn both_sets_of_migrations_share_the_database() {
    let (database, office) = open().await;
    let mut connection = database.connect().await;
    // Start over, the application first.
    let reset =
        format!("drop schema {SCHEMA} cascade; drop schema public cascade; create schema public");
    sqlx::raw_sql(AssertSqlSafe(reset))
        .execute(&mut connection)
        .await
        .unwrap();
    MIGRATIONS.run(&office.pool).await.unwrap();
    for _ in 0..2 {
        let output = migrate(&database, "up").await;
        assert!(!output.contains("pending"), "{output}");
        MIGRATIONS.run(&office.pool).await.unwrap();
    }
    let applied: i64 = sqlx::query_scalar("select count(*) from public._sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(applied, 1);
    let settings = "select count(*) from pg_db_role_setting
        where setdatabase = (select oid from pg_database where datname = current_database())";
    let settings: i64 = sqlx::query_scalar(settings)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(settings, 0);
    migrate(&database, "down").await;
    MIGRATIONS.run(&office.pool).await.unwrap();
    let status = migrate(&database, "status").await;
    assert!(status.contains("pending"), "{status}");
    connection.close().await.unwrap();
}

// Fails when a host does not start, does not serve the domain, or serves foldlog's example domain.
#[tokio::test]
async fn the_local_host_serves_the_domain_and_no_other() {
    let (database, office) = open().await;
    office.book(new_id(), HAMLET, 4, ada()).await.unwrap();
    let mut host = Command::new(env!("CARGO_BIN_EXE_box_office_local"))
        .envs(environment(&database))
        .env("APP_SERVER_PORT", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let url = &line[line.find("http://").unwrap()..];
    let get = async |path: &str| {
        let response = reqwest::get(format!("{url}{path}")).await.unwrap();
        response.json::<serde_json::Value>().await.unwrap()
    };
    let page = get("/bookings").await;
    assert_eq!(page["result"][0]["seats"], 4, "{page}");
    let document = get("/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/bookings") && !paths.contains_key("/users"));
    assert!(!document.to_string().contains("555 0100"));
}

/// The environment of a host.
fn environment(database: &TestDatabase) -> [(&'static str, String); 3] {
    let url = database.connect_options().to_url_lossy().to_string();
    [
        ("DATABASE_URL", url),
        ("DB_SCHEMA", SCHEMA.to_owned()),
        ("INLINE", "bookings".to_owned()),
    ]
}

// Fails when the domains of another crate get no web client, or one that needs a database.
#[tokio::test]
async fn the_web_client_is_written_for_the_domain() {
    let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/box_office_client");
    let written = Command::new(env!("CARGO_BIN_EXE_box_office_client"))
        .args([folder, "--name", "@box-office/api"])
        .env_clear()
        .output()
        .await
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    let module = std::fs::read_to_string(format!("{folder}/index.js")).unwrap();
    assert!(module.contains("export const bookings = {"), "{module}");
    assert!(!module.contains("users"), "{module}");
}

/// Runs `migrate`; returns what it prints.
async fn migrate(database: &TestDatabase, verb: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_box_office_migrate"))
        .arg(verb)
        .envs(environment(database))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    text
}
