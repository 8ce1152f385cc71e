//! Decides about a revert over the current state of the aggregate.

use super::replay::find_replayed;
use super::target::{differing, fold_current, keep_fields, load_target};
use super::{MARK_KEY, Mark, NextStep, Revert, RevertError, Reverted, id_of};
use crate::app::{Foldlog, Served};
use crate::command::{AppendError, outcome};
use crate::db::{RetryPolicy, Session};
use crate::domain::FoldError;
use crate::event::{ExpectedVersion, NewEvent, Prepared, TypeId};
use crate::state;

/// Reads the aggregate and lets the domain decide.
pub(super) async fn decide(
    foldlog: &Foldlog,
    served: &Served,
    revert: &Revert,
    expected: ExpectedVersion,
) -> Result<NextStep, RevertError> {
    let mut retries = RetryPolicy::default();
    loop {
        let attempt = async {
            let mut connection = foldlog.pool.acquire().await?;
            try_decide(&mut connection, served, revert, expected).await
        };
        // Boxed, because it is large.
        match Box::pin(attempt).await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            result => return result,
        }
    }
}

async fn try_decide(
    connection: &mut Session<'_>,
    served: &Served,
    revert: &Revert,
    expected: ExpectedVersion,
) -> Result<NextStep, RevertError> {
    let (view, id) = (&*served.view, revert.aggregate_id);
    let mark = Mark {
        to_version: revert.to_version,
        except: revert.except.iter().cloned().collect(),
    };
    if revert.metadata.get(MARK_KEY).is_some() {
        return Err(RevertError::ReservedMetadata);
    }
    let state = state::load_folded(connection, view, &[id])
        .await?
        .remove(&id);
    let state = state.unwrap_or_default();
    // After the state: if that contains the events of this request already, they are found.
    if let Some(reverted) = find_replayed(connection, view, revert, &mark).await? {
        return Ok(NextStep::Done(reverted));
    }
    let (current, from) = (fold_current(view, &state)?, state.version());
    if !expected.matches(from) {
        return Err(AppendError::VersionMismatch {
            aggregate_id: id,
            actual: from,
        }
        .into());
    }
    let target = load_target(connection, view, revert, from).await?;
    let target = keep_fields(view, target, current.as_deref(), &revert.except)?;
    let mut metadata = revert.metadata.clone();
    metadata.insert(MARK_KEY, &mark).map_err(FoldError::new)?;
    let envelope = |index| NewEvent {
        id: id_of(revert.id, index),
        aggregate_id: id,
        type_id: TypeId(0),
        payload: (),
        metadata: metadata.clone(),
    };
    let events = served
        .domain
        .revert(current.as_deref(), &target, &envelope)
        .map_err(RevertError::Rejected)?;
    let events = match (events, &current) {
        (Some(events), _) => events,
        (None, Some(_)) => return Err(RevertError::NotRevertible(served.domain.name())),
        (None, None) => return Err(RevertError::Deleted),
    };
    let new: Vec<&Prepared> = events.iter().collect();
    let outcome = outcome::fold(view, id, (from, current.as_deref()), &new)?;
    let not_restored = differing(outcome.row.as_deref(), &target)?;
    if events.is_empty() {
        return Ok(NextStep::Done(Reverted {
            events: Vec::new(),
            duplicate: false,
            outcome,
            not_restored,
        }));
    }
    Ok(NextStep::Append {
        events,
        from,
        outcome,
        not_restored,
    })
}
