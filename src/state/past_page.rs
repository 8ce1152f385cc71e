//! The states of a page of aggregates as of a time, folded from their events.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use futures_util::TryStreamExt as _;
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::past::{AggregateEvent, PastState, visit_past};
use crate::db::{DbError, Session};
use crate::event::{AggregateId, Version, to_event_time};
use crate::store::{self, Moment};
use crate::view::View;

/// Of each aggregate, a page reads this many events in one statement. The others of a longer one are read in parts.
const MAX_PART_EVENTS: i32 = 1000;
/// One statement reads this many events at most, apart from those of the last aggregate.
const MAX_PAGE_EVENTS: i64 = 20_000;
/// One statement looks at this many aggregates at most, however few of them are of the domain.
const MAX_LOOKED_AT: i64 = 10_000;

/// How much work a page may be.
#[derive(Clone, Copy, Debug)]
pub struct PastBudget {
    /// The most aggregates; 0 counts as 1.
    pub states: u32,
    /// The most events.
    pub events: usize,
    /// When to end.
    pub deadline: Instant,
    /// Whether the first aggregate is folded however many events it has. Otherwise there may be aggregates that no page gets past.
    pub folds_first: bool,
}

impl PastBudget {
    fn is_spent(&self, events: usize) -> bool {
        events >= self.events || Instant::now() >= self.deadline
    }
}

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
    /// Whether the page ends because the budget is spent.
    pub is_cut: bool,
    /// The places of states that have further events.
    unfinished: Vec<usize>,
}

impl PastPage {
    /// Leaves out the states from a place on.
    fn cut(&mut self, at: usize, after: Option<AggregateId>) {
        self.states.truncate(at);
        self.last = self.states.last().map(|(id, _)| *id).or(after);
        self.is_end = false;
        self.is_cut = true;
    }
}

/// Folds the next aggregates after `after` as of a time: fewer than the budget allows if they are of other domains. The memory that
/// it needs does not depend on how many events an aggregate has.
///
/// # Errors
///
/// Any [`DbError`].
pub async fn load_past_page(
    connection: &mut Session<'_>,
    view: &View,
    after: Option<AggregateId>,
    time: OffsetDateTime,
    budget: PastBudget,
) -> Result<PastPage, DbError> {
    let mut page = read_page(connection, view, after, time, budget.states).await?;
    for at in std::mem::take(&mut page.unfinished) {
        let (id, state) = &mut page.states[at];
        let (mut events, mut is_spent) = (page.events, false);
        let mut step = |event: AggregateEvent| {
            let may_end = at > 0 || !budget.folds_first;
            is_spent = may_end && budget.is_spent(events);
            if is_spent {
                return ControlFlow::Break(());
            }
            events += 1;
            state.step(&event);
            ControlFlow::Continue(())
        };
        let rest = (Version(MAX_PART_EVENTS), Moment::Time(time));
        visit_past(connection, view, *id, rest, &mut step).await?;
        page.events = events;
        if is_spent {
            page.cut(at, after);
            break;
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
        .bind(view.name())
        .fetch(connection);
    let mut page = PastPage {
        is_end: true,
        ..PastPage::default()
    };
    let mut skipped = BTreeSet::new();
    while let Some(row) = rows.try_next().await? {
        let id = AggregateId(row.try_get("candidate_id")?);
        if page.last != Some(id) {
            page.last = Some(id);
            page.is_end = row.try_get("goes_on")?;
            if row.try_get("is_own")? {
                skipped = store::decode_skipped(&row)?.into_iter().collect();
                page.states.push((id, PastState::before_first(view)));
            }
        }
        let Some(version) = row.try_get::<Option<i32>, _>("version")? else {
            continue;
        };
        page.events += 1;
        if version == MAX_PART_EVENTS {
            page.unfinished.push(page.states.len().saturating_sub(1));
        }
        let event = store::decode_event(&row)?;
        if let Some((_, state)) = page.states.last_mut()
            && types.contains(&event.type_id.0)
        {
            let is_skipped = skipped.contains(&event.version);
            state.step(&AggregateEvent { event, is_skipped });
        }
    }
    Ok(page)
}
