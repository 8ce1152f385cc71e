//! Dry runs: everything that an append does up to the insert, and the states that it would lead to. Nothing is stored.
//!
//! Views that are folded inline may reject an append by a set rule. So where there are any, the append is made in a transaction
//! that is rolled back, without the doorbell. No password is hashed: a constant stands for the hash.

use std::collections::HashMap;
use std::time::Instant;

use super::inline::has_inline_views;
use super::outcome::{self, AggregateOutcome, HASH_STAND_IN};
use super::{AppendError, Batch, Group, MAX_ATTEMPTS, Target, decide};
use crate::app::{Foldlog, Served};
use crate::db::RetryPolicy;
use crate::domain::RejectedError;
use crate::event::{AggregateId, ExpectedVersion, UntypedEvent};
use crate::state::State;

/// What an append would lead to.
#[derive(Debug)]
pub struct DryRun {
    /// Whether an earlier append has stored the same events, so that the append would store nothing.
    pub duplicate: bool,
    /// The aggregates of the append, in the order of their first events.
    pub aggregates: Vec<AggregateOutcome>,
}

/// Decodes `events` and says what their append would lead to, or how it would fail.
///
/// # Errors
///
/// The [`AppendError`] of the append.
pub async fn dry_run(
    foldlog: &Foldlog,
    events: &[UntypedEvent],
    expected: ExpectedVersion,
    only: Option<&Served>,
) -> Result<DryRun, AppendError> {
    let batch = Batch::prepare(foldlog, events, only)?;
    run_dry(foldlog, Target::Pool(&foldlog.pool), batch, expected).await
}

/// Says what the append of prepared events would lead to.
pub(crate) async fn run_dry(
    foldlog: &Foldlog,
    mut target: Target<'_>,
    mut batch: Batch<'_>,
    expected: ExpectedVersion,
) -> Result<DryRun, AppendError> {
    if expected.names_a_version() && batch.groups.len() != 1 {
        return Err(AppendError::OneAggregate);
    }
    let mut retries = RetryPolicy::default();
    for _ in 0..MAX_ATTEMPTS {
        // Boxed, because it is large, and a caller's future has room for it.
        let attempt = Box::pin(try_run(foldlog, &mut target, &mut batch, expected));
        match attempt.await {
            Ok(Some(dry_run)) => return Ok(dry_run),
            Ok(None) => {}
            Err(error) if target.is_pool() && retries.should_retry(&foldlog.pool, &error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(AppendError::Contended)
}

/// One attempt; `None` after a lost race.
async fn try_run(
    foldlog: &Foldlog,
    target: &mut Target<'_>,
    batch: &mut Batch<'_>,
    expected: ExpectedVersion,
) -> Result<Option<DryRun>, AppendError> {
    let duplicate = target.find_replayed(foldlog, batch).await?.is_some();
    let rehearses = !duplicate && has_inline_views(foldlog, batch);
    let _share = if rehearses {
        target.share(batch).await?
    } else {
        None
    };
    let loaded_at = Instant::now();
    let states = target.load(batch).await?;
    let folded = fold_groups(batch, &states, duplicate);
    if duplicate {
        let aggregates = folded?;
        return Ok(Some(DryRun {
            duplicate,
            aggregates,
        }));
    }
    let decision = decide::over_states(batch, expected, states, loaded_at)?;
    let aggregates = folded?;
    if rehearses {
        for event in &mut batch.events {
            let hashes = vec![HASH_STAND_IN.to_owned(); event.unhashed_passwords().len()];
            if !hashes.is_empty() {
                let replaced = event.replace_passwords(hashes);
                replaced.map_err(|_| AppendError::Hash)?;
            }
        }
        if !target.rehearse(foldlog, batch, &decision.heads).await? {
            return Ok(None);
        }
    }
    Ok(Some(DryRun {
        duplicate,
        aggregates,
    }))
}

/// The aggregates after the events of the batch, or, if these are duplicates, with the events that they have.
fn fold_groups(
    batch: &Batch<'_>,
    states: &HashMap<AggregateId, State>,
    duplicate: bool,
) -> Result<Vec<AggregateOutcome>, AppendError> {
    let new = State::default();
    let fold_group = |group: &Group<'_>| {
        let state = states.get(&group.aggregate_id).unwrap_or(&new);
        let events = if duplicate {
            Vec::new()
        } else {
            batch.events_of(group)
        };
        let added = i32::try_from(events.len()).ok();
        if added.is_none_or(|added| state.version().0.checked_add(added).is_none()) {
            return Err(AppendError::Full(group.aggregate_id));
        }
        let view = &group.served.view;
        let folded = outcome::fold_state(view, state).and_then(|row| {
            let before = (state.version(), row.as_deref());
            outcome::fold(view, group.aggregate_id, before, &events)
        });
        folded.map_err(|error| AppendError::Rejected {
            index: group.indexes[0],
            error: RejectedError::Unfoldable(error),
        })
    };
    batch.groups.iter().map(fold_group).collect()
}
