//! Exact interleavings without a line of product code: a test holds a lock on which a worker must stop, sees it waiting
//! in `pg_stat_activity`, acts, and lets go.

use std::time::Duration;

use foldlog::db::Session;
use foldlog::event::NewEvent;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::{sleep, timeout};

use super::TestDb;
use super::db::run;

/// Waits until a statement that contains `text` waits for a lock in this database.
pub async fn until_waiting(connection: &mut PgConnection, text: &str) {
    let look = async {
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() \
                 and wait_event_type = 'Lock' and query like '%' || $1 || '%'",
            )
            .bind(text)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
            if waiting > 0 {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), look)
        .await
        .unwrap_or_else(|_| panic!("nobody waits in a statement with {text:?}"));
}

/// An open transaction that holds what its statement locked, until it is released.
pub struct Held(Session);

impl Held {
    /// Runs a statement in a transaction that stays open.
    pub async fn by(db: &TestDb, sql: &str) -> Self {
        let mut held = Self(db.connect().await.into());
        run(&mut held.0, "begin isolation level read committed").await;
        run(&mut held.0, sql).await;
        held
    }

    /// The transaction, to go on in it.
    pub fn connection(&mut self) -> &mut Session {
        &mut self.0
    }

    /// Lets go of everything, as if it had never been.
    pub async fn release(mut self) {
        run(&mut self.0, "rollback").await;
    }

    /// Lets go, and what was written stays.
    pub async fn commit(mut self) {
        run(&mut self.0, "commit").await;
    }
}

/// The claim of one event by somebody who does not commit.
pub async fn hold_claim(db: &TestDb, projection: &str, event: &NewEvent<Value>) -> Held {
    Held::by(db, &claim(projection, event)).await
}

/// One more claim in the same transaction; waits for whoever holds it.
pub async fn also_claim(held: &mut Held, projection: &str, event: &NewEvent<Value>) {
    run(held.connection(), &claim(projection, event)).await;
}

fn claim(projection: &str, event: &NewEvent<Value>) -> String {
    format!(
        "insert into locker (event_id, aggregate_id, lock_domain) values ('{}', '{}', '{projection}') on conflict do nothing",
        event.id, event.aggregate_id
    )
}

/// Makes every transaction that writes `table` stop at its commit while [`hold_gate`] is held.
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
    Held::by(db, "select pg_advisory_xact_lock(1)").await
}

/// Waits until a query answers true.
pub async fn until(db: &TestDb, query: &str) {
    let mut connection = db.connect().await;
    let look = async {
        while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(query))
            .fetch_one(&mut connection)
            .await
            .unwrap()
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_mins(1), look)
        .await
        .unwrap_or_else(|_| panic!("never came true: {query}"));
}
