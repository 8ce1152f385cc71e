//! Concurrent appends of single events, written together: a statement for 64 events costs Postgres about as much as six
//! statements for one each.
//!
//! An append is sent at once, in a statement of its own, while fewer than [`queue::MAX_STATEMENTS`] are in flight. Otherwise it
//! waits until one of them ends; then the appends that wait go out together. So an idle process answers as fast as without
//! groups, and no timer delays an append.
//!
//! An append in a group gets the same answer as alone:
//!
//! 1. A group has one event per aggregate and per event id, and the aggregates of all statements in flight differ. So the
//!    events of a group do not affect each other, and the appends to one aggregate keep their order.
//! 2. An event that the statement does not return has lost a race, as an append alone that stores nothing.
//! 3. If the statement fails, for whatever reason, each of its appends is sent again, alone.
//! 4. A statement that takes longer than [`QUEUE_TIMEOUT`] is not counted any more, and appends to its aggregates are sent
//!    alone until it ends. The statement of a group fails when it waits that long for a lock. So a locked aggregate and a
//!    silent connection delay other appends by that time at most.
//!
//! A group belongs to a task of its own, which goes on when a client disconnects.

mod queue;

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use sqlx::Row;
use sqlx::types::Json;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::queue::{Entered, Queue};
use super::append::{self, ExpectedHead, Outcome, StoredEvent};
use crate::db::{DbError, Pool, Retryable as _, Session};
use crate::event::{AggregateId, EventId, Prepared, TypeId, Version};

/// A larger event is sent alone, so that a group stays below 1 MiB.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// How long appends wait for a statement in flight. Most statements take a millisecond.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(100);

/// [`QUEUE_TIMEOUT`] as Postgres reads it.
const LOCK_TIMEOUT: &str = "100ms";

/// Sends the concurrent appends of a process together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Groups {
    pool: Pool,
    queue: Arc<Mutex<Queue>>,
}

/// What became of an append in a group.
#[derive(Debug)]
pub enum GroupOutcome {
    /// The event is stored.
    Stored(StoredEvent),
    /// The event is not stored; see [`Outcome::LostRace`].
    LostRace,
    /// The event was not sent, because another append to its aggregate was stored after the caller had read the version.
    Overtaken,
}

/// An append that waits for a group.
#[derive(Debug)]
struct WaitingAppend {
    id: EventId,
    aggregate_id: AggregateId,
    type_id: TypeId,
    payload: Box<RawValue>,
    metadata: Box<RawValue>,
    expected: Option<ExpectedHead>,
    return_payload: bool,
    answer: oneshot::Sender<Answer>,
}

/// The answer to an append that waits.
#[derive(Debug)]
enum Answer {
    Outcome(GroupOutcome),
    /// It has to be sent alone.
    Alone(Place),
}

impl WaitingAppend {
    fn new(
        event: &Prepared,
        payload: &RawValue,
        expected: Option<ExpectedHead>,
        return_payload: bool,
    ) -> Result<(Self, oneshot::Receiver<Answer>), DbError> {
        let encode = |error: serde_json::Error| sqlx::Error::Encode(error.into());
        let (sender, answer) = oneshot::channel();
        let append = Self {
            id: event.id,
            aggregate_id: event.aggregate_id,
            type_id: event.type_id,
            payload: payload.to_owned(),
            metadata: to_raw_value(&event.metadata).map_err(encode)?,
            expected,
            return_payload,
            answer: sender,
        };
        Ok((append, answer))
    }
}

impl Groups {
    /// Groups over a pool.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        let queue = Arc::default();
        Self { pool, queue }
    }

    /// Appends one event, alone or together with others. With `return_payload` the answer has the payload as the log holds it.
    ///
    /// # Errors
    ///
    /// Any [`DbError`].
    pub async fn append(
        &self,
        event: &Prepared,
        expected: Option<ExpectedHead>,
        return_payload: bool,
    ) -> Result<GroupOutcome, DbError> {
        let payload = append::stored_payload(event)?;
        if payload.get().len() + event.metadata.byte_len() > MAX_EVENT_BYTES {
            let outcome = self.append_single(event, expected, return_payload).await;
            return Ok(single(outcome?));
        }
        let aggregate_id = event.aggregate_id;
        let mut entered = lock(&self.queue).enter(aggregate_id);
        let mut answer = None;
        if matches!(entered, Entered::Wait) {
            let (waiting, receiver) = WaitingAppend::new(event, payload, expected, return_payload)?;
            entered = lock(&self.queue).enter_or_wait(waiting);
            answer = Some(receiver);
        }
        let mut place = match (entered, answer) {
            (Entered::Counted, _) => Some(self.place(vec![aggregate_id], true)),
            (Entered::Uncounted, _) => Some(self.place(vec![aggregate_id], false)),
            (Entered::Wait, None) => None,
            (Entered::Wait, Some(answer)) => match answer.await {
                Ok(Answer::Outcome(outcome)) => return Ok(outcome),
                Ok(Answer::Alone(place)) => Some(place),
                // The runtime of the group's task has ended.
                Err(_) => None,
            },
        };
        let statement = self.append_single(event, expected, return_payload);
        let outcome = match &mut place {
            Some(place) => place.watch(statement).await,
            None => statement.await,
        };
        let outcome = single(outcome?);
        if let GroupOutcome::Stored(event) = &outcome {
            self.answer_overtaken(&[(aggregate_id, event.appended.version)]);
        }
        Ok(outcome)
    }

    async fn append_single(
        &self,
        event: &Prepared,
        expected: Option<ExpectedHead>,
        return_payload: bool,
    ) -> Result<Outcome, DbError> {
        let mut connection = self.pool.acquire().await?;
        append::append_single(&mut connection, event, expected, return_payload).await
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
            let aggregates = group.iter().map(|append| append.aggregate_id).collect();
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
        let mut stored = match place.watch(self.append_group(&group)).await {
            Ok(stored) => stored,
            Err(error) => {
                if error.is_retryable() {
                    self.pool.mark_suspect();
                }
                tracing::debug!(
                    "sends {} appends alone, because their group failed: {error}",
                    group.len()
                );
                place.give_up();
                self.send_alone(group);
                return;
            }
        };
        let versions: Vec<_> = stored
            .iter()
            .map(|(id, event)| (*id, event.appended.version))
            .collect();
        self.answer_overtaken(&versions);
        // The next group is sent before the clients of this one are woken.
        drop(place);
        for append in group {
            let outcome = stored.remove(&append.aggregate_id);
            let outcome = outcome.map_or(GroupOutcome::LostRace, GroupOutcome::Stored);
            // A client that has disconnected needs no answer.
            let _ = append.answer.send(Answer::Outcome(outcome));
        }
    }

    async fn append_group(
        &self,
        group: &[WaitingAppend],
    ) -> Result<HashMap<AggregateId, StoredEvent>, DbError> {
        // Where no connection is free, each append waits for one by itself.
        let connection = timeout(QUEUE_TIMEOUT, self.pool.acquire()).await;
        let mut connection = connection.map_err(|_| sqlx::Error::PoolTimedOut)??;
        append_group(&mut connection, group).await
    }

    fn send_alone(&self, appends: Vec<WaitingAppend>) {
        for append in appends {
            lock(&self.queue).enter_given_up(append.aggregate_id);
            let place = self.place(vec![append.aggregate_id], false);
            let _ = append.answer.send(Answer::Alone(place));
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

/// The place of a statement in flight. Dropping it lets the next appends go.
#[derive(Debug)]
struct Place {
    groups: Groups,
    aggregates: Vec<AggregateId>,
    /// Whether other appends wait for the statement.
    counted: bool,
}

impl Place {
    /// Waits for a statement. After [`QUEUE_TIMEOUT`] other appends do not wait for it any more.
    async fn watch<T>(&mut self, statement: impl Future<Output = T>) -> T {
        if !self.counted {
            return statement.await;
        }
        let mut statement = pin!(statement);
        if let Ok(done) = timeout(QUEUE_TIMEOUT, &mut statement).await {
            done
        } else {
            self.give_up();
            statement.await
        }
    }

    fn give_up(&mut self) {
        if std::mem::take(&mut self.counted) {
            let waiting = lock(&self.groups.queue).give_up(&self.aggregates);
            self.groups.send_alone(waiting);
            self.groups.start();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.groups.queue).leave(&self.aggregates, self.counted);
        self.groups.start();
    }
}

async fn append_group(
    connection: &mut Session<'_>,
    group: &[WaitingAppend],
) -> Result<HashMap<AggregateId, StoredEvent>, DbError> {
    let heads: Vec<Option<ExpectedHead>> = group.iter().map(|append| append.expected).collect();
    let rows = sqlx::query(include_str!("sql/append_group.sql"))
        .bind(group.iter().map(|a| a.id.0).collect::<Vec<_>>())
        .bind(group.iter().map(|a| a.aggregate_id.0).collect::<Vec<_>>())
        .bind(group.iter().map(|a| a.type_id.0).collect::<Vec<_>>())
        .bind(group.iter().map(|a| Json(&a.payload)).collect::<Vec<_>>())
        .bind(group.iter().map(|a| Json(&a.metadata)).collect::<Vec<_>>())
        .bind(append::versions(&heads))
        .bind(append::last_ids(&heads))
        .bind(append::last_times(&heads))
        .bind(group.iter().any(|append| append.return_payload))
        .bind(LOCK_TIMEOUT)
        .fetch_all(connection)
        .await?;
    let id_of: HashMap<AggregateId, EventId> =
        group.iter().map(|a| (a.aggregate_id, a.id)).collect();
    let mut stored = HashMap::with_capacity(rows.len());
    for row in &rows {
        let aggregate_id = AggregateId(row.try_get("aggregate_id")?);
        if let Some(id) = id_of.get(&aggregate_id) {
            stored.insert(aggregate_id, append::decode_stored(row, *id, aggregate_id)?);
        }
    }
    Ok(stored)
}

fn single(outcome: Outcome) -> GroupOutcome {
    match outcome {
        Outcome::Stored(events) => events
            .into_iter()
            .next()
            .map_or(GroupOutcome::LostRace, GroupOutcome::Stored),
        Outcome::LostRace => GroupOutcome::LostRace,
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
