//! Concurrent appends that are written together.
//!
//! A test's runtime has one thread, so it polls each append until it waits for a group before it runs the task that sends the group: all
//! of them go out together.

use std::future::Future;
use std::pin::Pin;

use foldlog::command::{self, AppendError, Appended};
use foldlog::db::Pool;
use foldlog::domain::RejectedError;
use foldlog::event::{ExpectedVersion, UntypedEvent, Version};
use foldlog::{Foldlog, FoldlogBuilder};
use futures_util::future::join_all;
use futures_util::poll;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::chaos::Chaos;
use crate::support::db::DOMAINS;
use crate::support::events::{append, deposited, opened};
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::poll::{POLL_TIMEOUT, wait_until};
use crate::support::{TestDb, created, renamed};

pub(super) type Answer = Result<Appended, AppendError>;

/// Refuses events that say so in their metadata, as Postgres refuses a value that does not fit.
const REFUSE: &str = "create function refuse() returns trigger language plpgsql as \
    $$ begin if new.metadata ? 'refused' then raise exception using errcode = '22003'; end if; return new; end $$; \
    create trigger refuse before insert on events for each row execute function refuse()";

/// A host whose connections are all open, so that an append is polled up to its statement at once.
async fn host(chaos: &Chaos, connections: usize) -> Foldlog {
    let pool = Pool::new(chaos.options(), connections);
    let foldlog = Foldlog::builder().domains(DOMAINS).build(pool).unwrap();
    let open = (0..connections).map(|_| foldlog.pool.acquire());
    drop(join_all(open).await);
    foldlog
}

pub(super) fn start<'a>(
    foldlog: &'a Foldlog,
    event: &UntypedEvent,
    expected: ExpectedVersion,
) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
    let event = event.clone();
    Box::pin(async move { command::execute(foldlog, &[event], expected, None).await })
}

pub(super) async fn append_all(foldlog: &Foldlog, events: &[UntypedEvent]) -> Vec<Answer> {
    join_all(
        events
            .iter()
            .map(|event| start(foldlog, event, ExpectedVersion::Any)),
    )
    .await
}

pub(super) fn version(answer: &Answer) -> i32 {
    let appended = answer.as_ref().unwrap();
    assert!(!appended.duplicate);
    appended.events[0].version.0
}

pub(super) fn users(count: usize) -> Vec<UntypedEvent> {
    let user = |n| created(Uuid::now_v7(), &format!("user {n}"));
    (0..count).map(user).collect()
}

// Fails when concurrent appends are not written together, or when an append to an idle process waits for others.
#[tokio::test]
async fn concurrent_appends_share_a_statement_and_lonely_ones_do_not_wait() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos, 4).await;
    let before = chaos.statements();
    let answers = append_all(&foldlog, &users(64)).await;
    assert!(answers.iter().all(|answer| version(answer) == 1));
    assert_eq!(chaos.statements() - before, 1);
    let before = chaos.statements();
    for event in users(3) {
        append(&foldlog, &[event]).await;
    }
    assert_eq!(chaos.statements() - before, 3);
    assert_eq!(db.count("select count(*) from events").await, 67);
}

// Fails when a host that serves one request at a time groups appends.
#[tokio::test]
async fn without_groups_each_append_is_a_statement() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let pool = Pool::new(chaos.options(), 4);
    let builder: FoldlogBuilder = Foldlog::builder().domains(DOMAINS);
    let foldlog = builder.group_appends(false).build(pool).unwrap();
    append_all(&foldlog, &users(4)).await;
    let before = chaos.statements();
    append_all(&foldlog, &users(8)).await;
    assert_eq!(chaos.statements() - before, 8);
}

// Fails when an append in a group gets another answer than alone, or when the failure of one affects the others.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of requests and answers")]
async fn each_append_of_a_group_gets_the_answer_that_it_gets_alone() {
    let db = TestDb::new().await;
    db.run(REFUSE).await;
    for grouped in [true, false] {
        let pool = Pool::new(db.options.clone(), 4);
        let builder = Foldlog::builder().domains(DOMAINS);
        let foldlog = builder.group_appends(grouped).build(pool).unwrap();
        let ids: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
        let first = created(ids[0], "ada");
        append(&foldlog, &[first.clone(), created(ids[1], "bob")]).await;
        append(&foldlog, &[renamed(ids[1], "b")]).await;
        let mut reused = created(ids[0], "eve");
        reused.id = first.id;
        let mut too_large = created(ids[3], "eve");
        too_large.metadata.insert("refused", true).unwrap();
        let exact = |version| ExpectedVersion::Exact(Version(version));
        let (any, none) = (ExpectedVersion::Any, ExpectedVersion::NoStream);
        let plugs = users(2);
        let requests = [
            (&plugs[0], any),
            (&plugs[1], any),
            (&created(ids[4], "new"), none),
            (&renamed(ids[1], "right"), exact(2)),
            (&first, any),
            (&too_large, any),
            (&renamed(ids[5], "unknown"), any),
            (&opened(ids[6]), any),
            (&created(ids[7], "wrong"), exact(1)),
        ];
        let requests = requests.map(|(event, expected)| start(&foldlog, event, expected));
        let answers = join_all(requests).await;
        assert_eq!(version(&answers[2]), 1);
        assert_eq!(version(&answers[3]), 3);
        assert!(answers[4].as_ref().unwrap().duplicate);
        assert!(
            matches!(&answers[5], Err(AppendError::Db(foldlog::db::DbError::Data { code, .. })) if code == "22003"),
            "{:?}",
            answers[5]
        );
        assert!(matches!(
            &answers[6],
            Err(AppendError::Rejected {
                error: RejectedError::Rule { .. },
                ..
            })
        ));
        assert_eq!(version(&answers[7]), 1);
        assert!(matches!(
            &answers[8],
            Err(AppendError::VersionMismatch {
                actual: Version(0),
                ..
            })
        ));
        let conflicts = [
            start(&foldlog, &plugs[0], any),
            start(&foldlog, &plugs[1], any),
            start(&foldlog, &reused, any),
            start(&foldlog, &created(ids[0], "again"), any),
            start(&foldlog, &renamed(ids[1], "stale"), exact(2)),
            start(&foldlog, &created(ids[1], "again"), none),
        ];
        let answers = join_all(conflicts).await;
        assert!(
            answers[..2]
                .iter()
                .all(|answer| answer.as_ref().unwrap().duplicate)
        );
        assert!(
            matches!(&answers[2], Err(AppendError::IdReused { .. })),
            "{:?}",
            answers[2]
        );
        assert!(matches!(
            &answers[3],
            Err(AppendError::Rejected {
                error: RejectedError::Rule { .. },
                ..
            })
        ));
        for answer in &answers[4..] {
            assert!(
                matches!(
                    answer,
                    Err(AppendError::VersionMismatch {
                        actual: Version(3),
                        ..
                    })
                ),
                "{answer:?}"
            );
        }
    }
}

// Fails when two events of one aggregate, or one event twice, get into a group: the statement would store none of them.
#[tokio::test]
async fn a_group_has_an_aggregate_and_an_event_id_once() {
    let db = TestDb::new().await;
    let account = Uuid::now_v7();
    append(&db.foldlog, &[opened(account)]).await;
    let deposits: Vec<_> = (0..20).map(|cents| deposited(account, cents)).collect();
    let answers = append_all(&db.foldlog, &deposits).await;
    let mut versions: Vec<i32> = answers.iter().map(version).collect();
    // A statement that takes longer than the queue waits for it does not keep the order.
    versions.sort_unstable();
    assert_eq!(versions, (2..22).collect::<Vec<_>>());
    let event = created(Uuid::now_v7(), "ada");
    let mut same: Vec<_> = users(2);
    same.extend(std::iter::repeat_n(event, 5));
    let answers = append_all(&db.foldlog, &same).await;
    let stored = |answer: &&Answer| !answer.as_ref().unwrap().duplicate;
    assert_eq!(answers.iter().filter(stored).count(), 2 + 1);
}

// Fails when an aggregate that another transaction has locked holds up appends to other aggregates, alone or in a group.
#[tokio::test]
async fn a_locked_aggregate_does_not_hold_up_the_others() {
    let db = TestDb::new().await;
    let pool = Pool::new(db.options.clone(), 20);
    let foldlog = Foldlog::builder().domains(DOMAINS).build(pool).unwrap();
    let locked: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for account in &locked {
        append(&foldlog, &[opened(*account)]).await;
    }
    let rows: Vec<String> = locked
        .iter()
        .map(|id| format!("(gen_random_uuid(), '{id}', 2, 2001, '{{\"cents\": 1}}')"))
        .collect();
    let insert = format!(
        "insert into events (id, aggregate_id, version, type_id, payload) values {}",
        rows.join(", ")
    );
    let held = Held::open(&db, &insert).await;
    // They are sent in a group, and alone when that has waited too long.
    let waiting: Vec<_> = locked
        .iter()
        .map(|account| {
            let (foldlog, event) = (foldlog.clone(), deposited(*account, 7));
            tokio::spawn(async move { append(&foldlog, &[event]).await })
        })
        .collect();
    wait_until_blocked(&mut db.connect().await, "insert into \"public\".events").await;
    for _ in 0..3 {
        let answers = append_all(&foldlog, &users(10)).await;
        assert!(answers.iter().all(|answer| version(answer) == 1));
    }
    assert!(waiting.iter().all(|task| !task.is_finished()));
    held.commit().await;
    for append in waiting {
        assert_eq!(append.await.unwrap().events[0].version, Version(3));
    }
}

// Fails when the others of a group, or the appends behind it, wait for a client that has disconnected: while its append was
// waiting, or while it was in flight.
#[tokio::test]
async fn a_client_that_disconnects_does_not_affect_the_others() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos, 4).await;
    let events = users(12);
    let mut appends: Vec<_> = events
        .iter()
        .map(|event| start(&foldlog, event, ExpectedVersion::Any))
        .collect();
    for append in &mut appends {
        assert!(poll!(append).is_pending());
    }
    // None is in flight yet.
    for gone in [8, 5, 0] {
        drop(appends.remove(gone));
    }
    let answers = join_all(appends).await;
    assert!(answers.iter().all(|answer| version(answer) == 1));
    // Those that waited are not stored.
    assert_eq!(db.count("select count(*) from events").await, 9);
}

// Fails when the appends of a process wait for one whose caller has started it and does not poll it any more.
#[tokio::test]
async fn an_append_that_is_not_polled_does_not_stop_the_others() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos, 4).await;
    let events = users(2);
    let mut started = start(&foldlog, &events[0], ExpectedVersion::Any);
    assert!(poll!(&mut started).is_pending());
    // It is sent meanwhile.
    wait_until("it is stored", async || {
        db.count("select count(*) from events").await == 1
    })
    .await;
    let other = start(&foldlog, &events[1], ExpectedVersion::Any);
    let other = timeout(POLL_TIMEOUT, other).await;
    assert_eq!(version(&other.unwrap()), 1);
    assert_eq!(version(&started.await), 1);
}

// Fails when appends of a group whose connection breaks are lost, stored twice or answered with an error.
#[tokio::test]
async fn a_group_whose_connection_is_lost_is_sent_again() {
    let db = TestDb::new().await;
    let mut chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos, 4).await;
    let events = users(20);
    let held = Held::open(&db, "lock table events in share row exclusive mode").await;
    // Tasks: on a busy machine the group has waited too long before it is seen, and they go on alone.
    let appends = events.into_iter().map(|event| {
        let foldlog = foldlog.clone();
        tokio::spawn(async move { start(&foldlog, &event, ExpectedVersion::Any).await })
    });
    let appends: Vec<_> = appends.collect();
    wait_until_blocked(&mut db.connect().await, "insert into \"public\".events").await;
    chaos.cut().await;
    held.release().await;
    for append in appends {
        append.await.unwrap().unwrap();
    }
    assert_eq!(db.count("select count(*) from events").await, 20);
}

// Fails when appends that wait are forgotten while the process shuts down: each of them gets an answer.
#[tokio::test]
async fn appends_that_wait_at_a_shutdown_are_answered() {
    let db = TestDb::new().await;
    let chaos = Chaos::start(&db.options).await;
    let foldlog = host(&chaos, 2).await;
    let events = users(20);
    let mut appends: Vec<_> = events
        .iter()
        .map(|event| start(&foldlog, event, ExpectedVersion::Any))
        .collect();
    for append in &mut appends {
        assert!(poll!(append).is_pending());
    }
    foldlog.pool.close();
    let answers = join_all(appends).await;
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    let unavailable =
        |answer: &&Answer| matches!(answer, Err(AppendError::Db(error)) if error.is_unavailable());
    assert_eq!(answers.iter().filter(unavailable).count(), 20 - stored);
    assert_eq!(
        db.count("select count(*) from events").await,
        i64::try_from(stored).unwrap()
    );
}
