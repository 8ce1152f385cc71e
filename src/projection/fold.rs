//! Folding claimed events into the view: the order check, the fold in memory, the writes, and what becomes of events
//! that cannot be folded now.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::types::Json;

use super::ProjectionError;
use crate::db::{self, DbError, Session};
use crate::event::{AggregateId, EventId, RecordedEvent, Version};
use crate::view::{self, View};

/// What became of a batch of claimed events.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Folded and written.
    pub folded: usize,
    /// Given back because a predecessor is not claimed yet: a later pass takes them.
    pub given_back: usize,
    /// Aggregates that cannot go on.
    pub failures: Vec<Failure>,
}

/// An aggregate that cannot go on, and the first event that waits.
#[derive(Debug)]
pub(super) struct Failure {
    pub aggregate_id: AggregateId,
    pub event_id: EventId,
    pub version: Version,
    /// For whoever mends it.
    pub reason: String,
}

impl Failure {
    fn of(event: &RecordedEvent, reason: &str) -> Self {
        // Postgres keeps no NUL in a text, and the reason must not be what cannot be written.
        let reason = reason.replace('\0', "\u{fffd}");
        Self {
            aggregate_id: event.aggregate_id,
            event_id: event.id,
            version: event.version,
            reason,
        }
    }
}

/// How a write that the database refuses is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnRefusedWrite {
    /// It ends the transaction, and the worker begins again with [`Self::Narrow`].
    Fail,
    /// It ends the transaction, and is the answer to the append.
    Refuse,
    /// It is narrowed down to the aggregates that cause it, by halving; they are failures, all others are written.
    Narrow,
}

/// The row of an aggregate before its events are folded, and whether the event before the first of them is claimed. Both
/// are read in one statement, after the claims: read apart, or before, an event committed in between is folded over.
struct Before {
    row: Option<(Version, Box<RawValue>)>,
    predecessor_claimed: bool,
}

/// The row of an aggregate after its events were folded.
struct After<'a> {
    aggregate_id: AggregateId,
    events: &'a [RecordedEvent],
    row: Option<Box<RawValue>>,
    had_row: bool,
}

/// Folds events that this transaction has claimed into their view, gives back what cannot be folded, and says why.
pub(super) async fn apply(
    connection: &mut Session,
    view: &View,
    mut claimed: Vec<RecordedEvent>,
    on_refused: OnRefusedWrite,
) -> Result<Applied, ProjectionError> {
    if claimed.is_empty() {
        return Ok(Applied::default());
    }
    claimed.sort_unstable_by_key(|event| (event.aggregate_id, event.version));
    let mut before = load(connection, view, &claimed).await?;
    let (mut applied, mut folded, mut not_now) = (Applied::default(), Vec::new(), Vec::new());
    for events in claimed.chunk_by(|a, b| a.aggregate_id == b.aggregate_id) {
        let Some(before) = before.remove(&events[0].aggregate_id) else {
            // They are claimed, so passing over them would lose them.
            return Err(ProjectionError::Db(DbError::Other(
                sqlx::Error::RowNotFound,
            )));
        };
        let ready = ready(&before, events);
        let (events, waiting) = events.split_at(ready);
        if let Some(ahead) = events
            .first()
            .filter(|e| before.row.as_ref().is_some_and(|(at, _)| *at >= e.version))
        {
            let reason = "the view's row is ahead of the locker: its claims were deleted, build the view again";
            applied.failures.push(Failure::of(ahead, reason));
            not_now.extend(events);
            not_now.extend(waiting);
            continue;
        }
        let result = view
            .projection
            .fold(before.row.as_ref().map(|(_, json)| &**json), events);
        let (done, failed) = events.split_at(result.folded);
        if let (Some(reason), Some(event)) = (result.failure, failed.first()) {
            applied
                .failures
                .push(Failure::of(event, &reason.to_string()));
            not_now.extend(failed);
            not_now.extend(waiting);
        } else if let Some(first) = waiting.first() {
            applied
                .failures
                .extend(hole_before(connection, view, first).await?);
            applied.given_back += waiting.len();
            not_now.extend(waiting);
        }
        if let Some(last) = done.last() {
            let had_row = before.row.is_some();
            folded.push(After {
                aggregate_id: last.aggregate_id,
                events: done,
                row: result.row,
                had_row,
            });
        }
    }
    for (after, reason) in write(connection, view, &folded, on_refused).await? {
        applied
            .failures
            .push(Failure::of(&after.events[0], &reason.to_string()));
        not_now.extend(after.events);
    }
    applied.folded = claimed.len() - not_now.len();
    give_back(connection, view, &not_now).await?;
    Ok(applied)
}

/// How many of `events` (of one aggregate, in the order of their versions) may be folded now: version n + 1 only where n
/// is claimed. The row's version says so, or n is in this batch, or, when there is no row, the locker.
fn ready(before: &Before, events: &[RecordedEvent]) -> usize {
    let first = events[0].version.0;
    let may_begin = match &before.row {
        _ if first == 1 => true,
        Some((version, _)) => version.0 >= first - 1,
        None => before.predecessor_claimed,
    };
    if !may_begin {
        return 0;
    }
    1 + events
        .windows(2)
        .take_while(|pair| pair[1].version.0 == pair[0].version.0 + 1)
        .count()
}

async fn load(
    connection: &mut Session,
    view: &View,
    claimed: &[RecordedEvent],
) -> Result<HashMap<AggregateId, Before>, ProjectionError> {
    let firsts = || {
        claimed
            .chunk_by(|a, b| a.aggregate_id == b.aggregate_id)
            .map(|events| &events[0])
    };
    let rows = sqlx::query(
        view.sql
            .with_predecessors(include_str!("sql/predecessor_claimed.sql")),
    )
    .bind(firsts().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
    .bind(firsts().map(|e| e.version.0).collect::<Vec<_>>())
    .bind(view.name())
    .fetch_all(connection)
    .await?;
    let mut before = HashMap::with_capacity(rows.len());
    for row in &rows {
        let version: Option<i32> = row.try_get("viewed_version")?;
        let stored: Option<Json<Box<RawValue>>> = row.try_get("viewed")?;
        let predecessor_claimed = row
            .try_get::<Option<bool>, _>("predecessor_claimed")?
            .unwrap_or(false);
        let row_before = version
            .zip(stored)
            .map(|(version, Json(json))| (Version(version), json));
        before.insert(
            AggregateId(row.try_get("wanted_id")?),
            Before {
                row: row_before,
                predecessor_claimed,
            },
        );
    }
    Ok(before)
}

/// Whether an event waits for a predecessor that will never come.
async fn hole_before(
    connection: &mut Session,
    view: &View,
    event: &RecordedEvent,
) -> Result<Option<Failure>, ProjectionError> {
    let types = view.projection.block();
    let hole = sqlx::query(include_str!("sql/find_holes.sql"))
        .bind(vec![event.aggregate_id.0])
        .bind(vec![event.version.0])
        .bind(types.start)
        .bind(types.end)
        .fetch_optional(connection)
        .await?;
    let missing = event.version.0 - 1;
    Ok(hole.map(|_| {
        Failure::of(
            event,
            &format!("the log has a hole: version {missing} is missing, or of another domain"),
        )
    }))
}

/// Writes rows; returns those that the database refuses, and why.
async fn write<'a>(
    connection: &mut Session,
    view: &View,
    folded: &'a [After<'a>],
    on_refused: OnRefusedWrite,
) -> Result<Vec<(&'a After<'a>, DbError)>, ProjectionError> {
    let gone: Vec<AggregateId> = folded
        .iter()
        .filter(|a| a.row.is_none() && a.had_row)
        .map(|a| a.aggregate_id)
        .collect();
    // First, so that what a deleted row kept unique is free for the others.
    view::delete(connection, view, &gone).await?;
    match on_refused {
        OnRefusedWrite::Fail => {
            upsert(connection, view, folded).await?;
            return Ok(Vec::new());
        }
        OnRefusedWrite::Refuse => {
            make_room(connection, view, folded).await?;
            upsert(connection, view, folded).await?;
            return Ok(Vec::new());
        }
        OnRefusedWrite::Narrow => {}
    }
    let (mut refused, mut parts) = (Vec::new(), vec![folded]);
    while let Some(part) = parts.pop() {
        db::savepoint(connection).await?;
        make_room(connection, view, part).await?;
        match upsert(connection, view, part).await {
            Ok(()) => db::release(connection).await?,
            Err(error) if error.is_about_rows() => {
                db::undo(connection).await?;
                if let [one] = part {
                    refused.push((one, error));
                } else {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(refused)
}

/// Takes the old rows away where the view has set rules. A unique index is checked row by row, in whatever order the rows
/// are written, and what counts is the state after all of them: one may give up what another takes.
async fn make_room(
    connection: &mut Session,
    view: &View,
    folded: &[After<'_>],
) -> Result<(), DbError> {
    if view.projection.set_rules().is_empty() || folded.len() < 2 {
        return Ok(());
    }
    let old: Vec<AggregateId> = folded
        .iter()
        .filter(|a| a.had_row)
        .map(|a| a.aggregate_id)
        .collect();
    view::delete(connection, view, &old).await
}

async fn upsert(
    connection: &mut Session,
    view: &View,
    folded: &[After<'_>],
) -> Result<(), DbError> {
    let row = |after: &After<'_>| {
        Some((
            after.aggregate_id,
            after.events.last()?.version,
            after.row.clone()?,
        ))
    };
    let rows: Vec<_> = folded.iter().filter_map(row).collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|(id, version, json)| (*id, *version, &**json))
        .collect();
    view::upsert(connection, view, &rows).await
}

async fn give_back(
    connection: &mut Session,
    view: &View,
    events: &[&RecordedEvent],
) -> Result<(), ProjectionError> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(include_str!("sql/give_back.sql"))
        .bind(view.name())
        .bind(events.iter().map(|e| e.id.0).collect::<Vec<_>>())
        .bind(events.iter().map(|e| e.aggregate_id.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// Parks the aggregates that failed, in the transaction that gives their claims back.
pub(super) async fn park(
    connection: &mut Session,
    view: &View,
    failures: &[Failure],
) -> Result<(), ProjectionError> {
    if failures.is_empty() {
        return Ok(());
    }
    let once: HashSet<AggregateId> = failures.iter().map(|f| f.aggregate_id).collect();
    tracing::warn!(
        projection = view.name(),
        parked.count = once.len(),
        "parked {} aggregates of {}: an event of each could not be folded, see parked.error",
        once.len(),
        view.name()
    );
    sqlx::query(include_str!("sql/park.sql"))
        .bind(view.name())
        .bind(
            failures
                .iter()
                .map(|f| f.aggregate_id.0)
                .collect::<Vec<_>>(),
        )
        .bind(failures.iter().map(|f| f.event_id.0).collect::<Vec<_>>())
        .bind(failures.iter().map(|f| f.version.0).collect::<Vec<_>>())
        .bind(
            failures
                .iter()
                .map(|f| f.reason.as_str())
                .collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
    Ok(())
}
