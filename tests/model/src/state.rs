//! The state of the database, and the operations that all actors share.

pub use crate::database::*;
pub use crate::memory::{Memory, Step};
use crate::scenarios::{Actor, Scenario};
pub use crate::set::Set;

/// How many actors a scenario can have.
pub const MAX_ACTORS: u8 = 6;

/// A defect of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
    /// A committed batch settled less than it had looked at.
    LostProgress,
    /// A fill has inserted a claim that existed. While a generation is filled, no key needs to refuse it.
    ClaimedTwice,
    /// A fill has written with the fold of a reprojection that was cancelled.
    MixedFolds,
}

/// The database, and the memory of all actors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) events: [Event; MAX_EVENTS as usize],
    pub(crate) generations: [Generation; GENERATION_COUNT as usize],
    /// The lock of the projection, which a swap and a removal take exclusively, and inline appends and retries share.
    pub(crate) projection_holder: Option<u8>,
    pub(crate) projection_shared_by: Set,
    /// The events that an operator has skipped, in whichever generation.
    pub(crate) skipped: Set,
    /// The highest version of each aggregate that a read of the live view has returned.
    pub(crate) seen: PerAggregate<u8>,
    /// Whether the scenario's poison event still fails.
    pub(crate) is_poisonous: bool,
    pub(crate) next_txid: u8,
    pub(crate) next_position: u8,
    /// Transactions that have committed, and those that have ended.
    pub(crate) committed: Set,
    pub(crate) ended: Set,
    pub(crate) crashes_left: u8,
    /// What a step has done that no state shows.
    pub(crate) defect: Option<Defect>,
    pub(crate) actors: [Memory; MAX_ACTORS as usize],
}

impl State {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let halves = [
            Lane {
                last: 0,
                ..Lane::WHOLE
            },
            Lane {
                first: 1,
                ..Lane::WHOLE
            },
        ];
        let old = Generation {
            phase: Phase::Live,
            lanes: if scenario.is_split {
                halves
            } else {
                [Lane::WHOLE, Lane::default()]
            },
            ..Generation::default()
        };
        let mut state = Self {
            events: Default::default(),
            generations: [old, Generation::default()],
            projection_holder: None,
            projection_shared_by: Set::EMPTY,
            skipped: Set::EMPTY,
            seen: Default::default(),
            is_poisonous: scenario.poison.is_some(),
            next_txid: 1,
            next_position: 1,
            committed: Set::EMPTY,
            ended: Set::from_member(0),
            crashes_left: scenario.crashes,
            defect: None,
            actors: Default::default(),
        };
        for (index, &(aggregate, version, txid)) in scenario.log.iter().enumerate() {
            state.events[index] = Event {
                aggregate,
                version,
                txid,
                position: state.next_position,
            };
            state.next_position += 1;
            state.committed.insert(txid);
            state.next_txid = state.next_txid.max(txid + 1);
            if index < scenario.claimed {
                let old = &mut state.generations[usize::from(OLD_ID)];
                old.claims[index] = Claim::Committed;
                let row = &mut old.view[usize::from(aggregate)];
                *row = scenario.fold(*row, aggregate, version);
            }
        }
        if let Some(filled) = scenario.filled {
            state.fill(scenario, filled);
        }
        state.ended = Set::below(state.next_txid);
        for (index, memory) in (0..).zip(&mut state.actors) {
            match scenario.actors.get(index) {
                Some(actor) => memory.generation = actor.generation(),
                None => memory.step = Step::Done,
            }
        }
        state
    }

    /// Begins with a new generation that has the first events of the log and has settled their transactions.
    fn fill(&mut self, scenario: &Scenario, events: usize) {
        let mut generation = Generation {
            phase: Phase::Filling,
            lanes: [Lane::WHOLE, Lane::default()],
            ..Generation::default()
        };
        let settled = &mut generation.lanes[0].settled.snapshot;
        settled.insert(0);
        for (event, claim) in self.events.iter().zip(&mut generation.claims).take(events) {
            settled.insert(event.txid);
            *claim = Claim::Committed;
            let row = &mut generation.view[usize::from(event.aggregate)];
            *row = scenario.fold(*row, event.aggregate, event.version);
        }
        *self.generation_mut(NEW_ID) = generation;
    }

    pub(crate) fn event(&self, index: u8) -> &Event {
        &self.events[usize::from(index)]
    }

    pub(crate) fn generation(&self, generation: u8) -> &Generation {
        &self.generations[usize::from(generation)]
    }

    pub(crate) fn generation_mut(&mut self, generation: u8) -> &mut Generation {
        &mut self.generations[usize::from(generation)]
    }

    /// The generation that this actor works on.
    pub(crate) fn generation_of(&self, actor: u8) -> &Generation {
        self.generation(self.actors[usize::from(actor)].generation)
    }

    pub(crate) fn generation_of_mut(&mut self, actor: u8) -> &mut Generation {
        self.generation_mut(self.actors[usize::from(actor)].generation)
    }

    /// The generation that queries read.
    pub(crate) fn live(&self) -> u8 {
        let is_live = |generation: &u8| self.generation(*generation).phase == Phase::Live;
        (0..GENERATION_COUNT).find(is_live).unwrap_or(OLD_ID)
    }

    /// The events whose indices satisfy `filter`.
    pub(crate) fn find(&self, filter: impl Fn(u8, &Event) -> bool) -> Set {
        (0..MAX_EVENTS)
            .filter(|i| self.event(*i).version > 0 && filter(*i, self.event(*i)))
            .collect()
    }

    /// The committed events.
    pub(crate) fn log(&self) -> Set {
        self.find(|_, event| self.committed.contains(event.txid))
    }

    /// The events that this actor sees: the committed ones and its own.
    pub(crate) fn visible_to(&self, actor: u8) -> Set {
        let own = self.actors[usize::from(actor)].txid;
        self.find(|_, event| self.committed.contains(event.txid) || own == Some(event.txid))
    }

    /// The events of these that the lane holds and has not settled.
    pub(crate) fn unsettled(&self, lane: &Lane) -> Set {
        self.find(|_, event| {
            self.committed.contains(event.txid)
                && lane.has_slot(event.aggregate)
                && !lane.covers(*event)
        })
    }

    /// The events that are claimed in a generation.
    pub(crate) fn claimed(&self, generation: u8) -> Set {
        let claims = &self.generation(generation).claims;
        self.find(|index, _| claims[usize::from(index)] == Claim::Committed)
    }

    /// The events that are claimed in the generation that this actor works on.
    pub(crate) fn claimed_for(&self, actor: u8) -> Set {
        self.claimed(self.actors[usize::from(actor)].generation)
    }

    /// The view row as this actor sees it.
    pub(crate) fn row(&self, actor: u8, aggregate: u8) -> Row {
        let (generation, aggregate) = (self.generation_of(actor), usize::from(aggregate));
        if generation.view_writer[aggregate] == Some(actor) {
            generation.view_written[aggregate]
        } else {
            generation.view[aggregate]
        }
    }

    /// The events of `set`, sorted by `key`.
    pub(crate) fn sorted<K: Ord>(&self, set: Set, key: impl Fn(&Event) -> K) -> Vec<u8> {
        let mut events: Vec<u8> = set.iter().collect();
        events.sort_by_key(|index| key(self.event(*index)));
        events
    }

    /// Ends the actor's transaction: commits or rolls back what it has written, and releases its locks.
    pub(crate) fn finish(&mut self, actor: u8, commit: bool) {
        let memory = self.actors[usize::from(actor)];
        if let Some(txid) = memory.txid {
            self.ended.insert(txid);
            if commit {
                self.committed.insert(txid);
            } else {
                for index in self.find(|_, event| event.txid == txid).iter() {
                    self.events[usize::from(index)] = Event::default();
                    for generation in &mut self.generations {
                        generation.claims[usize::from(index)] = Claim::Free;
                    }
                }
            }
        }
        if commit {
            let generation = self.generation_of_mut(actor);
            generation.skipped = generation.skipped.union(memory.skipped);
            self.skipped = self.skipped.union(memory.skipped);
        }
        for generation in &mut self.generations {
            generation.finish(actor, commit);
        }
        self.projection_holder = self.projection_holder.filter(|holder| *holder != actor);
        self.projection_shared_by.remove(actor);
        self.actors[usize::from(actor)] = Memory {
            rounds: memory.rounds,
            generation: memory.generation,
            joined: memory.joined,
            ..Memory::default()
        };
    }

    /// Rolls the actor's transaction back, as after a crash or a deadlock.
    pub(crate) fn abort(&mut self, scenario: &Scenario, actor: u8) {
        self.finish(actor, false);
        let memory = &mut self.actors[usize::from(actor)];
        match scenario.actor(actor) {
            Actor::Retry | Actor::Skip => {
                memory.rounds += 1;
                if memory.rounds >= scenario.retries {
                    memory.step = Step::Done;
                }
            }
            Actor::Append { .. } | Actor::Fix | Actor::Merge => memory.step = Step::Done,
            _ => {}
        }
    }
}
