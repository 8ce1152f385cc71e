//! What must hold in every state, and what must hold once all actors have finished.

use crate::scenarios::{Actor, Scenario};
use crate::state::{
    AGGREGATE_COUNT, Claim, Defect, GENERATION_COUNT, Generation, Memory, NEW_ID, OLD_ID, Phase,
    Row, State, Step, name,
};
use crate::steps::{Log, Outcome, step};

/// More steps than a pass can have.
const MAX_STEPS: usize = 200;
/// Passes that find nothing new, in addition to one pass per event: one per lane, before and after a retry.
const EXTRA_PASS_COUNT: usize = 4;

/// What must hold in every state: the claims of an aggregate are its versions 1 to k; its row is their fold; each slot
/// belongs to one lane; what a lane has settled is claimed or parked; and a batch settles all that it looked at. All this
/// holds for each generation, and a removed one has left nothing behind. The live view never goes back, and it has every
/// event that was folded inline.
///
/// # Errors
///
/// Returns a description of what does not hold.
pub fn invariants(scenario: &Scenario, state: &State) -> Result<(), String> {
    match state.defect {
        None => {}
        Some(Defect::LostProgress) => {
            return Err("no progress: a batch settled less than it looked at".to_owned());
        }
        Some(Defect::ClaimedTwice) => return Err("an event is filled twice".to_owned()),
        Some(Defect::MixedFolds) => {
            return Err("a worker of a cancelled reprojection fills the next one".to_owned());
        }
    }
    for generation in 0..GENERATION_COUNT {
        let of = if scenario.has_generations {
            format!(" of generation {generation}")
        } else {
            String::new()
        };
        let stored = state.generation(generation);
        match stored.phase {
            Phase::Cancelled => {}
            Phase::Absent if stored.is_empty() => {}
            Phase::Absent => return Err(format!("the removal{of} has left something behind")),
            Phase::Filling | Phase::Live | Phase::Retired => {
                for aggregate in 0..AGGREGATE_COUNT {
                    is_fold_of_claims(scenario, state, generation, aggregate)
                        .map_err(|error| format!("{error}{of}"))?;
                }
                if stored.has_lanes() {
                    lanes_are_true(state, stored).map_err(|error| format!("{error}{of}"))?;
                }
            }
        }
    }
    if scenario.has_generations {
        live_view_is_complete(scenario, state)?;
    }
    Ok(())
}

/// The claims of an aggregate are its versions 1 to k, and its row is the fold of them.
fn is_fold_of_claims(
    scenario: &Scenario,
    state: &State,
    generation: u8,
    aggregate: u8,
) -> Result<(), String> {
    let claimed = state.claimed(generation);
    let stored = state.generation(generation);
    let of_aggregate = state.find(|i, event| claimed.contains(i) && event.aggregate == aggregate);
    let events = state.sorted(of_aggregate, |event| event.version);
    let versions: Vec<u8> = events.iter().map(|i| state.event(*i).version).collect();
    let name = name(aggregate);
    if !versions.iter().copied().eq((1..).take(versions.len())) {
        return Err(format!("the claims of {name} have a gap: {versions:?}"));
    }
    let fold = |row, event: &u8| {
        let version = state.event(*event).version;
        if stored.skipped.contains(*event) {
            Scenario::skip_over(row, version)
        } else {
            scenario.fold(row, aggregate, version)
        }
    };
    let expected = events.iter().fold(Row::default(), fold);
    let row = stored.view[usize::from(aggregate)];
    if row == expected {
        Ok(())
    } else {
        Err(format!(
            "view row {name} is {row:?}, but the fold of its claimed events {versions:?} is {expected:?}"
        ))
    }
}

/// Each slot belongs to one lane, and what a lane has settled is claimed or parked.
fn lanes_are_true(state: &State, stored: &Generation) -> Result<(), String> {
    for slot in 0..AGGREGATE_COUNT {
        let holds = |lane: &&crate::state::Lane| lane.exists && lane.has_slot(slot);
        if stored.lanes.iter().filter(holds).count() != 1 {
            return Err(format!("slot {slot} does not belong to exactly one lane"));
        }
    }
    let is_settled = |i: u8| {
        let event = *state.event(i);
        stored.lanes.iter().any(|lane| lane.covers(event))
    };
    let forgotten = |i: &u8| is_settled(*i) && is_waiting(state, stored, *i);
    match state.log().iter().find(forgotten) {
        None => Ok(()),
        Some(event) => Err(format!(
            "{} is settled, but neither claimed nor parked",
            state.event(event)
        )),
    }
}

/// Whether the event is neither claimed nor parked.
fn is_waiting(state: &State, stored: &Generation, index: u8) -> bool {
    stored.claims[usize::from(index)] != Claim::Committed
        && !stored.parked[usize::from(state.event(index).aggregate)]
}

/// The live view has no row that is older than one that it had before. Where all appends fold inline, it has each of
/// their events as soon as they are committed, and no two rows with the same unique value are in the log.
fn live_view_is_complete(scenario: &Scenario, state: &State) -> Result<(), String> {
    let live = state.generation(state.live());
    if live.phase != Phase::Live {
        return Err("no generation is live".to_owned());
    }
    for aggregate in 0..AGGREGATE_COUNT {
        let (row, seen) = (
            live.view[usize::from(aggregate)],
            state.seen[usize::from(aggregate)],
        );
        if row.version < seen && scenario.deletion.is_none() {
            let name = name(aggregate);
            return Err(format!(
                "a read goes back in time: {name} had version {seen}, and now it has {}",
                row.version
            ));
        }
    }
    if !scenario.is_inline() {
        return Ok(());
    }
    let log = state.log();
    if let Some(event) = log.iter().find(|i| is_waiting(state, live, *i)) {
        return Err(format!(
            "{} was folded inline, and the live view lacks it",
            state.event(event)
        ));
    }
    let has_events = |aggregate| log.iter().any(|i| state.event(i).aggregate == aggregate);
    if scenario.is_unique && (0..AGGREGATE_COUNT).all(has_events) {
        return Err("two appends with the same unique value are accepted".to_owned());
    }
    Ok(())
}

/// What must hold once no actor can run: all of them have finished, and as many passes of one quick worker as there are
/// events settle the whole log and claim or park each of its events. A generation that is being filled becomes complete,
/// and none stays in removal.
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
    let (mut scenario, mut state) = (scenario.clone(), state.clone());
    let worker = (0u8..)
        .zip(&scenario.actors)
        .find(|(_, actor)| {
            matches!(
                actor,
                Actor::Quick | Actor::Lazy | Actor::Bulk | Actor::Fill | Actor::QuickNew
            )
        })
        .map(|(index, _)| index)
        .ok_or("the scenario has no worker")?;
    let skip = scenario
        .actors
        .iter()
        .position(|actor| *actor == Actor::Skip);
    for generation in 0..GENERATION_COUNT {
        match state.generation(generation).phase {
            Phase::Absent => continue,
            Phase::Cancelled => return Err("a removal never ends".to_owned()),
            Phase::Filling if !state.generation(generation).has_lanes() => {
                run_fill(&mut scenario, &mut state, worker)?;
            }
            Phase::Filling | Phase::Live | Phase::Retired => {}
        }
        // A batch that was read before a skip may park the aggregate again. The retries of catch-ups take care of it.
        if let Some(skip) = skip {
            scenario.actors[skip] = if generation == OLD_ID {
                Actor::Retry
            } else {
                Actor::RetryNew
            };
        }
        scenario.actors[usize::from(worker)] = if generation == OLD_ID {
            Actor::Quick
        } else {
            Actor::QuickNew
        };
        reaches_every_event(&scenario, &mut state, worker, generation)?;
    }
    Ok(())
}

/// Runs a fill until the generation has lanes.
fn run_fill(scenario: &mut Scenario, state: &mut State, worker: u8) -> Result<(), String> {
    scenario.actors[usize::from(worker)] = Actor::Fill;
    state.actors[usize::from(worker)] = Memory {
        generation: NEW_ID,
        ..Memory::default()
    };
    for _ in 0..MAX_STEPS {
        if state.generation(NEW_ID).has_lanes() {
            return Ok(());
        }
        if step(scenario, state, worker, &mut Log::default(), true) != Outcome::Next {
            return Err("the fill cannot continue".to_owned());
        }
        invariants(scenario, state).map_err(|error| format!("after a step of a fill: {error}"))?;
    }
    Err("the fill does not end".to_owned())
}

fn reaches_every_event(
    scenario: &Scenario,
    state: &mut State,
    worker: u8,
    generation: u8,
) -> Result<(), String> {
    let events = state.find(|_, _| true);
    for _ in 0..events.iter().count() + EXTRA_PASS_COUNT {
        retry_parked(scenario, state, generation);
        run_pass(scenario, state, worker)?;
        invariants(scenario, state).map_err(|error| format!("after a final pass: {error}"))?;
    }
    let stored = state.generation(generation);
    if let Some(event) = events.iter().find(|i| is_waiting(state, stored, *i)) {
        return Err(format!("{} is never claimed", state.event(event)));
    }
    if stored.parked[0] && !state.skipped.is_empty() {
        return Err("A stays parked, although its event was skipped".to_owned());
    }
    let covered = |i: &u8| {
        let lanes = &stored.lanes;
        lanes.iter().any(|lane| lane.covers(*state.event(*i)))
    };
    match events.iter().find(|i| !covered(i)) {
        Some(event) => Err(format!(
            "no progress: {} is never settled",
            state.event(event)
        )),
        None => Ok(()),
    }
}

/// Runs one retry of aggregate A, if the scenario has retries, A is parked, and its event can be folded by now.
fn retry_parked(scenario: &Scenario, state: &mut State, generation: u8) {
    let is_retry = |actor: &Actor| {
        matches!(actor, Actor::Retry | Actor::RetryNew) && actor.generation() == generation
    };
    let retry = (0u8..)
        .zip(&scenario.actors)
        .find(|(_, actor)| is_retry(actor));
    let stored = state.generation(generation);
    let is_corrected = !state.is_poisonous || !state.skipped.is_empty();
    let is_due = is_corrected && stored.parked[0];
    let Some((retry, _)) = retry.filter(|_| is_due) else {
        return;
    };
    state.actors[usize::from(retry)] = Memory {
        generation,
        ..Memory::default()
    };
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
    state.actors[usize::from(worker)] = Memory {
        generation: scenario.actors[usize::from(worker)].generation(),
        ..Memory::default()
    };
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
