//! Appends events: prepare → optimistic first append → load → decide → append. (The binary `command` serves this module.)
//!
//! An append takes one round trip if the rules need no state, two if they do. foldlog finds out which by trying: if the
//! rules accept an event for an aggregate that does not exist, the event is first appended as version 1. If the aggregate
//! does exist, the unique key of the log rejects that, and only then the state is loaded.

mod batch;
mod error;
mod idempotency;
mod passwords;
mod target;
mod trace;

use tracing::Instrument as _;

pub(crate) use self::batch::Batch;
pub use self::batch::MAX_EVENTS;
pub use self::error::AppendError;
pub(crate) use self::target::Target;
use crate::app::{Foldlog, Served};
use crate::db::{RetryPolicy, Session};
use crate::event::{AppendedEvent, ExpectedVersion, UntypedEvent, Version};
use crate::state;
use crate::store::ExpectedVersions;

/// How often an append tries again after a lost race. Of n concurrent appends to one aggregate, at least one succeeds per
/// round, so this many appends to one aggregate can be concurrent.
const MAX_ATTEMPTS: u32 = 100;

/// The answer to an append.
#[derive(Debug, PartialEq, Eq)]
pub struct Appended {
    /// The stored events, in the order of the request.
    pub events: Vec<AppendedEvent>,
    /// Whether an earlier append with the same ids and contents had stored them.
    pub duplicate: bool,
}

/// Decodes `events` and appends all of them or none, as the rules of their domains allow. With `only`, events of other
/// domains are rejected.
///
/// # Errors
///
/// See [`AppendError`]; nothing is stored then.
pub async fn execute(
    foldlog: &Foldlog,
    events: &[UntypedEvent],
    expected: ExpectedVersion,
    only: Option<&Served>,
) -> Result<Appended, AppendError> {
    let batch = Batch::prepare(foldlog, events, only)?;
    append(foldlog, Target::Pool(&foldlog.pool), batch, expected).await
}

/// Appends prepared events.
pub(crate) async fn append(
    foldlog: &Foldlog,
    mut target: Target<'_>,
    mut batch: Batch<'_>,
    expected: ExpectedVersion,
) -> Result<Appended, AppendError> {
    if matches!(expected, ExpectedVersion::Exact(_)) && batch.groups.len() != 1 {
        return Err(AppendError::OneAggregate);
    }
    let span = trace::span(&batch);
    let append = async {
        let mut retries = RetryPolicy::default();
        let appended = loop {
            match try_append(foldlog, &mut target, &mut batch, expected).await {
                Err(error) if target.is_pool() && retries.should_retry(&foldlog.pool, &error) => {}
                result => break result?,
            }
        };
        trace::log(&appended);
        Ok(appended)
    };
    append.instrument(span).await
}

async fn try_append(
    foldlog: &Foldlog,
    target: &mut Target<'_>,
    batch: &mut Batch<'_>,
    expected: ExpectedVersion,
) -> Result<Appended, AppendError> {
    // Hashing takes a core for 20 ms, so the rules decide about an event with a password first.
    if !batch.has_unhashed_passwords()
        && let Some(versions) = optimistic_versions(batch, expected)
        && let Some(events) = target.append(foldlog, batch, &versions).await?
    {
        return Ok(stored(events));
    }
    for _ in 0..MAX_ATTEMPTS {
        let versions = match target.decide(batch, expected).await {
            Ok(versions) => versions,
            // A replay is recognized before an error is returned: the rules would reject a second `Created`, and the
            // version has advanced by the replayed event itself.
            Err(error @ (AppendError::Rejected { .. } | AppendError::VersionMismatch { .. })) => {
                let replayed = find_replayed(foldlog, target, batch).await?;
                return replayed.ok_or(error);
            }
            Err(error) => return Err(error),
        };
        Box::pin(passwords::hash(foldlog, &mut batch.events)).await?;
        if let Some(events) = target.append(foldlog, batch, &versions).await? {
            return Ok(stored(events));
        }
        if let Some(replayed) = find_replayed(foldlog, target, batch).await? {
            return Ok(replayed);
        }
    }
    Err(AppendError::Contended)
}

const fn stored(events: Vec<AppendedEvent>) -> Appended {
    Appended {
        events,
        duplicate: false,
    }
}

async fn find_replayed(
    foldlog: &Foldlog,
    target: &mut Target<'_>,
    batch: &Batch<'_>,
) -> Result<Option<Appended>, AppendError> {
    // Boxed, because it is rare and its future is large.
    let events = Box::pin(target.find_replayed(foldlog, batch)).await?;
    Ok(events.map(|events| Appended {
        events,
        duplicate: true,
    }))
}

/// The expected versions of an append that does not load the aggregates; `None` if it must load them.
fn optimistic_versions(batch: &Batch<'_>, expected: ExpectedVersion) -> Option<ExpectedVersions> {
    let mut versions = ExpectedVersions::new();
    for group in &batch.groups {
        let domain = group.served.domain;
        match expected {
            ExpectedVersion::Any if domain.stateless() => {}
            ExpectedVersion::Exact(version) if domain.stateless() => {
                versions.insert(group.aggregate_id, version.0);
            }
            ExpectedVersion::Any | ExpectedVersion::NoStream => {
                domain.decide(None, &[], &batch.events_of(group)).ok()?;
                versions.insert(group.aggregate_id, 0);
            }
            ExpectedVersion::Exact(_) => return None,
        }
    }
    Some(versions)
}

/// Loads the aggregates and checks the rules; returns the versions at which they were checked.
async fn decide(
    session: &mut Session<'_>,
    batch: &Batch<'_>,
    expected: ExpectedVersion,
) -> Result<ExpectedVersions, AppendError> {
    let mut states = std::collections::HashMap::new();
    for (served, ids) in batch.aggregates_by_domain() {
        states.extend(state::load(session, &served.view, &ids).await?);
    }
    let mut versions = ExpectedVersions::new();
    for group in &batch.groups {
        let state = states.remove(&group.aggregate_id).unwrap_or_default();
        let actual = state.version();
        let matches = match expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => actual == Version(0),
            ExpectedVersion::Exact(version) => actual == version,
        };
        if !matches {
            return Err(AppendError::VersionMismatch {
                aggregate_id: group.aggregate_id,
                actual,
            });
        }
        let domain = group.served.domain;
        let decided = domain.decide(state.row_json(), &state.tail, &batch.events_of(group));
        decided.map_err(|(at, error)| AppendError::Rejected {
            index: group.indexes[at],
            error,
        })?;
        versions.insert(group.aggregate_id, actual.0);
    }
    Ok(versions)
}
