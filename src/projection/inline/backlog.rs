//! What an inline fold reads: the events without a claim, and what precedes them.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::Row;
use uuid::Uuid;

use super::FoldedFor;
use crate::db::{DbError, Session};
use crate::event::AggregateId;
use crate::projection::ProjectionError;
use crate::projection::plan::Before;
use crate::projection::read::{MAX_BATCH_BYTES, decode_before, size_of_event};
use crate::projection::read_events::ReadEvents;
use crate::view::View;

/// The events of some aggregates without a claim, in the order of aggregates and versions, and what precedes them.
#[derive(Default)]
pub(super) struct Backlog {
    pub events: ReadEvents,
    pub before: HashMap<AggregateId, Before>,
    /// How many rows repairs had replaced.
    pub repairs: i64,
    pub extent: Extent,
}

/// How much of the backlog was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Extent {
    #[default]
    Whole,
    /// The first events of each aggregate; there are more of them.
    Part,
}

impl Extent {
    /// The error of a fold. Rows of a version in between may break a set rule that the rows of the newest versions do not break.
    pub(super) fn explain(self, view: &View, error: ProjectionError) -> ProjectionError {
        match (self, &error) {
            (Self::Part, ProjectionError::Db(DbError::Conflict { .. })) => {
                ProjectionError::TooManyEvents(view.name())
            }
            _ => error,
        }
    }
}

/// Reads the events of these aggregates without a claim, unless they are parked: all of them or, for a fold in pieces, as many as one
/// piece has.
///
/// # Errors
///
/// [`ProjectionError::TooManyEvents`] if there are more and the fold is not one in pieces.
pub(super) async fn read_backlog(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
    folded_for: FoldedFor,
) -> Result<Backlog, ProjectionError> {
    let mut max_events = folded_for.max_events();
    loop {
        let read = Box::pin(read_at_most(connection, view, aggregates, max_events)).await?;
        let is_piece = folded_for == FoldedFor::Pieces;
        match read {
            Read::Backlog(backlog) if backlog.extent == Extent::Whole || is_piece => {
                return Ok(*backlog);
            }
            Read::TooLarge { events } if is_piece => max_events = events,
            _ => return Err(ProjectionError::TooManyEvents(view.name())),
        }
    }
}

enum Read {
    Backlog(Box<Backlog>),
    /// It is larger than [`MAX_BATCH_BYTES`]. So many events fit.
    TooLarge {
        events: u32,
    },
}

async fn read_at_most(
    connection: &mut Session<'_>,
    view: &View,
    aggregates: &[AggregateId],
    max_events: u32,
) -> Result<Read, ProjectionError> {
    let types = view.projection.block();
    let mut rows = sqlx::query(view.sql.fill(include_str!("../sql/read_chains.sql")))
        .bind(view.lock_domain())
        .bind(aggregates.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(vec![i32::MAX; aggregates.len()])
        .bind(types.start)
        .bind(types.end)
        // One more says whether there are more.
        .bind(i64::from(max_events) + 1)
        .bind(view.name())
        .fetch(connection);
    let mut backlog = Backlog::default();
    let (mut read, mut bytes) = (0, 0);
    while let Some(row) = rows.try_next().await? {
        if row.try_get::<Option<Uuid>, _>("id")?.is_none() {
            backlog.repairs = row.try_get::<Option<i64>, _>("repairs")?.unwrap_or(0);
            let id = AggregateId(row.try_get("aggregate_id")?);
            backlog.before.insert(id, decode_before(&row)?);
            continue;
        }
        if read == max_events {
            backlog.extent = Extent::Part;
            continue;
        }
        bytes += size_of_event(&row)?;
        if bytes > MAX_BATCH_BYTES && read > 0 {
            return Ok(Read::TooLarge { events: read });
        }
        read += 1;
        backlog.events.push(&row)?;
    }
    backlog.events.sort();
    Ok(Read::Backlog(Box::new(backlog)))
}
