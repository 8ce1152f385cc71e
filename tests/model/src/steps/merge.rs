//! Merges two lanes into one.

use super::{Log, Outcome};
use crate::mutations::Mutation;
use crate::scenarios::Scenario;
use crate::state::{Lane, Set, Settled, State, Step};

pub(super) fn step(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let memory = state.actors[usize::from(me)];
    if memory.step == Step::MergeUnlocked {
        return merge_unlocked(state, me, log);
    }
    let [lower, upper] = state.generation_of(me).lanes;
    if !upper.exists {
        return Outcome::Idle;
    }
    if scenario.has(Mutation::MergeWithoutLocks) {
        let memory = &mut state.actors[usize::from(me)];
        memory.lane = lower;
        memory.settle.snapshot = upper.settled.snapshot;
        memory.step = Step::MergeUnlocked;
        log.record(format_args!("reads both lanes without locks"));
        return Outcome::Next;
    }
    if state.generation_of(me).lane_holder != [None; 2] {
        // `skip locked`: the worker merges another time.
        return Outcome::Idle;
    }
    let (a, b) = (lower.settled, upper.settled);
    let seen_by_one = a.snapshot.union(b.snapshot);
    let common_begun = a
        .begun
        .filter(|begun| b.begun == Some(*begun) && !seen_by_one.contains(*begun));
    let settled = Settled {
        snapshot: if scenario.has(Mutation::MergeToUnion) {
            seen_by_one
        } else {
            a.snapshot.intersection(b.snapshot)
        },
        begun: common_begun,
        position: if common_begun.is_some() {
            a.position.min(b.position)
        } else {
            0
        },
    };
    let turn = scenario.next_turn(lower.turn);
    state.generation_of_mut(me).lanes = [
        Lane {
            last: 1,
            settled,
            turn,
            ..lower
        },
        Lane::default(),
    ];
    state.actors[usize::from(me)].step = Step::Done;
    log.record(format_args!("merges the lanes: settled {settled:?}"));
    Outcome::Next
}

/// The mutation: writes what it has read before, whatever has happened since.
fn merge_unlocked(state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let holders: Set = state
        .generation_of(me)
        .lane_holder
        .iter()
        .flatten()
        .copied()
        .collect();
    if !holders.is_empty() {
        return Outcome::Blocked(holders);
    }
    let memory = state.actors[usize::from(me)];
    let snapshot = memory
        .lane
        .settled
        .snapshot
        .intersection(memory.settle.snapshot);
    let settled = Settled {
        snapshot,
        begun: None,
        position: 0,
    };
    let turn = memory.lane.turn + 1;
    state.generation_of_mut(me).lanes = [
        Lane {
            last: 1,
            settled,
            turn,
            ..state.generation_of(me).lanes[0]
        },
        Lane::default(),
    ];
    state.actors[usize::from(me)].step = Step::Done;
    log.record(format_args!("merges the lanes"));
    Outcome::Next
}
