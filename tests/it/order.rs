//! Events are folded in the order of their versions and none is skipped, in whatever order transactions commit.

use std::collections::BTreeSet;

use foldlog::Foldlog;
use foldlog::db;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::accounts::AccountEvent;
use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, event, opened};
use crate::support::locks::{Held, hold_claim, wait_until_blocked};
use crate::support::workers::{
    WRITE, account, append_in, assert_all_applied, version_in_view, worker,
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

    // When both commit, the batch is read and not yet written.
    let claim = hold_claim(&db, "ledger", &second).await;
    let pass = worker(&db, "ledger", 100);
    wait_until_blocked(&mut db.connect().await, WRITE).await;
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

/// Fails when the fold does not check the order of versions, or when a batch that ends before the predecessor settles the later
/// version without folding it.
#[tokio::test]
async fn a_version_with_an_older_txid_than_its_predecessor_pulls_it_in() {
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

/// Fails when a batch claims events that another transaction has claimed since the batch read the view row, and so overwrites
/// what that transaction folded.
#[tokio::test]
async fn a_row_that_changed_after_the_read_is_not_overwritten() {
    let db = TestDb::new().await;
    let (account, _) = account(&db, 1).await;
    assert_eq!(db.catch_up("ledger").await.applied, 2);
    append(&db.foldlog, &[deposited(account, 1)]).await;

    // The worker has read and waits for its lane; meanwhile an inline append, which needs no lane, folds both deposits.
    let lane = Held::open(
        &db,
        "select from settled where lock_domain = 'ledger' for update",
    )
    .await;
    let pass = worker(&db, "ledger", 100);
    wait_until_blocked(&mut db.connect().await, WRITE).await;
    let inline = BTreeSet::from(["ledger".to_owned()]);
    let inline = Foldlog::new(db::Pool::new(db.options.clone(), 2), DOMAINS, inline).unwrap();
    append(&inline, &[deposited(account, 1)]).await;
    lane.release().await;

    let caught_up = pass.await.unwrap().unwrap();
    assert_eq!((caught_up.applied, caught_up.done), (0, true));
    assert_eq!(
        version_in_view(&db, "ledger", account).await,
        Some(Version(4))
    );
    assert_all_applied(&db, "ledger").await;
}
