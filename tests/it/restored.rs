//! A log that moved to another cluster, whose transaction counter is behind the ids it brings.

use foldlog::Foldlog;
use foldlog::local::postgres::{ManagedPostgres, Settings};
use foldlog::view::Inline;
use foldlog::{migrations, projection};
use futures_util::StreamExt;
use futures_util::future::join_all;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::app::App;
use crate::support::db::{DOMAINS, run};
use crate::support::events::{append, assert_equals_fold, deposited, opened};
use crate::support::json;
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::workers::{account, assert_all_applied};

/// Makes the log look as if it came from a cluster whose counter was so much higher.
pub async fn age(db: &TestDb, by: i64) {
    let shifted = |end: &str| format!("(pg_snapshot_{end}(snapshot)::text::bigint + {by})::text");
    let sql = format!(
        "begin; alter table events disable trigger events_immutable; \
         update events set txid = (txid::text::bigint + {by})::text::xid8; \
         alter table events enable trigger events_immutable; \
         update settled set snapshot = concat({}, ':', {}, ':', \
           (select string_agg((running::text::bigint + {by})::text, ',' order by running) \
            from pg_snapshot_xip(snapshot) as running))::pg_snapshot; \
         commit",
        shifted("xmin"),
        shifted("xmax"),
    );
    db.run(&sql).await;
}

/// A host that connects for the first time.
pub fn host(options: &PgConnectOptions) -> Foldlog {
    Foldlog::new(
        foldlog::db::Pool::new(options.clone(), 10),
        DOMAINS,
        Inline::new(),
    )
    .unwrap()
}

async fn catch_up(foldlog: &Foldlog, projection: &str) -> projection::CatchUp {
    let view = foldlog.view(projection).unwrap();
    projection::catch_up(&foldlog.pool, view, 2, &projection::Budget::default())
        .await
        .unwrap()
}

const OFFSET: &str = "select txid_offset from log";
/// Counts pairs in which log order disagrees with positions; without slow transactions there are none.
const IN_ORDER: &str =
    "select count(*) from events a join events b on a.position < b.position and a.txid > b.txid";

/// Fails when the offset is not raised before the first append, or when stored and new ids are not compared in the same
/// terms.
#[tokio::test]
async fn appends_and_catch_up_continue_on_a_restored_log() {
    let db = TestDb::new().await;
    let (folded, _) = account(&db, 2).await;
    assert_eq!(db.catch_up("ledger").await.applied, 3);
    let (waiting, _) = account(&db, 1).await;
    age(&db, 1_000_000).await;

    let foldlog = host(&db.options);
    drop(foldlog.pool.acquire().await.unwrap());
    assert!(
        db.count(OFFSET).await > 0,
        "noticed on the first connection"
    );
    append(&foldlog, &[deposited(folded, 1), deposited(waiting, 1)]).await;
    assert_eq!(
        db.count(IN_ORDER).await,
        0,
        "new events sort after old ones"
    );

    let caught_up = catch_up(&foldlog, "ledger").await;
    assert_eq!((caught_up.applied, caught_up.done), (4, true));
    append(&foldlog, &[deposited(folded, 1)]).await;
    assert_eq!(catch_up(&foldlog, "ledger").await.applied, 1);
    catch_up(&foldlog, "accounts").await;
    assert_all_applied(&db, "ledger").await;
    assert_all_applied(&db, "accounts").await;
}

/// Fails when only events are looked at: then what is appended lies below the settled snapshot's end, and is hidden.
#[tokio::test]
async fn a_settled_snapshot_ahead_of_the_transaction_counter_skips_no_event() {
    let db = TestDb::new().await;
    let (account, _) = account(&db, 1).await;
    db.catch_up("ledger").await;
    db.run(
        "update settled set snapshot = concat(ahead, ':', ahead, ':')::pg_snapshot \
         from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 500000 as ahead) as later",
    )
    .await;

    let foldlog = host(&db.options);
    append(&foldlog, &[deposited(account, 1)]).await;
    assert_eq!(catch_up(&foldlog, "ledger").await.applied, 1);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when only new connections look: a pass of a worker that was connected before would settle over what it cannot
/// see.
#[tokio::test]
async fn a_pass_detects_that_the_log_was_restored_during_the_pass() {
    let db = TestDb::new().await;
    account(&db, 1).await;
    age(&db, 1_000_000).await;
    let caught_up = db.catch_up("ledger").await;
    assert_eq!((caught_up.applied, caught_up.done), (2, true));
    assert!(db.count(OFFSET).await > 0);
    assert_all_applied(&db, "ledger").await;
}

/// Fails when two that heal at once add up, or when a second move is not healed again.
#[tokio::test]
async fn a_restored_log_is_re_offset_once_per_move() {
    let db = TestDb::new().await;
    let (user, _) = account(&db, 1).await;
    let mut before = 0;
    for moves in 0..2 {
        age(&db, 1_000_000).await;
        let hosts: Vec<Foldlog> = (0..8).map(|_| host(&db.options)).collect();
        let mut first = JoinSet::new();
        for foldlog in hosts.clone() {
            first.spawn(async move { drop(foldlog.pool.acquire().await.unwrap()) });
        }
        first.join_all().await;
        let offset = db.count(OFFSET).await;
        assert!(
            (1_000_000 - 100_000..1_100_000).contains(&(offset - before)),
            "{offset} {before}"
        );
        before = offset;

        // A transaction older than the newest event is still open; an offset computed again would rise.
        let older = Held::open(&db, "select pg_current_xact_id()").await;
        append(&hosts[moves], &[deposited(user, 1)]).await;
        db.run("select heal_log()").await;
        assert_eq!(db.count(OFFSET).await, offset, "there is nothing to heal");
        older.release().await;
        catch_up(&hosts[moves], "ledger").await;
        assert_all_applied(&db, "ledger").await;
    }
    assert_eq!(db.count(IN_ORDER).await, 0);
}

/// Fails when the offset is raised without a lock that holds appends back: one would store an id of the old terms, below
/// what is settled.
#[tokio::test]
async fn an_append_waits_while_the_log_is_re_offset() {
    let db = TestDb::new().await;
    let (user, _) = account(&db, 1).await;
    db.catch_up("ledger").await;
    age(&db, 1_000_000).await;
    let healing = Held::open(&db, "select heal_log()").await;
    let foldlog = db.foldlog.clone();
    // On a connection that was made before.
    let appends = tokio::spawn(async move { append(&foldlog, &[deposited(user, 1)]).await });
    wait_until_blocked(&mut db.connect().await, "Appends one event").await;
    healing.commit().await;
    appends.await.unwrap();
    assert_eq!(db.count(IN_ORDER).await, 0);
    assert_eq!(db.catch_up("ledger").await.applied, 1);
    assert_all_applied(&db, "ledger").await;
}

/// Copies the rows of a table, as a restored dump has them.
async fn copy(from: &mut PgConnection, to: &mut PgConnection, table: &str) {
    let mut rows = Vec::new();
    {
        let mut out = from
            .copy_out_raw(&format!("copy {table} to stdout"))
            .await
            .unwrap();
        while let Some(bytes) = out.next().await {
            rows.extend_from_slice(&bytes.unwrap());
        }
    }
    let mut copy_in = to
        .copy_in_raw(&format!("copy {table} from stdin"))
        .await
        .unwrap();
    copy_in.send(rows).await.unwrap();
    copy_in.finish().await.unwrap();
}

/// A cluster of its own, with the log of a test.
pub struct NewCluster {
    server: ManagedPostgres,
    _place: TempDir,
}

impl NewCluster {
    /// How to connect to it.
    pub fn options(&self) -> PgConnectOptions {
        self.server.connect_options()
    }

    /// Stops it. No connection may be open.
    pub async fn stop(self) {
        assert!(self.server.stop_if_unused().await.unwrap());
    }
}

/// Starts a new cluster, whose transaction counter is low, and restores a dump of the tables there.
pub async fn dump_into_new_cluster(db: &TestDb) -> NewCluster {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let settings = Settings::managed(place.path().join("cluster"))
        .unwrap()
        .parameter("fsync", "off");
    let server = ManagedPostgres::start(settings).await.unwrap();
    let options = server.connect_options();
    let foldlog = host(&options);
    let mut there = PgConnection::connect_with(&options).await.unwrap();
    migrations::up(
        &mut there,
        foldlog.pool.schema(),
        &foldlog.views,
        foldlog.inline(),
    )
    .await
    .unwrap();
    run(&mut there, "delete from log").await;
    let mut here = db.connect().await;
    for table in ["log", "events", "locker", "settled", "parked", "ledger"] {
        copy(&mut here, &mut there, table).await;
    }
    run(
        &mut there,
        "select setval(pg_get_serial_sequence('events', 'position'), (select max(position) from events))",
    )
    .await;
    foldlog.pool.close();
    there.close().await.unwrap();
    NewCluster {
        server,
        _place: place,
    }
}

/// The same in a cluster that really is another one, new and with a low counter. Fails as the tests above do, and when
/// the arrangement of those is not what a restored dump looks like.
#[tokio::test]
async fn appends_and_catch_up_work_on_a_dump_restored_into_a_new_cluster() {
    let db = TestDb::new().await;
    let (folded, _) = account(&db, 2).await;
    db.catch_up("ledger").await;
    account(&db, 1).await;
    age(&db, 1_000_000).await;

    let cluster = dump_into_new_cluster(&db).await;
    let foldlog = host(&cluster.options());
    let mut there = PgConnection::connect_with(&cluster.options())
        .await
        .unwrap();
    let count = |sql: &'static str| sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql));
    let behind =
        count("select log_newest_txid() - pg_snapshot_xmax(pg_current_snapshot())::text::bigint");
    assert!(
        behind.fetch_one(&mut there).await.unwrap() > 0,
        "the arrangement"
    );

    append(&foldlog, &[deposited(folded, 1), opened(Uuid::now_v7())]).await;
    assert_eq!(count(IN_ORDER).fetch_one(&mut there).await.unwrap(), 0);
    let caught_up = catch_up(&foldlog, "ledger").await;
    assert_eq!((caught_up.applied, caught_up.done), (4, true));
    assert_equals_fold(&mut there, foldlog.view("ledger").unwrap()).await;
    foldlog.pool.close();
    there.close().await.unwrap();
    cluster.stop().await;
}

/// Replaces the tables of a database by those of another one, as `pg_restore --clean` does: no trigger fires.
async fn restore(from: &TestDb, to: &TestDb) {
    let (mut source, mut target) = (from.connect().await, to.connect().await);
    let tables = ["log", "events", "locker", "settled", "parked", "ledger"];
    run(&mut target, "begin").await;
    for table in tables {
        run(
            &mut target,
            &format!("alter table {table} disable trigger all; delete from {table}"),
        )
        .await;
        copy(&mut source, &mut target, table).await;
        run(&mut target, &format!("alter table {table} enable trigger all; \
             alter table events enable always trigger events_rewritten; alter table events enable replica trigger events_replica; \
             alter table settled enable replica trigger settled_replica")).await;
    }
    run(&mut target, "commit").await;
}

/// A log whose transaction ids are far above the counter, with a settled snapshot and one event that is not folded.
async fn restored_source() -> (TestDb, Uuid) {
    let source = TestDb::new().await;
    let (folded, _) = account(&source, 2).await;
    source.catch_up("ledger").await;
    append(&source.foldlog, &[deposited(folded, 1)]).await;
    age(&source, 1_000_000).await;
    // As in the cluster that assigned these ids.
    source
        .run("update log set written = pg_current_xact_id()")
        .await;
    (source, folded)
}

/// Fails when an append over a connection that was open before a restore stores a transaction id below the restored ones:
/// nothing would ever project its event.
#[tokio::test]
async fn an_append_over_an_old_connection_sorts_above_a_restored_log() {
    let (source, folded) = Box::pin(restored_source()).await;
    for inline in [&[][..], &["ledger"]] {
        let db = TestDb::with_inline(inline).await;
        append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
        Box::pin(restore(&source, &db)).await;
        append(&db.foldlog, &[deposited(folded, 1)]).await;
        append(&db.foldlog, &[deposited(folded, 1), opened(Uuid::now_v7())]).await;
        assert_eq!(db.count(IN_ORDER).await, 0);
        assert_eq!(
            db.count("select count(*) - count(distinct position) from events")
                .await,
            0
        );
        db.catch_up("ledger").await;
        assert_all_applied(&db, "ledger").await;
    }
}

/// Fails when appends that are written together over connections that were open before a restore store a transaction id
/// below the restored ones. The first two are sent alone, and the others wait for them and share a statement.
#[tokio::test]
async fn a_group_over_old_connections_sorts_above_a_restored_log() {
    let (source, folded) = restored_source().await;
    let db = TestDb::new().await;
    let open = (0..4).map(|_| db.foldlog.pool.acquire());
    drop(join_all(open).await);
    restore(&source, &db).await;
    let newest = db.count("select max(position) from events").await;
    let mut events: Vec<_> = (0..9).map(|_| opened(Uuid::now_v7())).collect();
    events.push(deposited(folded, 1));
    let appends = events
        .iter()
        .map(|event| append(&db.foldlog, std::slice::from_ref(event)));
    let answers = join_all(appends).await;
    assert!(answers.iter().all(|appended| !appended.duplicate));
    // Two groups at once may get their positions in another order than their transaction ids.
    let below = format!(
        "select count(*) from events a join events b \
         on a.position <= {newest} and b.position > {newest} and a.txid >= b.txid"
    );
    assert_eq!(db.count(&below).await, 0);
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when an insert by plain SQL, or by `copy`, stores a transaction id below those of a restored log.
#[tokio::test]
async fn an_insert_into_a_restored_log_is_refused_until_a_host_has_checked_it() {
    let (source, _) = restored_source().await;
    let db = TestDb::new().await;
    let mut old = db.connect().await;
    restore(&source, &db).await;
    let insert = "insert into events (id, aggregate_id, version, type_id, payload) \
                  values (gen_random_uuid(), gen_random_uuid(), 1, 2000, '{\"owner\":\"ada\"}')";
    let refused = sqlx::raw_sql(insert).execute(&mut old).await.unwrap_err();
    assert_eq!(
        refused.as_database_error().unwrap().code().as_deref(),
        Some("FL001")
    );
    let copied = async |connection: &mut PgConnection| {
        let mut copy = connection
            .copy_in_raw("copy events (id, aggregate_id, version, type_id, payload) from stdin")
            .await?;
        let row = format!(
            "{}\t{}\t1\t2000\t{{\"owner\":\"ada\"}}\n",
            Uuid::now_v7(),
            Uuid::now_v7()
        );
        copy.send(row.into_bytes()).await?;
        copy.finish().await
    };
    assert!(copied(&mut old).await.is_err());
    drop(host(&db.options).pool.acquire().await.unwrap());
    run(&mut old, insert).await;
    assert_eq!(copied(&mut old).await.unwrap(), 1);
    assert_eq!(db.count(IN_ORDER).await, 0);
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when the ids of an existing log are raised under open connections and an append stores a lower one.
#[tokio::test]
async fn an_append_over_an_old_connection_sorts_above_rewritten_ids() {
    let db = TestDb::new().await;
    let (account, _) = account(&db, 2).await;
    db.catch_up("ledger").await;
    age(&db, 1_000_000).await;
    append(&db.foldlog, &[deposited(account, 1)]).await;
    assert_eq!(db.count(IN_ORDER).await, 0);
    db.catch_up("ledger").await;
    // Only the settled snapshot.
    db.run(
        "update settled set snapshot = concat(ahead, ':', ahead, ':')::pg_snapshot \
         from (select pg_snapshot_xmax(log_snapshot())::text::bigint + 500000 as ahead) as later",
    )
    .await;
    append(&db.foldlog, &[deposited(account, 1)]).await;
    db.catch_up("ledger").await;
    assert_all_applied(&db, "ledger").await;
}

/// Fails when a log in which one impossible transaction id was stored, by an earlier build without the check, stops every host.
#[tokio::test]
async fn an_impossible_transaction_id_does_not_stop_hosts() {
    let db = TestDb::new().await;
    let (account, _) = account(&db, 1).await;
    db.run(
        "alter table events drop constraint events_txid_check; \
         insert into events (id, aggregate_id, version, type_id, payload, txid) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 2000, '{}', '18446744073709551615')",
    )
    .await;
    let foldlog = host(&db.options);
    append(&foldlog, &[deposited(account, 1)]).await;
    assert_eq!(catch_up(&foldlog, "ledger").await.applied, 3);
}

/// Fails when an append is said to meet a bug after a person has deleted the row of `log`.
#[tokio::test]
async fn an_append_without_the_row_of_the_log_is_the_fault_of_the_installation() {
    let db = TestDb::new().await;
    db.run("delete from log").await;
    let app = App::with_db(db).await;
    let answer = app
        .append("/users", &json::created(Uuid::now_v7(), "ada"))
        .await;
    assert_eq!(answer.status, 503, "{answer:?}");
}
