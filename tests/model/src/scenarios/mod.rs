//! The scenarios: who acts on which log.

mod generations;
mod list;
mod skips;

pub use self::generations::scenarios as generation_scenarios;
pub use self::list::scenarios;
pub use self::skips::scenarios as skip_scenarios;
use crate::mutations::Mutation;
use crate::state::{NEW_ID, OLD_ID, Row};

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
    /// Declares an event of aggregate A as applied without effect, if A is parked at it.
    Skip,
    /// Begins a generation that will replace the live one.
    Begin,
    /// Fills a slice of the new generation after the other.
    Fill,
    /// A quick worker of the new generation.
    QuickNew,
    /// Retries aggregate A of the new generation while it is parked there.
    RetryNew,
    /// Makes the new generation live, once it is filled.
    Swap,
    /// Removes the new generation, unless it is live.
    Cancel,
    /// Removes the old generation, once it is retired.
    Drop,
}

impl Actor {
    /// What the actor does, whatever the generation.
    const fn kind(self) -> Self {
        match self {
            Self::QuickNew => Self::Quick,
            Self::RetryNew => Self::Retry,
            Self::Drop => Self::Cancel,
            other => other,
        }
    }

    /// The generation on which the actor works. An append chooses it when it folds.
    pub(crate) const fn generation(self) -> u8 {
        match self {
            Self::Begin
            | Self::Fill
            | Self::QuickNew
            | Self::RetryNew
            | Self::Swap
            | Self::Cancel => NEW_ID,
            _ => OLD_ID,
        }
    }
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
    /// The version of aggregate A that an operator skips.
    pub skip: Option<u8>,
    /// Whether there are reprojections. Otherwise the actors do not ask which generation is live.
    pub has_generations: bool,
    /// How many events of the log a new generation has at the beginning. It is filled then; otherwise there is none.
    pub filled: Option<usize>,
    /// Whether A and B want the same value of a unique column, so that a set-wide rule permits only one of the two.
    pub is_unique: bool,
    /// How the protocol is changed.
    pub mutation: Option<Mutation>,
}

impl Scenario {
    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn actor(&self, index: u8) -> Actor {
        self.actors[usize::from(index)].kind()
    }

    pub(crate) fn actor_indices(&self) -> impl Iterator<Item = u8> + use<> {
        (0..).take(self.actors.len())
    }

    /// Whether each event is folded in the transaction that appends it.
    pub(crate) fn is_inline(&self) -> bool {
        let is_inline = |actor: &Actor| {
            !matches!(
                actor,
                Actor::Append {
                    is_inline: false,
                    ..
                }
            )
        };
        self.claimed == self.log.len() && self.actors.iter().all(is_inline)
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

    /// The row after an event that is skipped.
    pub(crate) fn skip_over(row: Row, version: u8) -> Row {
        if row.exists {
            Row { version, ..row }
        } else {
            row
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
