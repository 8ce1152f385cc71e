//! Retries and skips of aggregate A when it is parked.
//!
//! A retry locks the parked row, reads the chain of events in a later statement, folds the whole chain, and unparks the aggregate. A
//! skip locks the parked row, claims the event at which A is parked without folding it, raises the row's version over it, and
//! commits: A is then parked at the next event. After that the skip does what a retry does.

use super::{Log, Outcome, claim_on_conflict_do_nothing, write_next_row};
use crate::mutations::Mutation;
use crate::read;
use crate::scenarios::{Actor, Scenario};
use crate::state::{Claim, Set, State, Step};

pub(super) fn step(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    match state.actors[usize::from(me)].step {
        Step::Start if !state.generation_of(me).parked[0] => Outcome::Idle,
        Step::Start => {
            let memory = &mut state.actors[usize::from(me)];
            memory.frozen = state.committed;
            memory.step = first_lock(scenario);
            log.record(format_args!("starts"));
            Outcome::Next
        }
        Step::LockProjection => share_projection(scenario, state, me, log),
        Step::LockParked => lock_parked(scenario, state, me, log, unlimited),
        Step::SkipClaim => claim_skipped(scenario, state, me, log, unlimited),
        Step::SkipRow => raise_version(scenario, state, me, log),
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
        _ => unpark(scenario, state, me, log, unlimited),
    }
}

/// What a retry or a skip locks first.
const fn first_lock(scenario: &Scenario) -> Step {
    if scenario.has_generations {
        Step::LockProjection
    } else {
        Step::LockParked
    }
}

/// A retry changes a generation without the lock of a lane, so it shares the lock that a swap takes exclusively.
fn share_projection(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    if !scenario.has(Mutation::RetryWithoutLock) {
        if let Some(holder) = state.projection_holder {
            return Outcome::Blocked(Set::from_member(holder));
        }
        state.projection_shared_by.insert(me);
    }
    state.actors[usize::from(me)].step = Step::LockParked;
    log.record(format_args!("shares the lock of the projection"));
    Outcome::Next
}

fn end_round(scenario: &Scenario, state: &mut State, me: u8, commit: bool, unlimited: bool) {
    state.finish(me, commit);
    let memory = &mut state.actors[usize::from(me)];
    memory.rounds += 1;
    if memory.rounds >= scenario.retries && !unlimited {
        memory.step = Step::Done;
    }
}

/// The transactions of other actors for which the deletion or the lock of A's parked row waits.
fn holders_of_parked_row(state: &State, me: u8) -> Set {
    let generation = state.generation_of(me);
    let writer = generation.parked_writer[0].map_or(Set::EMPTY, Set::from_member);
    let others = writer.union(generation.parked_shared_by[0]);
    others.without(Set::from_member(me))
}

fn lock_parked(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    let is_skip = scenario.actor(me) == Actor::Skip;
    let is_skip = is_skip && !has_skipped(scenario, state, me);
    if is_skip && scenario.has(Mutation::SkipWithoutParkedLock) {
        state.actors[usize::from(me)].step = Step::SkipClaim;
        log.record(format_args!("does not lock the parked row of A"));
        return Outcome::Next;
    }
    let holders = holders_of_parked_row(state, me);
    if !holders.is_empty() {
        return Outcome::Blocked(holders);
    }
    if !state.generation_of(me).parked[0] {
        end_round(scenario, state, me, false, unlimited);
        log.record(format_args!("the aggregate is not parked any more"));
        return Outcome::Next;
    }
    let generation = state.generation_of_mut(me);
    generation.parked_writer[0] = Some(me);
    generation.parked_written[0] = None;
    state.actors[usize::from(me)].step = if is_skip {
        Step::SkipClaim
    } else {
        Step::ReadParkedChain
    };
    log.record(format_args!("locks the parked row of A"));
    Outcome::Next
}

/// Whether the event of the skip is skipped.
fn has_skipped(scenario: &Scenario, state: &State, me: u8) -> bool {
    let skipped = state.generation_of(me).skipped;
    skipped
        .iter()
        .any(|i| Some(state.event(i).version) == scenario.skip)
}

/// A skip claims its event, if this is the event at which A is parked.
fn claim_skipped(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    let (log_events, claimed) = (state.log(), state.claimed_for(me));
    let of_a = state.find(|i, event| log_events.contains(i) && event.aggregate == 0);
    let parked_at = of_a.without(claimed).iter().map(|i| state.event(i).version);
    let (parked_at, target) = (parked_at.min(), scenario.skip);
    let event = of_a
        .iter()
        .find(|i| Some(state.event(*i).version) == target);
    let is_refused = parked_at != target && !scenario.has(Mutation::SkipAheadOfParked);
    let Some(event) = event.filter(|_| !is_refused) else {
        end_round(scenario, state, me, false, unlimited);
        log.record(format_args!("A is not parked at this event: refuses"));
        return Outcome::Next;
    };
    let claim = &mut state.generation_of_mut(me).claims[usize::from(event)];
    match *claim {
        Claim::Held(holder) => return Outcome::Blocked(Set::from_member(holder)),
        Claim::Free if !scenario.has(Mutation::SkipWithoutClaim) => *claim = Claim::Held(me),
        _ => {}
    }
    let memory = &mut state.actors[usize::from(me)];
    memory.skipped.insert(event);
    memory.step = Step::SkipRow;
    log.record(format_args!(
        "claims {} without folding it",
        state.event(event)
    ));
    Outcome::Next
}

/// A skip raises the version of A's row, if there is one, over the event that it has claimed. Without a row, the claim itself
/// says that the next version may be folded.
fn raise_version(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let (row, version) = (state.row(me, 0), scenario.skip.unwrap_or_default());
    if row.exists && !scenario.has(Mutation::SkipKeepsVersion) {
        let memory = &mut state.actors[usize::from(me)];
        memory.new_rows[0] = Scenario::skip_over(row, version);
        memory.to_write = Set::from_member(0);
        if let Outcome::Blocked(holders) = write_next_row(state, me, log) {
            return Outcome::Blocked(holders);
        }
    }
    if scenario.has(Mutation::SkipUnparksAtOnce) {
        state.actors[usize::from(me)].step = Step::Unpark;
    } else {
        state.finish(me, true);
        state.actors[usize::from(me)].step = first_lock(scenario);
    }
    log.record(format_args!(
        " commits: the next version is {}",
        version + 1
    ));
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
            && state.generation_of(me).claims[usize::from(i)] != Claim::Committed
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
        let generation = &mut state.generations[usize::from(memory.generation)];
        for event in unfolded.iter() {
            generation.claims[usize::from(event)] = Claim::Free;
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

/// Unparks A, unless a part of its chain could not be folded, and commits.
fn unpark(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    let stays_parked = state.actors[usize::from(me)].released;
    if !stays_parked {
        let holders = holders_of_parked_row(state, me);
        if !holders.is_empty() {
            return Outcome::Blocked(holders);
        }
        let generation = state.generation_of_mut(me);
        generation.parked_writer[0] = Some(me);
        generation.parked_written[0] = Some(false);
    }
    end_round(scenario, state, me, true, unlimited);
    log.record(format_args!(
        "{}commits",
        if stays_parked { "" } else { "unparks A and " }
    ));
    Outcome::Next
}
