//! Pages of a slice.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use sqlx::Row;

use super::slices::{Slice, SliceMark};
use crate::db::Transaction;
use crate::event::AggregateId;
use crate::projection::ProjectionError;
use crate::projection::read::{MAX_BATCH_BYTES, size_of_event};
use crate::projection::read_events::ReadEvents;
use crate::view::View;

/// The next events of a slice, in the order of aggregates and versions.
#[derive(Debug, Default)]
pub(super) struct SlicePage {
    pub events: ReadEvents,
    /// How many events were read.
    pub read: u32,
    /// Whether there may be more events in the slice.
    is_cut: bool,
    /// Whether there are, because those that were requested are larger than [`MAX_BATCH_BYTES`].
    pub is_too_large: bool,
    /// The last event read.
    pub last: Option<SliceMark>,
}

impl SlicePage {
    /// Leaves the last aggregate to the next batch if more of its events may follow, unless it is the only one. Returns whether the
    /// page reaches the end of the slice.
    pub(super) fn trim(&mut self) -> bool {
        let (true, Some(last)) = (self.is_cut, self.last) else {
            return true;
        };
        let is_other = |id: AggregateId| id.0 != last.aggregate_id;
        let events = self
            .events
            .events
            .iter()
            .map(|e| (e.aggregate_id, e.version));
        let undecodable = self.events.undecodable.iter();
        let others = events.chain(undecodable.map(|e| (e.aggregate_id, e.version)));
        let before = others.filter(|(id, _)| is_other(*id)).max();
        if let Some((id, version)) = before {
            self.events.events.retain(|e| is_other(e.aggregate_id));
            self.events.undecodable.retain(|e| is_other(e.aggregate_id));
            self.last = Some(SliceMark {
                aggregate_id: id.0,
                version: version.0,
            });
        }
        false
    }

    /// How many aggregates begin in the page, which begins after `done`. One that a batch has ended within has been counted.
    pub(super) fn count_aggregates(&self, done: SliceMark) -> usize {
        let events = self.events.events.iter().map(|e| e.aggregate_id);
        let undecodable = self.events.undecodable.iter().map(|e| e.aggregate_id);
        let begins = |id: &AggregateId| done.version == 0 || id.0 != done.aggregate_id;
        let begun = events.chain(undecodable).filter(begins);
        begun.collect::<HashSet<_>>().len()
    }
}

/// Reads the next page of a slice, of at most so many events.
pub(super) async fn read(
    transaction: &mut Transaction,
    generation: &View,
    slice: &Slice,
    size: u32,
) -> Result<SlicePage, ProjectionError> {
    let types = generation.projection.block();
    let mut rows = sqlx::query(include_str!("sql/read_slice.sql"))
        .bind(slice.frozen.to_string())
        .bind(slice.done.aggregate_id)
        .bind(slice.done.version)
        .bind(slice.last.aggregate_id)
        .bind(slice.last.version)
        .bind(types.start)
        .bind(types.end)
        .bind(i64::from(size))
        .bind(generation.name())
        .fetch(&mut **transaction);
    let (mut page, mut bytes) = (SlicePage::default(), 0);
    // The result is read to its end even when the page is full: otherwise the next statement could not use the connection.
    while let Some(row) = rows.try_next().await? {
        bytes += size_of_event(&row)?;
        if bytes > MAX_BATCH_BYTES && page.read > 0 {
            page.is_too_large = true;
            continue;
        }
        page.read += 1;
        page.events.push(&row)?;
        page.last = Some(SliceMark {
            aggregate_id: row.try_get("aggregate_id")?,
            version: row.try_get("version")?,
        });
    }
    page.is_cut = page.is_too_large || page.read == size;
    Ok(page)
}
