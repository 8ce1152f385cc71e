//! The write statement: compares the lane, share-locks parked rows, claims, writes view rows, parks, and settles.

use super::{Claimed, Log, Outcome, claim_next, worker};
use crate::mutations::Mutation;
use crate::scenarios::{Actor, Scenario};
use crate::state::{Defect, Memory, Set, State, Step, name};

/// The write statement of a quick worker locks the lane's row, and compares its turn with the one that was read.
pub(super) fn start_write(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
) -> Outcome {
    let index = usize::from(state.actors[usize::from(me)].lane_index);
    let (lane, holder) = (
        state.generation_of(me).lanes[index],
        state.generation_of(me).lane_holder[index],
    );
    let memory = &mut state.actors[usize::from(me)];
    if scenario.actor(me) == Actor::Lazy {
        memory.relied_on = Set::EMPTY;
        memory.step = Step::Claim;
        log.record(format_args!("the write starts and settles nothing"));
        if memory.target_count > 0 {
            return Outcome::Next;
        }
        return worker::step(scenario, state, me, log, false);
    }
    let (not_compared, read_again) = (
        scenario.has(Mutation::LaneNotCompared),
        scenario.has(Mutation::TurnReadAgain),
    );
    if not_compared || read_again {
        if read_again {
            memory.lane.turn = lane.turn;
        }
        memory.step = Step::ShareParked;
        log.record(format_args!("the write starts without comparing the lane"));
        return Outcome::Next;
    }
    let holder = holder.filter(|holder| *holder != me);
    if let Some(holder) = holder.filter(|_| lane.exists) {
        return Outcome::Blocked(Set::from_member(holder));
    }
    // Within a generation the turn suffices. The next generation of the same name begins with the same turn.
    let is_same = lane.turn == memory.lane.turn
        && (!scenario.has_generations || lane.settled == memory.lane.settled);
    if !lane.exists || !is_same {
        state.finish(me, false);
        log.record(format_args!("the lane is not as it was read: starts over"));
        return Outcome::Next;
    }
    memory.step = Step::ShareParked;
    state.generation_of_mut(me).lane_holder[index] = Some(me);
    log.record(format_args!(
        "the write starts: the lane is as it was read, and locked"
    ));
    Outcome::Next
}

/// Share-locks the parked rows that the batch relies on.
pub(super) fn share_parked(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
) -> Outcome {
    let memory = &mut state.actors[usize::from(me)];
    let generation = &mut state.generations[usize::from(memory.generation)];
    let next = memory
        .relied_on
        .first()
        .filter(|_| !scenario.has(Mutation::ParkedNotReadAgain));
    let Some(aggregate) = next else {
        memory.step = Step::Claim;
        memory.relied_on = Set::EMPTY;
        return worker::step(scenario, state, me, log, false);
    };
    let at = usize::from(aggregate);
    let locks = !scenario.has(Mutation::ParkedReadWithoutLock);
    let writer = generation.parked_writer[at].filter(|writer| *writer != me && locks);
    if let Some(writer) = writer {
        return Outcome::Blocked(Set::from_member(writer));
    }
    if !generation.parked[at] {
        state.finish(me, false);
        log.record(format_args!(
            "{} is not parked any more: starts over",
            name(aggregate)
        ));
        return Outcome::Next;
    }
    if locks {
        generation.parked_shared_by[at].insert(me);
    }
    memory.relied_on.remove(aggregate);
    log.record(format_args!(
        "share-locks the parked row of {}",
        name(aggregate)
    ));
    Outcome::Next
}

/// Inserts the next claim without `on conflict`: a claim that is committed loses the batch.
pub(super) fn claim(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let memory = &mut state.actors[usize::from(me)];
    if memory.target >= memory.target_count {
        memory.step = Step::WriteRows;
        return worker::step(scenario, state, me, log, false);
    }
    match claim_next(state, me, log) {
        Claimed::Yes => {}
        Claimed::Already if scenario.has(Mutation::ClaimsOnConflictDoNothing) => {}
        Claimed::Already => {
            state.finish(me, false);
            log.record(format_args!(": a unique violation, the batch is lost"));
        }
        Claimed::HeldBy(_) if scenario.has(Mutation::HeldClaimSkipped) => {
            state.actors[usize::from(me)].target += 1;
            log.record(format_args!("skips a claim that another transaction holds"));
        }
        Claimed::HeldBy(holder) => return Outcome::Blocked(Set::from_member(holder)),
    }
    Outcome::Next
}

/// Inserts the next parked row, `on conflict do nothing`.
pub(super) fn park_next(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let Some(aggregate) = state.actors[usize::from(me)].to_park.first() else {
        state.actors[usize::from(me)].step = Step::Commit;
        return worker::step(scenario, state, me, log, false);
    };
    let at = usize::from(aggregate);
    let generation = state.generation_of_mut(me);
    let writer = generation.parked_writer[at];
    if let Some(other) = writer.filter(|writer| *writer != me)
        && generation.parked_written[at].is_some()
    {
        return Outcome::Blocked(Set::from_member(other));
    }
    if !generation.parked[at] && writer.is_none() {
        generation.parked_writer[at] = Some(me);
        generation.parked_written[at] = Some(true);
    }
    state.actors[usize::from(me)].to_park.remove(aggregate);
    log.record(format_args!("parks {}", name(aggregate)));
    Outcome::Next
}

/// The batch commits, and its lane settles what the batch looked at.
pub(super) fn commit(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) {
    let memory = state.actors[usize::from(me)];
    let index = usize::from(memory.lane_index);
    if scenario.actor(me) == Actor::Lazy {
        state.finish(me, true);
        log.record(format_args!("commits"));
        return;
    }
    if scenario.has(Mutation::SettledInOwnTransaction) {
        state.finish(me, true);
        let Memory {
            settle,
            lane,
            lane_index,
            looked_at,
            ..
        } = memory;
        let now = &mut state.actors[usize::from(me)];
        let step = Step::SettleSeparately;
        *now = Memory {
            step,
            lane,
            lane_index,
            settle,
            looked_at,
            ..*now
        };
        log.record(format_args!("commits, and has not settled yet"));
        return;
    }
    let covered = |state: &State| {
        state
            .find(|_, event| state.generation_of(me).lanes[index].covers(*event))
            .len()
    };
    let before = covered(state);
    let not_compared = scenario.has(Mutation::LaneNotCompared);
    let lane = &mut state.generation_of_mut(me).lanes[index];
    if lane.exists || !not_compared {
        lane.settled = memory.settle;
        lane.turn = scenario.turn_after(lane.turn, memory.lane.turn);
    }
    // These mutations overwrite the progress of other workers; they must be caught for losing events, not for this.
    let is_exempt = not_compared
        || scenario.has(Mutation::TurnReadAgain)
        || scenario.has(Mutation::BegunTransactionLast);
    if covered(state) < before + memory.looked_at.len() && !is_exempt {
        state.defect = Some(Defect::LostProgress);
    }
    state.finish(me, true);
    log.record(format_args!(
        "commits: lane {index} has settled {:?}",
        state.generation_of(me).lanes[index].settled
    ));
}

/// The mutation: settles in a transaction of its own, without comparing the lane.
pub(super) fn settle_separately(state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let memory = state.actors[usize::from(me)];
    let index = usize::from(memory.lane_index);
    if let Some(holder) = state.generation_of(me).lane_holder[index] {
        return Outcome::Blocked(Set::from_member(holder));
    }
    let lane = &mut state.generation_of_mut(me).lanes[index];
    if lane.exists {
        lane.settled = memory.settle;
        lane.turn += 1;
    }
    state.finish(me, true);
    log.record(format_args!("settles {:?}", memory.settle));
    Outcome::Next
}
