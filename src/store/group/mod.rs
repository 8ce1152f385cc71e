//! Concurrent appends of single events, written together: a statement for 64 events costs Postgres about as much as six
//! statements for one each.
//!
//! While a statement is in flight, appends wait until it ends, and then go out together; if many wait, a second statement is sent beside
//! the first. While none is in flight, an append is sent as soon as the tasks that are ready have had their turn, together with
//! what these append. So an idle process answers as fast as without groups, and no timer delays an append.
//!
//! An append in a group gets the same answer as alone:
//!
//! 1. A group has one event per aggregate and per event id, and the aggregates of all appends in flight differ. So the
//!    statement stores each event as it would alone, and the appends to one aggregate keep their order.
//! 2. An event that the statement does not return has lost a race, as an append alone that stores nothing.
//! 3. If the statement, or what the [`GroupWriter`] does in the same transaction, fails for whatever reason, each append of the
//!    group is sent again, alone. Only there can two events of a group conflict: if their rows take the same value of a set rule.
//! 4. A group that takes longer than [`QUEUE_TIMEOUT`] is not counted any more, and appends to its aggregates are sent alone until
//!    it ends. The statements of a group fail when they wait that long for an aggregate; for a locked table they wait as long as the
//!    session's settings say. So a locked aggregate and a silent connection delay other appends by that time at most.
//!
//! A group, also one of a single append, belongs to a task of its own, which goes on when its clients disconnect or do not poll.

mod known_row;
mod place;
mod queue;
mod statement;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::value::{RawValue, to_raw_value};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

pub use self::known_row::{KnownRow, RowOrigin};
pub use self::place::Place;
use self::queue::{Entered, Queue};
pub use self::statement::{LockWait, append_group, bind_group, decode_group};
use super::append::{self, ExpectedHead, StoredEvent};
use crate::db::DbError;
use crate::event::{AggregateId, EventId, Prepared, TypeId, Version};

/// A larger event is sent alone, so that a group stays below 1 MiB.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// How long appends wait for another one in flight, and a group for a connection. Most statements take a millisecond.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(100);

/// Sends the concurrent appends of a process together. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    queue: Arc<Mutex<Queue>>,
}

/// Writes the groups of a process. The events and what else belongs to their appends, as inline folds, are one transaction.
pub trait GroupWriter: Send + Sync + 'static {
    /// Appends a group, as [`append_group`] does. `None`: it failed, so each append of the group is sent
    /// again, alone.
    fn write<'a>(&'a self, group: &'a [GroupedAppend]) -> BoxFuture<'a, Option<StoredGroup>>;
}

/// The events of a group that are stored, each of another aggregate.
pub type StoredGroup = HashMap<AggregateId, StoredEvent>;

/// How an append goes on.
#[derive(Debug)]
pub enum Joined {
    /// It was sent with others.
    Done(GroupOutcome),
    /// The caller sends it; see [`Place::send`].
    Alone(Place),
}

/// What became of an append in a group.
#[derive(Debug)]
pub enum GroupOutcome {
    /// The event is stored.
    Stored(StoredEvent),
    /// The event is not stored; see [`Outcome::LostRace`](super::Outcome::LostRace).
    LostRace,
    /// The event was not sent, because another append to its aggregate was stored after the caller had read the version.
    Overtaken,
}

/// An append that is sent with others, or as a group of one.
#[derive(Debug)]
pub struct GroupedAppend {
    id: EventId,
    /// The event's aggregate, of which the group has no other event.
    pub aggregate_id: AggregateId,
    /// The event's type.
    pub type_id: TypeId,
    payload: Box<RawValue>,
    metadata: Box<RawValue>,
    expected: Option<ExpectedHead>,
    return_payload: bool,
    known_row: Option<KnownRow>,
}

/// An append that waits for a group.
struct WaitingAppend {
    append: GroupedAppend,
    writer: Arc<dyn GroupWriter>,
    answer: oneshot::Sender<Answer>,
}

impl fmt::Debug for WaitingAppend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.append.fmt(f)
    }
}

/// Sends a group when it is dropped, also if its task is dropped with the runtime.
struct Gathering(Groups);

impl Drop for Gathering {
    fn drop(&mut self) {
        lock(&self.0.queue).end_gathering();
        self.0.start();
    }
}

/// The answer to an append that waits.
#[derive(Debug)]
enum Answer {
    Outcome(GroupOutcome),
    /// It has to be sent alone.
    Alone(Place),
}

impl GroupedAppend {
    /// Prepares an append. With `return_payload` the answer has the payload as the log holds it. `known_row` is the row after it, if it is
    /// known.
    ///
    /// # Errors
    ///
    /// When the event cannot be encoded, or has a password that is not hashed.
    pub fn new(
        event: &Prepared,
        expected: Option<ExpectedHead>,
        return_payload: bool,
        known_row: Option<&KnownRow>,
    ) -> Result<Self, DbError> {
        let payload = append::stored_payload(event)?;
        let encode = |error: serde_json::Error| sqlx::Error::Encode(error.into());
        Ok(Self {
            id: event.id,
            aggregate_id: event.aggregate_id,
            type_id: event.type_id,
            payload: payload.to_owned(),
            metadata: to_raw_value(&event.metadata).map_err(encode)?,
            expected,
            return_payload,
            known_row: known_row.cloned(),
        })
    }

    /// The aggregate, the version that the event gets, and the row at this version, if it is known.
    #[must_use]
    pub fn known_row(&self) -> Option<(AggregateId, Version, &KnownRow)> {
        let version = self.expected?.version.0.checked_add(1)?;
        Some((
            self.aggregate_id,
            Version(version),
            self.known_row.as_ref()?,
        ))
    }
}

impl Groups {
    /// Sends one event with others, or returns the place at which the caller sends it alone. With `return_payload` the answer has
    /// the payload as the log holds it.
    ///
    /// # Errors
    ///
    /// When the event cannot be encoded.
    pub async fn join(
        &self,
        event: &Prepared,
        (expected, return_payload): (Option<ExpectedHead>, bool),
        known_row: Option<&KnownRow>,
        writer: &(impl GroupWriter + Clone),
    ) -> Result<Joined, DbError> {
        let payload = append::stored_payload(event)?;
        if payload.get().len() + event.metadata.byte_len() > MAX_EVENT_BYTES {
            return Ok(Joined::Alone(self.place(Vec::new(), false)));
        }
        let aggregate_id = event.aggregate_id;
        let (sender, answer) = oneshot::channel();
        let waiting = WaitingAppend {
            append: GroupedAppend::new(event, expected, return_payload, known_row)?,
            writer: Arc::new(writer.clone()),
            answer: sender,
        };
        let entered = lock(&self.queue).enter(waiting);
        match entered {
            Entered::Uncounted => {
                let place = self.place(vec![aggregate_id], false);
                return Ok(Joined::Alone(place));
            }
            Entered::First => self.gather(),
            Entered::Waits => {}
        }
        Ok(match answer.await {
            Ok(Answer::Outcome(outcome)) => Joined::Done(outcome),
            Ok(Answer::Alone(place)) => Joined::Alone(place),
            // The runtime of the group's task has ended.
            Err(_) => Joined::Alone(self.place(Vec::new(), false)),
        })
    }

    /// Sends a group after the tasks that are ready now.
    fn gather(&self) {
        let gathering = Gathering(self.clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                yield_now().await;
                drop(gathering);
            });
        }
    }

    fn place(&self, aggregates: Vec<AggregateId>, counted: bool) -> Place {
        let groups = self.clone();
        Place {
            groups,
            aggregates,
            counted,
        }
    }

    /// Sends what waits, as far as the number of statements allows it.
    fn start(&self) {
        loop {
            let group = lock(&self.queue).next_group();
            if group.is_empty() {
                return;
            }
            let aggregates = group.iter().map(|w| w.append.aggregate_id).collect();
            let place = self.place(aggregates, true);
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(self.clone().send(group, place))),
                // Dropping the group tells its appends that they have to be sent alone.
                Err(_) => drop(group),
            }
        }
    }

    /// Sends a group and answers its appends.
    async fn send(self, group: Vec<WaitingAppend>, mut place: Place) {
        let Some(writer) = group.first().map(|waiting| Arc::clone(&waiting.writer)) else {
            return;
        };
        let (appends, answers): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|waiting| (waiting.append, waiting.answer))
            .unzip();
        let waiting = answers
            .into_iter()
            .zip(appends.iter().map(|a| a.aggregate_id));
        let Some(mut stored) = place.watch(writer.write(&appends)).await else {
            place.give_up();
            self.send_alone(waiting);
            return;
        };
        let versions: Vec<_> = stored
            .iter()
            .map(|(id, event)| (*id, event.appended.version))
            .collect();
        self.answer_overtaken(&versions);
        // The next group is sent before the clients of this one are woken.
        drop(place);
        for (answer, aggregate_id) in waiting {
            let outcome = stored.remove(&aggregate_id);
            let outcome = outcome.map_or(GroupOutcome::LostRace, GroupOutcome::Stored);
            // A client that has disconnected needs no answer.
            let _ = answer.send(Answer::Outcome(outcome));
        }
    }

    fn send_alone(&self, appends: impl Iterator<Item = (oneshot::Sender<Answer>, AggregateId)>) {
        for (answer, aggregate_id) in appends {
            lock(&self.queue).enter_given_up(aggregate_id);
            let place = self.place(vec![aggregate_id], false);
            let _ = answer.send(Answer::Alone(place));
        }
    }

    /// Answers the appends that wait with an older expected version than the stored one.
    fn answer_overtaken(&self, stored: &[(AggregateId, Version)]) {
        let overtaken = lock(&self.queue).take_overtaken(stored);
        for append in overtaken {
            let _ = append.answer.send(Answer::Outcome(GroupOutcome::Overtaken));
        }
    }
}

/// Waits for the connection of a group. Where none is free, each append of the group waits for one by itself.
///
/// # Errors
///
/// Those of the connection, and when it takes longer than 100 ms.
pub async fn connect_group<T>(
    connection: impl Future<Output = Result<T, DbError>>,
) -> Result<T, DbError> {
    let connection = timeout(QUEUE_TIMEOUT, connection).await;
    connection.map_err(|_| sqlx::Error::PoolTimedOut)?
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
