//! Breadth-first exploration of all reachable states of a scenario.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::check;
use crate::scenarios::{Actor, Scenario};
use crate::state::{MAX_ACTORS, Set, State, Step};
use crate::steps::{Log, Outcome, step};

/// What an exploration has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// States visited.
    pub states: usize,
    /// Whether the exploration ended because it had visited as many states as it may.
    pub is_capped: bool,
    /// What does not hold, and the steps that lead there.
    pub violation: Option<Violation>,
    /// Transitions in which Postgres aborts transactions because of a deadlock.
    pub deadlocks: usize,
    /// Transitions in which a lane is split.
    pub splits: usize,
    /// Transitions in which lanes are merged.
    pub merges: usize,
    /// Transitions in which a batch is lost to another transaction.
    pub lost_batches: usize,
    /// Transitions in which missing predecessors are read.
    pub chains: usize,
}

/// Something that does not hold in a reachable state.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What does not hold.
    pub error: String,
    /// The shortest sequence of steps that leads there.
    pub trace: Vec<String>,
}

/// What leads from one state to the next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Step(u8),
    Crash(u8),
    AbortedByDeadlock(u8),
}

/// Visits the reachable states of a scenario, at most `max_states`, until one violates what [`check`] states.
#[must_use]
pub fn explore(scenario: &Scenario, max_states: usize) -> Report {
    let mut exploration = Exploration::new(scenario);
    while let Some((id, state)) = exploration.queue.pop_front() {
        exploration.report.states += 1;
        let checked = check::invariants(scenario, &state).and_then(|()| {
            let has_moved = exploration.expand(id, &state);
            if has_moved {
                Ok(())
            } else {
                check::at_rest(scenario, &state)
            }
        });
        if let Err(error) = checked {
            let trace = exploration.trace(id);
            exploration.report.violation = Some(Violation { error, trace });
            break;
        }
        if exploration.report.states >= max_states {
            exploration.report.is_capped = true;
            break;
        }
    }
    exploration.report
}

struct Exploration<'a> {
    scenario: &'a Scenario,
    /// Fingerprints of the states found so far.
    seen: HashSet<(u64, u64), BuildHasherDefault<Fingerprint>>,
    queue: VecDeque<(usize, State)>,
    /// For each state found, the state before it, and what leads from there.
    origins: Vec<(usize, Move)>,
    report: Report,
}

impl<'a> Exploration<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let mut exploration = Self {
            scenario,
            seen: HashSet::default(),
            queue: VecDeque::new(),
            origins: Vec::new(),
            report: Report::default(),
        };
        exploration.push(0, State::new(scenario), Move::Step(0));
        exploration
    }

    fn push(&mut self, from: usize, state: State, by: Move) {
        if self.seen.insert(fingerprint(&state)) {
            self.queue.push_back((self.origins.len(), state));
            self.origins.push((from, by));
        }
    }

    /// Finds the states that follow; returns whether there is one.
    fn expand(&mut self, id: usize, state: &State) -> bool {
        let (mut has_moved, mut is_blocked) = (false, false);
        for actor in self.scenario.actor_indices() {
            let mut next = state.clone();
            match step(self.scenario, &mut next, actor, &mut Log::default(), false) {
                Outcome::Next => {
                    has_moved = true;
                    self.count(state, &next, actor);
                    self.push(id, next, Move::Step(actor));
                }
                Outcome::Blocked(_) => is_blocked = true,
                Outcome::Idle => {}
            }
            let is_running = is_running(state, actor);
            let can_crash = !matches!(
                self.scenario.actor(actor),
                Actor::Append { .. } | Actor::Fix
            );
            if state.crashes_left > 0 && is_running && can_crash {
                let mut next = state.clone();
                next.abort(self.scenario, actor);
                next.crashes_left -= 1;
                self.push(id, next, Move::Crash(actor));
            }
        }
        let deadlocked = if is_blocked {
            self.find_deadlock(state)
        } else {
            Set::EMPTY
        };
        for actor in deadlocked.iter() {
            let mut next = state.clone();
            next.abort(self.scenario, actor);
            self.push(id, next, Move::AbortedByDeadlock(actor));
        }
        self.report.deadlocks += usize::from(!deadlocked.is_empty());
        has_moved || !deadlocked.is_empty()
    }

    fn count(&mut self, before: &State, after: &State, actor: u8) {
        let (was_split, is_split) = (before.lanes[1].exists, after.lanes[1].exists);
        self.report.splits += usize::from(is_split && !was_split);
        self.report.merges += usize::from(was_split && !is_split);
        let at = before.actors[usize::from(actor)].step;
        let is_worker = matches!(
            self.scenario.actor(actor),
            Actor::Quick | Actor::Lazy | Actor::Bulk
        );
        let is_writing = (Step::StartWrite..Step::Commit).contains(&at);
        let has_ended = after.actors[usize::from(actor)].step == Step::Start;
        let is_lost = is_worker && is_writing && has_ended && after.lanes == before.lanes;
        self.report.lost_batches += usize::from(is_lost);
        self.report.chains += usize::from(is_worker && at == Step::ReadChain);
    }

    /// The actors that wait for each other in a circle.
    fn find_deadlock(&self, state: &State) -> Set {
        let mut waits_for = [Set::EMPTY; MAX_ACTORS as usize];
        for actor in self
            .scenario
            .actor_indices()
            .filter(|actor| is_running(state, *actor))
        {
            let mut next = state.clone();
            let outcome = step(self.scenario, &mut next, actor, &mut Log::default(), false);
            if let Outcome::Blocked(holders) = outcome {
                waits_for[usize::from(actor)] = holders;
            }
        }
        for _ in self.scenario.actor_indices() {
            for actor in self.scenario.actor_indices() {
                let direct = waits_for[usize::from(actor)];
                let indirect = direct.iter().map(|other| waits_for[usize::from(other)]);
                waits_for[usize::from(actor)] = indirect.fold(direct, Set::union);
            }
        }
        let waits_for_itself = |actor: &u8| waits_for[usize::from(*actor)].contains(*actor);
        self.scenario
            .actor_indices()
            .filter(waits_for_itself)
            .collect()
    }

    /// Runs the steps that lead to the state again, and describes them.
    fn trace(&self, mut id: usize) -> Vec<String> {
        let mut moves = Vec::new();
        while id != 0 {
            let (from, by) = self.origins[id];
            moves.push(by);
            id = from;
        }
        let mut state = State::new(self.scenario);
        let mut describe = |by: &Move| {
            let (actor, text) = match *by {
                Move::Step(actor) => {
                    let mut log = Log::recording();
                    step(self.scenario, &mut state, actor, &mut log, false);
                    (actor, log.into_text())
                }
                Move::Crash(actor) => {
                    state.abort(self.scenario, actor);
                    state.crashes_left -= 1;
                    (actor, "crashes".to_owned())
                }
                Move::AbortedByDeadlock(actor) => {
                    state.abort(self.scenario, actor);
                    (actor, "is aborted because of a deadlock".to_owned())
                }
            };
            format!("{actor} {:?}: {text}", self.scenario.actor(actor))
        };
        moves.iter().rev().map(&mut describe).collect()
    }
}

fn is_running(state: &State, actor: u8) -> bool {
    !matches!(
        state.actors[usize::from(actor)].step,
        Step::Start | Step::Done
    )
}

/// Two independent hashes of a state, which together identify it: with 128 bits, a collision among a few million states is
/// practically impossible.
fn fingerprint(state: &State) -> (u64, u64) {
    let mut hasher = Fingerprint(1, 2);
    state.hash(&mut hasher);
    (hasher.0, hasher.1)
}

/// A fast hasher. Everything that is hashed consists of small integers.
#[derive(Default)]
struct Fingerprint(u64, u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let value = chunk
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
            self.write_u64(value);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 29;
        self.1 = (self.1.rotate_left(23) ^ value).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
        self.1 ^= self.1 >> 31;
    }
}
