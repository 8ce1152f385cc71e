//! The state of an aggregate, as the rules and a consistent read need it: its view row and the events after it. The view
//! is the snapshot.

mod cache;
mod claims;
mod history_head;
mod past;
mod past_page;
mod unfolded;

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::db::{DbError, Session};
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::store::{self, RowOrigin};
use crate::view::{self, Serving, StoredRow, View};

pub use self::cache::{MAX_AGE, RememberedState, StateCache};
pub use self::claims::{Claims, ParkedAt, VersionRanges, load_claims};
pub use self::history_head::{HistoryHead, load_history_head};
pub use self::past::{AggregateEvent, PastState, continue_past, load_past, visit_past};
pub use self::past_page::{PastBudget, PastPage, load_past_page};
pub use self::unfolded::{Unfolded, find_unfolded};

/// [`load_folded`] holds this many events of an aggregate at most, and folds them then.
const MAX_TAIL_EVENTS: usize = 1000;
/// The same in bytes.
const MAX_TAIL_BYTES: usize = 4 * 1024 * 1024;

/// An aggregate at one moment.
#[derive(Debug, Default)]
pub struct State {
    /// The row, if there is one, and the last event folded into it.
    pub row: Option<StoredRow>,
    /// The last event folded into the row or into its absence; 0 when there is none.
    pub folded: Version,
    /// The events after it, in order of version.
    pub tail: Vec<RecordedEvent>,
    /// Whether the view has the row.
    pub is_projected: bool,
    /// Whether a generation of the view serves this process. Otherwise the state is folded from the events alone.
    pub has_generation: bool,
    /// Where the row was read.
    pub origin: Option<RowOrigin>,
    tail_bytes: usize,
    /// The newest event that was dropped, because an earlier one cannot be folded.
    dropped: Option<Version>,
}

impl State {
    /// The version of the newest event; 0 when there is none.
    #[must_use]
    pub fn version(&self) -> Version {
        let newest = self.tail.last().map(|event| event.version);
        self.dropped.or(newest).unwrap_or(self.folded)
    }

    /// The row's JSON.
    #[must_use]
    pub fn row_json(&self) -> Option<&RawValue> {
        self.row.as_ref().map(|(_, json)| &**json)
    }

    /// Whether the fold of all events is the absence of a row.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.folded.0 > 0 && self.row.is_none() && self.tail.is_empty()
    }

    /// Takes the row and the claims from the first row of the answer about this aggregate.
    fn read_folded(&mut self, row: &PgRow, view: &View) -> Result<(), DbError> {
        self.has_generation = row.try_get("serves")?;
        if self.folded > Version(0) {
            return Ok(());
        }
        self.row = view::decode_row(row)?;
        self.is_projected = self.row.is_some();
        let repairs: Option<i64> = row.try_get("repairs")?;
        self.origin = repairs.map(|repairs| RowOrigin {
            generation: view::generation_number(view.lock_domain()),
            repairs,
        });
        let viewed = self.row.as_ref().map(|(version, _)| *version);
        let claimed = row.try_get::<Option<i32>, _>("claimed_version")?;
        self.folded = viewed.or(claimed.map(Version)).unwrap_or_default();
        Ok(())
    }

    /// Adds an event to the tail; folds the tail when it is large.
    fn push(&mut self, event: RecordedEvent, bytes: usize, view: &View) {
        if self.dropped.is_some() {
            self.dropped = Some(event.version);
            return;
        }
        self.tail_bytes += bytes;
        self.tail.push(event);
        if self.tail.len() < MAX_TAIL_EVENTS && self.tail_bytes < MAX_TAIL_BYTES {
            return;
        }
        let folded = view.projection.fold(self.row_json(), &self.tail);
        if folded.failure.is_some() {
            // The same events fail again when they are folded for an answer. Those after them have no influence on it.
            self.dropped = self.tail.last().map(|event| event.version);
            return;
        }
        self.folded = self.version();
        self.row = folded.row.map(|json| (self.folded, json));
        self.tail.clear();
        self.tail_bytes = 0;
    }
}

/// Loads the states of aggregates, each of one moment, in one statement and in a bounded amount of memory: of an aggregate with many
/// events after its row, the first ones are folded into the row. Every id asked for is in the answer.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn load_folded(
    connection: &mut Session<'_>,
    view: &View,
    ids: &[AggregateId],
) -> Result<HashMap<AggregateId, State>, DbError> {
    // Boxed, because the future is large, and an append polls it deep in its stack.
    Box::pin(load_serving(connection, view, ids)).await
}

async fn load_serving(
    connection: &mut Session<'_>,
    view: &View,
    ids: &[AggregateId],
) -> Result<HashMap<AggregateId, State>, DbError> {
    let mut view = view.current();
    loop {
        let read = read_states(connection, &view, ids).await;
        let read = match read {
            Ok((states, true)) => return Ok(states),
            Ok((states, false)) => Ok(states),
            Err(error) if Serving::may_be_dropped(&error) => Err(error),
            Err(error) => return Err(error),
        };
        let resolved = view::resolve(connection, &view).await?;
        let is_same = resolved.view.lock_domain() == view.lock_domain();
        match read {
            // Without a generation that serves this process the states are folded from the events alone, which is right, too.
            Ok(_) if !resolved.exists => return read,
            Err(_) if is_same => return read,
            _ => view = resolved.view,
        }
    }
}

/// Reads the states with the rows of one generation. Returns whether it serves this process; otherwise the rows were not read.
async fn read_states(
    connection: &mut Session<'_>,
    view: &View,
    ids: &[AggregateId],
) -> Result<(HashMap<AggregateId, State>, bool), DbError> {
    let types = view.projection.block();
    let mut rows = sqlx::query(view.sql.fill(include_str!("sql/load_states.sql")))
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(view.lock_domain())
        .bind(types.start)
        .bind(types.end)
        .fetch(connection);
    let mut states: HashMap<AggregateId, State> = HashMap::with_capacity(ids.len());
    let mut serves = true;
    while let Some(row) = rows.try_next().await? {
        serves &= row.try_get::<bool, _>("serves")?;
        let state = states
            .entry(AggregateId(row.try_get("wanted_id")?))
            .or_default();
        state.read_folded(&row, view)?;
        if row.try_get::<Option<i32>, _>("version")?.is_some() {
            let bytes = store::byte_len(&row, "payload")? + store::byte_len(&row, "metadata")?;
            state.push(store::decode_event(&row)?, bytes, view);
        }
    }
    Ok((states, serves))
}
