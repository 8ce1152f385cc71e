//! The removal of a generation: a cancelled one, or a retired one that no running code needs.
//!
//! The generation is marked first, under the exclusive lock of the projection, so that no worker begins to work on it. Then
//! what workers lock or compare is deleted, which waits for the workers in progress: slices, lanes, parked rows. Claims and rows
//! come last, because a worker in progress could add to them until then. Each step is a transaction, and a removal that was
//! interrupted starts over.

use super::{Log, Outcome};
use crate::mutations::Mutation;
use crate::scenarios::Scenario;
use crate::state::{AGGREGATE_COUNT, Claim, NEW_ID, Phase, Set, State, Step};

/// A step of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Slices,
    Lanes,
    Parked,
    ClaimsAndRows,
}

const fn order(scenario: &Scenario) -> [Part; 4] {
    use Part::{ClaimsAndRows, Lanes, Parked, Slices};
    match scenario.mutation {
        Some(Mutation::ClaimsRemovedBeforeSlices) => [ClaimsAndRows, Slices, Lanes, Parked],
        Some(Mutation::ClaimsRemovedBeforeLanes) => [Slices, ClaimsAndRows, Lanes, Parked],
        Some(Mutation::ClaimsRemovedBeforeParked) => [Slices, Lanes, ClaimsAndRows, Parked],
        _ => [Slices, Lanes, Parked, ClaimsAndRows],
    }
}

pub(super) fn step(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let memory = state.actors[usize::from(me)];
    let from = if memory.generation == NEW_ID {
        Phase::Filling
    } else {
        Phase::Retired
    };
    match memory.step {
        Step::Start => start(scenario, state, me, from, log),
        Step::Mark => mark(scenario, state, me, from, log),
        _ => remove(scenario, state, me, log),
    }
}

fn start(scenario: &Scenario, state: &mut State, me: u8, from: Phase, log: &mut Log) -> Outcome {
    let phase = state.generation_of(me).phase;
    let is_interrupted = phase == Phase::Cancelled;
    if phase != from && !is_interrupted {
        return Outcome::Idle;
    }
    let skips_mark = is_interrupted || scenario.has(Mutation::RemovalNotMarked);
    state.actors[usize::from(me)].step = if skips_mark { Step::Remove } else { Step::Mark };
    log.record(format_args!("begins a removal"));
    Outcome::Next
}

/// Takes the projection's lock exclusively, compares the state of the generation, marks it, and commits.
fn mark(scenario: &Scenario, state: &mut State, me: u8, from: Phase, log: &mut Log) -> Outcome {
    let holder = state.projection_holder.map_or(Set::EMPTY, Set::from_member);
    let others = holder.union(state.projection_shared_by);
    if !others.is_empty() {
        return Outcome::Blocked(others);
    }
    if state.generation_of(me).phase != from && !scenario.has(Mutation::PhaseNotCompared) {
        state.finish(me, false);
        log.record(format_args!("the generation has another state: gives up"));
        return Outcome::Next;
    }
    state.generation_of_mut(me).phase = Phase::Cancelled;
    state.actors[usize::from(me)].step = Step::Remove;
    log.record(format_args!("marks the generation"));
    Outcome::Next
}

fn remove(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let memory = state.actors[usize::from(me)];
    let order = order(scenario);
    let Some(&part) = order.get(usize::from(memory.target)) else {
        let generation = state.generation_of_mut(me);
        generation.phase = Phase::Absent;
        generation.frozen = Set::EMPTY;
        generation.skipped = Set::EMPTY;
        state.finish(me, true);
        state.actors[usize::from(me)].step = Step::Done;
        log.record(format_args!("ends the removal"));
        return Outcome::Next;
    };
    let holders = holders_of(part, state, me);
    if !holders.is_empty() {
        return Outcome::Blocked(holders);
    }
    let generation = state.generation_of_mut(me);
    match part {
        Part::Slices => generation.slices = Default::default(),
        Part::Lanes => generation.lanes = Default::default(),
        Part::Parked => generation.parked = Default::default(),
        Part::ClaimsAndRows => {
            // Rows of open transactions are not visible to the statement.
            let committed = |claim: &&mut Claim| **claim == Claim::Committed;
            for claim in generation.claims.iter_mut().filter(committed) {
                *claim = Claim::Free;
            }
            generation.view = Default::default();
        }
    }
    state.actors[usize::from(me)].target += 1;
    log.record(format_args!("removes {part:?}"));
    Outcome::Next
}

/// The transactions that hold what is removed. A claim or a new row of an open transaction holds up no deletion.
fn holders_of(part: Part, state: &State, me: u8) -> Set {
    let generation = state.generation_of(me);
    let holders: Set = match part {
        Part::Slices => generation
            .slices
            .iter()
            .filter_map(|slice| slice.holder)
            .collect(),
        Part::Lanes => generation.lane_holder.iter().flatten().copied().collect(),
        Part::Parked => {
            let shared = (0..usize::from(AGGREGATE_COUNT))
                .map(|aggregate| generation.parked_shared_by[aggregate])
                .fold(Set::EMPTY, Set::union);
            let writers: Set = generation.parked_writer.iter().flatten().copied().collect();
            shared.union(writers)
        }
        Part::ClaimsAndRows => (0..usize::from(AGGREGATE_COUNT))
            .filter(|aggregate| generation.view[*aggregate].exists)
            .filter_map(|aggregate| generation.view_writer[aggregate])
            .collect(),
    };
    holders.without(Set::from_member(me))
}
