//! The end of the numbers.

use foldlog::command::{self, AppendError};
use foldlog::event::{ExpectedVersion, UntypedEvent, Version};
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::events::{append, deposited, opened};
use crate::support::workers::{insert, version_in_view};

/// Fails when an aggregate that has reached the highest version breaks appends in another way than by saying so, or when its last
/// versions are lost.
#[tokio::test]
async fn an_aggregate_at_the_highest_version_takes_no_more_events() {
    for inline in [&[][..], &["ledger"]] {
        let db = TestDb::with_inline(inline).await;
        let account = Uuid::now_v7();
        let last = opened(account);
        // Two thousand million events come before it, which no test appends.
        insert(&mut db.connect().await, &last, i32::MAX - 1, None).await;
        db.run(
            "insert into ledger (id, version, deposits, last_version) select aggregate_id, version, 0, version from events; \
             insert into accounts (id, version, owner, balance_cents) select aggregate_id, version, 'ada', 0 from events; \
             insert into locker (event_id, aggregate_id, lock_domain) \
             select id, aggregate_id, name from events, unnest(array['ledger', 'accounts']) as name",
        )
        .await;
        let full = async |events: &[UntypedEvent]| {
            let result = command::execute(&db.foldlog, events, ExpectedVersion::Any, None).await;
            assert!(
                matches!(&result, Err(AppendError::Full(id)) if id.0 == account),
                "{result:?}"
            );
        };
        full(&[deposited(account, 1), deposited(account, 2)]).await;
        append(&db.foldlog, &[deposited(account, 1)]).await;
        for view in ["ledger", "accounts"] {
            db.catch_up(view).await;
            assert_eq!(
                version_in_view(&db, view, account).await,
                Some(Version(i32::MAX))
            );
        }
        full(&[deposited(account, 1)]).await;
        append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
        for view in ["ledger", "accounts"] {
            assert!(db.catch_up(view).await.done);
        }
    }
}
