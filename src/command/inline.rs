//! Appends that are folded into the inline views, in the same transaction or in the same statement.

use super::decide::Decision;
use super::{AppendError, Batch};
use crate::app::Foldlog;
use crate::db::{Pool, Session};
use crate::event::AggregateId;
use crate::projection::{self, FoldedFor, ProjectionError};
use crate::store::{self, ExpectedHeads, GroupedAppend, LockWait, Outcome};
use crate::view::View;

/// Whether an append is folded inline.
pub(super) fn has_inline_views(foldlog: &Foldlog, batch: &Batch<'_>) -> bool {
    let types = batch.events.iter().map(|event| event.type_id);
    foldlog.inline_views(&types).next().is_some()
}

/// Whether an inline view lacks more events than are folded at once.
pub(super) const fn is_far_behind(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::Inline(ProjectionError::TooManyEvents(_))
    )
}

/// Folds the events that wait in the inline views of an append, before the append.
pub(super) async fn fold_ahead(
    pool: &Pool,
    foldlog: &Foldlog,
    batch: &Batch<'_>,
) -> Result<(), AppendError> {
    let types = batch.events.iter().map(|event| event.type_id);
    for view in foldlog.inline_views(&types) {
        let folded = projection::fold_ahead(pool, view, &aggregates(batch)).await;
        folded.map_err(|error| AppendError::inline(view, error, &batch.events))?;
    }
    Ok(())
}

fn aggregates(batch: &Batch<'_>) -> Vec<AggregateId> {
    batch.groups.iter().map(|g| g.aggregate_id).collect()
}

/// Appends the events of one request, and folds them into the inline views. The caller must roll back unless they are stored.
pub(super) async fn append_and_fold(
    session: &mut Session<'_>,
    foldlog: &Foldlog,
    batch: &Batch<'_>,
    heads: &ExpectedHeads,
    (return_payloads, folded_for): (bool, FoldedFor),
) -> Result<Outcome, AppendError> {
    let types = batch.events.iter().map(|event| event.type_id);
    let views: Vec<&View> = foldlog.inline_views(&types).collect();
    let failed = |view, error| AppendError::inline(view, error, &batch.events);
    let (stored, views) = match (&batch.events[..], &views[..]) {
        ([event], [first, others @ ..]) => {
            let head = heads.get(&event.aggregate_id).copied();
            let append = [GroupedAppend::new(event, head, return_payloads, None)?];
            let stored = projection::append_and_fold(session, first, &append, folded_for);
            let mut stored = stored.await.map_err(|error| failed(first, error))?;
            let stored = stored.remove(&event.aggregate_id);
            let outcome = stored.map_or(Outcome::LostRace, |event| Outcome::Stored(vec![event]));
            (outcome, others)
        }
        (events, views) => {
            let outcome = store::append(session, events, heads, return_payloads).await?;
            (outcome, views)
        }
    };
    if let Outcome::Stored(_) = stored {
        let aggregates = aggregates(batch);
        for view in views {
            let folded = projection::fold_inline(session, view, &aggregates, folded_for).await;
            folded.map_err(|error| failed(view, error))?;
        }
    }
    Ok(stored)
}

/// Appends a single event and its row in one statement, if the row is known. `None` if the append has to be folded in a transaction.
pub(super) async fn append_known(
    pool: &Pool,
    foldlog: &Foldlog,
    batch: &Batch<'_>,
    decision: &Decision,
) -> Result<Option<Outcome>, AppendError> {
    let ([event], Some(known)) = (&batch.events[..], &decision.known_row) else {
        return Ok(None);
    };
    let types = std::iter::once(event.type_id);
    let Some(view) = foldlog.inline_views(&types).next() else {
        return Ok(None);
    };
    let head = decision.heads.get(&event.aggregate_id).copied();
    let append = [GroupedAppend::new(event, head, false, Some(known))?];
    let mut connection = pool.acquire().await?;
    let stored = projection::append_known(&mut connection, view, &append, LockWait::Session).await;
    let stored = stored.map_err(|error| AppendError::inline(view, error, &batch.events))?;
    let outcome =
        |stored: Option<_>| stored.map_or(Outcome::LostRace, |event| Outcome::Stored(vec![event]));
    Ok(stored.map(|mut stored| outcome(stored.remove(&event.aggregate_id))))
}
