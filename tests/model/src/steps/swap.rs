//! The swap makes the new generation live.
//!
//! It takes the projection's lock exclusively, which waits for the inline appends and retries in progress and makes later ones
//! wait. It locks the lanes of the live generation, so that no worker projects that one further. Then it freezes C, catches up the
//! new generation in the same transaction, and flips both.

use super::{Log, Outcome, worker};
use crate::mutations::Mutation;
use crate::read;
use crate::scenarios::Scenario;
use crate::state::{AGGREGATE_COUNT, GENERATION_COUNT, NEW_ID, OLD_ID, Phase, Set, State, Step};

pub(super) fn step(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    match state.actors[usize::from(me)].step {
        Step::Start => start(scenario, state, me, log),
        Step::LockForSwap => lock(scenario, state, me, log),
        Step::LockLanes => lock_lanes(scenario, state, me, log),
        Step::ReadLane => read_lane(scenario, state, me, log),
        Step::ReadChain => {
            read::read_chains(state, me, true, true);
            log.record(format_args!("reads chains"));
            fold(scenario, state, me, log);
            Outcome::Next
        }
        Step::GoLive => {
            state.finish(me, true);
            flip(state, me, log);
            Outcome::Next
        }
        _ => worker::step(scenario, state, me, log, false),
    }
}

/// Begins when the generation is filled.
fn start(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let generation = state.generation(NEW_ID);
    let is_filled = generation.has_lanes() || scenario.has(Mutation::SwapBeforeFilled);
    let rounds = state.actors[usize::from(me)].rounds;
    if generation.phase != Phase::Filling || !is_filled || rounds >= scenario.retries {
        return Outcome::Idle;
    }
    let ended = state.ended;
    let memory = &mut state.actors[usize::from(me)];
    memory.rounds += 1;
    if scenario.has(Mutation::SwapSnapshotBeforeLock) {
        memory.frozen = ended;
    }
    memory.step = Step::LockForSwap;
    log.record(format_args!("begins"));
    Outcome::Next
}

/// Takes the projection's lock exclusively, and compares the state of the generation.
fn lock(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    if !scenario.has(Mutation::SwapWithoutLock) {
        let holder = state.projection_holder.map_or(Set::EMPTY, Set::from_member);
        let others = holder.union(state.projection_shared_by);
        if !others.is_empty() {
            return Outcome::Blocked(others);
        }
        state.projection_holder = Some(me);
    }
    let generation = state.generation(NEW_ID);
    let is_filling = generation.phase == Phase::Filling || scenario.has(Mutation::PhaseNotCompared);
    let is_filled = generation.has_lanes() || scenario.has(Mutation::SwapBeforeFilled);
    let skips_catch_up = !generation.has_lanes() || scenario.has(Mutation::SwapWithoutCatchUp);
    if !is_filling || !is_filled {
        state.finish(me, false);
        log.record(format_args!(
            "the generation is not filled any more: gives up"
        ));
        return Outcome::Next;
    }
    state.actors[usize::from(me)].step = if skips_catch_up {
        Step::GoLive
    } else {
        Step::LockLanes
    };
    log.record(format_args!("locks the projection"));
    Outcome::Next
}

/// Locks the lanes of both generations. An aggregate that is parked in the new generation at an event which the live
/// one has would go back in time, so the swap gives up.
fn lock_lanes(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let mut holders = Set::EMPTY;
    let stops_live = !scenario.has(Mutation::LiveBatchesNotStopped);
    for generation in (0..GENERATION_COUNT).filter(|index| *index == NEW_ID || stops_live) {
        let others = state.generation(generation).lane_holder;
        for holder in others.iter().flatten().filter(|holder| **holder != me) {
            holders.insert(*holder);
        }
    }
    if !holders.is_empty() {
        return Outcome::Blocked(holders);
    }
    if !state.generation(NEW_ID).has_lanes() {
        state.finish(me, false);
        log.record(format_args!(
            "the generation has no lane any more: gives up"
        ));
        return Outcome::Next;
    }
    let count_claims = |generation, aggregate| {
        let claimed = state.claimed(generation);
        let events = state.find(|i, event| claimed.contains(i) && event.aggregate == aggregate);
        events.len()
    };
    let is_behind = (0..AGGREGATE_COUNT).any(|aggregate| {
        state.generation(NEW_ID).parked[usize::from(aggregate)]
            && count_claims(NEW_ID, aggregate) < count_claims(OLD_ID, aggregate)
    });
    if is_behind && !scenario.has(Mutation::ParkedNotCompared) {
        state.finish(me, false);
        log.record(format_args!(
            "an aggregate is parked at an event that the live generation has: gives up"
        ));
        return Outcome::Next;
    }
    for generation in (0..GENERATION_COUNT).filter(|index| *index == NEW_ID || stops_live) {
        let stored = state.generation_mut(generation);
        for (lane, holder) in stored.lanes.iter().zip(&mut stored.lane_holder) {
            if lane.exists {
                *holder = Some(me);
            }
        }
    }
    state.actors[usize::from(me)].step = Step::ReadLane;
    log.record(format_args!("locks the lanes"));
    Outcome::Next
}

/// Freezes C, and reads all that the new generation lacks.
fn read_lane(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let (lane, ended) = (state.generation(NEW_ID).lanes[0], state.ended);
    let memory = &mut state.actors[usize::from(me)];
    memory.lane = lane;
    memory.lane_index = 0;
    if !scenario.has(Mutation::SwapSnapshotBeforeLock) {
        memory.frozen = ended;
    }
    if !read::read_lane(scenario, state, me, log) {
        state.finish(me, false);
        return Outcome::Next;
    }
    let memory = &mut state.actors[usize::from(me)];
    if memory.looked_at.is_empty() && memory.settle == memory.lane.settled {
        memory.step = Step::GoLive;
    } else if memory.incomplete.is_empty() {
        fold(scenario, state, me, log);
    } else {
        memory.step = Step::ReadChain;
    }
    Outcome::Next
}

/// Folds. If an event cannot be folded, its aggregate is left to an ordinary batch, which parks it, and the swap gives up.
fn fold(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) {
    state.actors[usize::from(me)].step = Step::ShareParked;
    read::fold(scenario, state, me, true);
    let parks = !state.actors[usize::from(me)].to_park.is_empty();
    if parks && !scenario.has(Mutation::ParkedNotCompared) {
        state.finish(me, false);
        log.record(format_args!("; an event cannot be folded: gives up"));
    }
}

/// The generation goes live in the transaction that has caught it up.
pub(super) fn flip(state: &mut State, me: u8, log: &mut Log) {
    state.generation_mut(OLD_ID).phase = Phase::Retired;
    state.generation_mut(NEW_ID).phase = Phase::Live;
    state.actors[usize::from(me)].step = Step::Done;
    log.record(format_args!(" and makes the generation live"));
}
