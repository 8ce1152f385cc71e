//! Retries aggregate A when it is parked: locks the parked row, reads the chain of events in a later statement, folds the
//! whole chain, and unparks the aggregate.

use super::{Log, Outcome, claim_on_conflict_do_nothing, write_next_row};
use crate::mutations::Mutation;
use crate::read;
use crate::scenarios::Scenario;
use crate::state::{Claim, Set, State, Step};

pub(super) fn step(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    match state.actors[usize::from(me)].step {
        Step::Start if !state.parked[0] => Outcome::Idle,
        Step::Start => {
            let memory = &mut state.actors[usize::from(me)];
            memory.frozen = state.committed;
            memory.step = Step::LockParked;
            log.record(format_args!("starts"));
            Outcome::Next
        }
        Step::LockParked => lock_parked(scenario, state, me, log, unlimited),
        Step::ReadParkedChain => {
            read_chain(scenario, state, me, log);
            Outcome::Next
        }
        Step::Claim => claim_on_conflict_do_nothing(state, me, Step::FoldParkedChain, log),
        Step::FoldParkedChain => {
            fold_chain(scenario, state, me, log);
            Outcome::Next
        }
        Step::WriteRows => {
            let outcome = write_next_row(state, me, log);
            let memory = &mut state.actors[usize::from(me)];
            if outcome == Outcome::Next && memory.to_write.is_empty() {
                memory.step = Step::Unpark;
            }
            outcome
        }
        _ => {
            let stays_parked = state.actors[usize::from(me)].released;
            if !stays_parked {
                state.parked_written[0] = Some(false);
            }
            end_round(scenario, state, me, true, unlimited);
            log.record(format_args!(
                "{}commits",
                if stays_parked { "" } else { "unparks A and " }
            ));
            Outcome::Next
        }
    }
}

fn end_round(scenario: &Scenario, state: &mut State, me: u8, commit: bool, unlimited: bool) {
    state.finish(me, commit);
    let memory = &mut state.actors[usize::from(me)];
    memory.rounds += 1;
    if memory.rounds >= scenario.retries && !unlimited {
        memory.step = Step::Done;
    }
}

fn lock_parked(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    if let Some(writer) = state.parked_writer[0] {
        return Outcome::Blocked(Set::from_member(writer));
    }
    if !state.parked_shared_by[0].is_empty() {
        return Outcome::Blocked(state.parked_shared_by[0]);
    }
    if !state.parked[0] {
        end_round(scenario, state, me, false, unlimited);
        log.record(format_args!("the aggregate is not parked any more"));
        return Outcome::Next;
    }
    state.parked_writer[0] = Some(me);
    state.parked_written[0] = None;
    state.actors[usize::from(me)].step = Step::ReadParkedChain;
    log.record(format_args!("locks the parked row of A"));
    Outcome::Next
}

fn read_chain(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) {
    let memory = state.actors[usize::from(me)];
    let snapshot = if scenario.has(Mutation::ChainReadBeforeLock) {
        memory.frozen
    } else {
        state.committed
    };
    let chain = state.find(|i, event| {
        event.aggregate == 0
            && snapshot.contains(event.txid)
            && state.claims[usize::from(i)] != Claim::Committed
    });
    let mut targets = state.sorted(chain, |event| event.version);
    if scenario.has(Mutation::UnparkAfterOneEvent) {
        targets.truncate(1);
    }
    let memory = &mut state.actors[usize::from(me)];
    memory.frozen = Set::EMPTY;
    memory.set_targets(&targets);
    memory.step = if targets.is_empty() {
        Step::Unpark
    } else {
        Step::Claim
    };
    log.record(format_args!("reads the chain: {} events", targets.len()));
}

fn fold_chain(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) {
    read::read_after_claims(state, me, 0);
    let claimed = state.actors[usize::from(me)].claimed;
    read::fold(scenario, state, me, true);
    let memory = &mut state.actors[usize::from(me)];
    let folded: Set = memory.targets[..usize::from(memory.target_count)]
        .iter()
        .copied()
        .collect();
    let unfolded = claimed.without(folded);
    if !unfolded.is_empty() {
        for event in unfolded.iter() {
            state.claims[usize::from(event)] = Claim::Free;
        }
        memory.released = true;
    }
    memory.to_park = Set::EMPTY;
    memory.step = if memory.to_write.is_empty() {
        Step::Unpark
    } else {
        Step::WriteRows
    };
    log.record(format_args!(
        "folds{}",
        if memory.released {
            ": A stays parked"
        } else {
            ""
        }
    ));
}
