//! A reprojection that is under way while the log moves to another cluster.

use foldlog::db::Pool;
use foldlog::event::Version;
use foldlog::projection::Budget;
use foldlog::projection::reproject::{ReprojectOptions, reproject};
use foldlog::projection::verify::verify;

use super::{reproject_to_the_end, some_accounts};
use crate::restored::{age, host};
use crate::support::TestDb;
use crate::support::events::{append, deposited};
use crate::support::round_trips::RoundTrips;
use crate::support::workers::{assert_all_applied, version_in_view};

/// Fails when the snapshot with which a generation is filled is not healed with the log: events that are appended after the restore would
/// look as if the snapshot saw them, and no catch-up would fold them. The reprojection is interrupted at several steps.
#[tokio::test]
async fn a_reprojection_continues_after_a_restore() {
    for requests in (2..32).step_by(3) {
        let db = TestDb::new().await;
        let accounts = some_accounts(&db, 12).await;
        db.catch_up("ledger").await;
        let view = db.foldlog.view("ledger").unwrap();
        let budget = Budget::default();
        let round_trips = RoundTrips::start(&db.options).await;
        let pool = Pool::new(round_trips.options(), 4);
        let run = reproject(&pool, view, 10, ReprojectOptions::default(), &budget);
        drop(round_trips.kill_after(requests, run).await);
        append(&db.foldlog, &[deposited(accounts[1], 1)]).await;
        age(&db, 1_000_000).await;
        // As another cluster, in which no session is open.
        let restored = host(&db.options);
        append(&restored, &[deposited(accounts[1], 1)]).await;
        reproject_to_the_end(&restored, "ledger").await;
        append(&restored, &[deposited(accounts[1], 1)]).await;
        let ledger = restored.view("ledger").unwrap();
        foldlog::projection::catch_up(&restored.pool, ledger, 10, &budget)
            .await
            .unwrap();
        let version = version_in_view(&db, "ledger", accounts[1]).await;
        assert_eq!(version, Some(Version(5)), "after {requests} requests");
        assert_all_applied(&db, "ledger").await;
        let clean = verify(&restored.pool, ledger, false, &budget)
            .await
            .unwrap();
        assert_eq!((clean.differ, clean.orphan_claims), (0, 0));
    }
}
