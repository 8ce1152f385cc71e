//! Random concurrent appends through processes that group and remember and one that does neither: the log explains every answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use foldlog::Foldlog;
use foldlog::command::{self, AppendError, Appended};
use foldlog::domain::{Domain, RejectedError};
use foldlog::event::{AggregateId, ExpectedVersion, RecordedEvent, UntypedEvent, Version};
use foldlog::store;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::switches::{
    Switch, SwitchEvent, Switches, confirmed, database, process, removed, set, touched,
};
use crate::support::TestDb;

/// Enough for several appends to the same aggregate at a time, in and between processes.
const CLIENT_COUNT: u64 = 24;
const REQUEST_COUNT: usize = 12;
const SWITCH_COUNT: u64 = 6;

/// A request and its answer.
struct Exchange {
    events: Vec<UntypedEvent>,
    expected: ExpectedVersion,
    /// The newest version of each aggregate that some client knew before the request was sent.
    known: HashMap<AggregateId, i32>,
    answer: Result<Appended, AppendError>,
}

/// Numbers from a seed (xorshift), so that a failing run can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn request(
    numbers: &mut Numbers,
    switches: &[Uuid],
    sent: &[UntypedEvent],
) -> (Vec<UntypedEvent>, ExpectedVersion) {
    let switch =
        |numbers: &mut Numbers| switches[usize::try_from(numbers.below(SWITCH_COUNT)).unwrap()];
    let position = |numbers: &mut Numbers| i64::try_from(numbers.below(3)).unwrap();
    let expected = match numbers.below(10) {
        0 => ExpectedVersion::NoStream,
        1..=3 => ExpectedVersion::Exact(Version(i32::try_from(numbers.below(20)).unwrap() + 1)),
        _ => ExpectedVersion::Any,
    };
    let id = switch(numbers);
    let mut events = vec![match numbers.below(40) {
        0 => removed(id),
        1..=8 => touched(id),
        9..=20 => set(id, position(numbers)),
        _ => confirmed(id, position(numbers)),
    }];
    match (numbers.below(8), sent.last()) {
        // Sent again.
        (0, Some(last)) => events = vec![last.clone()],
        // Another event with the same id.
        (1, Some(last)) => {
            events[0].id = last.id;
            events[0].aggregate_id = last.aggregate_id;
        }
        // An array, of one aggregate or two.
        (2, _) => events.push(touched(id)),
        (3, _) if expected == ExpectedVersion::Any => events.push(touched(switch(numbers))),
        _ => {}
    }
    (events, expected)
}

async fn client(foldlog: Foldlog, seed: u64, switches: Arc<[Uuid]>, known: Known) -> Vec<Exchange> {
    let (mut numbers, mut sent, mut exchanges) = (Numbers(seed), Vec::new(), Vec::new());
    for _ in 0..REQUEST_COUNT {
        let (events, expected) = request(&mut numbers, &switches, &sent);
        sent.push(events[0].clone());
        let before = known.lock().unwrap().clone();
        let answer = command::execute(&foldlog, &events, expected, None).await;
        for event in answer.iter().flat_map(|appended| &appended.events) {
            let mut known = known.lock().unwrap();
            let version = known.entry(event.aggregate_id).or_default();
            *version = event.version.0.max(*version);
        }
        exchanges.push(Exchange {
            events,
            expected,
            known: before,
            answer,
        });
    }
    exchanges
}

type Known = Arc<Mutex<HashMap<AggregateId, i32>>>;

/// The events of one aggregate in the order of their versions, and its state after each.
struct History {
    events: Vec<RecordedEvent>,
    states: Vec<Option<Switch>>,
}

impl History {
    /// Fails when the versions have a hole, or when the rules would not have accepted an event.
    fn new(events: Vec<RecordedEvent>) -> Self {
        let mut states = vec![None];
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event.version.0, i32::try_from(at).unwrap() + 1);
            let before: &Option<Switch> = states.last().unwrap();
            let payload = event.decode::<SwitchEvent>().unwrap().payload;
            assert!(at == 0 || before.is_some(), "an event after the last one");
            assert!(
                Switches::check(before.as_ref(), &payload).is_ok(),
                "{payload:?} over {before:?}"
            );
            states.push(Switches::apply(before.clone(), &payload));
        }
        Self { events, states }
    }

    /// Whether the rules reject these events at one of the versions from `known` on.
    fn rejects(&self, known: i32, events: &[SwitchEvent]) -> bool {
        let from = usize::try_from(known).unwrap();
        (from..self.states.len()).any(|version| {
            let mut state = self.states[version].clone();
            let mut ended = version > 0 && state.is_none();
            events.iter().any(|event| {
                let rejected = ended || Switches::check(state.as_ref(), event).is_err();
                state = Switches::apply(state.take(), event);
                ended = state.is_none();
                rejected
            })
        })
    }
}

async fn read_log(db: &TestDb) -> HashMap<AggregateId, History> {
    let rows = sqlx::query(
        "select id, aggregate_id, version, position, type_id, created_at, payload, metadata \
         from events order by aggregate_id, version",
    )
    .fetch_all(&mut db.connect().await)
    .await
    .unwrap();
    let events: Vec<RecordedEvent> = rows
        .iter()
        .map(|row| store::decode_event(row).unwrap())
        .collect();
    let histories = events.chunk_by(|a, b| a.aggregate_id == b.aggregate_id);
    histories
        .map(|events| (events[0].aggregate_id, History::new(events.to_vec())))
        .collect()
}

/// Whether the log explains the answer to a request.
fn explains(log: &HashMap<AggregateId, History>, exchange: &Exchange) -> bool {
    let known = |id: &AggregateId| exchange.known.get(id).copied().unwrap_or_default();
    let first = exchange.events[0].aggregate_id;
    let newest = |id: &AggregateId| {
        let events = log.get(id).map_or(0, |history| history.events.len());
        i32::try_from(events).unwrap()
    };
    match &exchange.answer {
        Ok(appended) => {
            let is_stored = exchange
                .events
                .iter()
                .zip(&appended.events)
                .all(|(sent, answer)| {
                    let at = usize::try_from(answer.version.0).unwrap() - 1;
                    let stored = &log[&sent.aggregate_id].events[at];
                    (stored.id, stored.position) == (sent.id, answer.position)
                        && stored.decode::<SwitchEvent>().unwrap().payload
                            == SwitchEvent::decode_sent(sent)
                });
            let version = appended.events[0].version.0;
            let is_expected = exchange.expected.matches(Version(version - 1));
            is_stored
                && appended.events.len() == exchange.events.len()
                && (appended.duplicate || (is_expected && version > known(&first)))
        }
        Err(AppendError::VersionMismatch { actual, .. }) => {
            let is_unexpected = !exchange.expected.matches(*actual);
            is_unexpected && (known(&first)..=newest(&first)).contains(&actual.0)
        }
        Err(AppendError::Rejected {
            error: RejectedError::Rule { .. } | RejectedError::Deleted,
            ..
        }) => exchange.events.iter().any(|event| {
            let id = event.aggregate_id;
            let same = exchange
                .events
                .iter()
                .filter(|other| other.aggregate_id == id);
            let same: Vec<SwitchEvent> = same.map(SwitchEvent::decode_sent).collect();
            let never = History::new(Vec::new());
            log.get(&id).unwrap_or(&never).rejects(known(&id), &same)
        }),
        Err(AppendError::IdReused { index, id }) => {
            let sent = &exchange.events[*index];
            let stored = log[&sent.aggregate_id]
                .events
                .iter()
                .find(|event| event.id == *id);
            stored.is_some_and(|stored| {
                stored.decode::<SwitchEvent>().unwrap().payload != SwitchEvent::decode_sent(sent)
            })
        }
        Err(AppendError::PartlyStored { id, .. }) => {
            let stored = log.values().flat_map(|history| &history.events);
            stored.into_iter().any(|event| event.id == *id)
        }
        Err(_) => false,
    }
}

impl SwitchEvent {
    fn decode_sent(sent: &UntypedEvent) -> Self {
        use foldlog::event::Payload as _;
        Self::decode(sent.type_id, &*sent.payload).unwrap()
    }
}

// Fails when an append in a group, or over a remembered state, gets an answer that it could not have got alone: a version that
// is not its own, a rejection that no state justifies, an event that the rules would have rejected, two events for one request.
#[tokio::test(flavor = "multi_thread")]
async fn grouped_and_single_appends_are_explained_by_the_log() {
    for seed in 1..=4 {
        let db = database().await;
        let switches: Arc<[Uuid]> = (0..SWITCH_COUNT).map(|_| Uuid::now_v7()).collect();
        let processes = [process(&db, true), process(&db, true), process(&db, false)];
        let known = Known::default();
        let mut clients = JoinSet::new();
        for number in 0..CLIENT_COUNT {
            let foldlog = processes[usize::try_from(number % 3).unwrap()].clone();
            let seed = seed * 1_000_003 + number * 7919;
            clients.spawn(client(
                foldlog,
                seed,
                Arc::clone(&switches),
                Arc::clone(&known),
            ));
        }
        let exchanges: Vec<Exchange> = clients.join_all().await.into_iter().flatten().collect();
        let log = read_log(&db).await;
        for exchange in &exchanges {
            assert!(
                explains(&log, exchange),
                "seed {seed}: {:?} expecting {:?} knowing {:?} was answered {:?}",
                exchange.events,
                exchange.expected,
                exchange.known,
                exchange.answer
            );
        }
        let stored = exchanges
            .iter()
            .filter_map(|exchange| exchange.answer.as_ref().ok());
        let stored = stored.filter(|appended| !appended.duplicate);
        let answered: usize = stored.map(|appended| appended.events.len()).sum();
        let events: usize = log.values().map(|history| history.events.len()).sum();
        assert_eq!(answered, events, "each stored event has one answer");
        assert!(events > 50, "the run has appended {events} events");
    }
}
