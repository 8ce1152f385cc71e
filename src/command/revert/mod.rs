//! Reverts: brings an aggregate back to an earlier state, with new events that the domain chooses.
//!
//! The domain decides over the current state, so a revert is decided again when the aggregate has moved before its events are
//! stored. The first of the events has the id of the request, which is the idempotency key; the ids of the others derive from
//! it. All of them have the entry [`MARK_KEY`] in their metadata, which says what was asked for. So a request that is sent again
//! is recognized, although the domain would decide differently by now.

mod decide;
mod error;
mod replay;
mod target;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::decide::decide;
pub use self::error::RevertError;
use super::outcome::AggregateOutcome;
use super::{AppendError, Batch, DryRun, MAX_ATTEMPTS, Target, dry_run};
use crate::app::{Foldlog, Served};
use crate::event::{
    AggregateId, AppendedEvent, EventId, ExpectedVersion, Metadata, Prepared, Version,
};

/// The entry of an event's metadata that says which revert it belongs to.
pub const MARK_KEY: &str = "revert";

/// A request to bring an aggregate back to an earlier state.
#[derive(Clone, Debug)]
pub struct Revert {
    /// The idempotency key, and the id of the first event.
    pub id: EventId,
    /// The aggregate.
    pub aggregate_id: AggregateId,
    /// The version whose state comes back.
    pub to_version: Version,
    /// The metadata of the events.
    pub metadata: Metadata,
    /// Fields of the row that stay as they are.
    pub except: Vec<String>,
}

/// The answer to a revert.
#[derive(Clone, Debug)]
pub struct Reverted {
    /// The events that were appended; none if the aggregate is in the earlier state already, as far as events can bring it back.
    pub events: Vec<AppendedEvent>,
    /// Whether an earlier request with the same id and content had appended them.
    pub duplicate: bool,
    /// The aggregate after these events.
    pub outcome: AggregateOutcome,
    /// The fields that still differ from the earlier state, because no event can bring them back.
    pub not_restored: Vec<String>,
}

/// What [`MARK_KEY`] holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    to_version: Version,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    except: BTreeSet<String>,
}

/// What a revert does next.
enum NextStep {
    /// Nothing: it was done by an earlier request, or there is nothing to do.
    Done(Reverted),
    /// It appends these events.
    Append {
        events: Vec<Prepared>,
        from: Version,
        outcome: AggregateOutcome,
        not_restored: Vec<String>,
    },
}

/// Brings an aggregate back to an earlier state.
///
/// # Errors
///
/// See [`RevertError`]; nothing is stored then.
pub async fn revert(
    foldlog: &Foldlog,
    served: &Served,
    revert: &Revert,
    expected: ExpectedVersion,
) -> Result<Reverted, RevertError> {
    let mut before = None;
    for _ in 0..MAX_ATTEMPTS {
        let (events, from, outcome, not_restored) =
            match decide(foldlog, served, revert, expected).await? {
                NextStep::Done(reverted) => return Ok(reverted),
                NextStep::Append {
                    events,
                    from,
                    outcome,
                    not_restored,
                } => (events, from, outcome, not_restored),
            };
        let batch = Batch::from_revert(served, events)?;
        let target = Target::Pool(&foldlog.pool);
        let appended = super::append(foldlog, target, batch, ExpectedVersion::Exact(from));
        match Box::pin(appended).await {
            Ok(appended) => {
                return Ok(Reverted {
                    events: appended.events,
                    duplicate: appended.duplicate,
                    outcome,
                    not_restored,
                });
            }
            // The aggregate has moved. A reused id may be that of the same request, sent twice; if the aggregate has not moved,
            // the id belongs to another event.
            Err(
                error @ (AppendError::VersionMismatch { .. }
                | AppendError::IdReused { .. }
                | AppendError::PartlyStored { .. }),
            ) => {
                if before == Some(from) {
                    return Err(error.into());
                }
                before = Some(from);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(AppendError::Contended.into())
}

/// Says what [`revert`] would do, with the fields that it would not restore.
///
/// # Errors
///
/// The [`RevertError`] of the revert.
pub async fn dry_run_revert(
    foldlog: &Foldlog,
    served: &Served,
    revert: &Revert,
    expected: ExpectedVersion,
) -> Result<(DryRun, Vec<String>), RevertError> {
    for _ in 0..MAX_ATTEMPTS {
        let (events, from, not_restored) = match decide(foldlog, served, revert, expected).await? {
            NextStep::Done(reverted) => {
                let dry_run = DryRun {
                    duplicate: reverted.duplicate,
                    aggregates: vec![reverted.outcome],
                };
                return Ok((dry_run, reverted.not_restored));
            }
            NextStep::Append {
                events,
                from,
                not_restored,
                ..
            } => (events, from, not_restored),
        };
        let batch = Batch::from_revert(served, events)?;
        let target = Target::Pool(&foldlog.pool);
        let run = dry_run::run_dry(foldlog, target, batch, ExpectedVersion::Exact(from));
        match Box::pin(run).await {
            Ok(dry_run) => return Ok((dry_run, not_restored)),
            Err(AppendError::VersionMismatch { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AppendError::Contended.into())
}

/// The id of the event with this index, from 0.
fn id_of(request: EventId, index: usize) -> EventId {
    match index {
        0 => request,
        _ => EventId(Uuid::new_v5(&request.0, index.to_string().as_bytes())),
    }
}
