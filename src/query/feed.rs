//! The feed: all events of the served domains in log order. [`store::read_feed`](crate::store::read_feed) argues why a reader
//! misses none.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

use serde_json::value::RawValue;

use super::QueryError;
use crate::app::{Foldlog, Served};
use crate::db::RetryPolicy;
use crate::event::{ShownEvent, TypeId};
pub use crate::store::{FeedCursor, FeedWaiting};
use crate::store::{FeedEntry, FeedExtent, FeedSelection, FeedStart, read_feed};
use crate::view::{PageLimit, json_string_len};

/// What an event has in a page beside its payload and its metadata, in bytes.
const EVENT_BYTES: usize = 512;

/// In which direction to read, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedDirection {
    /// The oldest events first: those after this cursor.
    Forward(FeedCursor),
    /// The newest events first: those before this cursor; all events if there is none.
    Backward(Option<FeedCursor>),
}

/// Which part of the feed to read.
#[derive(Clone, Debug)]
pub struct FeedRequest {
    /// In which direction to read, and from where.
    pub direction: FeedDirection,
    /// Only events of this domain; `None` is all domains of the process.
    pub domain: Option<&'static str>,
    /// Only events of these types, by their names or type ids; `None` is all types.
    pub types: Option<Vec<String>>,
    /// How large the page may be.
    pub limit: PageLimit,
    /// Until when to wait for an event, if there is none yet and the direction is forward.
    pub wait_until: Option<Instant>,
}

/// A part of the feed.
#[derive(Debug)]
pub struct FeedPage {
    /// The events without their secrets.
    pub events: Vec<ShownEvent<Box<RawValue>>>,
    /// Where to continue. `None` if the feed was read backward and has no earlier event.
    pub next: Option<FeedCursor>,
    /// The newest event of the feed, if the feed was read backward: a reader that begins after it misses nothing.
    pub newest: Option<FeedCursor>,
    /// Committed events that wait behind a transaction that is still open.
    pub waiting: Option<FeedWaiting>,
}

/// Reads a part of the feed. A page may be empty although there are more events, if none of those that were looked at is of the
/// types asked for; [`FeedPage::next`] is further on then.
///
/// # Errors
///
/// [`QueryError::NotServed`], [`QueryError::UnknownType`], [`QueryError::UnknownCursor`] and [`QueryError::ReplicaBehind`];
/// otherwise see [`QueryError`].
pub async fn feed(foldlog: &Foldlog, request: &FeedRequest) -> Result<FeedPage, QueryError> {
    let mut selection = select(foldlog, request)?;
    let mut seen = None;
    loop {
        let (page, is_end) = read(foldlog, &selection, request.limit).await?;
        let FeedStart::After(start) = selection.start else {
            return Ok(page);
        };
        let next = page.next.unwrap_or(start);
        let deadline = request.wait_until.filter(|_| page.events.is_empty());
        let Some(deadline) = deadline.filter(|deadline| Instant::now() < *deadline) else {
            return Ok(page);
        };
        selection.start = FeedStart::After(next);
        if is_end {
            let known = seen.max(Some(next.place())).unwrap_or_default();
            seen = foldlog
                .feed_watch
                .wait(&foldlog.pool, known, deadline)
                .await?;
            if seen.is_none() {
                return Ok(page);
            }
        }
    }
}

/// Which events the statement selects.
fn select(foldlog: &Foldlog, request: &FeedRequest) -> Result<FeedSelection, QueryError> {
    let served: Vec<&Served> = match request.domain {
        Some(name) => vec![foldlog.serving_named(name)?],
        None => foldlog.served.iter().collect(),
    };
    let types = request.types.as_ref().map(|names| {
        let mut types = BTreeSet::new();
        for name in names {
            let found = types_named(&served, name);
            if found.is_empty() {
                return Err(QueryError::UnknownType(name.clone()));
            }
            types.extend(found);
        }
        Ok(types.into_iter().collect())
    });
    Ok(FeedSelection {
        start: match request.direction {
            FeedDirection::Forward(cursor) => FeedStart::After(cursor),
            FeedDirection::Backward(cursor) => FeedStart::Before(cursor),
        },
        block: hull(&served),
        types: types.transpose()?,
        max_events: request.limit.rows.max(1),
    })
}

/// The types of these domains that are shown under this name or this type id: also the old revisions of such a type.
fn types_named(served: &[&Served], name: &str) -> Vec<TypeId> {
    let mut found = Vec::new();
    for served in served {
        let newest = served.domain.types().iter().map(|known| known.id);
        let old = served.domain.old_types().iter().map(|known| known.id);
        let is_named = |type_id: &TypeId| {
            let shown = served.newest_type(*type_id);
            shown.is_some_and(|shown| shown.name == name || shown.id.to_string() == name)
        };
        found.extend(newest.chain(old).filter(is_named));
    }
    found
}

/// The smallest range that has the types of these domains.
fn hull(served: &[&Served]) -> Range<i16> {
    let blocks = || served.iter().map(|served| served.domain.block());
    let start = blocks().map(|block| block.start).min();
    let end = blocks().map(|block| block.end).max();
    start.unwrap_or_default()..end.unwrap_or_default()
}

/// Reads a page, and whether it has come to the end of the feed.
async fn read(
    foldlog: &Foldlog,
    selection: &FeedSelection,
    limit: PageLimit,
) -> Result<(FeedPage, bool), QueryError> {
    let mut retries = RetryPolicy::default();
    loop {
        match try_read(foldlog, selection, limit).await {
            Err(error) if retries.should_retry(&foldlog.pool, &error) => {}
            result => return result,
        }
    }
}

async fn try_read(
    foldlog: &Foldlog,
    selection: &FeedSelection,
    limit: PageLimit,
) -> Result<(FeedPage, bool), QueryError> {
    let mut page = FeedPageBuilder::new(foldlog, limit);
    let mut connection = foldlog.pool.acquire().await?;
    let extent = read_feed(&mut connection, selection, |entry| page.push(entry)).await?;
    Ok(page.end(selection, extent))
}

struct FeedPageBuilder<'a> {
    foldlog: &'a Foldlog,
    limit: PageLimit,
    events: Vec<ShownEvent<Box<RawValue>>>,
    bytes: usize,
    read: usize,
    last: Option<FeedCursor>,
    is_cut: bool,
}

impl<'a> FeedPageBuilder<'a> {
    fn new(foldlog: &'a Foldlog, limit: PageLimit) -> Self {
        Self {
            foldlog,
            limit,
            events: Vec::with_capacity(usize::from(limit.rows)),
            bytes: 0,
            read: 0,
            last: None,
            is_cut: false,
        }
    }

    /// Adds an event; false if it does not fit.
    fn push(&mut self, entry: FeedEntry) -> bool {
        // The range of types may have those of a domain that this process does not serve. Nothing of their events is shown.
        let is_served = self.foldlog.owning(entry.event.type_id).is_some();
        if is_served {
            let shown = self.foldlog.show_with(&entry.event, entry.metadata);
            let payload = shown
                .payload
                .as_ref()
                .map_or(0, |json| json_string_len(json.get()));
            self.bytes += payload + json_string_len(shown.metadata.get()) + EVENT_BYTES;
            if self.bytes > self.limit.bytes && !self.events.is_empty() {
                self.is_cut = true;
                return false;
            }
            self.events.push(shown);
        }
        self.read += 1;
        self.last = Some(entry.cursor);
        true
    }

    /// The page, and whether it has come to the end of the feed.
    fn end(self, selection: &FeedSelection, extent: FeedExtent) -> (FeedPage, bool) {
        let is_full = self.is_cut || self.read >= usize::from(selection.max_events);
        let is_end = !is_full && !extent.has_more;
        let looked_at = if is_full { self.last } else { extent.end };
        let next = match selection.start {
            // Without a new event the reader stays where it is.
            FeedStart::After(start) => Some(looked_at.unwrap_or(start)),
            FeedStart::Before(_) => looked_at.filter(|_| !is_end),
        };
        let newest = match selection.start {
            FeedStart::After(_) => None,
            FeedStart::Before(_) => Some(extent.newest.unwrap_or(FeedCursor::BEGINNING)),
        };
        let page = FeedPage {
            events: self.events,
            next,
            newest,
            waiting: extent.waiting.filter(|_| is_end || newest.is_some()),
        };
        (page, is_end)
    }
}
