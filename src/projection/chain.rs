//! Chains: the events of an aggregate from its first unclaimed one on. A batch reads a chain when it contains an event without
//! its predecessor.
//!
//! That happens when a transaction received its id before the transaction of the preceding version. The transaction that
//! inserted version n + 1 saw version n committed, or inserted both. So a snapshot that sees n + 1 sees n, and the batch can
//! always pull the predecessor in.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::Row;
use uuid::Uuid;

use super::ProjectionError;
use super::read::{MAX_BATCH_BYTES, ReadBatch, decode_before, size_of_event};
use crate::db::Session;
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::view::View;

/// The result of reading the chains of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// All of them are in the batch.
    Whole,
    /// They are longer than a batch. A part of them is in the batch, which must not settle what it looked at.
    Part,
    /// They are larger than [`MAX_BATCH_BYTES`]. So many events fit.
    TooLarge { events: u32 },
}

/// Replaces what `batch` has read about aggregates with gaps by their whole chains.
pub(super) async fn complete(
    connection: &mut Session<'_>,
    view: &View,
    batch: &mut ReadBatch,
) -> Result<Completed, ProjectionError> {
    let gaps = find_gaps(batch);
    if gaps.is_empty() {
        return Ok(Completed::Whole);
    }
    let is_kept = |id: AggregateId| !gaps.contains_key(&id);
    batch
        .events
        .events
        .retain(|event| is_kept(event.aggregate_id));
    batch
        .events
        .undecodable
        .retain(|event| is_kept(event.aggregate_id));
    let types = view.projection.block();
    let mut rows = sqlx::query(view.sql.fill(include_str!("sql/read_chains.sql")))
        .bind(view.lock_domain())
        .bind(gaps.keys().map(|id| id.0).collect::<Vec<_>>())
        .bind(gaps.values().map(|version| version.0).collect::<Vec<_>>())
        .bind(types.start)
        .bind(types.end)
        .bind(i64::from(batch.size))
        .bind(None::<&str>)
        .fetch(connection);
    let (mut read, mut bytes) = (0, 0);
    while let Some(row) = rows.try_next().await? {
        let row = &row;
        bytes += size_of_event(row)?;
        if bytes > MAX_BATCH_BYTES && batch.size > 1 {
            return Ok(Completed::TooLarge {
                events: read.clamp(1, batch.size - 1),
            });
        }
        if row.try_get::<Option<Uuid>, _>("id")?.is_some() {
            read += 1;
            batch.events.push(row)?;
        } else {
            let id = AggregateId(row.try_get("aggregate_id")?);
            batch.before.insert(id, decode_before(row)?);
        }
    }
    batch
        .events
        .events
        .sort_unstable_by_key(|event| (event.aggregate_id, event.version));
    Ok(if read < batch.size {
        Completed::Whole
    } else {
        Completed::Part
    })
}

/// The aggregates of the batch with a gap before one of their events, each with its highest version in the batch.
fn find_gaps(batch: &ReadBatch) -> HashMap<AggregateId, Version> {
    let mut undecodable = HashMap::<AggregateId, Version>::new();
    for failure in &batch.events.undecodable {
        let first = undecodable
            .entry(failure.aggregate_id)
            .or_insert(failure.version);
        *first = failure.version.min(*first);
    }
    let by_aggregate = |a: &RecordedEvent, b: &RecordedEvent| a.aggregate_id == b.aggregate_id;
    batch
        .events
        .events
        .chunk_by(by_aggregate)
        .filter_map(|events| {
            let (id, last) = (events[0].aggregate_id, events[events.len() - 1].version);
            let undecodable = undecodable.get(&id).copied();
            let before = batch.before.get(&id)?;
            before
                .has_gap(events, undecodable)
                .then(|| (id, undecodable.map_or(last, |version| version.max(last))))
        })
        .collect()
}
