//! Many readers while transactions commit in another order than they began.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldlog::Foldlog;
use foldlog::db::Session;
use foldlog::domains::users::Users;
use foldlog::event::{EventId, UntypedEvent};
use foldlog::query::FeedCursor;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::{JoinHandle, yield_now};
use uuid::Uuid;

use super::log_order;
use crate::support::TestDb;
use crate::support::db::run;
use crate::support::events::{created, opened};
use crate::support::workers::append_in;

const READER_COUNT: u64 = 8;
const TRANSACTION_COUNT: usize = 120;
const MAX_OPEN: usize = 6;

/// What a reader has seen: all events, or those of users.
struct Reader {
    only_users: bool,
    task: JoinHandle<Vec<EventId>>,
}

fn read(foldlog: Foldlog, seed: u64, done: Arc<AtomicBool>) -> Reader {
    let only_users = seed % 4 == 3;
    let task = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut events, mut cursor) = (Vec::new(), FeedCursor::BEGINNING);
        loop {
            // Before the read: what is committed then is in this page or in the next ones.
            let is_last = done.load(Ordering::SeqCst);
            let feed = foldlog
                .feed()
                .starting_after(cursor)
                .limit(random.random_range(1..20));
            let feed = if only_users {
                feed.domain::<Users>()
            } else {
                feed
            };
            let page = feed.await.unwrap();
            let next = FeedCursor::decode(&page.next.unwrap().encode()).unwrap();
            let is_end = page.events.is_empty() && next == cursor;
            events.extend(page.events.iter().map(|event| event.id));
            cursor = next;
            if is_end && is_last {
                return events;
            }
            for _ in 0..random.random_range(0..50) {
                yield_now().await;
            }
        }
    });
    Reader { only_users, task }
}

/// One or two new events.
fn events(random: &mut StdRng) -> Vec<UntypedEvent> {
    let count = random.random_range(1..=2);
    let event = |_| {
        let id = Uuid::now_v7();
        if random.random() {
            created(id, "ada")
        } else {
            opened(id)
        }
    };
    (0..count).map(event).collect()
}

/// Appends in transactions that are open side by side and end in a random order; one of them stays open to the end. Returns the
/// events of those that committed.
async fn write(db: &TestDb, random: &mut StdRng) -> Vec<EventId> {
    let mut free: Vec<Session<'static>> = Vec::new();
    for _ in 0..=MAX_OPEN {
        free.push(db.connect().await.into());
    }
    let mut longest = free.pop().unwrap();
    let mut open: Vec<(Session<'static>, Vec<UntypedEvent>)> = Vec::new();
    let (mut committed, mut begun) = (Vec::new(), 0);
    let mut long: Option<Vec<UntypedEvent>> = None;
    while begun < TRANSACTION_COUNT || !open.is_empty() {
        if begun == TRANSACTION_COUNT / 3 && long.is_none() {
            let first = events(random);
            run(&mut longest, "begin isolation level read committed").await;
            append_in(&mut longest, &first).await;
            long = Some(first);
        }
        match random.random_range(0..3) {
            0 if begun < TRANSACTION_COUNT && !free.is_empty() => {
                let mut session = free.pop().unwrap();
                run(&mut session, "begin isolation level read committed").await;
                if random.random() {
                    run(&mut session, "select pg_current_xact_id()").await;
                }
                open.push((session, Vec::new()));
                begun += 1;
            }
            1 if !open.is_empty() => {
                let at = random.random_range(0..open.len());
                let new = events(random);
                append_in(&mut open[at].0, &new).await;
                open[at].1.extend(new);
            }
            _ if !open.is_empty() => {
                open.shuffle(random);
                let (mut session, appended) = open.pop().unwrap();
                let commits = random.random_range(0..4) > 0;
                run(&mut session, if commits { "commit" } else { "rollback" }).await;
                if commits {
                    committed.extend(appended.iter().map(|event| event.id));
                }
                free.push(session);
            }
            _ => {}
        }
    }
    let last = events(random);
    append_in(&mut longest, &last).await;
    run(&mut longest, "commit").await;
    let long = long.unwrap_or_default();
    committed.extend(long.iter().chain(&last).map(|event| event.id));
    committed
}

// Fails when a reader misses an event, sees one twice, or sees another order than the other readers, however transactions overlap.
#[tokio::test]
async fn all_readers_see_the_same_order_and_each_event_once() {
    for seed in [1, 2, 3] {
        let db = TestDb::new().await;
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<Reader> = (0..READER_COUNT)
            .map(|reader| read(db.foldlog.clone(), seed * 100 + reader, Arc::clone(&done)))
            .collect();
        let mut committed = write(&db, &mut StdRng::seed_from_u64(seed)).await;
        done.store(true, Ordering::SeqCst);
        let order = log_order(&db).await;
        let types: BTreeMap<Uuid, i16> = sqlx::query_as("select id, type_id from events")
            .fetch_all(&mut db.connect().await)
            .await
            .unwrap()
            .into_iter()
            .collect();
        for reader in readers {
            let seen = reader.task.await.unwrap();
            let expected = order.iter().filter(|id| {
                let id: Uuid = id.parse().unwrap();
                !reader.only_users || types[&id] < 2000
            });
            let seen_texts: Vec<String> = seen.iter().map(ToString::to_string).collect();
            assert!(seen_texts.iter().eq(expected), "seed {seed}");
            if !reader.only_users {
                let mut seen = seen;
                seen.sort_unstable();
                committed.sort_unstable();
                assert_eq!(seen, committed, "seed {seed}");
            }
        }
    }
}
