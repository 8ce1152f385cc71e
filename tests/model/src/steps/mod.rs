//! The steps of the actors. Each step is one statement, or the part of one that can wait for a lock.

mod append;
mod fill;
mod merge;
mod remove;
mod retry;
mod swap;
mod worker;
mod write;

use std::fmt;

use crate::scenarios::{Actor, Scenario};
use crate::state::{Claim, Row, Set, State, Step, name};

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The state has changed.
    Next,
    /// The statement waits for the transactions of these actors.
    Blocked(Set),
    /// The actor has nothing to do in this state.
    Idle,
}

/// What a step does, in words, for the trace of a violation. Most steps are explored without.
#[derive(Debug, Default)]
pub(crate) struct Log(Option<String>);

impl Log {
    pub(crate) fn recording() -> Self {
        Self(Some(String::new()))
    }

    pub(crate) fn record(&mut self, text: fmt::Arguments<'_>) {
        if let Some(log) = &mut self.0 {
            *log += &text.to_string();
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.0.unwrap_or_default()
    }
}

/// Runs the next step of actor `me`. `unlimited`: the actor may run more rounds than the scenario allows.
pub(crate) fn step(
    scenario: &Scenario,
    state: &mut State,
    me: u8,
    log: &mut Log,
    unlimited: bool,
) -> Outcome {
    if state.actors[usize::from(me)].step == Step::Done {
        return Outcome::Idle;
    }
    match scenario.actor(me) {
        Actor::Quick | Actor::Lazy | Actor::Bulk | Actor::QuickNew => {
            worker::step(scenario, state, me, log, unlimited)
        }
        Actor::Append { .. } => append::step(scenario, state, me, log),
        Actor::Retry | Actor::RetryNew | Actor::Skip => {
            retry::step(scenario, state, me, log, unlimited)
        }
        Actor::Fix => {
            state.is_poisonous = false;
            state.actors[usize::from(me)].step = Step::Done;
            log.record(format_args!("the poison event can be folded from now on"));
            Outcome::Next
        }
        Actor::Merge => merge::step(scenario, state, me, log),
        Actor::Begin => fill::begin(scenario, state, me, log),
        Actor::Fill => fill::step(scenario, state, me, log),
        Actor::Swap => swap::step(scenario, state, me, log),
        Actor::Cancel | Actor::Drop => remove::step(scenario, state, me, log),
    }
}

/// What happens to the next claim of a statement.
enum Claimed {
    /// It is inserted, or is this transaction's own.
    Yes,
    /// It is committed by another transaction.
    Already,
    /// An open transaction of this actor holds it.
    HeldBy(u8),
}

/// Inserts the statement's next claim, unless another open transaction holds it.
fn claim_next(state: &mut State, me: u8, log: &mut Log) -> Claimed {
    let memory = &mut state.actors[usize::from(me)];
    let event = memory.targets[usize::from(memory.target)];
    let generation = &mut state.generations[usize::from(memory.generation)];
    let claim = &mut generation.claims[usize::from(event)];
    let result = match *claim {
        Claim::Free => {
            *claim = Claim::Held(me);
            memory.claimed.insert(event);
            log.record(format_args!("claims {}", state.events[usize::from(event)]));
            Claimed::Yes
        }
        Claim::Committed => {
            log.record(format_args!(
                "{} is claimed already",
                state.events[usize::from(event)]
            ));
            Claimed::Already
        }
        Claim::Held(holder) if holder == me => Claimed::Yes,
        Claim::Held(holder) => return Claimed::HeldBy(holder),
    };
    memory.target += 1;
    result
}

/// Claims with `on conflict do nothing`: waits for claims in progress and skips committed ones. Goes to `then` after the
/// last one.
fn claim_on_conflict_do_nothing(state: &mut State, me: u8, then: Step, log: &mut Log) -> Outcome {
    if let Claimed::HeldBy(holder) = claim_next(state, me, log) {
        return Outcome::Blocked(Set::from_member(holder));
    }
    let memory = &mut state.actors[usize::from(me)];
    if memory.target >= memory.target_count {
        memory.step = then;
    }
    Outcome::Next
}

/// Writes the next view row. The actor must have one to write.
fn write_next_row(state: &mut State, me: u8, log: &mut Log) -> Outcome {
    let memory = state.actors[usize::from(me)];
    let Some(aggregate) = memory.to_write.first() else {
        return Outcome::Idle;
    };
    let at = usize::from(aggregate);
    if let Some(other) = state.generation_of(me).view_writer[at].filter(|writer| *writer != me) {
        return Outcome::Blocked(Set::from_member(other));
    }
    let row: Row = memory.new_rows[at];
    let generation = state.generation_of_mut(me);
    generation.view_writer[at] = Some(me);
    generation.view_written[at] = row;
    state.actors[usize::from(me)].to_write.remove(aggregate);
    log.record(format_args!(
        "writes view row {} with version {}",
        name(aggregate),
        row.version
    ));
    Outcome::Next
}
