//! The appends that wait, and the aggregates of the statements in flight. It does no I/O.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use super::WaitingAppend;
use crate::event::{AggregateId, Version};

/// How many statements are in flight at most: one that Postgres works on, and one that is on its way.
const MAX_STATEMENTS: usize = 2;

/// How many appends wait before a second statement is sent beside the first. Fewer go out together when the first one ends: two small
/// groups cost Postgres half as much again as a larger one, and are not answered earlier.
const MIN_SECOND_GROUP: usize = 16;

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
    /// Whether a group is about to be sent.
    gathering: bool,
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
    /// It is sent alone at once, and other appends do not wait for it.
    Uncounted,
    /// It waits, and the caller has to see to it that a group is sent soon; see [`Queue::end_gathering`].
    First,
    /// It waits.
    Waits,
}

impl Queue {
    /// Adds an append to the end of the queue, unless a statement that takes long has an event of its aggregate.
    pub(super) fn enter(&mut self, waiting: WaitingAppend) -> Entered {
        let id = waiting.append.aggregate_id;
        if let Some(AggregateUse::Uncounted(count)) = self.in_flight.get_mut(&id) {
            *count += 1;
            return Entered::Uncounted;
        }
        self.waiting.push_back(waiting);
        if self.gathering || !self.may_send() {
            return Entered::Waits;
        }
        self.gathering = true;
        Entered::First
    }

    /// From now on, the next append that can be sent is the first of a new group.
    pub(super) const fn end_gathering(&mut self) {
        self.gathering = false;
    }

    fn may_send(&self) -> bool {
        match self.statements {
            0 => true,
            1..MAX_STATEMENTS => self.waiting.len() >= MIN_SECOND_GROUP,
            MAX_STATEMENTS.. => false,
        }
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
        if !self.may_send() {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use futures_util::future::{BoxFuture, ready};
    use serde_json::value::RawValue;
    use tokio::sync::oneshot;
    use uuid::Uuid;

    use super::*;
    use crate::event::{EventId, TypeId};
    use crate::store::group::{Answer, GroupWriter, GroupedAppend, StoredGroup};

    struct NoWriter;

    impl GroupWriter for NoWriter {
        fn write<'a>(&'a self, _: &'a [GroupedAppend]) -> BoxFuture<'a, Option<StoredGroup>> {
            ready(None).boxed()
        }
    }

    fn append() -> (WaitingAppend, oneshot::Receiver<Answer>) {
        let (answer, receiver) = oneshot::channel();
        let empty = || RawValue::from_string("{}".to_owned()).unwrap();
        let append = GroupedAppend {
            id: EventId(Uuid::new_v4()),
            aggregate_id: AggregateId(Uuid::new_v4()),
            type_id: TypeId(1),
            payload: empty(),
            metadata: empty(),
            expected: None,
            return_payload: false,
            known_row: None,
        };
        let writer = Arc::new(NoWriter);
        let waiting = WaitingAppend {
            append,
            writer,
            answer,
        };
        (waiting, receiver)
    }

    // Fails when the first append of an idle process is not sent, or when a second statement is sent for a few appends.
    #[test]
    fn a_second_statement_is_sent_when_many_appends_wait() {
        let mut queue = Queue::default();
        let mut answers = Vec::new();
        let mut enter = |queue: &mut Queue| {
            let (waiting, answer) = append();
            answers.push(answer);
            queue.enter(waiting)
        };
        assert!(matches!(enter(&mut queue), Entered::First));
        assert!(matches!(enter(&mut queue), Entered::Waits));
        queue.end_gathering();
        assert_eq!(queue.next_group().len(), 2);
        for _ in 1..MIN_SECOND_GROUP {
            assert!(matches!(enter(&mut queue), Entered::Waits));
        }
        assert!(queue.next_group().is_empty());
        assert!(matches!(enter(&mut queue), Entered::First));
        queue.end_gathering();
        assert_eq!(queue.next_group().len(), MIN_SECOND_GROUP);
        for _ in 0..2 * MIN_SECOND_GROUP {
            assert!(matches!(enter(&mut queue), Entered::Waits));
        }
        assert!(queue.next_group().is_empty());
    }
}
