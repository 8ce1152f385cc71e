//! A worker that a test runs step by step: it executes foldlog's own statements, and does between them what the test says.

use std::collections::BTreeSet;

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::projection::{self, Budget, CatchUp, ProjectionError};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgExecutor, Row};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::db::DOMAINS;

/// What a worker of the ledger reads about its lane.
#[derive(Clone, Debug)]
pub struct Header(Value);

/// What is settled: a snapshot, and a transaction with a position in it.
pub type Settled = (String, Option<String>, i64);

fn statement(text: &'static str) -> AssertSqlSafe<String> {
    let text = text
        .replace("foldlog.", "")
        .replace("{table}", "ledger")
        .replace("{serves}", "true")
        .replace("{columns}", "deposits, last_version")
        .replace(
            "{assignments}",
            "deposits = excluded.deposits, last_version = excluded.last_version",
        );
    AssertSqlSafe(text)
}

impl Header {
    /// Reads a lane of the ledger: the one with this first slot, or the one that is furthest behind.
    pub async fn read(connection: impl PgExecutor<'_>, first: Option<i16>) -> Self {
        let rows = sqlx::query(statement(include_str!(
            "../../../src/projection/sql/read.sql"
        )))
        .bind("ledger")
        .bind(first)
        .bind(None::<String>)
        .bind(2000_i16)
        .bind(3000_i16)
        .bind(100_i64)
        .bind(false)
        .bind(false)
        .fetch_all(connection)
        .await
        .unwrap();
        let header = rows
            .iter()
            .find_map(|row| row.get::<Option<String>, _>("header"))
            .unwrap();
        Self(serde_json::from_str(&header).unwrap())
    }

    /// The snapshot C.
    pub fn frozen(&self) -> String {
        self.0["frozen"].as_str().unwrap().to_owned()
    }

    /// Writes a batch without events that settles all that C sees. Returns whether the statement had an effect.
    pub async fn settle_all(&self, connection: impl PgExecutor<'_>) -> bool {
        let number = |name: &str| self.0[name].as_i64().unwrap();
        let slot = |name: &str| i16::try_from(number(name)).unwrap();
        let none = Vec::<Uuid>::new();
        let turn: Option<i64> = sqlx::query_scalar(statement(include_str!(
            "../../../src/projection/sql/write.sql"
        )))
        .bind("ledger")
        .bind(slot("first"))
        .bind(slot("last"))
        .bind(number("turn"))
        .bind(&none)
        .bind(self.frozen())
        .bind(None::<String>)
        .bind(0_i64)
        .bind(&none)
        .bind(&none)
        .bind(&none)
        .bind(&none)
        .bind(Vec::<i32>::new())
        .bind(Vec::<String>::new())
        .bind(&none)
        .bind("[]")
        .bind(self.0["snapshot"].as_str())
        .bind(self.0["txid"].as_str())
        .bind(number("position"))
        .bind(Vec::<String>::new())
        .bind(self.0["writer"].as_str())
        .fetch_one(connection)
        .await
        .unwrap();
        turn.is_some()
    }
}

/// Splits the lane of the ledger that is furthest behind.
pub async fn split(connection: impl PgExecutor<'_>) -> bool {
    let split: Option<bool> = sqlx::query_scalar(statement(include_str!(
        "../../../src/projection/sql/split_lane.sql"
    )))
    .bind("ledger")
    .bind(Vec::<i16>::new())
    .bind(0_i64)
    .fetch_optional(connection)
    .await
    .unwrap();
    split.unwrap()
}

/// Locks the lanes that a merge would replace, in the connection's transaction; returns their first slots.
pub async fn lock_lanes(connection: impl PgExecutor<'_>) -> Vec<i16> {
    let rows = sqlx::query(statement(include_str!(
        "../../../src/projection/sql/lock_lanes.sql"
    )))
    .bind("ledger")
    .fetch_all(connection)
    .await
    .unwrap();
    rows.iter().map(|row| row.get("first")).collect()
}

/// Takes a free lane in the connection's transaction; returns its first slot.
pub async fn take(connection: impl PgExecutor<'_>) -> Option<i16> {
    let row = sqlx::query(statement(include_str!(
        "../../../src/projection/sql/take_lane.sql"
    )))
    .bind("ledger")
    .bind(Vec::<i16>::new())
    .bind(true)
    .fetch_optional(connection)
    .await
    .unwrap();
    row.map(|row| row.get("first"))
}

/// The lanes of the ledger and what each has settled.
pub async fn lanes(db: &TestDb) -> Vec<((i16, i16), Settled)> {
    let rows: Vec<(i16, i16, String, Option<String>, i64)> = sqlx::query_as(
        "select first, last, snapshot::text, txid::text, position from settled where lock_domain = 'ledger' order by first",
    )
    .fetch_all(&mut db.connect().await)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(first, last, snapshot, txid, position)| ((first, last), (snapshot, txid, position)))
        .collect()
}

/// Starts a catch-up of the ledger with one connection, so that it does one thing after the other.
pub fn lone_worker(db: &TestDb, batch: u32) -> JoinHandle<Result<CatchUp, ProjectionError>> {
    let pool = Pool::new(db.options.clone(), 1);
    let foldlog = Foldlog::new(pool, DOMAINS, BTreeSet::new()).unwrap();
    tokio::spawn(async move {
        let view = foldlog.view("ledger").unwrap();
        projection::catch_up(&foldlog.pool, view, batch, &Budget::default()).await
    })
}

/// An id in one half of the hash slots: 0 to 127, or 128 to 255.
pub async fn id_in_half(db: &TestDb, is_upper: bool) -> Uuid {
    sqlx::query_scalar(
        "select id from (select gen_random_uuid() as id from generate_series(1, 100)) ids \
         where (uuid_hash(id) & 255 > 127) = $1 limit 1",
    )
    .bind(is_upper)
    .fetch_one(&mut db.connect().await)
    .await
    .unwrap()
}

/// From now on every write after which a lane has settled less than before ends the worker with an error.
pub async fn refuse_settling_less(db: &TestDb) {
    db.run(
        "create function settle_no_less() returns trigger language plpgsql as $$ begin \
             if exists ( \
                 select from events e \
                 where (pg_visible_in_snapshot(e.txid, old.snapshot) or (e.txid = old.txid and e.position <= old.position)) \
                     and not pg_visible_in_snapshot(e.txid, new.snapshot) \
                     and (e.txid = new.txid and e.position <= new.position) is not true \
             ) then \
                 raise exception 'the lane has settled less than before' using errcode = 'internal_error'; \
             end if; \
             return null; \
         end $$; \
         create trigger settle_no_less after update on settled for each row execute function settle_no_less()",
    )
    .await;
}
