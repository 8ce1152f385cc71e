//! Exact interleavings without a line of product code: a test holds a lock on which a worker must stop, sees it waiting
//! in `pg_stat_activity`, acts, and lets go.

use foldlog::db::Session;
use foldlog::event::UntypedEvent;
use sqlx::{AssertSqlSafe, PgConnection};

use super::TestDb;
use super::db::run;
use super::poll::wait_until;

/// Waits until a statement that contains `text` is blocked by a lock in this database.
pub async fn wait_until_blocked(connection: &mut PgConnection, text: &str) {
    let is_blocked = async || {
        sqlx::query_scalar(
            "select exists (select from pg_stat_activity where datname = current_database() \
             and wait_event_type = 'Lock' and query like '%' || $1 || '%')",
        )
        .bind(text)
        .fetch_one(&mut *connection)
        .await
        .unwrap()
    };
    wait_until(
        &format!("a statement with {text:?} waits for a lock"),
        is_blocked,
    )
    .await;
}

/// An open transaction that holds the locks of its statements until it is released or committed.
pub struct Held(Session<'static>);

impl Held {
    /// Runs a statement in a transaction that stays open.
    pub async fn open(db: &TestDb, sql: &str) -> Self {
        let mut held = Self(db.connect().await.into());
        run(&mut held.0, "begin isolation level read committed").await;
        run(&mut held.0, sql).await;
        held
    }

    /// The connection, for further statements in the transaction.
    pub fn connection(&mut self) -> &mut Session<'static> {
        &mut self.0
    }

    /// Rolls the transaction back.
    pub async fn release(mut self) {
        run(&mut self.0, "rollback").await;
    }

    /// Commits the transaction.
    pub async fn commit(mut self) {
        run(&mut self.0, "commit").await;
    }
}

/// Claims an event in a transaction that does not commit.
pub async fn hold_claim(db: &TestDb, projection: &str, event: &UntypedEvent) -> Held {
    Held::open(db, &claim(projection, event)).await
}

/// Claims one more event in the same transaction; waits for the transaction that holds the claim.
pub async fn also_claim(held: &mut Held, projection: &str, event: &UntypedEvent) {
    run(held.connection(), &claim(projection, event)).await;
}

fn claim(projection: &str, event: &UntypedEvent) -> String {
    format!(
        "insert into locker (event_id, aggregate_id, lock_domain) values ('{}', '{}', '{projection}') on conflict do nothing",
        event.id, event.aggregate_id
    )
}

/// Makes every transaction that writes `table` wait at its commit while [`hold_gate`] is held.
pub async fn gate_commits(db: &TestDb, table: &str) {
    let sql = format!(
        "create function stop_at_gate() returns trigger language plpgsql as \
         $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$; \
         create constraint trigger gate after insert or update on {table} deferrable initially deferred \
         for each row execute function stop_at_gate()"
    );
    db.run(&sql).await;
}

/// Closes the gate of [`gate_commits`].
pub async fn hold_gate(db: &TestDb) -> Held {
    Held::open(db, "select pg_advisory_xact_lock(1)").await
}

/// Waits until a query returns true.
pub async fn wait_until_true(db: &TestDb, query: &str) {
    let mut connection = db.connect().await;
    let is_true = async || {
        sqlx::query_scalar(AssertSqlSafe(query))
            .fetch_one(&mut connection)
            .await
            .unwrap()
    };
    wait_until(query, is_true).await;
}
