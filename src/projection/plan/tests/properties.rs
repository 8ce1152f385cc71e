//! Properties of plans, over random logs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// A database in memory, as far as plans depend on it.
#[derive(Debug, Default)]
struct Database {
    claimed: BTreeSet<(AggregateId, Version)>,
    rows: BTreeMap<AggregateId, StoredRow>,
    parked: BTreeMap<AggregateId, Version>,
}

impl Database {
    /// Applies a batch of the log as a worker does, and returns whether it must be read again.
    fn apply(&mut self, log: &[RecordedEvent]) -> bool {
        let is_new = |event: &&RecordedEvent| {
            !self.claimed.contains(&(event.aggregate_id, event.version))
                && !self.parked.contains_key(&event.aggregate_id)
        };
        let mut events: Vec<_> = log.iter().filter(is_new).cloned().collect();
        events.sort_by_key(|event| (event.aggregate_id, event.version));
        let batches = events
            .chunk_by(|a, b| a.aggregate_id == b.aggregate_id)
            .map(|events| {
                let (id, first) = (events[0].aggregate_id, events[0].version.0);
                let claimed = self.claimed.contains(&(id, Version(first - 1)));
                batch(self.rows.get(&id).cloned(), claimed, events)
            })
            .collect::<Vec<_>>();
        let plan = plan(tallies(), &batches, &[]);
        for row in &plan.delete {
            assert!(self.rows.remove(&row.aggregate_id).is_some());
        }
        for row in plan.upsert {
            let had_row = self
                .rows
                .insert(row.aggregate_id, (row.version, row.row))
                .is_some();
            assert_eq!(had_row, row.had_row);
        }
        self.claimed
            .extend(plan.claims.iter().map(|e| (e.aggregate_id, e.version)));
        self.parked
            .extend(plan.park.iter().map(|f| (f.aggregate_id, f.version)));
        !plan.waiting.is_empty()
    }
}

/// The events of some aggregates in any order, as transactions with inverted ids leave them.
fn log() -> impl Strategy<Value = Vec<RecordedEvent>> {
    let payload = prop_oneof![
        8 => (1_i64..90).prop_map(|n| TallyEvent::Added { n }),
        2 => Just(TallyEvent::Removed {}),
        1 => Just(TallyEvent::Poison {}),
    ];
    let aggregates = prop::collection::vec(prop::collection::vec(payload, 1..7), 1..4);
    let events = aggregates.prop_map(|aggregates| {
        let numbered = (1_u128..).zip(aggregates);
        numbered
            .flat_map(|(aggregate, payloads)| {
                let to_event = move |(version, payload)| event(aggregate, version, &payload);
                (1..).zip(payloads).map(to_event)
            })
            .collect::<Vec<_>>()
    });
    events.prop_shuffle()
}

proptest! {
    // Fails when a plan folds versions out of order, twice or not at all, whatever the order of the log and the sizes of the
    // batches; when it leaves an event without a verdict; or when an aggregate is parked before its first poison event.
    #[test]
    fn plans_apply_each_event_once_and_in_order(log in log(), sizes in prop::collection::vec(1_usize..6, 1..8)) {
        let mut database = Database::default();
        let mut sizes = sizes.iter().cycle();
        // Each pass completes at least one more version of each aggregate.
        for _ in 0..log.len() {
            let mut rest = &log[..];
            while !rest.is_empty() {
                let size = sizes.next().copied().unwrap_or(1).min(rest.len());
                let (now, later) = rest.split_at(size);
                database.apply(now);
                rest = later;
            }
        }
        prop_assert!(!database.apply(&log), "an event still waits");
        let ids: BTreeSet<_> = log.iter().map(|event| event.aggregate_id).collect();
        for id in ids {
            let mut events: Vec<_> = log.iter().filter(|e| e.aggregate_id == id).cloned().collect();
            events.sort_by_key(|event| event.version);
            let expected = tallies().fold(None, &events);
            let claimed: Vec<_> = database.claimed.iter().filter(|(of, _)| *of == id).map(|(_, v)| v.0).collect();
            let versions: Vec<_> = events[..expected.folded].iter().map(|event| event.version.0).collect();
            prop_assert_eq!(&claimed, &versions);
            let row = database.rows.get(&id).map(|(version, json)| (version.0, json.get()));
            let last = versions.last().copied().unwrap_or_default();
            prop_assert_eq!(row, expected.row.as_ref().map(|row| (last, row.get())));
            let poison = events.get(expected.folded).map(|event| event.version);
            prop_assert_eq!(database.parked.get(&id).copied(), poison);
        }
    }

    // Fails when an event of a batch gets no verdict or two, or when the claims of an aggregate are not a prefix of its events.
    #[test]
    fn every_event_of_a_batch_is_either_claimed_or_released(
        log in log(), rows in prop::collection::vec(any::<Option<Index>>(), 3), predecessor_claimed: bool,
    ) {
        let mut events = log;
        events.sort_by_key(|event| (event.aggregate_id, event.version));
        let batches: Vec<_> = events
            .chunk_by(|a, b| a.aggregate_id == b.aggregate_id)
            .zip(rows)
            .map(|(events, at)| {
                let row = at.map(|at| row(i32::try_from(at.index(7)).unwrap_or(0), &[5]));
                batch(row, predecessor_claimed, events)
            })
            .collect::<Vec<_>>();
        let plan = plan(tallies(), &batches, &[]);
        let mut decided: Vec<_> = plan.claims.iter().chain(&plan.release).copied().collect();
        decided.sort_by_key(|event| (event.aggregate_id, event.version));
        prop_assert_eq!(identify(decided), identify(&events));
        for released in &plan.release {
            let precedes = |claimed: &&RecordedEvent| {
                claimed.aggregate_id != released.aggregate_id || claimed.version < released.version
            };
            prop_assert!(plan.claims.iter().all(precedes));
        }
    }
}
