//! The state of the database, and the operations that all actors share.

use std::fmt;

pub use crate::memory::{Memory, Step};
use crate::scenarios::{Actor, Scenario};
pub use crate::set::Set;

/// How many events a log can contain.
pub const MAX_EVENTS: u8 = 8;
/// How many aggregates there are.
pub const AGGREGATE_COUNT: u8 = 2;
/// How many actors a scenario can have.
pub const MAX_ACTORS: u8 = 6;

/// One value per aggregate.
pub(crate) type PerAggregate<T> = [T; AGGREGATE_COUNT as usize];

/// The name of an aggregate: A or B.
pub(crate) fn name(aggregate: u8) -> char {
    char::from(b'A' + aggregate)
}

/// A view row. `folded` lists the versions folded into it, one hexadecimal digit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row {
    pub(crate) exists: bool,
    pub(crate) version: u8,
    pub(crate) folded: u32,
}

/// A row of `events`; version 0 marks an unused slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Event {
    pub(crate) aggregate: u8,
    pub(crate) version: u8,
    pub(crate) txid: u8,
    pub(crate) position: u8,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            txid,
            position,
            ..
        } = self;
        write!(
            f,
            "{}{version} (txid {txid}, position {position})",
            name(self.aggregate)
        )
    }
}

/// A row of `locker`, by the event that it claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Claim {
    /// The event is unclaimed.
    #[default]
    Free,
    /// An open transaction of this actor has inserted it.
    Held(u8),
    /// It is committed.
    Committed,
}

/// What a lane has settled: every event that is visible in `snapshot`, and the events of transaction `begun` up to `position`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settled {
    pub(crate) snapshot: Set,
    pub(crate) begun: Option<u8>,
    pub(crate) position: u8,
}

/// A row of `settled`: a lane, and what it has settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lane {
    pub(crate) exists: bool,
    pub(crate) first: u8,
    pub(crate) last: u8,
    pub(crate) settled: Settled,
    pub(crate) turn: u8,
}

impl Lane {
    pub(crate) const fn has_slot(&self, aggregate: u8) -> bool {
        self.first <= aggregate && aggregate <= self.last
    }

    /// Whether this lane has settled the event.
    pub(crate) fn covers(&self, event: Event) -> bool {
        let Settled {
            snapshot,
            begun,
            position,
        } = self.settled;
        self.exists
            && self.has_slot(event.aggregate)
            && (snapshot.contains(event.txid)
                || (begun == Some(event.txid) && event.position <= position))
    }
}

/// The database, and the memory of all actors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) events: [Event; MAX_EVENTS as usize],
    pub(crate) claims: [Claim; MAX_EVENTS as usize],
    pub(crate) view: PerAggregate<Row>,
    /// Who has written a view row in an open transaction, and what.
    pub(crate) view_writer: PerAggregate<Option<u8>>,
    pub(crate) view_written: PerAggregate<Row>,
    pub(crate) parked: PerAggregate<bool>,
    /// Who holds a parked row in an open transaction, and whether it will be inserted (true) or deleted (false).
    pub(crate) parked_writer: PerAggregate<Option<u8>>,
    pub(crate) parked_written: PerAggregate<Option<bool>>,
    pub(crate) parked_shared_by: PerAggregate<Set>,
    pub(crate) lanes: [Lane; 2],
    pub(crate) lane_holder: [Option<u8>; 2],
    /// Whether the scenario's poison event still fails.
    pub(crate) is_poisonous: bool,
    pub(crate) next_txid: u8,
    pub(crate) next_position: u8,
    /// Transactions that have committed, and those that have ended.
    pub(crate) committed: Set,
    pub(crate) ended: Set,
    pub(crate) crashes_left: u8,
    /// A committed batch settled less than it had looked at.
    pub(crate) lost_progress: bool,
    pub(crate) actors: [Memory; MAX_ACTORS as usize],
}

impl State {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let whole = Lane {
            exists: true,
            last: 1,
            turn: 0,
            ..Lane::default()
        };
        let halves = [Lane { last: 0, ..whole }, Lane { first: 1, ..whole }];
        let mut state = Self {
            events: Default::default(),
            claims: Default::default(),
            view: Default::default(),
            view_writer: Default::default(),
            view_written: Default::default(),
            parked: Default::default(),
            parked_writer: Default::default(),
            parked_written: Default::default(),
            parked_shared_by: Default::default(),
            lanes: if scenario.is_split {
                halves
            } else {
                [whole, Lane::default()]
            },
            lane_holder: Default::default(),
            is_poisonous: scenario.poison.is_some(),
            next_txid: 1,
            next_position: 1,
            committed: Set::EMPTY,
            ended: Set::from_member(0),
            crashes_left: scenario.crashes,
            lost_progress: false,
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
                state.claims[index] = Claim::Committed;
                let row = &mut state.view[usize::from(aggregate)];
                *row = scenario.fold(*row, aggregate, version);
            }
        }
        state.ended = Set::below(state.next_txid);
        for actor in state.actors.iter_mut().skip(scenario.actors.len()) {
            actor.step = Step::Done;
        }
        state
    }

    pub(crate) fn event(&self, index: u8) -> &Event {
        &self.events[usize::from(index)]
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

    pub(crate) fn claimed(&self) -> Set {
        self.find(|index, _| self.claims[usize::from(index)] == Claim::Committed)
    }

    /// The view row as this actor sees it.
    pub(crate) fn row(&self, actor: u8, aggregate: u8) -> Row {
        let aggregate = usize::from(aggregate);
        if self.view_writer[aggregate] == Some(actor) {
            self.view_written[aggregate]
        } else {
            self.view[aggregate]
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
                    self.claims[usize::from(index)] = Claim::Free;
                }
            }
        }
        for claim in self
            .claims
            .iter_mut()
            .filter(|claim| **claim == Claim::Held(actor))
        {
            *claim = if commit {
                Claim::Committed
            } else {
                Claim::Free
            };
        }
        for aggregate in 0..usize::from(AGGREGATE_COUNT) {
            if self.view_writer[aggregate] == Some(actor) {
                if commit {
                    self.view[aggregate] = self.view_written[aggregate];
                }
                self.view_writer[aggregate] = None;
                self.view_written[aggregate] = Row::default();
            }
            if self.parked_writer[aggregate] == Some(actor) {
                if let (true, Some(parked)) = (commit, self.parked_written[aggregate]) {
                    self.parked[aggregate] = parked;
                }
                self.parked_writer[aggregate] = None;
                self.parked_written[aggregate] = None;
            }
            self.parked_shared_by[aggregate].remove(actor);
        }
        for holder in &mut self.lane_holder {
            *holder = holder.filter(|holder| *holder != actor);
        }
        self.actors[usize::from(actor)] = Memory {
            rounds: memory.rounds,
            ..Memory::default()
        };
    }

    /// Rolls the actor's transaction back, as after a crash or a deadlock.
    pub(crate) fn abort(&mut self, scenario: &Scenario, actor: u8) {
        self.finish(actor, false);
        let memory = &mut self.actors[usize::from(actor)];
        match scenario.actor(actor) {
            Actor::Quick | Actor::Lazy | Actor::Bulk => {}
            Actor::Retry => {
                memory.rounds += 1;
                if memory.rounds >= scenario.retries {
                    memory.step = Step::Done;
                }
            }
            _ => memory.step = Step::Done,
        }
    }
}
