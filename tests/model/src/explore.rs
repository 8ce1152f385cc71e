//! Breadth-first exploration of all reachable states of a model.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A model: an initial state, the states that follow each state, and what must hold in them.
pub trait Model {
    /// The state of the database, and the memory of all actors.
    type State: Clone + Hash;

    /// The state in which everything begins.
    fn initial(&self) -> Self::State;

    /// Finds the states that follow, and counts what leads there.
    fn expand(&self, state: &Self::State, report: &mut Report) -> Vec<(Move, Self::State)>;

    /// Checks what must hold in a state. `is_last`: no state follows, except after a crash.
    ///
    /// # Errors
    ///
    /// Returns a description of what does not hold.
    fn check(&self, state: &Self::State, is_last: bool) -> Result<(), String>;

    /// Makes a move that [`Self::expand`] has found, and describes it.
    fn replay(&self, state: &mut Self::State, by: Move) -> String;
}

/// What leads from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// This actor makes its next step; the second number tells the steps between which the actor can choose apart.
    Step(u8, u8),
    /// This actor crashes.
    Crash(u8),
    /// Postgres aborts this actor's transaction because of a deadlock.
    AbortedByDeadlock(u8),
}

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
    /// Transitions in which an event is skipped.
    pub skips: usize,
    /// Transitions in which a generation goes live.
    pub swaps: usize,
    /// Transitions in which the removal of a generation ends.
    pub removals: usize,
    /// Transitions in which a listener falls asleep.
    pub sleeps: usize,
}

/// Something that does not hold in a reachable state.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What does not hold.
    pub error: String,
    /// The shortest sequence of steps that leads there.
    pub trace: Vec<String>,
}

/// Visits the reachable states of a model, at most `max_states`, until one violates what the model checks.
#[must_use]
pub fn explore<M: Model>(model: &M, max_states: usize) -> Report {
    let mut exploration = Exploration {
        model,
        seen: HashSet::default(),
        queue: VecDeque::new(),
        origins: Vec::new(),
    };
    let mut report = Report::default();
    exploration.push(0, model.initial(), Move::Step(0, 0));
    while let Some((id, state)) = exploration.queue.pop_front() {
        report.states += 1;
        let next = model.expand(&state, &mut report);
        let is_last = next.iter().all(|(by, _)| matches!(by, Move::Crash(_)));
        if let Err(error) = model.check(&state, is_last) {
            let trace = exploration.trace(id);
            report.violation = Some(Violation { error, trace });
            break;
        }
        for (by, state) in next {
            exploration.push(id, state, by);
        }
        if report.states >= max_states {
            report.is_capped = true;
            break;
        }
    }
    report
}

struct Exploration<'a, M: Model> {
    model: &'a M,
    /// Fingerprints of the states found so far.
    seen: HashSet<(u64, u64), BuildHasherDefault<Fingerprint>>,
    queue: VecDeque<(usize, M::State)>,
    /// For each state found, the state before it, and what leads from there.
    origins: Vec<(usize, Move)>,
}

impl<M: Model> Exploration<'_, M> {
    fn push(&mut self, from: usize, state: M::State, by: Move) {
        if self.seen.insert(fingerprint(&state)) {
            self.queue.push_back((self.origins.len(), state));
            self.origins.push((from, by));
        }
    }

    /// Makes the moves that lead to the state again, and describes them.
    fn trace(&self, mut id: usize) -> Vec<String> {
        let mut moves = Vec::new();
        while id != 0 {
            let (from, by) = self.origins[id];
            moves.push(by);
            id = from;
        }
        let mut state = self.model.initial();
        let mut replay = |by: &Move| self.model.replay(&mut state, *by);
        moves.iter().rev().map(&mut replay).collect()
    }
}

/// Two independent hashes of a state, which together identify it: with 128 bits, a collision among a few million states is
/// practically impossible.
fn fingerprint(state: &impl Hash) -> (u64, u64) {
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
