//! The statements that only read, and the fold.

use crate::mutations::Mutation;
use crate::scenarios::{Actor, Scenario};
use crate::state::{AGGREGATE_COUNT, Claim, Memory, Row, Set, Settled, State, name};
use crate::steps::Log;

/// The read statement: the events of the lane that C sees and the lane has not settled, the rows of their aggregates, and
/// which of these are parked. False when C is older than the lane's begun transaction; the pass then starts over.
pub(crate) fn read_lane(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> bool {
    let memory = state.actors[usize::from(me)];
    let (lane, frozen) = (memory.lane, memory.frozen);
    let begun = lane.settled.begun;
    if let Some(begun) = begun
        && !frozen.contains(begun)
        && !scenario.has(Mutation::StaleSnapshotAccepted)
    {
        log.record(format_args!(
            "C is older than the lane's transaction {begun}: starts over"
        ));
        return false;
    }
    let cursor = (begun.unwrap_or(0), lane.settled.position);
    let unsettled = state.unsettled(&lane);
    let unsettled = state.find(|index, event| {
        unsettled.contains(index)
            && frozen.contains(event.txid)
            && !(scenario.has(Mutation::CursorWithoutSnapshot)
                && (event.txid, event.position) <= cursor)
    });
    let begun_last = scenario.has(Mutation::BegunTransactionLast);
    let mut events = state.sorted(unsettled, |event| {
        (
            begun != Some(event.txid) || begun_last,
            event.txid,
            event.position,
        )
    });
    // A swap catches up all that is left.
    let limit = if scenario.actor(me) == Actor::Swap {
        usize::MAX
    } else {
        scenario.limit
    };
    let is_full = events.len() > limit;
    events.truncate(limit);
    let settle = advance(scenario, state, &memory, is_full, events.last().copied());
    log.record(format_args!(
        "reads lane {} to {} with C = {frozen:?}: looks at [{}]{}",
        lane.first,
        lane.last,
        events
            .iter()
            .map(|i| state.event(*i).to_string())
            .collect::<Vec<_>>()
            .join(", "),
        if is_full { ", there are more" } else { "" },
    ));
    let memory = &mut state.actors[usize::from(me)];
    memory.settle = settle;
    memory.looked_at = events.iter().copied().collect();
    for aggregate in 0..AGGREGATE_COUNT {
        read_aggregate(scenario, state, me, aggregate, log);
    }
    true
}

/// What the lane has settled once the batch is written: all that C sees when the walk is complete, otherwise the finished
/// transactions and a position in the one where the batch stopped.
fn advance(
    scenario: &Scenario,
    state: &State,
    memory: &Memory,
    is_full: bool,
    last: Option<u8>,
) -> Settled {
    let (old, frozen) = (memory.lane.settled, memory.frozen);
    let all = old.snapshot.union(frozen);
    let last = last.map(|index| *state.event(index));
    if scenario.has(Mutation::CursorWithoutSnapshot) && !is_full {
        let (begun, position) = last.map_or((old.begun, old.position), |event| {
            (Some(event.txid), event.position)
        });
        return Settled {
            snapshot: old.snapshot,
            begun,
            position,
        };
    }
    let stopped = last.filter(|_| is_full && !scenario.has(Mutation::AllSettledThoughFull));
    let Some(stopped) = stopped else {
        return Settled {
            snapshot: all,
            begun: None,
            position: 0,
        };
    };
    let finished = if old.begun == Some(stopped.txid) {
        Set::EMPTY
    } else {
        let begun = old.begun.map_or(Set::EMPTY, Set::from_member);
        frozen.intersection(Set::below(stopped.txid).union(begun))
    };
    let mut settle = Settled {
        snapshot: old.snapshot.union(finished),
        begun: Some(stopped.txid),
        position: stopped.position,
    };
    match scenario.mutation {
        Some(Mutation::StoppedTransactionSettled) => settle.snapshot.insert(stopped.txid),
        Some(Mutation::AllButStoppedTransactionSettled) => {
            settle.snapshot = all.without(Set::from_member(stopped.txid));
        }
        Some(Mutation::PositionOfOtherTransaction) => {
            if let Some(begun) = old.begun.filter(|begun| *begun != stopped.txid) {
                settle.snapshot.remove(begun);
                settle.begun = Some(begun);
                settle.position = old.position.max(stopped.position);
            }
        }
        Some(Mutation::CursorWithoutSnapshot) => settle.snapshot = old.snapshot,
        _ => {}
    }
    settle
}

/// Reads the row of one aggregate of the batch, and decides whether its events can be folded into it, need their chain, or
/// are passed over.
fn read_aggregate(scenario: &Scenario, state: &mut State, me: u8, aggregate: u8, log: &mut Log) {
    let looked_at = state.actors[usize::from(me)].looked_at;
    let of_aggregate = state.find(|i, event| looked_at.contains(i) && event.aggregate == aggregate);
    if of_aggregate.is_empty() {
        return;
    }
    if state.generation_of(me).parked[usize::from(aggregate)] {
        log.record(format_args!(", passes over {}", name(aggregate)));
        state.actors[usize::from(me)].relied_on.insert(aggregate);
        return;
    }
    let row = state.generation_of(me).view[usize::from(aggregate)];
    let new = state.find(|i, event| of_aggregate.contains(i) && !is_applied(row, event.version));
    let versions = state.sorted(new, |event| event.version);
    let (Some(&lowest), Some(&highest)) = (versions.first(), versions.last()) else {
        return;
    };
    let claimed = state.claimed_for(me);
    let (first, last) = (state.event(lowest).version, state.event(highest).version);
    let predecessor_claimed =
        state.find(|_, event| event.aggregate == aggregate && event.version + 1 == first);
    let can_start = if row.exists {
        row.version + 1 == first
    } else {
        let probed = scenario.has(Mutation::LockerNotProbed) || !claimed.contains(lowest);
        (first == 1 || !predecessor_claimed.intersection(claimed).is_empty()) && probed
    };
    let has_no_gap = versions.len() == usize::from(last - first) + 1;
    let memory = &mut state.actors[usize::from(me)];
    let at = usize::from(aggregate);
    memory.rows[at] = row;
    memory.claimed_to[at] = first - 1;
    memory.highest[at] = last;
    if (can_start && has_no_gap) || scenario.has(Mutation::OrderNotChecked) {
        memory.events = memory.events.union(new);
    } else if scenario.has(Mutation::PredecessorLeftOut) {
        memory.events = memory.events.union(new);
        // No version follows this one, so the fold leaves all events out.
        memory.claimed_to[at] = if can_start { first - 1 } else { u8::MAX - 1 };
    } else {
        log.record(format_args!(
            ", predecessors of {} are missing",
            name(aggregate)
        ));
        memory.incomplete.insert(aggregate);
    }
}

const fn is_applied(row: Row, version: u8) -> bool {
    row.exists && version <= row.version
}

/// The second read statement, for aggregates whose predecessors are missing from the batch: the row, and the unclaimed
/// events up to the highest version of the batch. A mutation reads the two in separate statements.
pub(crate) fn read_chains(state: &mut State, me: u8, rows: bool, chains: bool) {
    let claimed = state.claimed_for(me);
    let memory = state.actors[usize::from(me)];
    for aggregate in memory.incomplete.iter() {
        let at = usize::from(aggregate);
        if rows {
            state.actors[usize::from(me)].rows[at] = state.generation_of(me).view[at];
        }
        if chains {
            let row = state.actors[usize::from(me)].rows[at];
            let (log, highest) = (state.log(), memory.highest[at]);
            let chain = state.find(|i, event| {
                event.aggregate == aggregate
                    && log.contains(i)
                    && event.version <= highest
                    && !is_applied(row, event.version)
                    && !claimed.contains(i)
            });
            let first = state.sorted(chain, |event| event.version).first().copied();
            let claimed_to = match first {
                // The row, read in the same statement, says which version comes next.
                Some(_) if rows && row.exists => row.version,
                Some(first) => state.event(first).version - 1,
                None => 0,
            };
            let memory = &mut state.actors[usize::from(me)];
            memory.claimed_to[at] = claimed_to;
            memory.events = memory.events.union(chain);
        }
    }
}

/// After its claims, an inline append or a retry reads the row, and whether the predecessor of its first claimed event is
/// claimed, in one statement.
pub(crate) fn read_after_claims(state: &mut State, me: u8, aggregate: u8) {
    let memory = state.actors[usize::from(me)];
    let mine = state.find(|i, _| {
        state.generation_of(me).claims[usize::from(i)] == Claim::Held(me)
            && !memory.claimed.contains(i)
    });
    let claimed = state.claimed_for(me).union(mine);
    let row = state.row(me, aggregate);
    let of_aggregate =
        state.find(|i, event| memory.claimed.contains(i) && event.aggregate == aggregate);
    let lowest = of_aggregate.iter().map(|i| state.event(i).version).min();
    let claimed_to = match lowest {
        None | Some(1) => 0,
        Some(_) if row.exists => row.version,
        Some(version) => {
            let predecessor = state.find(|i, event| {
                claimed.contains(i) && event.aggregate == aggregate && event.version == version - 1
            });
            if predecessor.is_empty() {
                0
            } else {
                version - 1
            }
        }
    };
    let now = &mut state.actors[usize::from(me)];
    now.events = memory.claimed;
    now.rows[usize::from(aggregate)] = row;
    now.claimed_to[usize::from(aggregate)] = claimed_to;
}

/// Folds the events that were read, in version order, and lists what to claim, write and park. An event that cannot be
/// folded parks its aggregate. `check_order`: an event whose predecessor is not known to be claimed is left out.
pub(crate) fn fold(scenario: &Scenario, state: &mut State, me: u8, check_order: bool) {
    let memory = state.actors[usize::from(me)];
    let mut next = Memory {
        events: Set::EMPTY,
        rows: Default::default(),
        claimed_to: Default::default(),
        highest: Default::default(),
        incomplete: Set::EMPTY,
        to_write: Set::EMPTY,
        to_park: Set::EMPTY,
        new_rows: Default::default(),
        ..memory
    };
    let mut folded = Set::EMPTY;
    for aggregate in 0..AGGREGATE_COUNT {
        let at = usize::from(aggregate);
        let of_aggregate =
            state.find(|i, event| memory.events.contains(i) && event.aggregate == aggregate);
        let in_log_order = scenario.has(Mutation::FoldInLogOrder);
        let events = state.sorted(of_aggregate, |event| {
            if in_log_order {
                (event.txid, event.position)
            } else {
                (event.version, 0)
            }
        });
        let (mut row, mut claimed_to) = (memory.rows[at], memory.claimed_to[at]);
        for event in events {
            let version = state.event(event).version;
            let is_out_of_order = check_order && version != claimed_to + 1;
            next.released |= is_out_of_order;
            if is_out_of_order {
                break;
            }
            let is_skipped =
                state.skipped.contains(event) && !scenario.has(Mutation::SkipPerGeneration);
            if !is_skipped && state.is_poisonous && scenario.poison == Some((aggregate, version)) {
                next.to_park.insert(aggregate);
                break;
            }
            if is_skipped {
                row = Scenario::skip_over(row, version);
                next.skipped.insert(event);
            } else {
                row = scenario.fold(row, aggregate, version);
            }
            claimed_to = version;
            next.to_write.insert(aggregate);
            next.new_rows[at] = row;
            folded.insert(event);
        }
    }
    next.set_targets(&state.sorted(folded, |event| (event.txid, event.position)));
    state.actors[usize::from(me)] = next;
}
