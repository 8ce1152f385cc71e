//! Appends: transactions that insert events, with or without an inline projection.

use super::{Log, Outcome, claim_on_conflict_do_nothing, step as any_step, write_next_row};
use crate::mutations::Mutation;
use crate::read;
use crate::scenarios::{Actor, Scenario};
use crate::state::{Event, MAX_EVENTS, Memory, Set, State, Step, name};

pub(super) fn step(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let Actor::Append {
        aggregates,
        is_inline,
        rolls_back,
    } = scenario.actor(me)
    else {
        return Outcome::Idle;
    };
    let memory = state.actors[usize::from(me)];
    let next = usize::from(memory.rounds);
    match memory.step {
        Step::Start if next == aggregates.len() => {
            log.record(format_args!(
                "{}",
                if rolls_back { "rolls back" } else { "commits" }
            ));
            end(state, me, !rolls_back, Step::Done);
            Outcome::Next
        }
        Step::Start => start_insert(scenario, state, me, aggregates[next], log),
        Step::Insert => insert(scenario, state, me, aggregates[next], is_inline, log),
        Step::LockProjection => lock_projection(scenario, state, me, log),
        Step::StartInlineClaim => start_inline_claim(state, me, aggregates[next - 1], log),
        Step::InlineClaim => claim_on_conflict_do_nothing(state, me, Step::InlineFold, log),
        Step::InlineFold => inline_fold(scenario, state, me, aggregates[next - 1], log),
        _ => {
            if let Some(outcome) = check_unique(scenario, state, me, aggregates[next - 1], log) {
                return outcome;
            }
            let outcome = write_next_row(state, me, log);
            let memory = &mut state.actors[usize::from(me)];
            if outcome == Outcome::Next && memory.to_write.is_empty() {
                memory.step = Step::Start;
                memory.new_rows = Default::default();
            }
            outcome
        }
    }
}

/// Ends the transaction; the actor continues at `step` with an empty memory.
fn end(state: &mut State, me: u8, commit: bool, step: Step) {
    state.finish(me, commit);
    state.actors[usize::from(me)] = Memory {
        step,
        ..Memory::default()
    };
}

/// The insert statement starts: its transaction id, version and position are assigned before it can wait for another insert
/// of the same version.
fn start_insert(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    aggregate: u8,
    log: &mut Log,
) -> Outcome {
    if state.actors[usize::from(me)].txid.is_none() {
        state.actors[usize::from(me)].txid = Some(state.next_txid);
        state.next_txid += 1;
    }
    let visible = state.visible_to(me);
    let of_aggregate = state.find(|i, event| visible.contains(i) && event.aggregate == aggregate);
    let newest = of_aggregate.iter().map(|i| state.event(i).version).max();
    let memory = &mut state.actors[usize::from(me)];
    memory.version = 1 + newest.unwrap_or(0);
    memory.position = state.next_position;
    memory.step = Step::Insert;
    state.next_position += 1;
    let version = memory.version;
    match any_step(scenario, state, me, log, false) {
        Outcome::Blocked(_) => {
            let name = name(aggregate);
            log.record(format_args!(
                "the insert of {name}{version} starts and waits"
            ));
            Outcome::Next
        }
        outcome => outcome,
    }
}

fn insert(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    aggregate: u8,
    is_inline: bool,
    log: &mut Log,
) -> Outcome {
    let memory = state.actors[usize::from(me)];
    let same = state
        .find(|_, event| event.version == memory.version && event.aggregate == aggregate)
        .first();
    if let Some(same) = same {
        let txid = state.event(same).txid;
        if !state.committed.contains(txid) {
            let holders: Set = (0..)
                .zip(&state.actors)
                .filter(|(_, other)| other.txid == Some(txid))
                .map(|(actor, _)| actor)
                .collect();
            return Outcome::Blocked(holders);
        }
        // A lost race for the first event may be tried again; later ones end the transaction for good.
        let step = if memory.rounds > 0 {
            Step::Done
        } else {
            Step::Start
        };
        end(state, me, false, step);
        log.record(format_args!(
            "loses the race for {}{}",
            name(aggregate),
            memory.version
        ));
        return Outcome::Next;
    }
    let (Some(free), Some(txid)) = (
        (0..MAX_EVENTS).find(|i| state.event(*i).version == 0),
        memory.txid,
    ) else {
        unreachable!("the scenario appends more events than the model has room for");
    };
    let (version, position) = (memory.version, memory.position);
    let event = Event {
        aggregate,
        version,
        txid,
        position,
    };
    log.record(format_args!("inserts {event}"));
    state.events[usize::from(free)] = event;
    let live = state.live();
    let memory = &mut state.actors[usize::from(me)];
    memory.version = 0;
    memory.position = 0;
    memory.rounds += 1;
    memory.step = match (is_inline, scenario.has_generations) {
        (false, _) => Step::Start,
        (true, false) => Step::StartInlineClaim,
        (true, true) => Step::LockProjection,
    };
    if scenario.has(Mutation::LiveReadBeforeLock) && memory.rounds == 1 {
        memory.generation = live;
    }
    Outcome::Next
}

/// An inline append shares the lock of the projection until it commits, and reads after it has the lock which generation is live.
fn lock_projection(scenario: &Scenario, state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let locks = !scenario.has(Mutation::AppendWithoutLock);
    let holder = state.projection_holder.filter(|_| locks);
    if let Some(holder) = holder {
        return Outcome::Blocked(Set::from_member(holder));
    }
    let is_first = !state.projection_shared_by.contains(me);
    if locks {
        state.projection_shared_by.insert(me);
    }
    let live = state.live();
    let memory = &mut state.actors[usize::from(me)];
    if is_first && !scenario.has(Mutation::LiveReadBeforeLock) {
        memory.generation = live;
    }
    memory.step = Step::StartInlineClaim;
    log.record(format_args!("folds into generation {}", memory.generation));
    Outcome::Next
}

/// A unique index of the view: an append waits for another transaction that writes the same value, and is rejected if the value
/// is taken.
fn check_unique(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    aggregate: u8,
    log: &mut Log,
) -> Option<Outcome> {
    let other = usize::from(1 - aggregate);
    let generation = state.generation_of(me);
    let writer = generation.view_writer[other].filter(|writer| *writer != me);
    if !scenario.is_unique {
        return None;
    }
    if let Some(writer) = writer {
        return Some(Outcome::Blocked(Set::from_member(writer)));
    }
    if !generation.view[other].exists {
        return None;
    }
    log.record(format_args!("is rejected: the unique value is taken"));
    end(state, me, false, Step::Done);
    Some(Outcome::Next)
}

/// An inline projection claims what the view row of the aggregate does not contain yet, in log order.
fn start_inline_claim(state: &mut State, me: u8, aggregate: u8, log: &mut Log) -> Outcome {
    if state.generation_of(me).parked[usize::from(aggregate)] {
        state.actors[usize::from(me)].step = Step::Start;
        log.record(format_args!(
            "the aggregate is parked, so the append does not fold it"
        ));
        return Outcome::Next;
    }
    let row = state.row(me, aggregate);
    let applied = if row.exists { row.version } else { 0 };
    let visible = state.visible_to(me);
    let new = state.find(|i, event| {
        visible.contains(i) && event.aggregate == aggregate && event.version > applied
    });
    let targets = state.sorted(new, |event| (event.txid, event.position));
    let memory = &mut state.actors[usize::from(me)];
    memory.set_targets(&targets);
    memory.claimed = Set::EMPTY;
    memory.step = if targets.is_empty() {
        Step::Start
    } else {
        Step::InlineClaim
    };
    log.record(format_args!("the inline claim starts"));
    Outcome::Next
}

fn inline_fold(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    aggregate: u8,
    log: &mut Log,
) -> Outcome {
    read::read_after_claims(state, me, aggregate);
    read::fold(scenario, state, me, true);
    log.record(format_args!("reads the row and folds"));
    let memory = &mut state.actors[usize::from(me)];
    if !memory.to_park.is_empty() || memory.released {
        log.record(format_args!("; the fold fails, so the append is rejected"));
        end(state, me, false, Step::Done);
        return Outcome::Next;
    }
    memory.claimed = Set::EMPTY;
    memory.set_targets(&[]);
    memory.step = if memory.to_write.is_empty() {
        Step::Start
    } else {
        Step::InlineWrite
    };
    Outcome::Next
}
