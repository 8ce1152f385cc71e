//! A reprojection begins a generation and fills it, slice by slice, under one frozen snapshot C.
//!
//! A fill locks a slice, folds the next aggregate of the slice with the events that C sees, writes its claims and its row, and
//! advances the slice in the same transaction. When all slices are done, the generation gets a lane that has settled C. From then
//! on it is projected like any other.

use super::{Log, Outcome, write_next_row};
use crate::mutations::Mutation;
use crate::read;
use crate::scenarios::Scenario;
use crate::state::{
    AGGREGATE_COUNT, Claim, Defect, Generation, Lane, NEW_ID, Phase, Set, Settled, Slice, State,
    Step, name,
};

/// Begins a generation in one transaction, and stores C and the slices in the next one. If the actor crashes in between, it
/// goes on there.
pub(super) fn begin(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let stored = state.generation(NEW_ID);
    let is_unplanned = stored.phase == Phase::Filling && !is_planned(stored);
    let phase = stored.phase;
    if state.actors[usize::from(me)].step == Step::PlanSlices {
        if is_unplanned || scenario.has(Mutation::PlanNotCompared) {
            plan(scenario, state, log);
        }
        let rounds = state.actors[usize::from(me)].rounds;
        state.actors[usize::from(me)].step = if rounds >= scenario.retries {
            Step::Done
        } else {
            Step::Start
        };
        return Outcome::Next;
    }
    if phase == Phase::Absent {
        let generation = state.generation_mut(NEW_ID);
        generation.phase = Phase::Filling;
        generation.begun += 1;
        state.actors[usize::from(me)].rounds += 1;
        log.record(format_args!("begins a generation"));
    } else if !is_unplanned {
        return Outcome::Idle;
    }
    state.actors[usize::from(me)].step = Step::PlanSlices;
    Outcome::Next
}

const fn is_planned(stored: &Generation) -> bool {
    stored.slices[0].exists || stored.lanes[0].exists
}

fn plan(scenario: &Scenario, state: &mut State, log: &mut Log) {
    let (frozen, is_split) = (state.ended, scenario.is_split);
    let last = AGGREGATE_COUNT - 1;
    let slice = |next, last| Slice {
        exists: true,
        next,
        last,
        holder: None,
    };
    let generation = state.generation_mut(NEW_ID);
    generation.frozen = frozen;
    generation.slices = if is_split {
        [slice(0, 0), slice(1, last)]
    } else {
        [slice(0, last), Slice::default()]
    };
    log.record(format_args!("freezes C = {frozen:?}"));
}

pub(super) fn step(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    match state.actors[usize::from(me)].step {
        Step::Start => take_slice(scenario, state, me, log),
        Step::ReadSlice => read_slice(scenario, state, me, log),
        Step::FillRows => write(state, me, log),
        Step::AdvanceSlice => {
            commit(scenario, state, me, log);
            Outcome::Next
        }
        Step::AdvanceSeparately => {
            let memory = state.actors[usize::from(me)];
            advance(state, memory.lane_index, memory.version);
            state.finish(me, true);
            log.record(format_args!("advances the slice"));
            Outcome::Next
        }
        _ => create_lane(scenario, state, me, log),
    }
}

/// Locks a slice that is not done, `for update skip locked`. If none is left, the fill is over.
fn take_slice(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let stored = *state.generation_of(me);
    if stored.phase != Phase::Filling || stored.has_lanes() {
        return Outcome::Idle;
    }
    let is_locked =
        |slice: &Slice| slice.holder.is_some() && !scenario.has(Mutation::SliceNotLocked);
    let free = |(_, slice): &(u8, Slice)| !slice.is_done() && !is_locked(slice);
    let Some((index, slice)) = (0..).zip(stored.slices).find(free) else {
        if !is_over(scenario, &stored) {
            // The workers that hold the slices finish them, or a later fill does.
            return Outcome::Idle;
        }
        state.actors[usize::from(me)].step = Step::CreateLane;
        log.record(format_args!("finds that all slices are done"));
        return Outcome::Next;
    };
    if !scenario.has(Mutation::SliceNotLocked) {
        state.generation_of_mut(me).slices[usize::from(index)].holder = Some(me);
    }
    let frozen = if scenario.has(Mutation::SnapshotPerSlice) {
        state.ended
    } else {
        stored.frozen
    };
    let memory = &mut state.actors[usize::from(me)];
    // A generation has a name that none had before, so a worker finds no slices of the next one by the name of the first.
    if memory.joined == 0 || !scenario.has(Mutation::NameReused) {
        memory.joined = stored.begun;
    }
    memory.lane_index = index;
    memory.version = slice.next;
    memory.frozen = frozen;
    memory.step = Step::ReadSlice;
    log.record(format_args!("takes slice {index}"));
    Outcome::Next
}

/// Whether all slices of the generation are done.
fn is_over(scenario: &Scenario, stored: &Generation) -> bool {
    let (is_planned, is_done) = (
        stored.slices.iter().any(|slice| slice.exists),
        stored.slices.iter().all(|slice| slice.is_done()),
    );
    (is_planned && is_done) || scenario.has(Mutation::SettledWhileSliceHeld)
}

/// Reads the events of the slice's next aggregate that C sees, and folds them.
fn read_slice(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let memory = state.actors[usize::from(me)];
    let (aggregate, log_events) = (memory.version, state.log());
    let is_seen = |txid| memory.frozen.contains(txid) || scenario.has(Mutation::FillReadsNewest);
    let events = state.find(|i, event| {
        event.aggregate == aggregate && log_events.contains(i) && is_seen(event.txid)
    });
    if scenario.has(Mutation::CursorBeforeClaims) {
        advance(state, memory.lane_index, aggregate);
        state.generation_of_mut(me).slices[usize::from(memory.lane_index)].holder = None;
    }
    if scenario.has(Mutation::SnapshotPerSlice) {
        let frozen = memory.frozen;
        state.generation_of_mut(me).frozen = frozen;
    }
    state.actors[usize::from(me)].events = events;
    read::fold(scenario, state, me, true);
    let memory = &mut state.actors[usize::from(me)];
    memory.frozen = Set::EMPTY;
    memory.step = Step::FillRows;
    log.record(format_args!(
        "reads and folds {} events of {}",
        events.len(),
        name(aggregate)
    ));
    Outcome::Next
}

/// Writes the claims in bulk and then the row. The claims have no key yet that would refuse a second one.
fn write(state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let memory = state.actors[usize::from(me)];
    let mut claimed_twice = false;
    for &event in &memory.targets[..usize::from(memory.target_count)] {
        let claim = &mut state.generation_of_mut(me).claims[usize::from(event)];
        claimed_twice |= *claim != Claim::Free && *claim != Claim::Held(me);
        *claim = Claim::Held(me);
    }
    if claimed_twice {
        state.defect = Some(Defect::ClaimedTwice);
    }
    if memory.joined != state.generation_of(me).begun {
        state.defect = Some(Defect::MixedFolds);
    }
    if !memory.to_write.is_empty()
        && let Outcome::Blocked(holders) = write_next_row(state, me, log)
    {
        return Outcome::Blocked(holders);
    }
    let memory = &mut state.actors[usize::from(me)];
    let parks = memory.to_park;
    memory.set_targets(&[]);
    memory.to_park = Set::EMPTY;
    memory.to_write = Set::EMPTY;
    memory.new_rows = Default::default();
    memory.step = Step::AdvanceSlice;
    let generation = state.generation_of_mut(me);
    for aggregate in parks.iter() {
        generation.parked_writer[usize::from(aggregate)] = Some(me);
        generation.parked_written[usize::from(aggregate)] = Some(true);
    }
    log.record(format_args!(" writes claims"));
    Outcome::Next
}

fn advance(state: &mut State, slice: u8, aggregate: u8) {
    let slice = &mut state.generation_mut(NEW_ID).slices[usize::from(slice)];
    if slice.exists {
        slice.next = aggregate + 1;
    }
}

fn commit(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) {
    let memory = state.actors[usize::from(me)];
    if scenario.has(Mutation::CursorAfterCommit) {
        state.finish(me, true);
        let now = &mut state.actors[usize::from(me)];
        now.step = Step::AdvanceSeparately;
        now.lane_index = memory.lane_index;
        now.version = memory.version;
        log.record(format_args!("commits, and has not advanced the slice yet"));
        return;
    }
    if !scenario.has(Mutation::CursorBeforeClaims) {
        advance(state, memory.lane_index, memory.version);
    }
    state.finish(me, true);
    log.record(format_args!("advances the slice and commits"));
}

/// Creates the lane of the generation, which has settled C, if the generation is being filled and its slices are done: another
/// generation of the same name may have been begun since the worker looked.
fn create_lane(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let (stored, ended) = (*state.generation_of(me), state.ended);
    let is_filling = stored.phase == Phase::Filling || scenario.has(Mutation::PhaseNotCompared);
    let is_over = is_over(scenario, &stored) || scenario.has(Mutation::SlicesNotCompared);
    if is_filling && is_over && !stored.has_lanes() {
        let snapshot = if scenario.has(Mutation::SettledAtCurrentSnapshot) {
            ended
        } else {
            stored.frozen
        };
        let generation = state.generation_of_mut(me);
        generation.lanes[0] = Lane {
            settled: Settled {
                snapshot,
                ..Settled::default()
            },
            ..Lane::WHOLE
        };
        generation.slices = Default::default();
        generation.frozen = Set::EMPTY;
    }
    state.finish(me, true);
    log.record(format_args!("creates the lane"));
    Outcome::Next
}
