//! The appends that wait, and the aggregates of the statements in flight. It does no I/O.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use super::WaitingAppend;
use crate::event::{AggregateId, Version};

/// How many statements may be in flight before appends wait: one that Postgres works on, and one that is on its way.
pub(super) const MAX_STATEMENTS: usize = 2;

/// The most events in a group. Twice as many gain little more.
const MAX_GROUP_EVENTS: usize = 64;

/// The appends of a process that wait, and what they wait for.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The statements in flight that other appends wait for.
    statements: usize,
    /// The aggregates of all statements in flight.
    in_flight: HashMap<AggregateId, AggregateUse>,
    waiting: VecDeque<WaitingAppend>,
}

/// The statements in flight with an event of one aggregate.
#[derive(Debug)]
enum AggregateUse {
    /// One, which further appends to the aggregate wait for.
    Counted,
    /// This many, which take long. Further appends to the aggregate are sent alone.
    Uncounted(usize),
}

/// How an append goes on.
#[derive(Debug)]
pub(super) enum Entered {
    /// It is sent at once, and other appends wait for it.
    Counted,
    /// It is sent at once, and other appends do not wait for it.
    Uncounted,
    /// It waits.
    Wait,
}

impl Queue {
    /// Decides how an append to this aggregate goes on.
    pub(super) fn enter(&mut self, id: AggregateId) -> Entered {
        match self.in_flight.entry(id) {
            Entry::Occupied(mut entry) => match entry.get_mut() {
                AggregateUse::Counted => Entered::Wait,
                AggregateUse::Uncounted(count) => {
                    *count += 1;
                    Entered::Uncounted
                }
            },
            Entry::Vacant(entry) if self.statements < MAX_STATEMENTS => {
                entry.insert(AggregateUse::Counted);
                self.statements += 1;
                Entered::Counted
            }
            Entry::Vacant(_) => Entered::Wait,
        }
    }

    /// As [`Self::enter`]; an append that has to wait is added to the end of the queue.
    pub(super) fn enter_or_wait(&mut self, waiting: WaitingAppend) -> Entered {
        let entered = self.enter(waiting.append.aggregate_id);
        if matches!(entered, Entered::Wait) {
            self.waiting.push_back(waiting);
        }
        entered
    }

    /// Adds a statement for the aggregate of one that was given up.
    pub(super) fn enter_given_up(&mut self, id: AggregateId) {
        if let AggregateUse::Uncounted(count) = self
            .in_flight
            .entry(id)
            .or_insert(AggregateUse::Uncounted(0))
        {
            *count += 1;
        }
    }

    /// The appends to send together now; none if enough statements are in flight.
    pub(super) fn next_group(&mut self) -> Vec<WaitingAppend> {
        let mut group = Vec::new();
        if self.statements >= MAX_STATEMENTS || self.waiting.is_empty() {
            return group;
        }
        let mut ids = HashSet::new();
        let mut left = VecDeque::new();
        for waiting in self.waiting.drain(..) {
            if waiting.answer.is_closed() {
                continue;
            }
            let vacant = match self.in_flight.entry(waiting.append.aggregate_id) {
                Entry::Vacant(vacant) if group.len() < MAX_GROUP_EVENTS => vacant,
                _ => {
                    left.push_back(waiting);
                    continue;
                }
            };
            if ids.insert(waiting.append.id) {
                vacant.insert(AggregateUse::Counted);
                group.push(waiting);
            } else {
                left.push_back(waiting);
            }
        }
        self.waiting = left;
        self.statements += usize::from(!group.is_empty());
        group
    }

    /// Stops counting a statement with events of these aggregates; returns the appends that wait for it.
    pub(super) fn give_up(&mut self, aggregates: &[AggregateId]) -> Vec<WaitingAppend> {
        self.statements -= 1;
        for id in aggregates {
            self.in_flight.insert(*id, AggregateUse::Uncounted(1));
        }
        self.take(|waiting| aggregates.contains(&waiting.append.aggregate_id))
    }

    /// Removes a statement that has ended.
    pub(super) fn leave(&mut self, aggregates: &[AggregateId], counted: bool) {
        self.statements -= usize::from(counted);
        for id in aggregates {
            if let Entry::Occupied(mut entry) = self.in_flight.entry(*id) {
                match entry.get_mut() {
                    AggregateUse::Uncounted(count) if *count > 1 => *count -= 1,
                    _ => drop(entry.remove()),
                }
            }
        }
    }

    /// Takes the appends that expect an older version of their aggregate than the one that was just stored.
    pub(super) fn take_overtaken(
        &mut self,
        stored: &[(AggregateId, Version)],
    ) -> Vec<WaitingAppend> {
        self.take(|waiting| {
            let append = &waiting.append;
            let stored = stored.iter().find(|(id, _)| *id == append.aggregate_id);
            stored
                .zip(append.expected)
                .is_some_and(|((_, version), expected)| expected.version < *version)
        })
    }

    fn take(&mut self, wanted: impl Fn(&WaitingAppend) -> bool) -> Vec<WaitingAppend> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let (taken, left) = self.waiting.drain(..).partition::<Vec<_>, _>(wanted);
        self.waiting = left.into();
        taken
    }
}
