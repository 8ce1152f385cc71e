//! The state of an aggregate after events that are not stored.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::domain::FoldError;
use crate::event::{AggregateId, Position, Prepared, RecordedEvent, Version};
use crate::state::State;
use crate::view::{self, Changes, View};

/// Stands for the hash of a password that is not hashed. No password has this hash.
pub(super) const HASH_STAND_IN: &str = "$argon2id$none";

/// An aggregate after an append.
#[derive(Clone, Debug)]
pub struct AggregateOutcome {
    /// The aggregate.
    pub aggregate_id: AggregateId,
    /// The version of its newest event.
    pub version: Version,
    /// Its row as the view shows it; `None` when the aggregate has ended.
    pub state: Option<Box<RawValue>>,
    /// The fields that the events change, without secrets.
    pub changes: Changes,
    /// Its row with secrets.
    pub(crate) row: Option<Box<RawValue>>,
}

impl AggregateOutcome {
    /// The state of the aggregate; `None` when it has ended. A password that the append would hash has a stand-in for its hash.
    ///
    /// # Errors
    ///
    /// When the state does not match the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        let row = self.row.as_deref();
        row.map(|row| serde_json::from_str(row.get())).transpose()
    }
}

/// The row after all events of an aggregate.
pub(super) fn fold_state(view: &View, state: &State) -> Result<Option<Box<RawValue>>, FoldError> {
    // Also without a tail: the row is then spelled as a fold spells it, and not as Postgres does.
    let folded = view.projection.fold(state.row_json(), &state.tail);
    folded.failure.map_or(Ok(folded.row), Err)
}

/// Folds new events over the row of an aggregate and its version.
pub(super) fn fold(
    view: &View,
    aggregate_id: AggregateId,
    (version, before): (Version, Option<&RawValue>),
    events: &[&Prepared],
) -> Result<AggregateOutcome, FoldError> {
    let mut version = version;
    let mut recorded = Vec::with_capacity(events.len());
    for event in events {
        version.0 += 1;
        recorded.push(RecordedEvent {
            id: event.id,
            aggregate_id,
            type_id: event.type_id,
            version,
            position: Position(0),
            created_at: OffsetDateTime::now_utc(),
            payload: event
                .payload_with_hash(HASH_STAND_IN)
                .map_err(FoldError::new)?,
            metadata: event.metadata.clone(),
        });
    }
    let folded = view.projection.fold(before, &recorded);
    if let Some(failure) = folded.failure {
        return Err(failure);
    }
    let changes = changes(view, before, folded.row.as_deref())?;
    let show = |row: &RawValue| {
        let projection = view.projection;
        projection.show(aggregate_id, version, row, &view.secret_names)
    };
    Ok(AggregateOutcome {
        aggregate_id,
        version,
        state: folded.row.as_deref().map(show).transpose()?,
        changes,
        row: folded.row,
    })
}

/// The fields in which two rows differ, without secrets.
pub(super) fn changes(
    view: &View,
    before: Option<&RawValue>,
    after: Option<&RawValue>,
) -> Result<Changes, FoldError> {
    let fields = |row| view::shown_fields(view, row);
    Ok(view::changes(&fields(before)?, &fields(after)?))
}
