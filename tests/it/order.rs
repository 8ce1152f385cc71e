//! Events are folded in the order of their versions and none is skipped, in whatever order transactions commit.

use uuid::Uuid;

use crate::support::TestDb;
use crate::support::accounts::AccountEvent;
use crate::support::events::{append, deposited, event, opened};
use crate::support::locks::{Held, gate_commits, hold_claim, hold_gate, wait_until_blocked};
use crate::support::workers::{
    CLAIM, account, append_in, assert_all_applied, version_in_view, worker,
};
use foldlog::event::Version;

/// Opens a transaction that already has its id and appends later, as a transaction of several statements does.
async fn begin_early(db: &TestDb) -> Held {
    Held::open(db, "select pg_current_xact_id()").await
}

/// Fails when the settled mark is a number (the end of C, or a position) instead of a snapshot that lists the running
/// transactions.
#[tokio::test]
async fn an_event_of_a_transaction_that_commits_late_is_not_skipped() {
    let db = TestDb::new().await;
    let mut slow = begin_early(&db).await;
    append_in(slow.connection(), &[opened(Uuid::now_v7())]).await;
    account(&db, 3).await;
    let mut latest = begin_early(&db).await;
    append_in(latest.connection(), &[opened(Uuid::now_v7())]).await;

    let caught_up = db.catch_up("ledger").await;
    assert_eq!((caught_up.applied, caught_up.done), (4, true));

    slow.commit().await;
    assert_eq!(db.catch_up("ledger").await.applied, 1, "the slow event");
    latest.commit().await;
    assert_eq!(db.catch_up("ledger").await.applied, 1, "the latest event");
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a pass settles a later snapshot than the one it has read, or reads events that its frozen snapshot does not
/// see.
#[tokio::test]
async fn a_pass_reads_exactly_what_its_frozen_snapshot_sees() {
    let db = TestDb::new().await;
    let new = || opened(Uuid::now_v7());
    let mut behind = begin_early(&db).await;
    append_in(behind.connection(), &[new()]).await;
    let (first, second, third) = (new(), new(), new());
    append(&db.foldlog, &[first]).await;
    append(&db.foldlog, std::slice::from_ref(&second)).await;
    let mut ahead = begin_early(&db).await;
    append_in(ahead.connection(), &[new()]).await;
    append(&db.foldlog, &[third]).await;

    // When both commit, the pass is already after `behind` and still before `ahead`.
    let claim = hold_claim(&db, "ledger", &second).await;
    let pass = worker(&db, "ledger", 1);
    wait_until_blocked(&mut db.connect().await, CLAIM).await;
    behind.commit().await;
    ahead.commit().await;
    claim.release().await;

    assert_eq!(pass.await.unwrap().unwrap().applied, 3, "what C sees");
    assert_eq!(
        db.catch_up("ledger").await.applied,
        2,
        "what C does not see"
    );
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the fold does not check the order of versions, and when a pass settles although it released a claim.
#[tokio::test]
async fn a_version_with_an_older_txid_than_its_predecessor_waits_for_it() {
    for (folded_before, batch) in [(false, 1), (false, 100), (true, 1), (true, 100)] {
        let db = TestDb::new().await;
        let user = Uuid::now_v7();
        if folded_before {
            append(&db.foldlog, &[opened(user)]).await;
            db.catch_up("ledger").await;
        }
        let mut older = begin_early(&db).await;
        let first = if folded_before {
            deposited(user, 1)
        } else {
            opened(user)
        };
        append(&db.foldlog, &[first]).await;
        append_in(older.connection(), &[deposited(user, 2)]).await;
        older.commit().await;
        let inverted = "select count(*) from events a join events b \
                        on a.aggregate_id = b.aggregate_id and a.version = b.version + 1 and a.txid < b.txid";
        assert_eq!(db.count(inverted).await, 1, "the arrangement");

        let caught_up = worker(&db, "ledger", batch).await.unwrap().unwrap();
        assert_eq!((caught_up.applied, caught_up.done), (2, true));
        assert_all_applied(&db, "ledger").await;
    }
}

/// Fails when the fold does not look up the predecessor's claim in `locker` if the view row does not exist: then either the
/// event after a deletion waits forever, or an event is folded before its predecessor.
#[tokio::test]
async fn after_a_deletion_the_predecessor_claim_is_read_from_the_locker() {
    for batch in [1, 100] {
        let db = TestDb::new().await;
        let user = Uuid::now_v7();
        append(
            &db.foldlog,
            &[opened(user), event(user, AccountEvent::Closed {})],
        )
        .await;
        assert_eq!(db.catch_up("accounts").await.applied, 2);
        assert_eq!(version_in_view(&db, "accounts", user).await, None);

        // Inserted without the rules, which reject events after a deletion. Version 4 has an older transaction id than
        // version 3.
        let (mut older, mut newer) = (begin_early(&db).await, begin_early(&db).await);
        append_in(newer.connection(), &[opened(user)]).await;
        newer.commit().await;
        append_in(older.connection(), &[deposited(user, 5)]).await;
        older.commit().await;

        let caught_up = worker(&db, "accounts", batch).await.unwrap().unwrap();
        assert_eq!((caught_up.applied, caught_up.done), (2, true));
        assert_eq!(
            version_in_view(&db, "accounts", user).await,
            Some(Version(4))
        );
        assert_all_applied(&db, "accounts").await;
    }
}

/// Fails when a worker loads the view rows before it claims: then the second worker has the row from before the first
/// worker's commit, and overwrites what the first worker folded.
#[tokio::test]
async fn the_view_row_is_read_after_the_claims() {
    let db = TestDb::new().await;
    let (user, _) = account(&db, 2).await;
    gate_commits(&db, "ledger").await;
    let gate = hold_gate(&db).await;
    let mut watch = db.connect().await;

    let first = worker(&db, "ledger", 2);
    wait_until_blocked(&mut watch, "commit").await;
    let second = worker(&db, "ledger", 100);
    wait_until_blocked(&mut watch, CLAIM).await;
    gate.release().await;

    let applied = [first.await, second.await].map(|done| done.unwrap().unwrap().applied);
    assert_eq!(applied.iter().sum::<u64>(), 3);
    assert_eq!(version_in_view(&db, "ledger", user).await, Some(Version(3)));
    assert_all_applied(&db, "ledger").await;
}
