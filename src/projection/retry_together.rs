//! Retries of several parked aggregates in one transaction.

use super::read::MAX_BATCH_BYTES;
use super::read_events::ReadEvents;
use super::retry::{MAX_CHUNK_EVENTS, lock, read_chain, unpark};
use super::rows::OnRejectedWrite;
use super::{ProjectionError, claim, fold};
use crate::db::Pool;
use crate::event::AggregateId;
use crate::view::View;

/// Folds the chains of several parked aggregates in one transaction, of about [`MAX_BATCH_BYTES`] at most. Rows that exchange a
/// unique value cannot be written one after the other. An aggregate whose row is rejected even so stays parked. Returns those
/// that are unparked, and how many events were folded.
pub(super) async fn retry_together(
    pool: &Pool,
    view: &View,
    ids: &[AggregateId],
) -> Result<(Vec<AggregateId>, u64), ProjectionError> {
    let mut ids = ids.to_vec();
    // All retries lock in the same order, so two of them do not deadlock.
    ids.sort_unstable();
    let mut transaction = pool.begin().await?;
    let (mut events, mut candidates) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for id in ids {
        if bytes > MAX_BATCH_BYTES || events.len() > MAX_CHUNK_EVENTS as usize {
            break;
        }
        let Some(from) = lock(&mut transaction, view, id).await? else {
            continue;
        };
        let chain = read_chain(&mut transaction, view, id, from, MAX_CHUNK_EVENTS).await?;
        bytes += chain.bytes;
        // A chain without an event is left to a retry of its own, which looks for earlier ones.
        let is_whole = (1..MAX_CHUNK_EVENTS).contains(&chain.read) && !chain.is_cut;
        if is_whole && chain.events.undecodable.is_empty() {
            candidates.push(id);
            events.extend(chain.events.events);
        }
    }
    let claimed = ReadEvents {
        events: claim::claim_events(&mut transaction, view, events).await?,
        ..ReadEvents::default()
    };
    let applied = fold::apply(&mut transaction, view, claimed, OnRejectedWrite::Together).await?;
    let failed = |id: &AggregateId| {
        applied.failures.iter().any(|f| f.aggregate_id == *id) || applied.waiting.contains(id)
    };
    candidates.retain(|id| !failed(id));
    if candidates.is_empty() {
        transaction.rollback().await?;
        return Ok((Vec::new(), 0));
    }
    let mut unparked = Vec::with_capacity(candidates.len());
    for id in candidates {
        if unpark(&mut transaction, view, id).await? {
            unparked.push(id);
        }
    }
    transaction.commit().await?;
    Ok((unparked, applied.folded as u64))
}
