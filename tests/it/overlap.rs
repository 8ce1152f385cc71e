//! A deployment in progress: workers of the build before lanes work beside workers of this build, on one migrated log.
//!
//! The earlier workers are played with that build's own statements (`tests/fixtures/sql/old_*.sql`): claim, then read the rows, fold,
//! write, commit, settle. They cannot settle any more, because the key of `settled` has changed, and cannot freeze a snapshot
//! while lanes are split. Both are errors that lose nothing.

use foldlog::db::{Pool, Session};
use foldlog::event::RecordedEvent;
use foldlog::projection::{self, Budget};
use foldlog::store;
use foldlog::view::View;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Error, Row};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::events::{append, deposited, opened};
use crate::support::locks::{Held, gate_commits, hold_gate, wait_until_blocked};
use crate::support::workers::{WRITE, account, append_in, assert_all_applied, worker};

/// The errors that a worker of the earlier build may meet: it cannot settle, lanes are split, a deadlock, a lock timeout.
const EXPECTED_ERRORS: [&str; 4] = [NO_SUCH_KEY, "21000", "40P01", "55P03"];
const NO_SUCH_KEY: &str = "42P10";

/// A statement of the earlier build, for the ledger's table.
macro_rules! old {
    ($name:literal) => {
        AssertSqlSafe(
            include_str!(concat!("../fixtures/sql/old_", $name, ".sql"))
                .replace("foldlog.", "")
                .replace("{table}", "ledger"),
        )
    };
}

/// A batch that a worker of the earlier build has claimed.
struct OldBatch {
    transaction: Held,
    frozen: String,
    claimed: Vec<RecordedEvent>,
}

impl OldBatch {
    /// Freezes a snapshot, and claims the next events that it sees and the settled snapshot does not.
    async fn claim(db: &TestDb, size: i64) -> Result<Self, Error> {
        let mut transaction = Held::open(db, "set local lock_timeout = '5s'").await;
        let row = sqlx::query(old!("freeze"))
            .bind("ledger")
            .fetch_one(transaction.connection())
            .await?;
        let frozen: String = row.get("frozen");
        let settled: Option<String> = row.get("settled");
        let spans: Vec<(String, String)> = sqlx::query_as(
            "select txid::text, (txid::text::bigint + 1)::text from pg_snapshot_xip($1::text::pg_snapshot) as running (txid) \
             union all select pg_snapshot_xmax($1::text::pg_snapshot)::text, pg_snapshot_xmax($2::text::pg_snapshot)::text",
        )
        .bind(settled.unwrap_or_else(|| "1:1:".to_owned()))
        .bind(&frozen)
        .fetch_all(transaction.connection())
        .await?;
        let rows = sqlx::query(old!("claim"))
            .bind("ledger")
            .bind(
                spans
                    .iter()
                    .map(|(from, _)| from.clone())
                    .collect::<Vec<_>>(),
            )
            .bind(vec![0_i64; spans.len()])
            .bind(
                spans
                    .into_iter()
                    .map(|(_, before)| before)
                    .collect::<Vec<_>>(),
            )
            .bind(&frozen)
            .bind(2000_i16)
            .bind(3000_i16)
            .bind(size)
            .fetch_all(transaction.connection())
            .await?;
        let id = |row: &PgRow| row.get::<Option<Uuid>, _>("id");
        let is_event = |row: &&PgRow| row.get::<Option<i64>, _>("position").is_some();
        let ids: Vec<Uuid> = rows
            .iter()
            .filter(|row| !is_event(row))
            .filter_map(id)
            .collect();
        let mut claimed: Vec<RecordedEvent> = rows
            .iter()
            .filter(is_event)
            .filter(|row| id(row).is_some_and(|id| ids.contains(&id)))
            .map(|row| store::decode_event(row).unwrap())
            .collect();
        claimed.sort_by_key(|event| (event.aggregate_id, event.version));
        Ok(Self {
            transaction,
            frozen,
            claimed,
        })
    }

    /// Reads the rows, folds, writes, releases what has no predecessor, and commits. Returns how many events are folded, and
    /// the snapshot to settle, if nothing was released.
    async fn fold(mut self, view: &View) -> Result<(u64, Option<String>), Error> {
        let (mut folded, mut released, mut rows) = (0, Vec::new(), Vec::new());
        for events in self
            .claimed
            .chunk_by(|a, b| a.aggregate_id == b.aggregate_id)
        {
            let (row, can_start) = load(self.transaction.connection(), &events[0]).await?;
            let in_order = 1 + events
                .windows(2)
                .take_while(|pair| pair[1].version.0 == pair[0].version.0 + 1)
                .count();
            let (fold, release) = events.split_at(if can_start { in_order } else { 0 });
            released.extend(release);
            let Some(last) = fold.last() else { continue };
            let result = view.projection.fold(row.as_deref(), fold);
            assert_eq!(result.folded, fold.len());
            folded += fold.len() as u64;
            let mut row: Value = serde_json::from_str(result.row.unwrap().get()).unwrap();
            row["id"] = json!(last.aggregate_id);
            row["version"] = json!(last.version);
            rows.push(row);
        }
        sqlx::query(
            "insert into ledger (id, version, deposits, last_version) \
             select id, version, deposits, last_version from json_populate_recordset(null::ledger, $1::text::json) \
             on conflict (id) do update set version = excluded.version, deposits = excluded.deposits, \
                 last_version = excluded.last_version",
        )
        .bind(Value::Array(rows).to_string())
        .execute(self.transaction.connection())
        .await?;
        sqlx::query(old!("release_claims"))
            .bind("ledger")
            .bind(released.iter().map(|event| event.id.0).collect::<Vec<_>>())
            .bind(
                released
                    .iter()
                    .map(|event| event.aggregate_id.0)
                    .collect::<Vec<_>>(),
            )
            .execute(self.transaction.connection())
            .await?;
        self.transaction.commit().await;
        Ok((folded, released.is_empty().then_some(self.frozen)))
    }
}

/// The view row of an event's aggregate, and whether the event may be folded next.
async fn load(
    connection: &mut Session<'static>,
    first: &RecordedEvent,
) -> Result<(Option<Box<RawValue>>, bool), Error> {
    let row = sqlx::query(old!("load_rows"))
        .bind(vec![first.aggregate_id.0])
        .bind(vec![first.version.0])
        .bind("ledger")
        .fetch_one(connection)
        .await?;
    let version: Option<i32> = row.get("viewed_version");
    let viewed: Option<Json<Box<RawValue>>> = row.get("viewed");
    let can_start = first.version.0 == 1
        || version.map_or_else(
            || row.get::<Option<bool>, _>("predecessor_claimed") == Some(true),
            |version| version >= first.version.0 - 1,
        );
    Ok((viewed.map(|Json(row)| row), can_start))
}

async fn settle(db: &TestDb, snapshot: &str) -> Result<(), Error> {
    sqlx::query(old!("settle"))
        .bind("ledger")
        .bind(snapshot)
        .execute(&mut db.connect().await)
        .await?;
    Ok(())
}

/// The SQLSTATE of an error.
fn code(error: &Error) -> String {
    let error = error
        .as_database_error()
        .unwrap_or_else(|| panic!("{error}"));
    error.code().unwrap().into_owned()
}

/// One pass of a worker of the earlier build: how many events it has folded, and the SQLSTATE of the error that ended it.
async fn old_pass(db: &TestDb, view: &View) -> (u64, Option<String>) {
    let batch = match OldBatch::claim(db, 1000).await {
        Ok(batch) => batch,
        Err(error) => return (0, Some(code(&error))),
    };
    match batch.fold(view).await {
        Ok((folded, Some(snapshot))) => {
            let settled = settle(db, &snapshot).await;
            (folded, settled.err().map(|error| code(&error)))
        }
        Ok((folded, None)) => (folded, None),
        Err(error) => (0, Some(code(&error))),
    }
}

/// A pass beside other workers; returns how many events it has folded.
async fn old_pass_beside(db: &TestDb, view: &View) -> u64 {
    let (folded, error) = old_pass(db, view).await;
    let is_expected = |code: String| EXPECTED_ERRORS.contains(&code.as_str());
    assert!(error.clone().is_none_or(is_expected), "{error:?}");
    folded
}

/// Fails when the earlier build can state that something is settled: it knows nothing of lanes and positions.
#[tokio::test]
async fn the_earlier_build_cannot_change_what_lanes_have_settled() {
    let db = TestDb::new().await;
    account(&db, 2).await;
    db.catch_up("ledger").await;
    account(&db, 2).await;
    let before = db.count("select turn from settled").await;
    let view = db.foldlog.view("ledger").unwrap();
    assert_eq!(old_pass(&db, view).await, (3, Some(NO_SUCH_KEY.to_owned())));
    assert_eq!(db.count("select turn from settled").await, before);
    assert_eq!(db.catch_up("ledger").await.applied, 0);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a worker of this build skips events that one of the earlier build has claimed and not committed, or folds them too.
#[tokio::test]
async fn a_worker_waits_for_the_claims_of_the_earlier_build() {
    for commits in [true, false] {
        let db = TestDb::new().await;
        account(&db, 2).await;
        let old = OldBatch::claim(&db, 1000).await.unwrap();
        let new = worker(&db, "ledger", 100);
        wait_until_blocked(&mut db.connect().await, WRITE).await;
        let view = db.foldlog.view("ledger").unwrap();
        let folded = if commits {
            old.fold(view).await.unwrap().0
        } else {
            old.transaction.release().await;
            0
        };
        assert_eq!(new.await.unwrap().unwrap().applied, 3 - folded);
        assert_all_applied(&db, "ledger").await;
    }
}

/// The opposite order: fails when the earlier build folds into a row that a worker of this build is about to change.
#[tokio::test]
async fn the_earlier_build_waits_for_the_claims_of_a_worker() {
    let db = TestDb::new().await;
    let (account, _) = account(&db, 2).await;
    gate_commits(&db, "ledger").await;
    let gate = hold_gate(&db).await;
    let new = worker(&db, "ledger", 100);
    wait_until_blocked(&mut db.connect().await, WRITE).await;
    append(&db.foldlog, &[deposited(account, 1)]).await;
    let view = db.foldlog.view("ledger").unwrap();
    let (mut watch, mut old) = (db.connect().await, std::pin::pin!(old_pass(&db, view)));
    tokio::select! {
        () = wait_until_blocked(&mut watch, "Takes the next events in log order") => {}
        ended = &mut old => panic!("it does not wait: {ended:?}"),
    }
    gate.release().await;
    assert_eq!(old.await, (1, Some(NO_SUCH_KEY.to_owned())));
    assert_eq!(new.await.unwrap().unwrap().applied, 3);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an event is lost, folded twice or folded out of order while both builds work on one log, with late and inverted
/// transactions.
#[tokio::test]
async fn workers_of_both_builds_fold_one_log() {
    let db = TestDb::new().await;
    let accounts: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let (mut events, mut new, mut old) = (0_u64, 0, 0);
    for round in 0..8 {
        let mut late = Held::open(&db, "select log_txid()").await;
        let batch: Vec<_> = accounts
            .iter()
            .flat_map(|id| match round {
                0 => vec![opened(*id), deposited(*id, 1)],
                _ => vec![deposited(*id, 1), deposited(*id, 2)],
            })
            .collect();
        append(&db.foldlog, &batch).await;
        append_in(late.connection(), &[deposited(accounts[0], 3)]).await;
        events += 41;
        let mut workers = JoinSet::new();
        for size in [1, 7] {
            let options = db.options.clone();
            let foldlog = db.foldlog.clone();
            workers.spawn(async move {
                let view = foldlog.view("ledger").unwrap();
                let pool = Pool::new(options, 2);
                let caught_up = projection::catch_up(&pool, view, size, &Budget::default()).await;
                caught_up.unwrap().applied
            });
        }
        let view = db.foldlog.view("ledger").unwrap();
        let (first, second, ()) = tokio::join!(
            old_pass_beside(&db, view),
            old_pass_beside(&db, view),
            late.commit()
        );
        old += first + second;
        new += workers.join_all().await.into_iter().sum::<u64>();
    }
    new += db.catch_up("ledger").await.applied;
    assert_eq!(
        new + old,
        events,
        "{new} by this build, {old} by the earlier one"
    );
    assert_all_applied(&db, "ledger").await;
}
