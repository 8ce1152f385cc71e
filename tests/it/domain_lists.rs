//! Hosts with different lists of domains on one log.

use foldlog::db::Pool;
use foldlog::domain::Domains;
use foldlog::domains::users::Users;
use foldlog::projection::{self, Budget};
use foldlog::view::Inline;
use foldlog::{Foldlog, domains};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::accounts::Accounts;
use crate::support::events::{append, deposited, opened};
use crate::support::{TestDb, created, renamed};

/// Fails when a host settles, parks or claims events of a domain that another host serves.
#[tokio::test]
async fn hosts_with_different_domains_share_a_log() {
    let db = TestDb::new().await;
    let host = |list: Domains| {
        Foldlog::new(Pool::new(db.options.clone(), 4), list, Inline::new()).unwrap()
    };
    let hosts = [
        host(domains![Users]),
        host(domains![Accounts]),
        db.foldlog.clone(),
    ];
    let mut tasks = JoinSet::new();
    for foldlog in hosts {
        tasks.spawn(async move {
            for _ in 0..20 {
                let id = Uuid::now_v7();
                if foldlog.named("users").is_some() {
                    append(&foldlog, &[created(id, "ada"), renamed(id, "eve")]).await;
                }
                if foldlog.named("accounts").is_some() {
                    let id = Uuid::now_v7();
                    append(&foldlog, &[opened(id)]).await;
                    append(&foldlog, &[deposited(id, 1)]).await;
                }
                for view in foldlog.views.iter() {
                    projection::catch_up(&foldlog.pool, view, 3, &Budget::default())
                        .await
                        .unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    for view in ["users", "accounts", "ledger"] {
        assert!(db.catch_up(view).await.done, "{view}");
    }
    assert_eq!(
        db.count("select count(*) from locker").await,
        2 * 2 * 20 + 2 * 2 * 2 * 20,
        "two hosts append users; two append accounts, which two projections fold"
    );
    db.assert_views_equal_a_fold_from_scratch().await;
}
