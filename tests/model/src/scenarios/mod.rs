//! The scenarios: who acts on which log.

mod list;

pub use self::list::scenarios;
use crate::mutations::Mutation;
use crate::state::Row;

/// An actor of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A worker that reads and writes in one statement each.
    Quick,
    /// A quick worker that does not settle.
    Lazy,
    /// A worker that holds a lane in a transaction.
    Bulk,
    /// A transaction that appends one event to each of these aggregates, one statement each.
    Append {
        /// The aggregates, in order.
        aggregates: &'static [u8],
        /// Whether each statement is followed by the fold of an inline projection.
        is_inline: bool,
        /// Whether the transaction rolls back in the end.
        rolls_back: bool,
    },
    /// Retries aggregate A while it is parked.
    Retry,
    /// Corrects the fold, so that the poison event can be folded.
    Fix,
    /// Merges two lanes.
    Merge,
}

/// A log, and the actors that run on it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// The actors.
    pub actors: Vec<Actor>,
    /// The events at the beginning, in order of their positions: aggregate, version, transaction id.
    pub log: &'static [(u8, u8, u8)],
    /// How many of these events are claimed and folded already, without being settled.
    pub claimed: usize,
    /// Whether there are two lanes at the beginning.
    pub is_split: bool,
    /// How many passes each worker may begin.
    pub passes: u8,
    /// How many events a batch may contain.
    pub limit: usize,
    /// How many crashes may occur.
    pub crashes: u8,
    /// How many retries each retrying actor may run.
    pub retries: u8,
    /// The aggregate and version of an event that cannot be folded.
    pub poison: Option<(u8, u8)>,
    /// The aggregate and version of an event that deletes the view row.
    pub deletion: Option<(u8, u8)>,
    /// How the protocol is changed.
    pub mutation: Option<Mutation>,
}

impl Scenario {
    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn actor(&self, index: u8) -> Actor {
        self.actors[usize::from(index)]
    }

    pub(crate) fn actor_indices(&self) -> impl Iterator<Item = u8> + use<> {
        (0..).take(self.actors.len())
    }

    pub(crate) fn fold(&self, row: Row, aggregate: u8, version: u8) -> Row {
        if self.deletion == Some((aggregate, version)) {
            return Row::default();
        }
        let folded = if row.exists { row.folded << 4 } else { 0 } + u32::from(version);
        Row {
            exists: true,
            version,
            folded,
        }
    }

    /// The turn of a lane after a split or a merge.
    pub(crate) fn next_turn(&self, turn: u8) -> u8 {
        self.turn_after(turn, turn)
    }

    /// The turn of a lane after a write that has read it with the turn `read`.
    pub(crate) fn turn_after(&self, current: u8, read: u8) -> u8 {
        if self.has(Mutation::TurnNotIncremented) {
            current
        } else {
            read + 1
        }
    }
}
