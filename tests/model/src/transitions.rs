//! The protocol as a model: each state is followed by those to which a step, a crash or a deadlock of an actor leads.

use crate::check;
use crate::explore::{Model, Move, Report};
use crate::scenarios::{Actor, Scenario};
use crate::state::{GENERATION_COUNT, MAX_ACTORS, NEW_ID, Phase, Set, State, Step};
use crate::steps::{Log, Outcome, step};

impl Model for Scenario {
    type State = State;

    fn initial(&self) -> State {
        State::new(self)
    }

    fn expand(&self, state: &State, report: &mut Report) -> Vec<(Move, State)> {
        let (mut found, mut is_blocked) = (Vec::new(), false);
        for actor in self.actor_indices() {
            let mut next = state.clone();
            match step(self, &mut next, actor, &mut Log::default(), false) {
                Outcome::Next => {
                    self.read_live_view(state, &mut next);
                    self.count(state, &next, actor, report);
                    found.push((Move::Step(actor, 0), next));
                }
                Outcome::Blocked(_) => is_blocked = true,
                Outcome::Idle => {}
            }
            let can_crash = !matches!(self.actor(actor), Actor::Append { .. } | Actor::Fix);
            if state.crashes_left > 0 && is_running(state, actor) && can_crash {
                let mut next = state.clone();
                next.abort(self, actor);
                next.crashes_left -= 1;
                found.push((Move::Crash(actor), next));
            }
        }
        let deadlocked = if is_blocked {
            self.find_deadlock(state)
        } else {
            Set::EMPTY
        };
        for actor in deadlocked.iter() {
            let mut next = state.clone();
            next.abort(self, actor);
            found.push((Move::AbortedByDeadlock(actor), next));
        }
        report.deadlocks += usize::from(!deadlocked.is_empty());
        found
    }

    fn check(&self, state: &State, is_last: bool) -> Result<(), String> {
        check::invariants(self, state)?;
        if is_last {
            check::at_rest(self, state)?;
        }
        Ok(())
    }

    fn replay(&self, state: &mut State, by: Move) -> String {
        let (actor, text) = match by {
            Move::Step(actor, _) => {
                let mut log = Log::recording();
                let before = state.clone();
                step(self, state, actor, &mut log, false);
                self.read_live_view(&before, state);
                (actor, log.into_text())
            }
            Move::Crash(actor) => {
                state.abort(self, actor);
                state.crashes_left -= 1;
                (actor, "crashes".to_owned())
            }
            Move::AbortedByDeadlock(actor) => {
                state.abort(self, actor);
                (actor, "is aborted because of a deadlock".to_owned())
            }
        };
        format!("{actor} {:?}: {text}", self.actors[usize::from(actor)])
    }
}

impl Scenario {
    /// Remembers what a client that reads the live view all the time had seen before this step.
    fn read_live_view(&self, before: &State, after: &mut State) {
        if self.has_generations {
            let live = before.generation(before.live());
            for (seen, row) in after.seen.iter_mut().zip(&live.view) {
                *seen = (*seen).max(row.version);
            }
        }
    }

    fn count(&self, before: &State, after: &State, actor: u8, report: &mut Report) {
        for generation in 0..GENERATION_COUNT {
            let lanes = |state: &State| state.generation(generation).lanes;
            let was_split = lanes(before)[1].exists;
            let (has_lane, is_split) = (lanes(after)[0].exists, lanes(after)[1].exists);
            report.splits += usize::from(is_split && !was_split);
            report.merges += usize::from(was_split && !is_split && has_lane);
            let phases = (
                before.generation(generation).phase,
                after.generation(generation).phase,
            );
            let (is_swap, is_removal) = (
                generation == NEW_ID && phases == (Phase::Filling, Phase::Live),
                phases == (Phase::Cancelled, Phase::Absent),
            );
            report.swaps += usize::from(is_swap);
            report.removals += usize::from(is_removal);
            let skipped = |state: &State| state.generation(generation).skipped;
            report.skips += usize::from(skipped(before) != skipped(after));
        }
        let at = before.actors[usize::from(actor)].step;
        let is_worker = matches!(self.actor(actor), Actor::Quick | Actor::Lazy | Actor::Bulk);
        let is_writing = (Step::StartWrite..Step::Commit).contains(&at);
        let has_ended = after.actors[usize::from(actor)].step == Step::Start;
        let is_same = before.generation_of(actor).lanes == after.generation_of(actor).lanes;
        report.lost_batches += usize::from(is_worker && is_writing && has_ended && is_same);
        report.chains += usize::from(is_worker && at == Step::ReadChain);
    }

    /// The actors that wait for each other in a circle.
    fn find_deadlock(&self, state: &State) -> Set {
        let mut waits_for = [Set::EMPTY; MAX_ACTORS as usize];
        for actor in self
            .actor_indices()
            .filter(|actor| is_running(state, *actor))
        {
            let mut next = state.clone();
            let outcome = step(self, &mut next, actor, &mut Log::default(), false);
            if let Outcome::Blocked(holders) = outcome {
                waits_for[usize::from(actor)] = holders;
            }
        }
        for _ in self.actor_indices() {
            for actor in self.actor_indices() {
                let direct = waits_for[usize::from(actor)];
                let indirect = direct.iter().map(|other| waits_for[usize::from(other)]);
                waits_for[usize::from(actor)] = indirect.fold(direct, Set::union);
            }
        }
        let waits_for_itself = |actor: &u8| waits_for[usize::from(*actor)].contains(*actor);
        self.actor_indices().filter(waits_for_itself).collect()
    }
}

fn is_running(state: &State, actor: u8) -> bool {
    !matches!(
        state.actors[usize::from(actor)].step,
        Step::Start | Step::Done
    )
}
