//! The doorbell: can a listener sleep through an append?
//!
//! `src/projection/listener.rs` implements the protocol, together with the trigger `events_doorbell`. The model contains: appends of
//! one or more statements that share the advisory lock K or, if K is taken, send NOTIFY when they commit; listeners that poll,
//! take K, poll a last time and sleep; catch-ups that take longer than a poll waits for them; and lost connections, of which
//! the server or the client learns first.
//!
//! The timer of a sleeping listener is left out: it always wakes the listener, and the question is whether it is needed. Also left
//! out are appends that send no NOTIFY because the queue of notifications is full; only the timer helps after those.

mod append;
mod listener;
pub mod mutations;

pub use self::append::Append;
use self::append::Phase;
pub use self::listener::Listener;
use self::listener::Step;
pub use self::mutations::Mutation;
use crate::explore::{Model, Move, Report};
use crate::set::Set;

/// How many appends and how many listeners a scenario can have.
const MAX_APPENDS: u8 = 3;
const MAX_LISTENERS: u8 = 2;

/// Who runs.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// For each append, how many statements it may have.
    pub appends: &'static [u8],
    /// How many listeners there are.
    pub listeners: u8,
    /// How many connections are lost.
    pub losses: u8,
    /// How the protocol is changed.
    pub mutation: Option<Mutation>,
}

/// All scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let scenario = |name, appends, listeners, losses| Scenario {
        name,
        appends,
        listeners,
        losses,
        mutation: None,
    };
    vec![
        scenario("one listener", &[1, 1, 1], 1, 0),
        scenario("one listener, appends of two statements", &[2, 2], 1, 0),
        scenario("two listeners", &[1, 1], 2, 0),
        scenario("one listener, lost connections", &[1, 1], 1, 2),
        scenario("two listeners, a lost connection", &[1, 1], 2, 1),
    ]
}

/// Who holds K exclusively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Listener(u8),
    /// A session whose client has gone, which the server does not know yet.
    LostSession,
}

/// The database, and the memory of all appends and listeners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    appends: [Append; MAX_APPENDS as usize],
    listeners: [Listener; MAX_LISTENERS as usize],
    key: Option<Holder>,
    /// Appends that are visible.
    committed: Set,
    losses_left: u8,
}

/// The states that follow a state: who moves, what happens, and what then is.
type Next = Vec<(u8, &'static str, State)>;

impl Scenario {
    fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// All moves. Listeners have the numbers after the appends.
    fn moves(&self, state: &State) -> Next {
        let mut next = Next::new();
        for append in 0..MAX_APPENDS {
            append::moves(self, state, append, &mut next);
        }
        for listener in 0..self.listeners {
            listener::moves(self, state, listener, &mut next);
        }
        if state.key == Some(Holder::LostSession) {
            let mut ended = state.clone();
            ended.key = None;
            next.push((u8::MAX, "the server ends the lost session", ended));
        }
        next
    }
}

impl Model for Scenario {
    type State = State;

    fn initial(&self) -> State {
        let mut state = State {
            appends: Default::default(),
            listeners: Default::default(),
            key: None,
            committed: Set::EMPTY,
            losses_left: self.losses,
        };
        for (append, statements) in state.appends.iter_mut().zip(self.appends) {
            append.statements_left = *statements;
        }
        state
    }

    fn expand(&self, state: &State, report: &mut Report) -> Vec<(Move, State)> {
        let asleep = |state: &State| {
            let asleep = |listener: &&Listener| listener.step == Step::Asleep;
            state.listeners.iter().filter(asleep).count()
        };
        let moves = self.moves(state).into_iter().zip(0..);
        let moves = moves.map(|((actor, _, next), choice)| (Move::Step(actor, choice), next));
        let moves: Vec<_> = moves.collect();
        let falls_asleep = |(_, next): &&(Move, State)| asleep(next) > asleep(state);
        report.sleeps += moves.iter().filter(falls_asleep).count();
        moves
    }

    /// A sleeping listener that is connected and will not be woken has seen every append that is over.
    fn check(&self, state: &State, _: bool) -> Result<(), String> {
        let is_over = |append: &Append| {
            append.phase == Phase::Committed && !append.holds_key && !append.will_notify
        };
        for (number, listener) in state.listeners.iter().enumerate() {
            if listener.step != Step::Asleep || !listener.is_linked {
                continue;
            }
            let is_woken = listener.has_notification && !self.has(Mutation::KeyHeldInTransaction);
            let missed = (0u8..)
                .zip(&state.appends)
                .find(|(index, append)| is_over(append) && !listener.seen.contains(*index));
            if let Some((append, _)) = missed.filter(|_| !is_woken) {
                return Err(format!(
                    "listener {number} sleeps, and no notification is pending, but it has not seen append {append}"
                ));
            }
        }
        Ok(())
    }

    fn replay(&self, state: &mut State, by: Move) -> String {
        let Move::Step(_, choice) = by else {
            unreachable!("the moves of this model are steps");
        };
        let mut moves = self.moves(state);
        let (actor, text, next) = moves.swap_remove(usize::from(choice));
        *state = next;
        match actor.checked_sub(MAX_APPENDS) {
            None => format!("append {actor} {text}"),
            Some(listener) if listener < MAX_LISTENERS => format!("listener {listener} {text}"),
            Some(_) => text.to_owned(),
        }
    }
}
