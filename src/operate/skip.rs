//! The event of the verb `skip`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::VerbError;
use crate::event::{AggregateId, EventId};

/// The longest reason or name of an actor that is stored, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// An event to skip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// The projection.
    pub domain: String,
    /// The event that cannot be folded.
    pub event_id: EventId,
    /// Its aggregate; necessary only where two aggregates have an event with this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate_id: Option<AggregateId>,
    /// Why it is skipped.
    pub reason: String,
    /// Who skips it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl Skip {
    pub(super) fn read(value: &Value) -> Result<Self, VerbError> {
        let skip: Self = serde_json::from_value(value.clone())
            .map_err(|error| VerbError::new(format!("`skip` does not fit: {error}")))?;
        let texts = [Some(&skip.reason), skip.actor.as_ref()];
        let is_valid = |text: &String| {
            !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES && !text.contains('\0')
        };
        if texts.into_iter().flatten().all(is_valid) {
            Ok(skip)
        } else {
            let problem = format!(
                "`reason` and `actor` must be texts of 1 to {MAX_TEXT_BYTES} bytes without U+0000"
            );
            Err(VerbError::new(problem))
        }
    }
}
