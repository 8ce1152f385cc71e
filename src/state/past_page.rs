//! The states of a page of aggregates as of a time, folded from their events.

use futures_util::TryStreamExt as _;
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::past::{PastState, find_skipped, fold_from, load_past};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, RecordedEvent, Version, to_event_time};
use crate::store::{self, Moment};
use crate::view::View;

/// Of each aggregate, a page reads this many events in one statement. The others of a longer one are read in parts.
const MAX_PART_EVENTS: i32 = 1000;
/// A page holds this many bytes of an aggregate's events at most, and folds them then.
const MAX_PART_BYTES: usize = 4 * 1024 * 1024;
/// One statement reads this many events at most, apart from those of the last aggregate.
const MAX_PAGE_EVENTS: i64 = 20_000;
/// One statement looks at this many aggregates at most, however few of them are of the domain.
const MAX_LOOKED_AT: i64 = 10_000;

/// Aggregates as of a time.
#[derive(Debug, Default)]
pub struct PastPage {
    /// Those of the view's domain that existed then, in the order of their ids.
    pub states: Vec<(AggregateId, PastState)>,
    /// The last aggregate that was looked at, of whatever domain.
    pub last: Option<AggregateId>,
    /// Whether the log has none after it.
    pub is_end: bool,
    /// How many events were folded.
    pub events: usize,
    /// The places of states that have further events.
    unfinished: Vec<usize>,
}

/// Folds the next aggregates after `after` as of a time: at most `max_states`, and fewer if they have many events or are of other
/// domains. The memory that it needs does not depend on how many events an aggregate has.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn load_past_page(
    connection: &mut Session<'_>,
    view: &View,
    after: Option<AggregateId>,
    time: OffsetDateTime,
    max_states: u32,
) -> Result<PastPage, DbError> {
    let mut page = read_page(connection, view, after, time, max_states).await?;
    for at in std::mem::take(&mut page.unfinished) {
        let (id, state) = &mut page.states[at];
        let (after, until) = (Version(MAX_PART_EVENTS), Moment::Time(time));
        page.events += fold_from(connection, view, *id, until, after, state).await?;
    }
    // Skips are rare, so the aggregates that have some are folded again.
    let ids: Vec<AggregateId> = page.states.iter().map(|(id, _)| *id).collect();
    let mut skipped = find_skipped(connection, view, &ids).await?;
    skipped.dedup_by_key(|(id, _)| *id);
    for (id, _) in skipped {
        if let Some((_, state)) = page.states.iter_mut().find(|(other, _)| *other == id) {
            *state = load_past(connection, view, id, Moment::Time(time)).await?;
        }
    }
    Ok(page)
}

async fn read_page(
    connection: &mut Session<'_>,
    view: &View,
    after: Option<AggregateId>,
    time: OffsetDateTime,
    max_states: u32,
) -> Result<PastPage, DbError> {
    let types = view.projection.block();
    let (begin, version) = after.map_or((Uuid::nil(), 0), |AggregateId(id)| (id, i32::MAX));
    let mut rows = sqlx::query(include_str!("sql/load_past_page.sql"))
        .bind(begin)
        .bind(version)
        .bind(to_event_time(time))
        .bind(types.start)
        .bind(types.end)
        .bind(i64::from(max_states.max(1)))
        .bind(MAX_LOOKED_AT)
        .bind(MAX_PAGE_EVENTS)
        .bind(i64::from(MAX_PART_EVENTS))
        .fetch(connection);
    let (mut page, mut part) = (
        PastPage {
            is_end: true,
            ..PastPage::default()
        },
        PendingEvents::default(),
    );
    while let Some(row) = rows.try_next().await? {
        let id = AggregateId(row.try_get("candidate_id")?);
        if page.last != Some(id) {
            part.fold_into(view, &mut page);
            page.last = Some(id);
            page.is_end = row.try_get("goes_on")?;
            if row.try_get("is_own")? {
                page.states.push((id, PastState::default()));
            }
        }
        if let Some(version) = row.try_get::<Option<i32>, _>("version")? {
            page.events += 1;
            if version == MAX_PART_EVENTS {
                page.unfinished.push(page.states.len().saturating_sub(1));
            }
            let bytes = store::byte_len(&row, "payload")? + store::byte_len(&row, "metadata")?;
            part.push(store::decode_event(&row)?, bytes);
            if part.bytes >= MAX_PART_BYTES {
                part.fold_into(view, &mut page);
            }
        }
    }
    part.fold_into(view, &mut page);
    Ok(page)
}

/// Events of the page's last aggregate that are not folded yet.
#[derive(Default)]
struct PendingEvents {
    events: Vec<RecordedEvent>,
    bytes: usize,
}

impl PendingEvents {
    fn push(&mut self, event: RecordedEvent, bytes: usize) {
        self.events.push(event);
        self.bytes += bytes;
    }

    fn fold_into(&mut self, view: &View, page: &mut PastPage) {
        if let Some((_, state)) = page.states.last_mut() {
            state.fold_own(view, &mut self.events);
        }
        self.events.clear();
        self.bytes = 0;
    }
}
