//! Events as a statement returned them. An event that cannot be decoded must not stop the projection, so it becomes a
//! [`Failure`], which parks its aggregate.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::failure_class::FailureClass;
use super::plan::Failure;
use crate::domain::FoldError;
use crate::event::{AggregateId, EventId, Position, RecordedEvent, Version};
use crate::store;

/// Events that a statement has read.
#[derive(Debug, Default)]
pub(super) struct ReadEvents {
    /// Those that could be decoded, in the order of the statement.
    pub events: Vec<RecordedEvent>,
    /// Those that could not.
    pub undecodable: Vec<Failure>,
}

impl ReadEvents {
    /// Decodes the event of a row and adds it. One that an operator has skipped has no effect, and need not be decodable.
    ///
    /// # Errors
    ///
    /// When the row does not have the columns of an event.
    pub(super) fn push(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        match decode(row)? {
            Ok(event) => self.events.push(event),
            Err(reason) => self.undecodable.push(Failure::from_parts(
                (
                    AggregateId(row.try_get("aggregate_id")?),
                    EventId(row.try_get("id")?),
                    Version(row.try_get("version")?),
                ),
                FailureClass::Event,
                reason,
            )),
        }
        Ok(())
    }

    /// Puts the decoded events in the order of aggregates and versions.
    pub(super) fn sort(&mut self) {
        self.events
            .sort_unstable_by_key(|event| (event.aggregate_id, event.version));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.undecodable.is_empty()
    }
}

/// Decodes the event of a row of which the column `skipped` says whether an operator has skipped it.
///
/// # Errors
///
/// When the row does not have the columns of an event.
pub(super) fn decode(row: &PgRow) -> Result<Result<RecordedEvent, FoldError>, sqlx::Error> {
    if row.try_get::<Option<bool>, _>("skipped")? == Some(true) {
        return Ok(Ok(RecordedEvent::skipped(
            EventId(row.try_get("id")?),
            AggregateId(row.try_get("aggregate_id")?),
            Version(row.try_get("version")?),
            Position(row.try_get("position")?),
        )));
    }
    catch_decode_error(store::decode_event(row))
}

/// Separates a value that cannot be decoded, which concerns one row, from any other error, such as a missing column, which
/// concerns the statement.
pub(super) fn catch_decode_error<T>(
    result: Result<T, sqlx::Error>,
) -> Result<Result<T, FoldError>, sqlx::Error> {
    match result {
        Ok(value) => Ok(Ok(value)),
        // Without the source, because it may quote the value.
        Err(sqlx::Error::ColumnDecode { index, .. }) => Ok(Err(FoldError::new(format!(
            "the value in the column {index} cannot be decoded"
        )))),
        Err(error) => Err(error),
    }
}
