//! Folds claimed events into the view: checks their order, folds them in memory, writes the rows, and releases the claims
//! of events that cannot be folded yet.

use std::collections::HashMap;
use std::fmt;

use serde_json::value::RawValue;
use sqlx::Row;

use super::ProjectionError;
use crate::db::{DbError, Session};
use crate::event::{AggregateId, EventId, RecordedEvent, Version};
use crate::view::{self, StoredRow, View};

/// The result of folding a batch of claimed events.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Events folded and written.
    pub folded: usize,
    /// Events whose claims were released because a predecessor is not claimed yet. A later pass folds them.
    pub released: usize,
    /// Aggregates to park.
    pub failures: Vec<Failure>,
}

/// An aggregate to park, and its first event that cannot be folded.
#[derive(Debug)]
pub(super) struct Failure {
    pub aggregate_id: AggregateId,
    pub event_id: EventId,
    pub version: Version,
    /// The cause, for the operator who fixes it; stored in `parked.error`.
    pub reason: String,
}

impl Failure {
    fn new(event: &RecordedEvent, reason: impl fmt::Display) -> Self {
        // Postgres rejects NUL characters in text, and an unusual reason must not prevent parking.
        let reason = reason.to_string().replace('\0', "\u{fffd}");
        Self {
            aggregate_id: event.aggregate_id,
            event_id: event.id,
            version: event.version,
            reason,
        }
    }
}

/// What happens when the database rejects a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnRejectedWrite {
    /// The transaction aborts, and the worker restarts with [`Self::Bisect`].
    Abort,
    /// The transaction aborts, and the append returns the error to the client.
    Return,
    /// The batch is halved until the rows that the database rejects are found. Their aggregates are failures; all other
    /// rows are written.
    Bisect,
}

/// The view row of an aggregate before the fold, and whether the predecessor of its first event in the batch is claimed.
/// One statement reads both, after the claims. Otherwise another worker could commit an event in between, and this fold
/// would overwrite that event's effect.
struct RowBefore {
    row: Option<StoredRow>,
    predecessor_claimed: bool,
}

/// The view row of an aggregate after the fold; `None` when the events delete it.
struct RowAfter<'a> {
    aggregate_id: AggregateId,
    events: &'a [RecordedEvent],
    row: Option<Box<RawValue>>,
    had_row: bool,
}

/// Folds the events that this transaction has claimed into their view, releases the claims of those that it cannot fold,
/// and returns the reasons.
pub(super) async fn apply(
    connection: &mut Session<'_>,
    view: &View,
    mut claimed: Vec<RecordedEvent>,
    on_rejected: OnRejectedWrite,
) -> Result<Applied, ProjectionError> {
    if claimed.is_empty() {
        return Ok(Applied::default());
    }
    claimed.sort_unstable_by_key(|event| (event.aggregate_id, event.version));
    let mut before = load_rows(connection, view, &claimed).await?;
    let (mut applied, mut folded, mut unfolded) = (Applied::default(), Vec::new(), Vec::new());
    for events in claimed.chunk_by(|a, b| a.aggregate_id == b.aggregate_id) {
        let Some(before) = before.remove(&events[0].aggregate_id) else {
            // The events are claimed, so skipping them would lose them.
            return Err(ProjectionError::Db(DbError::Other(
                sqlx::Error::RowNotFound,
            )));
        };
        let foldable = count_foldable(&before, events);
        let (events, waiting) = events.split_at(foldable);
        if let Some(ahead) = events
            .first()
            .filter(|e| before.row.as_ref().is_some_and(|(at, _)| *at >= e.version))
        {
            let reason = "the view row contains events that have no claim: claims were deleted, so rebuild the view";
            applied.failures.push(Failure::new(ahead, reason));
            unfolded.extend(events);
            unfolded.extend(waiting);
            continue;
        }
        let result = view
            .projection
            .fold(before.row.as_ref().map(|(_, json)| &**json), events);
        let (done, failed) = events.split_at(result.folded);
        if let (Some(reason), Some(event)) = (result.failure, failed.first()) {
            applied.failures.push(Failure::new(event, reason));
            unfolded.extend(failed);
            unfolded.extend(waiting);
        } else if let Some(first) = waiting.first() {
            applied
                .failures
                .extend(find_missing_predecessor(connection, view, first).await?);
            applied.released += waiting.len();
            unfolded.extend(waiting);
        }
        if let Some(last) = done.last() {
            let had_row = before.row.is_some();
            folded.push(RowAfter {
                aggregate_id: last.aggregate_id,
                events: done,
                row: result.row,
                had_row,
            });
        }
    }
    for (after, reason) in write(connection, view, &folded, on_rejected).await? {
        applied
            .failures
            .push(Failure::new(&after.events[0], reason));
        unfolded.extend(after.events);
    }
    applied.folded = claimed.len() - unfolded.len();
    release_claims(connection, view, &unfolded).await?;
    Ok(applied)
}

/// How many of `events` (of one aggregate, ordered by version) may be folded now. Version n + 1 may be folded only if
/// version n is claimed: the row's version proves that, or n is in this batch, or, if the row does not exist, `locker`
/// contains the claim.
fn count_foldable(before: &RowBefore, events: &[RecordedEvent]) -> usize {
    let first = events[0].version.0;
    let can_start = match &before.row {
        _ if first == 1 => true,
        Some((version, _)) => version.0 >= first - 1,
        None => before.predecessor_claimed,
    };
    if !can_start {
        return 0;
    }
    1 + events
        .windows(2)
        .take_while(|pair| pair[1].version.0 == pair[0].version.0 + 1)
        .count()
}

/// Loads the view row of each aggregate in `claimed`, which is ordered by aggregate and version.
async fn load_rows(
    connection: &mut Session<'_>,
    view: &View,
    claimed: &[RecordedEvent],
) -> Result<HashMap<AggregateId, RowBefore>, ProjectionError> {
    let firsts = || {
        claimed
            .chunk_by(|a, b| a.aggregate_id == b.aggregate_id)
            .map(|events| &events[0])
    };
    let rows = sqlx::query(view.sql.fill(include_str!("sql/load_rows.sql")))
        .bind(firsts().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .bind(firsts().map(|e| e.version.0).collect::<Vec<_>>())
        .bind(view.name())
        .fetch_all(connection)
        .await?;
    let mut before = HashMap::with_capacity(rows.len());
    for row in &rows {
        let predecessor_claimed = row
            .try_get::<Option<bool>, _>("predecessor_claimed")?
            .unwrap_or(false);
        before.insert(
            AggregateId(row.try_get("wanted_id")?),
            RowBefore {
                row: view::decode_row(row)?,
                predecessor_claimed,
            },
        );
    }
    Ok(before)
}

/// Whether the event's predecessor is missing from the log for good, which parks the aggregate.
async fn find_missing_predecessor(
    connection: &mut Session<'_>,
    view: &View,
    event: &RecordedEvent,
) -> Result<Option<Failure>, ProjectionError> {
    let types = view.projection.block();
    let missing = sqlx::query(include_str!("sql/find_holes.sql"))
        .bind(vec![event.aggregate_id.0])
        .bind(vec![event.version.0])
        .bind(types.start)
        .bind(types.end)
        .fetch_optional(connection)
        .await?;
    let version = event.version.0 - 1;
    Ok(missing.map(|_| {
        Failure::new(
            event,
            format_args!("version {version} of the aggregate is missing from the log or belongs to another domain"),
        )
    }))
}

/// Writes the rows; returns those that the database rejects, each with the error.
async fn write<'a>(
    connection: &mut Session<'_>,
    view: &View,
    folded: &'a [RowAfter<'a>],
    on_rejected: OnRejectedWrite,
) -> Result<Vec<(&'a RowAfter<'a>, DbError)>, ProjectionError> {
    let deleted: Vec<AggregateId> = folded
        .iter()
        .filter(|a| a.row.is_none() && a.had_row)
        .map(|a| a.aggregate_id)
        .collect();
    // Deletes run first, so that the other rows can take the unique values of the deleted ones.
    view::delete(connection, view, &deleted).await?;
    match on_rejected {
        OnRejectedWrite::Abort => {
            upsert(connection, view, folded).await?;
            return Ok(Vec::new());
        }
        OnRejectedWrite::Return => {
            delete_before_upsert(connection, view, folded).await?;
            upsert(connection, view, folded).await?;
            return Ok(Vec::new());
        }
        OnRejectedWrite::Bisect => {}
    }
    let (mut rejected, mut parts) = (Vec::new(), vec![folded]);
    while let Some(part) = parts.pop() {
        connection.savepoint().await?;
        delete_before_upsert(connection, view, part).await?;
        match upsert(connection, view, part).await {
            Ok(()) => connection.release_savepoint().await?,
            Err(error) if error.is_about_rows() => {
                connection.rollback_to_savepoint().await?;
                if let [row] = part {
                    rejected.push((row, error));
                } else {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rejected)
}

/// Deletes the old rows before the upsert, if the view has set rules. Postgres checks a unique index row by row, but a set
/// rule applies to the state after all rows are written: one row may release the value that another row takes.
async fn delete_before_upsert(
    connection: &mut Session<'_>,
    view: &View,
    folded: &[RowAfter<'_>],
) -> Result<(), DbError> {
    if view.projection.set_rules().is_empty() || folded.len() < 2 {
        return Ok(());
    }
    let existing: Vec<AggregateId> = folded
        .iter()
        .filter(|a| a.had_row)
        .map(|a| a.aggregate_id)
        .collect();
    view::delete(connection, view, &existing).await
}

async fn upsert(
    connection: &mut Session<'_>,
    view: &View,
    folded: &[RowAfter<'_>],
) -> Result<(), DbError> {
    let to_row = |after: &RowAfter<'_>| {
        Some((
            after.aggregate_id,
            after.events.last()?.version,
            after.row.clone()?,
        ))
    };
    let rows: Vec<_> = folded.iter().filter_map(to_row).collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|(id, version, json)| (*id, *version, &**json))
        .collect();
    view::upsert(connection, view, &rows).await
}

/// Releases the claims of events that this transaction has claimed but not folded.
async fn release_claims(
    connection: &mut Session<'_>,
    view: &View,
    events: &[&RecordedEvent],
) -> Result<(), ProjectionError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/release_claims.sql"))
        .bind(view.name())
        .bind(events.iter().map(|e| e.id.0).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
