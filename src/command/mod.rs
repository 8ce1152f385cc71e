//! Appends events: prepare → decide → append. (The binary `command` serves this module.)
//!
//! An append takes one round trip if the rules need no state or the process remembers the state, two if the state has to be
//! loaded. foldlog finds out by trying. It decides over the remembered states, if there are some; if not, and if the rules
//! accept an event for an aggregate that does not exist, the event is first appended as version 1. If memory is outdated or
//! the aggregate does exist, the statement stores nothing, and only then the state is loaded.
//!
//! Where a process serves several requests at a time, single events of different requests are written, and folded into the inline
//! views, together; see [`Groups`](crate::store::Groups). A single event that is folded into the view of its domain inline takes no
//! further round trip, because the state that the rules have seen gives the new row; see [`append_known`](crate::projection).

mod batch;
mod decide;
mod dry_run;
mod error;
mod group;
mod idempotency;
mod in_pool;
mod inline;
mod outcome;
mod passwords;
mod revert;
mod target;
mod trace;

use std::time::Instant;

use tracing::Instrument as _;

pub(crate) use self::batch::Batch;
use self::batch::Group;
pub use self::batch::{MAX_EVENTS, MAX_PASSWORDS};
use self::decide::{Decision, Remembered};
pub(crate) use self::dry_run::run_dry;
pub use self::dry_run::{DryRun, dry_run};
pub use self::error::AppendError;
pub use self::outcome::AggregateOutcome;
pub use self::revert::{MARK_KEY, Revert, RevertError, Reverted, dry_run_revert, revert};
use self::target::Attempt;
pub(crate) use self::target::Target;
use crate::app::{Foldlog, Served};
use crate::db::RetryPolicy;
use crate::event::{AppendedEvent, ExpectedVersion, UntypedEvent};

/// How often an append tries again after a lost race. Of n appends to one aggregate that are tried at the same time, at least one
/// succeeds per round. A process tries as many at a time as the share of its pool allows; the others wait for their turn.
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
    if expected.names_a_version() && batch.groups.len() != 1 {
        return Err(AppendError::OneAggregate);
    }
    let span = trace::span(&batch);
    let append = async {
        let mut retries = RetryPolicy::default();
        let appended = loop {
            // Boxed, because it is large, and a caller's future has room for each append in it.
            let attempt = Box::pin(try_append(foldlog, &mut target, &mut batch, expected));
            match attempt.await {
                Err(error) if target.is_pool() && retries.should_retry(&foldlog.pool, &error) => {}
                // The number of a version, or one in the event. Boxed, because it is rare and its future is large.
                Err(error) if target.is_pool() && error.is_out_of_range() => {
                    let full = Box::pin(find_full(&mut target, &batch)).await?;
                    return Err(full.unwrap_or(error));
                }
                result => break result?,
            }
        };
        trace::log(&appended);
        Ok(appended)
    };
    // Boxed, because the future is large, and callers nest it deeply.
    Box::pin(append.instrument(span)).await
}

async fn try_append(
    foldlog: &Foldlog,
    target: &mut Target<'_>,
    batch: &mut Batch<'_>,
    expected: ExpectedVersion,
) -> Result<Appended, AppendError> {
    // Kept until the append has ended: while it waited for its turn again, others would change what it has read.
    let mut share = None;
    for attempt in 0..MAX_ATTEMPTS {
        let may_guess = attempt == 0;
        let (mut decision, is_guess) = match decide(foldlog, target, batch, expected, may_guess)
            .await
        {
            Ok(decided) => decided,
            // A replay is recognized before an error is returned: the rules would reject a second `Created`, and the
            // version has advanced by the replayed event itself.
            Err(error @ (AppendError::Rejected { .. } | AppendError::VersionMismatch { .. })) => {
                let replayed = find_replayed(foldlog, target, batch).await?;
                return replayed.ok_or(error);
            }
            Err(error) => return Err(error),
        };
        if batch.has_unhashed_passwords() {
            Box::pin(passwords::hash(foldlog, &mut batch.events)).await?;
        }
        if target.is_pool() {
            decision.known_row = decision.fold_known_row(foldlog, batch);
        }
        if share.is_none() {
            share = target.share(batch).await?;
        }
        let remembers = target.is_pool() && foldlog.states.is_enabled() && decision.has_states();
        match target.append(foldlog, batch, &decision, remembers).await? {
            Attempt::Stored(events) => {
                let appended = events.iter().map(|event| event.appended.clone()).collect();
                if remembers {
                    decision.remember(foldlog, batch, events);
                }
                return Ok(Appended {
                    events: appended,
                    duplicate: false,
                });
            }
            // Whether the id is stored already, the next statement will tell.
            Attempt::Overtaken => decision.forget(foldlog),
            Attempt::LostRace if is_guess => decision.forget(foldlog),
            Attempt::LostRace => {
                if let Some(replayed) = find_replayed(foldlog, target, batch).await? {
                    return Ok(replayed);
                }
            }
        }
    }
    Err(AppendError::Contended)
}

/// Checks the rules: over remembered states; else, if `may_guess`, as if the aggregates did not exist; else over loaded
/// states. Says whether the decision is a guess, which costs nothing to be wrong about but a statement.
async fn decide(
    foldlog: &Foldlog,
    target: &mut Target<'_>,
    batch: &Batch<'_>,
    expected: ExpectedVersion,
    may_guess: bool,
) -> Result<(Decision, bool), AppendError> {
    if target.is_pool() {
        match decide::from_memory(foldlog, batch, expected) {
            Remembered::Accepted(decision) => return Ok((decision, true)),
            Remembered::Unknown => {}
            Remembered::Load => return Box::pin(load_and_decide(target, batch, expected)).await,
        }
    }
    // Hashing takes a core for 20 ms, so the rules decide about an event with a password first.
    if may_guess
        && !batch.has_unhashed_passwords()
        && let Some(decision) = decide::without_state(batch, expected)
    {
        return Ok((decision, true));
    }
    Box::pin(load_and_decide(target, batch, expected)).await
}

async fn load_and_decide(
    target: &mut Target<'_>,
    batch: &Batch<'_>,
    expected: ExpectedVersion,
) -> Result<(Decision, bool), AppendError> {
    let loaded_at = Instant::now();
    let states = target.load(batch).await?;
    let decision = decide::over_states(batch, expected, states, loaded_at)?;
    Ok((decision, false))
}

/// The error of an append to an aggregate that has the highest version already.
async fn find_full(
    target: &mut Target<'_>,
    batch: &Batch<'_>,
) -> Result<Option<AppendError>, AppendError> {
    let states = target.load(batch).await?;
    let is_full = |group: &&Group<'_>| {
        let version = states
            .get(&group.aggregate_id)
            .map_or(0, |state| state.version().0);
        usize::try_from(i32::MAX - version).is_ok_and(|left| left < group.indexes.len())
    };
    let full = batch.groups.iter().find(is_full);
    Ok(full.map(|group| AppendError::Full(group.aggregate_id)))
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
