//! Folding events into a row.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Projection;
use crate::event::redact::{Hide, Redacted};
use crate::event::{Event, Payload, RecordedEvent};

pub(super) const DECODE_PANICKED: &str = "the deserialization of the event or the row panicked";

const FOLD_PANICKED: &str = "the fold panicked";

/// Why an event cannot be folded.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct FoldError {
    reason: Box<dyn std::error::Error + Send + Sync>,
    kind: FoldErrorKind,
}

/// What kind of failure ended a fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldErrorKind {
    /// The fold returned an error.
    Fold,
    /// The code of the domain panicked.
    Panic,
    /// The event does not match its type. The reason may quote the event.
    Event,
    /// The row does not match its type. The reason may quote the row.
    Row,
}

impl FoldError {
    /// An error with the reason that is shown beside the parked aggregate.
    pub fn new(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new_of_kind(FoldErrorKind::Fold, reason)
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> FoldErrorKind {
        self.kind
    }

    fn new_of_kind(
        kind: FoldErrorKind,
        reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let reason = reason.into();
        Self { reason, kind }
    }
}

/// The result of a fold.
#[derive(Debug)]
pub struct Folded {
    /// The row after the events that could be folded; `None`: there is none.
    pub row: Option<Box<RawValue>>,
    /// How many events were folded.
    pub folded: usize,
    /// Why the next one was not.
    pub failure: Option<FoldError>,
}

/// A fold of one aggregate from its first event on, one event at a time. Between the events the row is kept with its type, so an
/// event costs no JSON of the row.
pub trait AnyFold: Send {
    /// Folds the next event.
    ///
    /// # Errors
    ///
    /// When the event cannot be folded. The fold has ended then, and the row may be lost.
    fn step(&mut self, event: &RecordedEvent) -> Result<(), FoldError>;
    /// Whether there is a row.
    fn has_row(&self) -> bool;
    /// The row with its secrets.
    ///
    /// # Errors
    ///
    /// When it does not serialize.
    fn row(&self) -> Result<Option<Box<RawValue>>, FoldError>;
    /// The row's columns as clients see them, without secrets. `secret_names` are the names of properties that are left out when
    /// they are null.
    ///
    /// # Errors
    ///
    /// When it does not serialize.
    fn show(&self, secret_names: &BTreeSet<String>) -> Result<Option<Box<RawValue>>, FoldError>;
}

/// A fold with its types.
pub(super) struct TypedFold<P: Projection>(Option<P::Row>);

impl<P: Projection> TypedFold<P> {
    pub(super) const fn new() -> Self {
        Self(None)
    }
}

impl<P: Projection> AnyFold for TypedFold<P> {
    fn step(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let event = decode::<P::Event>(event)?;
        let row = self.0.take();
        self.0 = catch_panic(FOLD_PANICKED, || P::apply(row, &event))?;
        Ok(())
    }

    fn has_row(&self) -> bool {
        self.0.is_some()
    }

    fn row(&self) -> Result<Option<Box<RawValue>>, FoldError> {
        self.0.as_ref().map(to_raw).transpose()
    }

    fn show(&self, secret_names: &BTreeSet<String>) -> Result<Option<Box<RawValue>>, FoldError> {
        let show = |row| to_raw(&Redacted(row, &Hide(secret_names)));
        self.0.as_ref().map(show).transpose()
    }
}

/// Folds until the first failure: the row so far, how many events went into it, and why it ended early.
pub(super) fn fold<P: Projection>(
    row: Option<&RawValue>,
    events: &[RecordedEvent],
) -> (Option<P::Row>, usize, Option<FoldError>) {
    let mut state = match row.map(from_raw::<P::Row>).transpose() {
        Ok(state) => state,
        Err(failure) => return (None, 0, Some(failure)),
    };
    for (index, recorded) in events.iter().enumerate() {
        if recorded.is_skipped() {
            continue;
        }
        let event = match decode::<P::Event>(recorded) {
            Ok(event) => event,
            Err(failure) => return (state, index, Some(failure)),
        };
        // A step takes the state by value, so a step that fails or panics loses it. Steps seldom fail, so no copy is kept:
        // the events before the failing one are folded again.
        match catch_panic(FOLD_PANICKED, || P::apply(state, &event)) {
            Ok(next) => state = next,
            Err(failure) => return refold::<P>(row, &events[..index], failure),
        }
    }
    (state, events.len(), None)
}

/// The fold of the events before a failing one.
fn refold<P: Projection>(
    row: Option<&RawValue>,
    events: &[RecordedEvent],
    failure: FoldError,
) -> (Option<P::Row>, usize, Option<FoldError>) {
    let (state, folded, earlier) = fold::<P>(row, events);
    (state, folded, Some(earlier.unwrap_or(failure)))
}

/// Decodes an event, in the newest revision of its type.
pub(crate) fn decode<E: Payload>(recorded: &RecordedEvent) -> Result<Event<E>, FoldError> {
    catch_panic(DECODE_PANICKED, || {
        let event = recorded.decode();
        event.map_err(|error| FoldError::new_of_kind(FoldErrorKind::Event, error))
    })
}

pub(super) fn from_raw<T: DeserializeOwned>(row: &RawValue) -> Result<T, FoldError> {
    catch_panic(DECODE_PANICKED, || {
        serde_json::from_str(row.get()).map_err(|e| {
            let reason = format!("the view's row does not fit the projection: {e}");
            FoldError::new_of_kind(FoldErrorKind::Row, reason)
        })
    })
}

pub(super) fn to_raw<T: Serialize>(row: &T) -> Result<Box<RawValue>, FoldError> {
    catch_panic("the serialization of the row panicked", || {
        serde_json::value::to_raw_value(row).map_err(|e| {
            let reason = format!("the row does not serialize: {e}");
            FoldError::new_of_kind(FoldErrorKind::Row, reason)
        })
    })
}

/// Runs code of the domain; a panic is an error with the given reason.
pub(super) fn catch_panic<T>(
    reason: &'static str,
    code: impl FnOnce() -> Result<T, FoldError>,
) -> Result<T, FoldError> {
    catch_unwind(AssertUnwindSafe(code))
        .unwrap_or_else(|_| Err(FoldError::new_of_kind(FoldErrorKind::Panic, reason)))
}
