//! What a batch does, decided without I/O: which rows it writes and deletes, which events it claims, and which aggregates
//! it parks.
//!
//! The decision is made per aggregate, so that whatever is wrong with one event or one row concerns only that aggregate.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::value::RawValue;

use crate::domain::{AnyProjection, FoldError};
use crate::event::{AggregateId, EventId, RecordedEvent, Version};
use crate::projection::failure_class::FailureClass;
use crate::view::StoredRow;

/// What a batch has read about an aggregate before its events.
#[derive(Debug)]
pub(super) struct Before {
    /// Its view row; an error when the row cannot be decoded.
    pub row: Result<Option<StoredRow>, FoldError>,
    /// Whether the predecessor of its first event is claimed. It matters only if the aggregate has no row.
    pub predecessor_claimed: bool,
}

impl Before {
    /// Whether the view row contains the event with this version.
    pub(super) fn contains(&self, version: Version) -> bool {
        matches!(&self.row, Ok(Some((row, _))) if *row >= version)
    }

    /// Whether one of `events`, in the order of their versions, cannot be folded because its predecessor is neither before it
    /// nor claimed. Events from `undecodable` on, the version of one that could not be decoded, do not count.
    pub(super) fn has_gap(&self, events: &[RecordedEvent], undecodable: Option<Version>) -> bool {
        let decodable = undecodable.map_or(events.len(), |undecodable| {
            events.partition_point(|event| event.version < undecodable)
        });
        let (Ok(row), false) = (&self.row, decodable == 0) else {
            return false;
        };
        count_foldable(row.as_ref(), self.predecessor_claimed, &events[..decodable]) < decodable
    }
}

/// The events of one aggregate in a batch, and what precedes them.
#[derive(Debug)]
pub(super) struct AggregateBatch<'a> {
    pub before: Before,
    /// At least one event, in the order of their versions.
    pub events: &'a [RecordedEvent],
}

/// An aggregate to park, and its first event that cannot be folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub aggregate_id: AggregateId,
    pub event_id: EventId,
    pub version: Version,
    /// What kind of failure it is; stored in `parked.class`.
    pub class: FailureClass,
    /// The cause, for the operator who fixes it; stored in `parked.error`.
    pub reason: String,
    /// Whether the stored row is at fault, so that no event could be folded onto it.
    pub is_row: bool,
}

impl Failure {
    pub(super) fn new(
        event: &RecordedEvent,
        class: FailureClass,
        reason: impl fmt::Display,
    ) -> Self {
        let ids = (event.aggregate_id, event.id, event.version);
        Self::from_parts(ids, class, reason)
    }

    /// The fold returned an error.
    pub(super) fn from_fold(event: &RecordedEvent, error: &FoldError) -> Self {
        Self::new(event, error.kind().into(), error)
    }

    /// An earlier event of the aggregate could not be folded, so none of those from this one on is.
    pub(super) fn already_parked(event: &RecordedEvent) -> Self {
        let reason = "an earlier event of the aggregate cannot be folded";
        let ids = (event.aggregate_id, event.id, Version(0));
        Self::from_parts(ids, FailureClass::Gap, reason)
    }

    /// The event cannot be folded, because the log does not contain its predecessor.
    pub(super) fn missing_predecessor(event: &RecordedEvent) -> Self {
        let version = event.version.0 - 1;
        let reason = format_args!(
            "version {version} of the aggregate is missing from the log or belongs to another domain"
        );
        Self::new(event, FailureClass::Gap, reason)
    }

    pub(super) fn from_parts(
        (aggregate_id, event_id, version): (AggregateId, EventId, Version),
        class: FailureClass,
        reason: impl fmt::Display,
    ) -> Self {
        // Postgres rejects NUL characters in text, and an unusual reason must not prevent parking.
        let reason = reason.to_string().replace('\0', "\u{fffd}");
        Self {
            aggregate_id,
            event_id,
            version,
            class,
            reason,
            is_row: false,
        }
    }
}

/// A view row after the fold.
#[derive(Debug)]
pub(super) struct FoldedRow<'a> {
    pub aggregate_id: AggregateId,
    pub version: Version,
    pub row: Box<RawValue>,
    /// Whether the aggregate had a row before.
    pub had_row: bool,
    /// The events folded into it, at least one.
    pub events: &'a [RecordedEvent],
}

/// A view row that the fold removes.
#[derive(Debug)]
pub(super) struct DeletedRow<'a> {
    pub aggregate_id: AggregateId,
    /// The events folded into it, at least one.
    pub events: &'a [RecordedEvent],
}

/// What a batch does.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// Rows to insert or replace.
    pub upsert: Vec<FoldedRow<'a>>,
    /// Rows to delete.
    pub delete: Vec<DeletedRow<'a>>,
    /// The events that are folded. Together with `release` they are all events of the batch that could be decoded.
    pub claims: Vec<&'a RecordedEvent>,
    /// The events that are not folded.
    pub release: Vec<&'a RecordedEvent>,
    /// Those of `release` that wait for a predecessor that is not known to be claimed, by aggregate.
    pub waiting: Vec<&'a [RecordedEvent]>,
    /// Aggregates to park.
    pub park: Vec<Failure>,
}

/// The decision about one aggregate.
struct Verdict<'a> {
    /// The events that are folded, and those that are not.
    folded: &'a [RecordedEvent],
    unfolded: &'a [RecordedEvent],
    /// The row after the fold.
    row: Option<Box<RawValue>>,
    had_row: bool,
    /// Why the aggregate is parked. Otherwise the events that are not folded wait for their predecessor.
    failure: Option<Failure>,
}

/// Decides what a batch does. `undecodable` are events of the batch that could not be decoded; each parks its aggregate.
pub(super) fn plan<'a>(
    projection: &dyn AnyProjection,
    batches: &[AggregateBatch<'a>],
    undecodable: &[Failure],
) -> Plan<'a> {
    let mut undecodable = first_failures(undecodable);
    let mut plan = Plan::default();
    for batch in batches {
        let failure = undecodable.remove(&batch.events[0].aggregate_id);
        plan.add(decide(projection, batch, failure));
    }
    plan.park.extend(undecodable.into_values().cloned());
    plan
}

/// The failure with the lowest version of each aggregate.
fn first_failures(failures: &[Failure]) -> HashMap<AggregateId, &Failure> {
    let mut first = HashMap::<_, &Failure>::with_capacity(failures.len());
    for failure in failures {
        first
            .entry(failure.aggregate_id)
            .and_modify(|first| {
                if failure.version < first.version {
                    *first = failure;
                }
            })
            .or_insert(failure);
    }
    first
}

impl<'a> Plan<'a> {
    fn add(&mut self, verdict: Verdict<'a>) {
        let Verdict {
            folded,
            unfolded,
            row,
            had_row,
            failure,
        } = verdict;
        if let Some(last) = folded.last() {
            let (aggregate_id, version) = (last.aggregate_id, last.version);
            match row {
                Some(row) => self.upsert.push(FoldedRow {
                    aggregate_id,
                    version,
                    row,
                    had_row,
                    events: folded,
                }),
                None if had_row => self.delete.push(DeletedRow {
                    aggregate_id,
                    events: folded,
                }),
                None => {}
            }
        }
        self.claims.extend(folded);
        self.release.extend(unfolded);
        match failure {
            Some(failure) => self.park.push(failure),
            None if !unfolded.is_empty() => self.waiting.push(unfolded),
            None => {}
        }
    }
}

/// Decides about one aggregate. `undecodable` is its first event that could not be decoded.
fn decide<'a>(
    projection: &dyn AnyProjection,
    batch: &AggregateBatch<'a>,
    undecodable: Option<&Failure>,
) -> Verdict<'a> {
    let events = batch.events;
    let parked = |failure| Verdict {
        folded: &[],
        unfolded: events,
        row: None,
        had_row: false,
        failure: Some(failure),
    };
    let row = match &batch.before.row {
        Ok(row) => row.as_ref(),
        Err(error) => {
            let is_row = true;
            let failure = Failure::from_fold(&events[0], error);
            return parked(Failure { is_row, ..failure });
        }
    };
    let foldable = &events[..count_foldable(row, batch.before.predecessor_claimed, events)];
    let before_undecodable = undecodable.map_or(foldable.len(), |failure| {
        foldable.partition_point(|event| event.version < failure.version)
    });
    let foldable = &foldable[..before_undecodable];
    if let (Some((at, _)), Some(first)) = (row, foldable.first())
        && *at >= first.version
    {
        let reason = "the view row contains events that have no claim: claims were deleted, so rebuild the view";
        return parked(Failure::new(first, FailureClass::Claims, reason));
    }
    // `fold` returns panics of the domain's code as failures. This is the last resort for panics elsewhere.
    let fold = || projection.fold(row.map(|(_, json)| &**json), foldable);
    let Ok(result) = catch_unwind(AssertUnwindSafe(fold)) else {
        let reason = "the fold panicked";
        return parked(Failure::new(&events[0], FailureClass::Panic, reason));
    };
    let (folded, unfolded) = events.split_at(result.folded);
    let failure = match (result.failure, foldable.get(result.folded)) {
        (Some(error), Some(event)) => {
            let failure = Failure::from_fold(event, &error);
            let is_row = failure.class == FailureClass::Row && is_unreadable(projection, row);
            Some(Failure { is_row, ..failure })
        }
        _ => undecodable.cloned(),
    };
    Verdict {
        folded,
        unfolded,
        row: result.row,
        had_row: row.is_some(),
        failure,
    }
}

/// Whether the row does not match its row type. Otherwise an event has led to a row that does not serialize.
fn is_unreadable(projection: &dyn AnyProjection, row: Option<&StoredRow>) -> bool {
    row.is_some_and(|(_, json)| projection.fold(Some(json), &[]).failure.is_some())
}

/// How many of `events` may be folded now. Version n + 1 may be folded only if version n is claimed: the row's version
/// proves that, or n is in this batch, or, if the row does not exist, `locker` contains the claim.
fn count_foldable(
    row: Option<&StoredRow>,
    predecessor_claimed: bool,
    events: &[RecordedEvent],
) -> usize {
    let first = events[0].version.0;
    let can_start = match row {
        _ if first == 1 => true,
        Some((version, _)) => version.0 >= first - 1,
        None => predecessor_claimed,
    };
    if !can_start {
        return 0;
    }
    1 + events
        .windows(2)
        .take_while(|pair| pair[1].version.0 == pair[0].version.0 + 1)
        .count()
}

#[cfg(test)]
mod tests;
