//! A log that logical replication copies to another cluster, which projects it there and then takes over.

use foldlog::db::Pool;
use foldlog::local::postgres::{ManagedPostgres, Settings};
use foldlog::view::Inline;
use foldlog::{Foldlog, migrations};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::db::{DOMAINS, run};
use crate::support::events::{append, deposited, opened};
use crate::support::poll::wait_until;
use crate::support::workers::assert_all_applied;

/// A cluster of its own that publishes its log.
struct Publisher {
    server: ManagedPostgres,
    options: PgConnectOptions,
    foldlog: Foldlog,
    _data: TempDir,
}

impl Publisher {
    /// Starts the cluster. Its transaction ids have this offset, as after a restore.
    async fn start(offset: i64) -> Self {
        let data = tempfile::tempdir_in("/var/tmp").unwrap();
        let settings = Settings::managed(data.path().join("cluster"))
            .unwrap()
            .parameter("fsync", "off")
            .parameter("wal_level", "logical");
        let server = ManagedPostgres::start(settings).await.unwrap();
        let options = server.connect_options();
        let foldlog = Foldlog::new(Pool::new(options.clone(), 4), DOMAINS, Inline::new()).unwrap();
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        migrations::up(
            &mut connection,
            foldlog.pool.schema(),
            &foldlog.views,
            foldlog.inline(),
        )
        .await
        .unwrap();
        run(
            &mut connection,
            &format!(
                "update log set txid_offset = {offset}; create publication log for table events"
            ),
        )
        .await;
        Self {
            server,
            options,
            foldlog,
            _data: data,
        }
    }

    /// Subscribes a database to the log.
    async fn subscribe(&self, db: &TestDb) {
        let url: String = self.server.url();
        let name = db.options.get_database().unwrap();
        db.run(&format!(
            "create subscription {name} connection '{url}' publication log"
        ))
        .await;
    }

    /// Ends the subscription: the database takes over.
    async fn end_subscription(&self, db: &TestDb) {
        let name = db.options.get_database().unwrap();
        db.run(&format!("drop subscription {name}")).await;
    }

    async fn stop(self) {
        self.foldlog.pool.close();
        drop(self.options);
        assert!(self.server.stop_if_unused().await.unwrap());
    }
}

async fn wait_for_events(db: &TestDb, count: i64) {
    wait_until(&format!("{count} events are replicated"), async || {
        db.count("select count(*) from events").await == count
    })
    .await;
}

/// Fails when a replica keeps the publisher's transaction ids, which its own snapshots see or do not see at random: events behind
/// a settled snapshot are never folded. Fails, too, when the replica assigns positions again after it has taken over.
#[tokio::test]
async fn a_logical_replica_projects_every_event_and_takes_over_without_repeating_positions() {
    for offset in [0, 1_000_000_000] {
        let publisher = Publisher::start(offset).await;
        let replica = TestDb::new().await;
        let account = Uuid::now_v7();
        append(
            &publisher.foldlog,
            &[opened(account), deposited(account, 1)],
        )
        .await;
        publisher.subscribe(&replica).await;
        for events in (2..=6).step_by(2) {
            wait_for_events(&replica, events).await;
            replica.catch_up("ledger").await;
            replica.catch_up("accounts").await;
            assert_all_applied(&replica, "ledger").await;
            append(&publisher.foldlog, &[deposited(account, 1)]).await;
            append(&publisher.foldlog, &[opened(Uuid::now_v7())]).await;
        }
        wait_for_events(&replica, 8).await;
        publisher.end_subscription(&replica).await;

        append(
            &replica.foldlog,
            &[deposited(account, 1), opened(Uuid::now_v7())],
        )
        .await;
        assert_eq!(
            replica
                .count("select count(*) - count(distinct position) from events")
                .await,
            0
        );
        replica.catch_up("ledger").await;
        replica.catch_up("accounts").await;
        assert_all_applied(&replica, "ledger").await;
        assert_all_applied(&replica, "accounts").await;
        publisher.stop().await;
    }
}

/// Fails when a settled snapshot of another cluster counts on a replica, or when rows that are loaded as replication would load them keep
/// their transaction ids.
#[tokio::test]
async fn what_another_cluster_has_settled_does_not_count_on_a_replica() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account)]).await;
    db.run(
        "set session_replication_role = replica; \
         insert into settled (lock_domain, snapshot) values ('ledger', '900000000000:900000000000:'); \
         insert into events (position, id, aggregate_id, version, type_id, payload, txid) overriding system value \
         select 1000, gen_random_uuid(), aggregate_id, 2, 2001, '{\"cents\": 1}', '900000000000' from events",
    )
    .await;
    append(&db.foldlog, &[deposited(account, 1)]).await;
    assert_eq!(db.count("select max(position) from events").await, 1001);
    assert_eq!(db.count("select txid_offset from log").await, 0);
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}
