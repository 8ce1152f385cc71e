//! Catch-up workers, the events that they fold, and assertions about the result.

use foldlog::db::Session;
use foldlog::event::{AggregateId, UntypedEvent, Version};
use foldlog::projection::{self, Budget, CatchUp, ProjectionError};
use foldlog::store::{self, ExpectedHeads};
use foldlog::view::FromServing;
use sqlx::PgExecutor;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::TestDb;
use super::events::{append, assert_equals_fold, deposited, opened, prepare};

/// The beginnings of the statements at which a test waits for a worker to block.
pub const READ: &str = "Reads the next batch of a lane";
pub const WRITE: &str = "Writes a folded batch, or nothing";
pub const LOCK_PARKED: &str = "Takes a parked aggregate for a retry";

/// Starts a worker that catches up a projection.
pub fn worker(
    db: &TestDb,
    projection: &'static str,
    batch: u32,
) -> JoinHandle<Result<CatchUp, ProjectionError>> {
    let foldlog = db.foldlog.clone();
    tokio::spawn(async move {
        let view = foldlog.view(projection).unwrap();
        projection::catch_up(&foldlog.pool, view, batch, &Budget::default()).await
    })
}

/// Appends an account with `deposits` deposits of one cent, each event in its own transaction; returns the events.
pub async fn account(db: &TestDb, deposits: usize) -> (Uuid, Vec<UntypedEvent>) {
    let account = Uuid::now_v7();
    let mut events = vec![opened(account)];
    events.extend((0..deposits).map(|_| deposited(account, 1)));
    for event in &events {
        append(&db.foldlog, std::slice::from_ref(event)).await;
    }
    (account, events)
}

/// Appends in the given transaction and without checking rules, like a host that is slow to commit.
pub async fn append_in(connection: &mut Session<'_>, events: &[UntypedEvent]) {
    let stored = store::append(connection, &prepare(events), &ExpectedHeads::new(), false).await;
    assert!(
        matches!(stored, Ok(store::Outcome::Stored(_))),
        "{stored:?}"
    );
}

/// Inserts an event as foreign SQL could: with any version and, if given, any transaction id.
pub async fn insert(
    connection: impl PgExecutor<'_>,
    event: &UntypedEvent,
    version: i32,
    txid: Option<i64>,
) {
    sqlx::query(
        "insert into events (id, aggregate_id, version, type_id, payload, txid) \
         values ($1, $2, $3, $4, $5, coalesce($6::text::xid8, log_txid()))",
    )
    .bind(event.id.0)
    .bind(event.aggregate_id.0)
    .bind(version)
    .bind(event.type_id.0)
    .bind(&event.payload)
    .bind(txid.map(|txid| txid.to_string()))
    .execute(connection)
    .await
    .unwrap();
}

/// Returns the version of an aggregate's row, or `None` if the view has no such row.
pub async fn version_in_view(db: &TestDb, projection: &str, aggregate: Uuid) -> Option<Version> {
    let view = db.foldlog.view(projection).unwrap();
    let row =
        foldlog::view::get(&mut db.connect().await.into(), view, AggregateId(aggregate)).await;
    match row.unwrap() {
        FromServing::Read(row) => row.map(|row| row.version),
        FromServing::NoGeneration => None,
    }
}

/// Asserts that every event of a projection is claimed once and folded, in order.
pub async fn assert_all_applied(db: &TestDb, projection: &str) {
    let view = db.foldlog.view(projection).unwrap();
    let types = view.projection.block();
    let events = format!(
        "select count(*) from events where type_id >= {} and type_id < {}",
        types.start, types.end
    );
    let generation = foldlog::view::resolve(&mut db.connect().await.into(), view)
        .await
        .unwrap()
        .view;
    let claims = format!(
        "select count(*) from locker where lock_domain = '{}'",
        generation.lock_domain()
    );
    assert_eq!(
        db.count(&claims).await,
        db.count(&events).await,
        "claims of {projection}, events"
    );
    assert_equals_fold(&mut db.connect().await, &generation).await;
}
