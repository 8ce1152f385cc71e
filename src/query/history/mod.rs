//! The events of one aggregate, each with the fields that it changed.

mod page;

use std::ops::ControlFlow;

use serde::Serialize;

pub(crate) use self::page::json_bytes;
pub use self::page::{HistoryCursor, Order};
use self::page::{PageItems, Span};
use super::QueryError;
use super::past::{FoldStep, Walk};
use crate::app::Foldlog;
use crate::db::RetryPolicy;
use crate::event::{AggregateId, RecordedEvent, ShownEvent, Version};
use crate::state::{self, AggregateEvent};
use crate::store::Moment;
use crate::view::{Changes, PageLimit, View};

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
    /// The hash of the claims, as in [`Explanation::revision`](super::Explanation::revision); `None` also on a page after the first one.
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
        let event = foldlog.show_event(&entry.event);
        let payload = event.payload.as_ref().map_or("", |json| json.get());
        let bytes = json_bytes(payload, &event.metadata, changes.as_ref());
        let event = HistoryEvent {
            event,
            changes,
            error,
        };
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
    // The revision looks at each event, so only the first page has it.
    let wants_revision = query.after.is_none();
    let head = state::load_history_head(&mut connection, view, id, wants_revision).await?;
    let head = head.ok_or(QueryError::Unknown)?;
    let span = Span::new(query, head.newest);
    let mut is_known = head.is_own;
    let mut walk = Walk::new(view);
    let mut page = PageItems::new(query, span);
    let mut visit = |past: AggregateEvent| {
        is_known = true;
        let version = past.event.version;
        if version.0 < span.first {
            walk.pass(&past);
            return ControlFlow::Continue(());
        }
        let changes = match walk.step(&past) {
            FoldStep::Created(changes)
            | FoldStep::Changed(changes)
            | FoldStep::Removed(changes) => Ok(changes),
            FoldStep::Skipped => Err(UnknownChanges::Skipped),
            FoldStep::Failed => Err(UnknownChanges::Unfoldable),
            FoldStep::Waits => Err(UnknownChanges::FollowsUnfoldable),
        };
        let event = past.event;
        let entry = Entry { event, changes };
        if !matches(query, &entry) {
            return ControlFlow::Continue(());
        }
        let (item, bytes) = make(entry);
        page.push(version, item, bytes)
    };
    if span.first <= head.newest.0 {
        let until = Moment::Version(Version(span.last));
        state::visit_past(&mut connection, view, id, (Version(0), until), &mut visit).await?;
    }
    if !is_known {
        return Err(QueryError::Unknown);
    }
    let (events, next) = page.finish(head.newest);
    Ok(HistoryPage {
        events,
        next,
        revision: head.revision,
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
