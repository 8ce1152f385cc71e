//! The decisions about batches, without a database. The scenarios are those of the model in `tests/model`: versions in
//! inverted log order, deletions, poison events, and logs with gaps.

mod properties;

use std::collections::BTreeSet;

use uuid::Uuid;

use super::*;
use crate::domain::{self, prelude::*};
use crate::event::{Metadata, Position};

/// A payload that panics when it is deserialized.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct Explosive {}

impl<'de> Deserialize<'de> for Explosive {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a bug in a payload type");
    }
}

/// A number that panics when 99 is serialized.
#[derive(Clone, Debug, Deserialize, ToSchema)]
struct Fragile(i64);

impl Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, 99, "a bug in a row type");
        serializer.serialize_i64(self.0)
    }
}

events! {
    enum TallyEvent in 7000..7100 {
        7000 => Added { n: i64 },
        7001 => Removed {},
        7002 => Poison {},
        7003 => Panic {},
        7004 => Bomb { bomb: Explosive },
    }
}

/// All numbers added since the last removal, and the last one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Tally {
    numbers: Vec<i64>,
    last: Fragile,
}

struct Tallies;

impl Projection for Tallies {
    const NAME: &'static str = "tallies";
    const VIEW: &'static str = "";
    type Event = TallyEvent;
    type Row = Tally;

    fn apply(row: Option<Tally>, event: &Event<TallyEvent>) -> Result<Option<Tally>, FoldError> {
        match event.payload {
            TallyEvent::Added { n } => {
                let mut numbers = row.map_or_else(Vec::new, |row| row.numbers);
                numbers.push(n);
                let last = Fragile(n);
                Ok(Some(Tally { numbers, last }))
            }
            TallyEvent::Removed {} => Ok(None),
            TallyEvent::Poison {} => Err(FoldError::new("poison")),
            TallyEvent::Panic {} | TallyEvent::Bomb { .. } => panic!("a bug in a fold"),
        }
    }
}

fn tallies() -> &'static dyn AnyProjection {
    domain::projection::<Tallies>()
}

/// An event of the aggregate with this number.
fn event(aggregate: u128, version: i32, payload: &TallyEvent) -> RecordedEvent {
    RecordedEvent {
        id: EventId(Uuid::from_u128(
            aggregate << 32 | u128::from(version.unsigned_abs()),
        )),
        aggregate_id: AggregateId(Uuid::from_u128(aggregate)),
        type_id: payload.type_id(),
        version: Version(version),
        position: Position(1),
        created_at: time::OffsetDateTime::UNIX_EPOCH,
        payload: payload.encode().unwrap(),
        metadata: Metadata::default(),
    }
}

/// Events that add their version.
fn added(aggregate: u128, versions: impl IntoIterator<Item = i32>) -> Vec<RecordedEvent> {
    let add = |version| event(aggregate, version, &TallyEvent::Added { n: version.into() });
    versions.into_iter().map(add).collect()
}

/// A stored row with these numbers.
fn row(version: i32, numbers: &[i64]) -> StoredRow {
    let last = numbers.last().copied().unwrap_or_default();
    let json = serde_json::json!({ "numbers": numbers, "last": last }).to_string();
    (Version(version), RawValue::from_string(json).unwrap())
}

fn batch(
    row: Option<StoredRow>,
    predecessor_claimed: bool,
    events: &[RecordedEvent],
) -> AggregateBatch<'_> {
    AggregateBatch {
        before: Before {
            row: Ok(row),
            predecessor_claimed,
        },
        events,
    }
}

/// The aggregates and versions of events.
fn identify<'a>(events: impl IntoIterator<Item = &'a RecordedEvent>) -> Vec<(u128, i32)> {
    let identify = |e: &RecordedEvent| (e.aggregate_id.0.as_u128(), e.version.0);
    events.into_iter().map(identify).collect()
}

/// Versions claimed, versions released, reasons for parking, and the row's version and numbers.
type Outcome = (
    Vec<i32>,
    Vec<i32>,
    Vec<(i32, String)>,
    Option<(i32, Vec<i64>)>,
);

fn outcome(plan: &Plan<'_>) -> Outcome {
    let versions = |events: &[&RecordedEvent]| events.iter().map(|e| e.version.0).collect();
    let parked = plan
        .park
        .iter()
        .map(|failure| (failure.version.0, failure.reason.clone()));
    let row = plan.upsert.first().map(|row| {
        let tally: Tally = serde_json::from_str(row.row.get()).unwrap();
        (row.version.0, tally.numbers)
    });
    (
        versions(&plan.claims),
        versions(&plan.release),
        parked.collect(),
        row,
    )
}

fn plan_one(
    row: Option<StoredRow>,
    predecessor_claimed: bool,
    events: &[RecordedEvent],
) -> Outcome {
    outcome(&plan(
        tallies(),
        &[batch(row, predecessor_claimed, events)],
        &[],
    ))
}

// Fails when a version is folded although its predecessor is not known to be claimed, or waits although it is.
#[test]
fn only_versions_with_a_claimed_predecessor_are_folded() {
    let next = Some((4, vec![1, 2, 3, 4]));
    assert_eq!(
        plan_one(Some(row(2, &[1, 2])), false, &added(1, [3, 4])),
        (vec![3, 4], vec![], vec![], next)
    );
    // After a deletion the row is missing, and the locker has the predecessor's claim.
    assert_eq!(
        plan_one(None, true, &added(1, [3])),
        (vec![3], vec![], vec![], Some((3, vec![3])))
    );
    assert_eq!(
        plan_one(None, false, &added(1, [3])),
        (vec![], vec![3], vec![], None)
    );
    assert_eq!(
        plan_one(Some(row(1, &[1])), false, &added(1, [3])),
        (vec![], vec![3], vec![], None)
    );
    // A gap within the batch.
    assert_eq!(
        plan_one(None, false, &added(1, [1, 2, 4])),
        (vec![1, 2], vec![4], vec![], Some((2, vec![1, 2])))
    );
}

// Fails when events of an aggregate that is parked count as waiting, which would keep the pass from settling.
#[test]
fn events_wait_for_a_predecessor_or_are_parked_but_not_both() {
    let (waiting, poison) = (added(1, [3]), [event(2, 1, &TallyEvent::Poison {})]);
    let batches = vec![batch(None, false, &waiting), batch(None, false, &poison)];
    let plan = plan(tallies(), &batches, &[]);
    assert_eq!(
        plan.waiting
            .iter()
            .map(|events| events[0].aggregate_id)
            .collect::<Vec<_>>(),
        [waiting[0].aggregate_id]
    );
    assert_eq!(plan.park.len(), 1);
    assert_eq!(plan.release.len(), 2);
}

// Fails when a row that exists before and not after the fold is not deleted, or when a row is deleted that never existed.
#[test]
fn a_removed_row_is_deleted_only_if_it_existed() {
    let removal = [event(1, 2, &TallyEvent::Removed {})];
    let deleted = plan(
        tallies(),
        &[batch(Some(row(1, &[1])), false, &removal)],
        &[],
    );
    assert_eq!(
        (
            deleted.delete.len(),
            deleted.upsert.len(),
            deleted.claims.len()
        ),
        (1, 0, 1)
    );

    let both = [added(1, [1]), removal.to_vec()].concat();
    let nothing = plan(tallies(), &[batch(None, false, &both)], &[]);
    assert_eq!(
        (
            nothing.delete.len(),
            nothing.upsert.len(),
            nothing.claims.len()
        ),
        (0, 0, 2)
    );
}

// Fails when an error or a panic in a fold, a payload's Deserialize or a row's Serialize leaves the boundary around one
// aggregate: it would stop the projection.
#[test]
fn a_panic_in_deserialize_apply_or_serialize_parks_only_its_aggregate() {
    let bomb = TallyEvent::Bomb { bomb: Explosive {} };
    for (payload, reason, prefix) in [
        (TallyEvent::Poison {}, "poison", 1),
        (TallyEvent::Panic {}, "the fold panicked", 1),
        (
            bomb,
            "the deserialization of the event or the row panicked",
            1,
        ),
        (
            TallyEvent::Added { n: 99 },
            "the serialization of the row panicked",
            0,
        ),
    ] {
        let bad = [added(1, [1]), vec![event(1, 2, &payload)]].concat();
        let good = added(2, [1, 2]);
        let plan = plan(
            tallies(),
            &[batch(None, false, &bad), batch(None, false, &good)],
            &[],
        );
        assert_eq!(plan.claims.len(), prefix + 2, "{reason}");
        assert_eq!(
            plan.upsert.last().unwrap().aggregate_id,
            good[0].aggregate_id
        );
        assert_eq!((plan.park.len(), &*plan.park[0].reason), (1, reason));
        assert_eq!(plan.park[0].version.0, i32::try_from(prefix).unwrap() + 1);
    }
}

// Fails when an event or a row that cannot be decoded affects other aggregates, or when later events of its aggregate are
// folded.
#[test]
fn an_undecodable_event_or_row_parks_only_its_aggregate() {
    let (bad, good, broken) = (added(1, [1, 3]), added(2, [1]), added(3, [2]));
    let undecodable = [4, 2].map(|version| {
        let aggregate_id = bad[0].aggregate_id;
        let ids = (aggregate_id, EventId(Uuid::nil()), Version(version));
        Failure::from_parts(ids, FailureClass::Event, "no time")
    });
    let alone = Failure::new(
        &event(4, 1, &TallyEvent::Removed {}),
        FailureClass::Event,
        "no time",
    );
    let broken_row = AggregateBatch {
        before: Before {
            row: Err(FoldError::new("no row")),
            predecessor_claimed: false,
        },
        events: &broken,
    };
    let batches = vec![
        batch(None, false, &bad),
        batch(None, false, &good),
        broken_row,
    ];
    let all = [undecodable.as_slice(), &[alone]].concat();
    let plan = plan(tallies(), &batches, &all);
    assert_eq!(identify(plan.claims), [(1, 1), (2, 1)]);
    assert_eq!(identify(plan.release), [(1, 3), (3, 2)]);
    assert!(plan.waiting.is_empty());
    let parked: BTreeSet<_> = plan
        .park
        .iter()
        .map(|f| (f.aggregate_id.0.as_u128(), f.version.0))
        .collect();
    assert_eq!(parked, BTreeSet::from([(1, 2), (3, 2), (4, 1)]));
}

// Fails when the effect of an event is applied a second time because its claim was deleted.
#[test]
fn a_row_ahead_of_its_claims_parks_the_aggregate() {
    let (claimed, released, parked, row) =
        plan_one(Some(row(2, &[1, 2])), false, &added(1, [2, 3]));
    assert_eq!((claimed, released, row), (vec![], vec![2, 3], None));
    assert_eq!(parked[0].0, 2);
    assert!(parked[0].1.contains("rebuild the view"), "{parked:?}");
}
