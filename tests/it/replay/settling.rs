//! What a batch settles: replays of the model's mutations of settling, with batches of one event.

use sqlx::raw_sql;
use uuid::Uuid;

use super::stepwise::{lone_worker, refuse_settling_less};
use crate::support::TestDb;
use crate::support::accounts::AccountEvent;
use crate::support::db::run;
use crate::support::events::{append, created, deposited, event, opened};
use crate::support::locks::{Held, hold_claim, hold_gate, wait_until_blocked};
use crate::support::workers::{
    WRITE, account, append_in, assert_all_applied, version_in_view, worker,
};

/// Runs a catch-up of the ledger in batches of one event, and asserts that it has folded every event of the log.
async fn fold_in_batches_of_one(db: &TestDb, events: u64) {
    let caught_up = lone_worker(db, 1).await.unwrap().unwrap();
    assert_eq!((caught_up.applied, caught_up.done), (events, true));
    assert_all_applied(db, "ledger").await;
}

/// A transaction that has its id and will append later.
async fn begin_early(db: &TestDb) -> Held {
    Held::open(db, "select log_txid()").await
}

/// Fails when a batch settles the whole transaction in which it stops.
#[tokio::test]
async fn a_batch_that_ends_within_a_transaction_settles_only_its_part() {
    let db = TestDb::new().await;
    refuse_settling_less(&db).await;
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    let events = [
        opened(a),
        opened(b),
        deposited(a, 1),
        deposited(b, 1),
        deposited(a, 1),
    ];
    append(&db.foldlog, &events).await;
    fold_in_batches_of_one(&db, 5).await;
}

/// Fails when a batch settles transactions that follow the one in which it stops.
#[tokio::test]
async fn a_batch_settles_no_transaction_after_the_one_in_which_it_stops() {
    let db = TestDb::new().await;
    refuse_settling_less(&db).await;
    for _ in 0..3 {
        let account = Uuid::now_v7();
        append(&db.foldlog, &[opened(account), deposited(account, 1)]).await;
    }
    fold_in_batches_of_one(&db, 6).await;
}

/// The transaction with the lower id has the higher positions. Fails when the position that a batch settled in it counts for the
/// next transaction, too.
#[tokio::test]
async fn a_position_counts_only_for_the_transaction_that_it_was_settled_in() {
    let db = TestDb::new().await;
    refuse_settling_less(&db).await;
    let new = || opened(Uuid::now_v7());
    let mut lower_id = begin_early(&db).await;
    append(&db.foldlog, &[new(), new(), new()]).await;
    append_in(lower_id.connection(), &[new(), new()]).await;
    lower_id.commit().await;
    fold_in_batches_of_one(&db, 5).await;
}

/// Fails when a batch begins another transaction before it has finished the one that an earlier batch has begun: only one can be
/// begun, so the rest of the first is settled unread.
#[tokio::test]
async fn a_begun_transaction_is_finished_before_another_one_is_begun() {
    let db = TestDb::new().await;
    refuse_settling_less(&db).await;
    let new = || opened(Uuid::now_v7());
    let mut late = begin_early(&db).await;
    append_in(late.connection(), &[new(), new(), new()]).await;
    let mut later = begin_early(&db).await;
    append_in(later.connection(), &[new(), new()]).await;
    append(&db.foldlog, &[new()]).await;
    fold_in_batches_of_one(&db, 1).await;
    late.commit().await;
    later.commit().await;
    append(&db.foldlog, &[new(), new()]).await;
    fold_in_batches_of_one(&db, 7).await;
}

/// A worker freezes C, and before it has the lane, another one settles a part of a transaction that C does not see. Fails when
/// the worker goes on with this C: it settles less than the lane has settled.
#[tokio::test]
async fn a_snapshot_older_than_the_begun_transaction_is_not_used() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
    db.catch_up("ledger").await;
    refuse_settling_less(&db).await;
    let mut late = begin_early(&db).await;
    let (first, second) = (opened(Uuid::now_v7()), opened(Uuid::now_v7()));
    append(&db.foldlog, std::slice::from_ref(&first)).await;
    append(&db.foldlog, std::slice::from_ref(&second)).await;
    // The statement that freezes C and takes the lane can be stopped between the two.
    db.run(
        "create or replace function log_snapshot() returns pg_snapshot language plpgsql stable as \
         $$ begin perform pg_advisory_xact_lock_shared(1); return pg_current_snapshot(); end $$",
    )
    .await;
    let claim = hold_claim(&db, "ledger", &first).await;
    let worker = lone_worker(&db, 1);
    let mut watch = db.connect().await;
    wait_until_blocked(&mut watch, WRITE).await;
    let mut gate = hold_gate(&db).await;
    claim.release().await;
    wait_until_blocked(&mut watch, "Locks the free lane").await;

    append_in(
        late.connection(),
        &[created(Uuid::now_v7(), "ada"), opened(Uuid::now_v7())],
    )
    .await;
    late.commit().await;
    // Another worker has finished the transaction that the quick pass began, and looked at the user, which is not an event of the
    // ledger.
    let settle = "update settled s set turn = turn + 1, txid = e.txid, position = e.position, snapshot = ( \
                      select concat(pg_snapshot_xmin(s.snapshot), ':', pg_snapshot_xmax(s.snapshot), ':', \
                          string_agg(running::text, ',' order by running)) \
                      from pg_snapshot_xip(s.snapshot) as running where running <> s.txid \
                  )::pg_snapshot \
                  from events e where e.type_id < 2000";
    let settled = raw_sql(settle).execute(gate.connection()).await;
    assert_eq!(settled.unwrap().rows_affected(), 1, "the arrangement");
    gate.commit().await;

    let caught_up = worker.await.unwrap().unwrap();
    assert_eq!((caught_up.applied, caught_up.done), (3, true));
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the claims and the settled state are written in two transactions: after a crash between them, or a change of the
/// lane, the lane states what is not true.
#[tokio::test]
async fn a_batch_settles_in_the_transaction_that_claims() {
    for batch in [1, 100] {
        let db = TestDb::new().await;
        db.run(
            "create table writers (of text, txid xid8 default pg_current_xact_id()); \
             create function note_writer() returns trigger language plpgsql as \
             $$ begin insert into writers (of) values (tg_table_name); return null; end $$; \
             create trigger noted after insert on locker for each row execute function note_writer(); \
             create trigger noted after update of snapshot on settled for each row execute function note_writer()",
        )
        .await;
        account(&db, 4).await;
        assert_eq!(
            worker(&db, "ledger", batch).await.unwrap().unwrap().applied,
            5
        );
        let apart = "select count(*) from writers c where c.of = 'locker' \
                     and not exists (select from writers s where s.of = 'settled' and s.txid = c.txid)";
        assert_eq!(db.count(apart).await, 0, "claims without a settled state");
    }
}

/// The row of a closed account is deleted, so no row shows that the events are claimed. Fails when a worker does not ask the locker
/// about them: each of its batches is lost to the claims.
#[tokio::test]
async fn claimed_events_without_a_row_do_not_stop_a_pass() {
    for batch in [1, 2, 100] {
        let db = TestDb::new().await;
        let closed = Uuid::now_v7();
        append(&db.foldlog, &[opened(closed)]).await;
        append(
            &db.foldlog,
            &[deposited(closed, 1), event(closed, AccountEvent::Closed {})],
        )
        .await;
        assert_eq!(db.catch_up("accounts").await.applied, 3);
        assert_eq!(version_in_view(&db, "accounts", closed).await, None);
        run(
            &mut db.connect().await,
            "delete from settled where lock_domain = 'accounts'",
        )
        .await;
        append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
        let caught_up = worker(&db, "accounts", batch).await.unwrap().unwrap();
        assert_eq!((caught_up.applied, caught_up.done), (1, true));
        assert_all_applied(&db, "accounts").await;
    }
}
