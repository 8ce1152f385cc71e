//! What must hold in every state, and what must hold once all actors have finished.

use crate::scenarios::{Actor, Scenario};
use crate::state::{AGGREGATE_COUNT, Claim, Memory, Row, State, Step, name};
use crate::steps::{Log, Outcome, step};

/// More steps than a pass can have.
const MAX_STEPS: usize = 200;
/// Passes that find nothing new, in addition to one pass per event: one per lane, before and after a retry.
const EXTRA_PASS_COUNT: usize = 4;

/// What must hold in every state: the claims of an aggregate are its versions 1 to k; its row is their fold; each slot
/// belongs to one lane; what a lane has settled is claimed or parked; and a batch settles all that it looked at.
///
/// # Errors
///
/// Returns a description of what does not hold.
pub fn invariants(scenario: &Scenario, state: &State) -> Result<(), String> {
    for aggregate in 0..AGGREGATE_COUNT {
        let claimed = state.claimed();
        let of_aggregate =
            state.find(|i, event| claimed.contains(i) && event.aggregate == aggregate);
        let mut versions: Vec<u8> = of_aggregate
            .iter()
            .map(|i| state.event(i).version)
            .collect();
        versions.sort_unstable();
        let name = name(aggregate);
        if !versions.iter().copied().eq((1..).take(versions.len())) {
            return Err(format!("the claims of {name} have a gap: {versions:?}"));
        }
        let fold = |row, version: &u8| scenario.fold(row, aggregate, *version);
        let expected = versions.iter().fold(Row::default(), fold);
        let row = state.view[usize::from(aggregate)];
        if row != expected {
            return Err(format!(
                "view row {name} is {row:?}, but the fold of its claimed events {versions:?} is {expected:?}"
            ));
        }
        let lanes = state
            .lanes
            .iter()
            .filter(|lane| lane.exists && lane.has_slot(aggregate));
        if lanes.count() != 1 {
            return Err(format!(
                "slot {aggregate} does not belong to exactly one lane"
            ));
        }
    }
    let forgotten = state.log().iter().find(|i| {
        let event = state.event(*i);
        state.lanes.iter().any(|lane| lane.covers(*event)) && is_waiting(state, *i)
    });
    if let Some(event) = forgotten {
        return Err(format!(
            "{} is settled, but neither claimed nor parked",
            state.event(event)
        ));
    }
    if state.lost_progress {
        return Err("no progress: a batch settled less than it looked at".to_owned());
    }
    Ok(())
}

/// Whether the event is neither claimed nor parked.
fn is_waiting(state: &State, index: u8) -> bool {
    state.claims[usize::from(index)] != Claim::Committed
        && !state.parked[usize::from(state.event(index).aggregate)]
}

/// What must hold once no actor can run: all of them have finished, and as many passes of one quick worker as there are
/// events settle the whole log and claim or park each of its events.
///
/// # Errors
///
/// Returns a description of what does not hold.
pub fn at_rest(scenario: &Scenario, state: &State) -> Result<(), String> {
    let unfinished = (0u8..)
        .zip(&state.actors)
        .find(|(_, memory)| !matches!(memory.step, Step::Start | Step::Done));
    if let Some((actor, memory)) = unfinished {
        return Err(format!("actor {actor} waits for ever at {:?}", memory.step));
    }
    let mut scenario = scenario.clone();
    let worker = (0u8..)
        .zip(&scenario.actors)
        .find(|(_, actor)| matches!(actor, Actor::Quick | Actor::Lazy | Actor::Bulk))
        .map(|(index, _)| index)
        .ok_or("the scenario has no worker")?;
    scenario.actors[usize::from(worker)] = Actor::Quick;
    let mut state = state.clone();
    let events = state.find(|_, _| true);
    for _ in 0..events.iter().count() + EXTRA_PASS_COUNT {
        retry_parked(&scenario, &mut state);
        run_pass(&scenario, &mut state, worker)?;
        invariants(&scenario, &state).map_err(|error| format!("after a final pass: {error}"))?;
    }
    if let Some(event) = events.iter().find(|i| is_waiting(&state, *i)) {
        return Err(format!("{} is never claimed", state.event(event)));
    }
    let covered = |i: &u8| state.lanes.iter().any(|lane| lane.covers(*state.event(*i)));
    match events.iter().find(|i| !covered(i)) {
        Some(event) => Err(format!(
            "no progress: {} is never settled",
            state.event(event)
        )),
        None => Ok(()),
    }
}

/// Runs one retry of aggregate A, if the scenario has retries, A is parked, and its event can be folded by now.
fn retry_parked(scenario: &Scenario, state: &mut State) {
    let retry = (0u8..)
        .zip(&scenario.actors)
        .find(|(_, actor)| **actor == Actor::Retry);
    let Some((retry, _)) = retry.filter(|_| !state.is_poisonous && state.parked[0]) else {
        return;
    };
    state.actors[usize::from(retry)] = Memory::default();
    while step(scenario, state, retry, &mut Log::default(), true) == Outcome::Next {
        if matches!(
            state.actors[usize::from(retry)].step,
            Step::Start | Step::Done
        ) {
            break;
        }
    }
}

fn run_pass(scenario: &Scenario, state: &mut State, worker: u8) -> Result<(), String> {
    state.actors[usize::from(worker)] = Memory::default();
    for _ in 0..MAX_STEPS {
        if step(scenario, state, worker, &mut Log::default(), true) != Outcome::Next {
            return Err("a final pass cannot continue".to_owned());
        }
        if state.actors[usize::from(worker)].step == Step::Start {
            return Ok(());
        }
    }
    Err("a final pass does not end".to_owned())
}
