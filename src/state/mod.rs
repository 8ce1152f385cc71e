//! The state of an aggregate, as the rules and a consistent read need it: its view row and the events after it. The view
//! is the snapshot.

mod cache;

use std::collections::HashMap;

use serde_json::value::RawValue;
use sqlx::Row;

use crate::db::{DbError, Session};
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::store;
use crate::view::{self, StoredRow, View};

pub use self::cache::{MAX_AGE, RememberedState, StateCache};

/// An aggregate at one moment.
#[derive(Debug, Default)]
pub struct State {
    /// The view's row, if there is one, and the last event folded into it.
    pub row: Option<StoredRow>,
    /// The events after the row, in order of version; all events of the aggregate if it has no row.
    pub tail: Vec<RecordedEvent>,
}

impl State {
    /// The version of the newest event; 0 when there is none.
    #[must_use]
    pub fn version(&self) -> Version {
        let row = self.row.as_ref().map(|(version, _)| *version);
        self.tail
            .last()
            .map(|event| event.version)
            .or(row)
            .unwrap_or(Version(0))
    }

    /// The row's JSON.
    #[must_use]
    pub fn row_json(&self) -> Option<&RawValue> {
        self.row.as_ref().map(|(_, json)| &**json)
    }
}

/// Loads the states of aggregates, each of one moment, in one statement. Every id asked for is in the answer.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn load(
    connection: &mut Session<'_>,
    view: &View,
    ids: &[AggregateId],
) -> Result<HashMap<AggregateId, State>, DbError> {
    let rows = sqlx::query(view.sql.fill(include_str!("sql/load_states.sql")))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut states: HashMap<AggregateId, State> = HashMap::with_capacity(ids.len());
    for row in &rows {
        let state = states
            .entry(AggregateId(row.try_get("wanted_id")?))
            .or_default();
        if state.row.is_none() {
            state.row = view::decode_row(row)?;
        }
        if row.try_get::<Option<i32>, _>("version")?.is_some() {
            state.tail.push(store::decode_event(row)?);
        }
    }
    Ok(states)
}
