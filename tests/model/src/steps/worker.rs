//! The workers: quick, lazy and bulk.

use super::{Log, Outcome, swap, write, write_next_row};
use crate::mutations::Mutation;
use crate::read;
use crate::scenarios::{Actor, Scenario};
use crate::state::{Lane, Memory, Phase, Set, State, Step};

pub(super) fn step(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    let memory = state.actors[usize::from(me)];
    match memory.step {
        Step::Start => start(scenario, state, me, log, unlimited),
        Step::TakeLane => take_lane(scenario, state, me, log),
        Step::ReadLane => {
            if scenario.has(Mutation::FreezeAfterLock) {
                state.actors[usize::from(me)].frozen = state.ended;
            }
            if read::read_lane(scenario, state, me, log) {
                fold_or_end(scenario, state, me, Step::ShareParked, log);
            } else {
                state.finish(me, false);
            }
            Outcome::Next
        }
        Step::ReadChain | Step::ReadChainAfterRows => {
            read_chain(scenario, state, me, log);
            Outcome::Next
        }
        Step::StartWrite => write::start_write(scenario, state, me, log),
        Step::ShareParked => write::share_parked(scenario, state, me, log),
        Step::Claim => write::claim(scenario, state, me, log),
        Step::WriteRows if !memory.to_write.is_empty() => write_next_row(state, me, log),
        Step::WriteRows => write::park_next(scenario, state, me, log),
        Step::Commit => {
            write::commit(scenario, state, me, log);
            if scenario.actor(me) == Actor::Swap {
                swap::flip(state, me, log);
            }
            Outcome::Next
        }
        Step::SettleSeparately => write::settle_separately(state, me, log),
        _ => split(scenario, state, me, log),
    }
}

/// A pass begins. A quick worker reads at once, from the lane that has something unsettled.
fn start(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    let rounds = state.actors[usize::from(me)].rounds;
    if rounds >= scenario.passes && !unlimited {
        return Outcome::Idle;
    }
    if !is_projected(scenario, state, me) {
        return Outcome::Idle;
    }
    let rounds = if unlimited { 0 } else { rounds + 1 };
    let memory = &mut state.actors[usize::from(me)];
    memory.rounds = rounds;
    memory.frozen = state.ended;
    if scenario.actor(me) == Actor::Bulk {
        memory.step = Step::TakeLane;
        log.record(format_args!("begins, and freezes C = {:?}", state.ended));
        return Outcome::Next;
    }
    let lanes = state.generation_of(me).lanes;
    let has_work = |lane: &Lane| lane.exists && !state.unsettled(lane).is_empty();
    let index = u8::from(has_work(&lanes[1]) && !has_work(&lanes[0]));
    let memory = &mut state.actors[usize::from(me)];
    memory.lane_index = index;
    memory.lane = lanes[usize::from(index)];
    if read::read_lane(scenario, state, me, log) {
        fold_or_end(scenario, state, me, Step::StartWrite, log);
    } else {
        restart(state, me);
    }
    Outcome::Next
}

/// Whether workers project the generation: it is filled, and not in removal. A mutation creates a missing lane, as for a
/// projection for which nothing is settled.
fn is_projected(scenario: &Scenario, state: &mut State, me: u8) -> bool {
    let generation = state.generation_of_mut(me);
    let creates_lane = scenario.has(Mutation::LaneCreatedByPass)
        && matches!(generation.phase, Phase::Filling | Phase::Cancelled)
        && !generation.has_lanes();
    if creates_lane {
        generation.lanes[0] = Lane::WHOLE;
    }
    let is_left_alone = match generation.phase {
        Phase::Absent => true,
        Phase::Cancelled => !creates_lane,
        Phase::Retired => scenario.has(Mutation::RetiredNotProjected),
        Phase::Filling | Phase::Live => false,
    };
    generation.has_lanes() && !is_left_alone
}

/// Forgets the pass, which has written nothing.
fn restart(state: &mut State, me: u8) {
    let Memory {
        generation, rounds, ..
    } = state.actors[usize::from(me)];
    state.actors[usize::from(me)] = Memory {
        generation,
        rounds,
        ..Memory::default()
    };
}

/// After the read statement: folds, and continues with `then`; or reads the missing chains first; or ends the pass because
/// nothing is new.
fn fold_or_end(scenario: &Scenario, state: &mut State, me: u8, then: Step, log: &mut Log) {
    let memory = &mut state.actors[usize::from(me)];
    let must_read_chain = !memory.incomplete.is_empty();
    memory.step = if must_read_chain {
        Step::ReadChain
    } else {
        then
    };
    if memory.looked_at.is_empty() && memory.settle == memory.lane.settled {
        state.finish(me, true);
        log.record(format_args!("; nothing is new"));
    } else if !must_read_chain {
        read::fold(
            scenario,
            state,
            me,
            !scenario.has(Mutation::OrderNotChecked),
        );
    }
}

fn read_chain(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) {
    let then = match scenario.actor(me) {
        Actor::Bulk => Step::ShareParked,
        _ => Step::StartWrite,
    };
    let is_first = state.actors[usize::from(me)].step == Step::ReadChain;
    if is_first && scenario.has(Mutation::RowAndChainReadSeparately) {
        read::read_chains(state, me, true, false);
        state.actors[usize::from(me)].step = Step::ReadChainAfterRows;
        log.record(format_args!("reads rows"));
        return;
    }
    read::read_chains(state, me, is_first, true);
    state.actors[usize::from(me)].step = then;
    read::fold(
        scenario,
        state,
        me,
        !scenario.has(Mutation::OrderNotChecked),
    );
    log.record(format_args!("reads chains"));
}

/// A bulk worker takes a free lane, `for update skip locked`. It gets the newest version of the row, although its
/// statement's snapshot may be older.
fn take_lane(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let (lanes, holders) = (
        state.generation_of(me).lanes,
        state.generation_of(me).lane_holder,
    );
    let is_free = |index: &usize| lanes[*index].exists && holders[*index].is_none();
    let free: Vec<usize> = (0..2).filter(is_free).collect();
    let with_work = free
        .iter()
        .find(|i| !state.unsettled(&lanes[**i]).is_empty());
    let any = free.first().filter(|_| holders == [None; 2]);
    let Some(&index) = with_work.or(any) else {
        let memory = &mut state.actors[usize::from(me)];
        memory.step = Step::SplitLane;
        memory.frozen = Set::EMPTY;
        log.record(format_args!("finds no free lane"));
        return Outcome::Next;
    };
    state.generation_of_mut(me).lane_holder[index] = Some(me);
    let lane = lanes[index];
    let memory = &mut state.actors[usize::from(me)];
    memory.lane_index = u8::from(index == 1);
    memory.lane = lane;
    memory.step = Step::ReadLane;
    if scenario.has(Mutation::FreezeAfterLock) {
        memory.frozen = state.ended;
    }
    log.record(format_args!("takes lane {} to {}", lane.first, lane.last));
    Outcome::Next
}

/// A bulk worker that found no free lane waits for the holder of the widest one, and splits it in a statement of its own.
fn split(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let lane = state.generation_of(me).lanes[0];
    if state.generation_of(me).lanes[1].exists || lane.last == 0 {
        restart(state, me);
        log.record(format_args!("finds nothing to split"));
        return Outcome::Next;
    }
    let holder = state.generation_of(me).lane_holder[0]
        .filter(|_| !scenario.has(Mutation::SplitWithoutWaiting));
    if let Some(holder) = holder {
        return Outcome::Blocked(Set::from_member(holder));
    }
    let turn = scenario.next_turn(lane.turn);
    state.generation_of_mut(me).lanes = [
        Lane {
            last: 0,
            turn,
            ..lane
        },
        Lane {
            first: 1,
            turn,
            ..lane
        },
    ];
    if scenario.has(Mutation::SplitWithCurrentSnapshot) {
        let ended = state.ended;
        state.generation_of_mut(me).lanes[1].settled.snapshot = ended;
    }
    restart(state, me);
    log.record(format_args!("splits the lane in two"));
    Outcome::Next
}
