//! The events of one aggregate, each with the fields that it changed.

mod page;

use std::ops::ControlFlow;

use serde::Serialize;

pub use self::page::{HistoryCursor, Order};
use self::page::{PageItems, Span};
use super::past::{FoldStep, Walk};
use super::{QueryError, past};
use crate::app::Foldlog;
use crate::db::RetryPolicy;
use crate::event::{AggregateId, RecordedEvent, ShownEvent, Version};
use crate::state::{self, PastState};
use crate::store::{self, Moment};
use crate::view::{Changes, PageLimit, View, json_string_len};

/// Which events of an aggregate to read.
#[derive(Clone, Debug)]
pub struct HistoryQuery<'a> {
    /// The order of the events.
    pub order: Order,
    /// The page begins after this event.
    pub after: Option<HistoryCursor>,
    /// How large the page may be.
    pub limit: PageLimit,
    /// Only events that changed this field of the row, one of [`View::shown_columns`].
    pub field: Option<&'a str>,
    /// Only events whose `metadata.actor` is this text.
    pub actor: Option<&'a str>,
}

impl HistoryQuery<'_> {
    fn check(&self, view: &View) -> Result<(), QueryError> {
        if let Some(field) = self.field
            && !view.shown_columns().any(|column| column == field)
        {
            return Err(QueryError::UnknownField {
                name: field.to_owned(),
                fields: view.shown_columns().collect::<Vec<_>>().join(", "),
            });
        }
        match self.after {
            Some(cursor) if cursor.order != self.order => Err(QueryError::CursorOrder),
            _ => Ok(()),
        }
    }
}

/// A page of a history.
#[derive(Debug)]
pub struct HistoryPage<T = HistoryEvent> {
    /// The events, in the order asked for.
    pub events: Vec<T>,
    /// The start of the next page; `None` on the last page.
    pub next: Option<HistoryCursor>,
    /// The hash of the claims, as in [`Explanation::revision`](super::Explanation::revision).
    pub revision: Option<String>,
}

/// An event of a history, as clients see it.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryEvent {
    /// The event, without secrets.
    #[serde(flatten)]
    pub event: ShownEvent,
    /// The fields that it changed, without secrets: the values before and after, null where there was no row; `None` when that is
    /// unknown.
    pub changes: Option<Changes>,
    /// Why the changes are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<UnknownChanges>,
}

/// Why the changes of an event are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownChanges {
    /// The event cannot be folded.
    Unfoldable,
    /// An earlier event cannot be folded.
    FollowsUnfoldable,
    /// An operator has skipped the event, so it has no effect.
    Skipped,
}

/// An event and what it changed, before it is made an item of a page.
pub(crate) struct Entry {
    pub event: RecordedEvent,
    pub changes: Result<Changes, UnknownChanges>,
}

/// Reads a page of the history of an aggregate, also of a deleted one.
///
/// # Errors
///
/// See [`QueryError`].
pub async fn history(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    query: &HistoryQuery<'_>,
) -> Result<HistoryPage, QueryError> {
    let make = |entry: Entry| {
        let (changes, error) = match entry.changes {
            Ok(changes) => (Some(changes), None),
            Err(error) => (None, Some(error)),
        };
        let event = HistoryEvent {
            event: foldlog.show_event(&entry.event),
            changes,
            error,
        };
        let bytes = serde_json::to_string(&event).map_or(0, |json| json_string_len(&json));
        (event, bytes)
    };
    read_history(foldlog, view, id, query, &make).await
}

/// Reads a page whose items `make` makes, each with its size in bytes.
pub(crate) async fn read_history<T: Send>(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    query: &HistoryQuery<'_>,
    make: &(dyn Fn(Entry) -> (T, usize) + Sync),
) -> Result<HistoryPage<T>, QueryError> {
    let mut retries = RetryPolicy::default();
    loop {
        match Box::pin(try_read(foldlog, view, id, query, make)).await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            result => return result,
        }
    }
}

async fn try_read<T: Send>(
    foldlog: &Foldlog,
    view: &View,
    id: AggregateId,
    query: &HistoryQuery<'_>,
    make: &(dyn Fn(Entry) -> (T, usize) + Sync),
) -> Result<HistoryPage<T>, QueryError> {
    query.check(view)?;
    let mut connection = foldlog.pool.acquire().await?;
    let newest = store::newest_version(&mut connection, id).await?;
    let newest = newest.ok_or(QueryError::Unknown)?;
    let span = Span::new(query, newest);
    let before = Version(span.first - 1);
    let state = match before {
        Version(0) => PastState::before_first(&mut connection, view, id).await?,
        _ => Box::pin(state::load_past(&mut connection, view, id, before.into())).await?,
    };
    let mut is_known = state.version > Version(0);
    let mut walk = Walk::new(view, state)?;
    let mut page = PageItems::new(query, span);
    let mut visit = |event: RecordedEvent| {
        is_known = true;
        let version = event.version;
        let changes = match walk.step(&event) {
            FoldStep::Created(changes)
            | FoldStep::Changed(changes)
            | FoldStep::Removed(changes) => Ok(changes),
            FoldStep::Skipped => Err(UnknownChanges::Skipped),
            FoldStep::Failed => Err(UnknownChanges::Unfoldable),
            FoldStep::Waits => Err(UnknownChanges::FollowsUnfoldable),
        };
        let entry = Entry { event, changes };
        if !matches(query, &entry) {
            return ControlFlow::Continue(());
        }
        let (item, bytes) = make(entry);
        page.push(version, item, bytes)
    };
    let until = Moment::Version(Version(span.last));
    past::visit_events(&mut connection, view, id, before, until, &mut visit).await?;
    if !is_known {
        // The span may begin after the newest event, or hold only events of another domain.
        let first = store::read_stream(&mut connection, id, Version(0), Moment::Newest, 1).await?;
        if !first.events.iter().any(|event| past::is_own(view, event)) {
            return Err(QueryError::Unknown);
        }
    }
    let revision = state::find_revision(&mut connection, view, id).await?;
    let (events, next) = page.finish(newest);
    Ok(HistoryPage {
        events,
        next,
        revision,
    })
}

fn matches(query: &HistoryQuery<'_>, entry: &Entry) -> bool {
    let changed = |field: &str| match &entry.changes {
        Ok(changes) => changes.contains_key(field),
        Err(_) => false,
    };
    let is_by = |actor: &str| {
        let json = entry.event.metadata.get("actor");
        json.is_some_and(|json| {
            serde_json::from_str::<String>(json.get()).is_ok_and(|a| a == actor)
        })
    };
    query.field.is_none_or(changed) && query.actor.is_none_or(is_by)
}
