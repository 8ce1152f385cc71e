//! Reads a batch: the first of its two statements.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use serde::Deserialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::lane::{Lane, SLOT_COUNT};
use super::plan::Before;
use super::read_events::{ReadEvents, catch_decode_error};
use super::settled::LogCursor;
use super::snapshot::{Snapshot, SnapshotError};
use super::{ProjectionError, lane};
use crate::db::Session;
use crate::event::AggregateId;
use crate::view::{self, View};

/// The events and view rows of one batch come to at most this many bytes, unless a single event alone exceeds it.
pub(super) const MAX_BATCH_BYTES: usize = 16 << 20;

/// What to read.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The first slot of the lane; `None`: the lane that is furthest behind.
    pub lane: Option<i16>,
    /// C; `None`: the snapshot of the statement.
    pub frozen: Option<Snapshot>,
    /// At most this many events.
    pub size: u32,
    /// Whether to read which events are claimed. It is needed only after a batch found an event that may be claimed: rows
    /// alone do not show that.
    pub claims: bool,
    /// Whether to count the parked aggregates.
    pub count_parked: bool,
}

/// What the statement returns once.
#[derive(Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a column of the statement's answer"
)]
struct Header {
    first: i16,
    last: i16,
    turn: i64,
    writer: String,
    seen_lately: bool,
    snapshot: String,
    txid: Option<String>,
    position: i64,
    frozen: String,
    stop: Option<(String, i64)>,
    found: u32,
    passed_over: Vec<Uuid>,
    lanes: i64,
    slots: i64,
    same_hash: bool,
    behind: bool,
    serves: bool,
    must_touch: bool,
    has_garbage: bool,
    retry_due: bool,
    parked: Option<u64>,
}

/// What a batch says about the generation that it belongs to, and about the others of its projection.
#[derive(Clone, Copy, Debug)]
pub(super) struct GenerationState {
    /// Whether it serves readers whose code has the definition of this process.
    pub serves: bool,
    /// Whether this process has to say that it still projects it.
    pub must_touch: bool,
    /// Whether something of other generations can be removed.
    pub has_garbage: bool,
}

/// A batch as it was read.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent facts about the batch"
)]
pub(super) struct ReadBatch {
    pub lane: Lane,
    pub frozen: Snapshot,
    /// Where the batch ends; `None`: at the end of C.
    pub stop: Option<LogCursor>,
    /// The parked aggregates of which it has passed over events.
    pub passed_over: Vec<AggregateId>,
    /// Its events, ordered by aggregate and version, without those that are known to be claimed.
    pub events: ReadEvents,
    /// What was read about each aggregate of these events.
    pub before: HashMap<AggregateId, Before>,
    /// How many events were requested at last.
    pub size: u32,
    /// Whether fewer events were requested at last, because all of them would have been larger than [`MAX_BATCH_BYTES`].
    pub is_cut: bool,
    /// How many events were found, with those of parked aggregates and those that are claimed.
    pub found: u32,
    /// How many lanes the projection has.
    pub lanes: i64,
    /// Whether a worker has looked at the lane within the last seconds.
    pub seen_lately: bool,
    /// Whether the log contains an event that no snapshot of this cluster sees.
    is_behind: bool,
    pub generation: GenerationState,
    /// Whether a parked aggregate is due for a retry.
    pub retry_due: bool,
    /// The parked aggregates, if they were counted.
    pub parked: Option<u64>,
}

impl ReadBatch {
    /// Whether the batch looked at no unsettled event.
    pub(super) fn is_empty(&self) -> bool {
        self.stop.is_none() && self.found == 0
    }

    /// Whether a view row contains an event of the batch already.
    pub(super) fn has_applied_events(&self) -> bool {
        let contains =
            |id, version| matches!(self.before.get(&id), Some(before) if before.contains(version));
        let (events, undecodable) = (&self.events.events, &self.events.undecodable);
        events.iter().any(|e| contains(e.aggregate_id, e.version))
            || undecodable
                .iter()
                .any(|e| contains(e.aggregate_id, e.version))
    }

    /// Whether C is older than what the lane has settled. Another worker settled a newer state between two statements, or the log
    /// was restored from another cluster.
    pub(super) fn is_outdated(&self) -> bool {
        let settled = &self.lane.settled;
        self.is_behind
            || self.frozen.end < settled.snapshot.end
            || settled
                .begun
                .is_some_and(|begun| !self.frozen.sees(begun.txid))
    }
}

/// Reads a batch of at most `request.size` events and [`MAX_BATCH_BYTES`]; `None` when the lane does not exist.
pub(super) async fn read(
    connection: &mut Session<'_>,
    view: &View,
    mut request: Request,
) -> Result<Option<ReadBatch>, ProjectionError> {
    let wanted = request.size;
    loop {
        match Box::pin(read_once(connection, view, &request)).await? {
            ReadOutcome::Batch(mut batch) => {
                batch.is_cut = batch.size < wanted;
                return Ok(Some(*batch));
            }
            ReadOutcome::NoLane => return Ok(None),
            ReadOutcome::TooLarge { events } => request.size = events,
        }
    }
}

enum ReadOutcome {
    Batch(Box<ReadBatch>),
    NoLane,
    /// So many events fit.
    TooLarge {
        events: u32,
    },
}

async fn read_once(
    connection: &mut Session<'_>,
    view: &View,
    request: &Request,
) -> Result<ReadOutcome, ProjectionError> {
    let types = view.projection.block();
    let mut rows = sqlx::query(view.sql.fill(include_str!("sql/read.sql")))
        .bind(view.lock_domain())
        .bind(request.lane)
        .bind(request.frozen.as_ref().map(Snapshot::to_string))
        .bind(types.start)
        .bind(types.end)
        .bind(i64::from(request.size))
        .bind(request.claims)
        .bind(request.count_parked)
        .fetch(&mut *connection);
    let (mut header, mut events, mut before) = (None, ReadEvents::default(), HashMap::new());
    let (mut bytes, mut read) = (0, 0_u32);
    while let Some(row) = rows.try_next().await? {
        bytes += size_of_event(&row)? + size_of(&row, &["viewed"])?;
        if bytes > MAX_BATCH_BYTES && request.size > 1 {
            // The rows follow all events, so an excess there says only that fewer events have to be read.
            let events = if before.is_empty() {
                read
            } else {
                request.size / 2
            };
            return Ok(ReadOutcome::TooLarge {
                events: events.clamp(1, request.size - 1),
            });
        }
        if let Some(text) = row.try_get::<Option<&str>, _>("header")? {
            header = Some(
                serde_json::from_str::<Header>(text)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
            );
        } else if row.try_get::<Option<Uuid>, _>("id")?.is_some() {
            read += 1;
            if row.try_get::<Option<bool>, _>("claimed")? != Some(true) {
                events.push(&row)?;
            }
        } else {
            let id = AggregateId(row.try_get("aggregate_id")?);
            before.insert(id, decode_before(&row)?);
        }
    }
    drop(rows);
    let Some(header) = header else {
        return Ok(ReadOutcome::NoLane);
    };
    if header.slots != SLOT_COUNT || !header.same_hash && header.lanes > 1 {
        lane::repair(connection, view).await?;
        return Ok(ReadOutcome::NoLane);
    }
    events
        .events
        .sort_unstable_by_key(|event| (event.aggregate_id, event.version));
    Ok(ReadOutcome::Batch(Box::new(
        header.into_batch(request, events, before)?,
    )))
}

impl Header {
    fn into_batch(
        self,
        request: &Request,
        events: ReadEvents,
        before: HashMap<AggregateId, Before>,
    ) -> Result<ReadBatch, SnapshotError> {
        let key = (self.first, self.last, self.turn);
        let stop = |(txid, position): (String, i64)| {
            let txid = txid.parse().map_err(|_| SnapshotError)?;
            Ok(LogCursor { txid, position })
        };
        Ok(ReadBatch {
            lane: Lane::from_parts(
                key,
                (&self.snapshot, &self.writer),
                self.txid.as_deref(),
                self.position,
            )?,
            frozen: self.frozen.parse()?,
            stop: self.stop.map(stop).transpose()?,
            passed_over: self.passed_over.into_iter().map(AggregateId).collect(),
            events,
            before,
            size: request.size,
            is_cut: false,
            found: self.found,
            lanes: self.lanes,
            seen_lately: self.seen_lately,
            is_behind: self.behind,
            generation: GenerationState {
                serves: self.serves,
                must_touch: self.must_touch,
                has_garbage: self.has_garbage,
            },
            retry_due: self.retry_due,
            parked: self.parked,
        })
    }
}

/// What a row says about an aggregate before the batch.
pub(super) fn decode_before(row: &PgRow) -> Result<Before, sqlx::Error> {
    let predecessor_claimed: Option<bool> = row.try_get("predecessor_claimed")?;
    Ok(Before {
        row: catch_decode_error(view::decode_row(row))?,
        predecessor_claimed: predecessor_claimed.unwrap_or(false),
    })
}

/// The size of an event's columns without an upper bound.
pub(super) fn size_of_event(row: &PgRow) -> Result<usize, sqlx::Error> {
    size_of(row, &["payload", "metadata"])
}

fn size_of(row: &PgRow, columns: &[&str]) -> Result<usize, sqlx::Error> {
    let mut bytes = 0;
    for column in columns {
        bytes += row.try_get_raw(*column)?.as_bytes().map_or(0, <[u8]>::len);
    }
    Ok(bytes)
}
