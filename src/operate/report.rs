//! What a verb has done for one projection.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Verb;
use crate::projection::status::ProjectionStatus;
use crate::projection::verify::Verification;
use crate::projection::{RetryReport, SkipReport};

/// What a verb has done for one projection.
#[derive(Debug, Default)]
pub struct Report {
    /// Events folded.
    pub applied: u64,
    /// What remains.
    pub status: ProjectionStatus,
    /// Whether nothing remains.
    pub done: bool,
    /// How a retry ended. Only after `retry`.
    pub retried: Option<RetryReport>,
    /// What was skipped. Only after `skip`.
    pub skipped: Option<SkipReport>,
    /// What `reproject`, `preview`, `cancel` and `verify` answer.
    pub answer: Map<String, Value>,
}

/// The counts of a verification.
#[derive(Serialize)]
pub(super) struct VerifiedCounts {
    aggregates: u64,
    differ: u64,
    orphan_claims: u64,
    removed_claims: u64,
    repaired: u64,
    complete: bool,
}

impl From<&Verification> for VerifiedCounts {
    fn from(verified: &Verification) -> Self {
        Self {
            aggregates: verified.aggregates,
            differ: verified.differ,
            orphan_claims: verified.orphan_claims,
            removed_claims: verified.removed_claims,
            repaired: verified.repaired,
            complete: verified.complete,
        }
    }
}

impl Report {
    /// Adds what a verb answers.
    pub(super) fn answer(&mut self, name: &str, value: impl Serialize) {
        // The values are numbers, texts and JSON, which always serialize.
        let value = serde_json::to_value(value).unwrap_or_default();
        self.answer.insert(name.to_owned(), value);
    }

    /// The part of a response about this projection. An unknown figure is null.
    #[must_use]
    pub fn to_json(&self, verb: &Verb) -> Value {
        let status = &self.status;
        let mut json = json!({
            "applied": self.applied,
            "remaining": status.lag_events,
            "parked": status.parked,
            "done": self.done,
        });
        if *verb != Verb::CatchUp {
            json["lag_seconds"] = json!(status.lag_seconds);
        }
        if *verb == Verb::Status {
            json["state"] = json!(status.state);
            json["fold_changed"] = json!(status.fold_changed);
        }
        if let Some(retried) = &self.retried {
            json["unparked"] = json!(retried.unparked);
            json["failed"] = json!(retried.failed);
        }
        if let Some(skipped) = &self.skipped {
            json["skipped"] = json!({
                "event_id": skipped.event_id,
                "aggregate_id": skipped.aggregate_id,
                "version": skipped.version,
            });
            json["unparked"] = json!(u64::from(skipped.unparked));
        }
        for (name, value) in &self.answer {
            json[name] = value.clone();
        }
        json
    }
}
