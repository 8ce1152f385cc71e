//! Appends whose rows are known before they are sent.

use std::fmt;

use serde_json::value::RawValue;

/// The row of an aggregate after an append, folded before the append is sent. It holds only if the log stores the payload as it was folded,
/// and if the aggregate and its row are still as they were read.
#[derive(Clone)]
pub struct KnownRow {
    /// The payload as Postgres is expected to spell it, which the fold has read.
    pub payload: Box<RawValue>,
    /// The row with its secrets.
    pub row: Box<RawValue>,
    /// Where the row before the append was read; `None` if the aggregate is new.
    pub origin: Option<RowOrigin>,
}

/// Where a row was read or written. Repairs replace rows without an event, so the version of a row does not tell whether it was repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowOrigin {
    /// The number of the generation.
    pub generation: u32,
    /// How many rows of the generation had been repaired.
    pub repairs: i64,
}

impl fmt::Debug for KnownRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The payload and the row contain secrets.
        f.debug_struct("KnownRow")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
