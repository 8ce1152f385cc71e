//! The log at the end: versions without gaps, positions in the order of versions, and no event that the rules reject.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::model::{Body, State, Verdict};

/// An event of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub id: Uuid,
    pub aggregate: Uuid,
    pub version: i32,
    pub position: i64,
    pub body: Body,
}

/// The log, by aggregate and version.
#[derive(Debug, Default)]
pub struct Log {
    aggregates: BTreeMap<Uuid, Vec<Stored>>,
    by_id: BTreeMap<Uuid, (Uuid, usize)>,
    problems: Vec<String>,
}

impl Log {
    /// Reads the log from the database.
    pub async fn read(connection: &mut PgConnection) -> Result<Self> {
        let sql = "select id, aggregate_id, version, position, type_id, payload, \
             created_at < lag(created_at) over (partition by aggregate_id order by version) as is_earlier \
             from events order by aggregate_id, version";
        let mut events = Vec::new();
        let mut problems = Vec::new();
        for row in sqlx::query(sql).fetch_all(connection).await? {
            let (type_id, payload): (i16, Value) =
                (row.try_get("type_id")?, row.try_get("payload")?);
            let id: Uuid = row.try_get("id")?;
            if row.try_get::<Option<bool>, _>("is_earlier")? == Some(true) {
                problems.push(format!("event {id} was created before its predecessor"));
            }
            events.push(Stored {
                id,
                aggregate: row.try_get("aggregate_id")?,
                version: row.try_get("version")?,
                position: row.try_get("position")?,
                body: Body::read(type_id, &payload).context("an event has unknown content")?,
            });
        }
        let mut log = Self::new(events);
        log.problems.extend(problems);
        Ok(log)
    }

    /// A log of these events, in the order of aggregates and versions.
    pub fn new(events: Vec<Stored>) -> Self {
        let mut log = Self::default();
        let mut positions = BTreeSet::new();
        for event in events {
            let chain = log.aggregates.entry(event.aggregate).or_default();
            let expected = chain.last().map_or(1, |last| last.version + 1);
            if event.version != expected {
                log.problems
                    .push(format!("{event:?} should have version {expected}"));
            }
            if chain
                .last()
                .is_some_and(|last| last.position >= event.position)
            {
                log.problems
                    .push(format!("{event:?} has a position below its predecessor's"));
            }
            if !positions.insert(event.position) {
                log.problems
                    .push(format!("position {} occurs twice", event.position));
            }
            let place = (event.aggregate, chain.len());
            if log.by_id.insert(event.id, place).is_some() {
                log.problems
                    .push(format!("event id {} occurs twice", event.id));
            }
            chain.push(event);
        }
        log
    }

    /// What is wrong with the log itself.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        for chain in self.aggregates.values() {
            let mut state = State::default();
            for event in chain {
                if state.decide(&event.body) != Verdict::Accepted {
                    problems.push(format!("the rules reject {event:?} in the state {state:?}"));
                }
                state = state.apply(&event.body);
            }
        }
        problems
    }

    /// All events.
    pub fn events(&self) -> impl Iterator<Item = &Stored> {
        self.aggregates.values().flatten()
    }

    /// The aggregates, each with its events.
    pub fn aggregates(&self) -> impl Iterator<Item = (&Uuid, &Vec<Stored>)> {
        self.aggregates.iter()
    }

    /// The event with this id.
    pub fn find(&self, id: Uuid) -> Option<&Stored> {
        let (aggregate, index) = self.by_id.get(&id)?;
        self.aggregates.get(aggregate)?.get(*index)
    }

    /// The events of an aggregate.
    pub fn chain(&self, aggregate: Uuid) -> &[Stored] {
        self.aggregates.get(&aggregate).map_or(&[], Vec::as_slice)
    }

    /// The state of an aggregate at each version, from 0.
    pub fn states(&self, aggregate: Uuid) -> Vec<State> {
        let mut states = vec![State::default()];
        for event in self.chain(aggregate) {
            let state = states.last().cloned().unwrap_or_default();
            states.push(state.apply(&event.body));
        }
        states
    }
}
