//! Checks one aggregate after the other: what its events give, against its row and its claims.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::Difference;
use super::equal::have_same_fields;
use crate::domain::FoldError;
use crate::event::{AggregateId, RecordedEvent, Version};
use crate::view::{self, Changes, StoredRow, View};

/// How many events of an aggregate are folded at once.
const MAX_CHUNK_EVENTS: usize = 1000;
/// How many bytes of payloads and metadata wait to be folded.
const MAX_CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// An aggregate whose events are being read.
#[derive(Debug)]
pub(super) struct Aggregate {
    id: AggregateId,
    /// Its row in the view; an error when it cannot be decoded.
    row: Result<Option<StoredRow>, FoldError>,
    /// The fold of the events so far, up to the version that the row should have.
    folded: Option<Box<RawValue>>,
    folded_to: Version,
    /// Events that are not folded yet.
    chunk: Vec<RecordedEvent>,
    chunk_bytes: usize,
    /// The newest version of the log that was read.
    newest: Version,
    /// The newest claimed version.
    claimed_to: Version,
    /// The first thing that is wrong.
    problem: Option<String>,
    /// Whether its events began in an earlier page. Workers may have gone on since then.
    is_continued: bool,
}

impl Aggregate {
    const fn new(id: AggregateId, row: Result<Option<StoredRow>, FoldError>) -> Self {
        Self {
            id,
            row,
            folded: None,
            folded_to: Version(0),
            chunk: Vec::new(),
            chunk_bytes: 0,
            newest: Version(0),
            claimed_to: Version(0),
            problem: None,
            is_continued: false,
        }
    }

    /// The version of its row.
    fn row_version(&self) -> Option<Version> {
        let row = self.row.as_ref().ok()?.as_ref();
        row.map(|(version, _)| *version)
    }

    fn report(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    fn add(
        &mut self,
        view: &View,
        version: Version,
        is_claimed: bool,
        event: Result<RecordedEvent, FoldError>,
    ) {
        let previous = self.newest;
        self.newest = version;
        // Without a row the claims say how far the aggregate is folded.
        let target = self.row_version();
        let is_folded = target.map_or(is_claimed, |target| version <= target);
        if is_claimed {
            let is_gap = self.claimed_to != previous;
            if is_gap && target.is_none() {
                self.report(format!(
                    "version {version} is claimed, and an earlier one is not"
                ));
            }
            if target.is_some_and(|target| version > target) && !self.is_continued {
                self.report(format!(
                    "version {version} is claimed, and the row does not contain it"
                ));
            }
            self.claimed_to = version;
        } else if target.is_some_and(|target| version <= target) {
            self.report(format!(
                "version {version} is not claimed, and the row contains it"
            ));
        }
        if !is_folded {
            return;
        }
        if version.0 != previous.0 + 1 {
            self.report(format!(
                "version {version} is folded, and the one before it is not in the log"
            ));
        }
        match event {
            Ok(event) => {
                self.chunk_bytes += event.payload.get().len() + event.metadata.byte_len();
                self.chunk.push(event);
            }
            Err(_) => self.report(format!("version {version} is folded, and cannot be")),
        }
        if self.chunk.len() == MAX_CHUNK_EVENTS || self.chunk_bytes > MAX_CHUNK_BYTES {
            self.fold(view);
        }
    }

    fn fold(&mut self, view: &View) {
        let Some(last) = self.chunk.last() else {
            return;
        };
        let last = last.version;
        let folded = view.projection.fold(self.folded.as_deref(), &self.chunk);
        self.folded = folded.row;
        self.folded_to = last;
        if let (Some(_), Some(event)) = (folded.failure, self.chunk.get(folded.folded)) {
            let version = event.version;
            self.report(format!("version {version} is folded, and cannot be"));
        }
        self.chunk.clear();
        self.chunk_bytes = 0;
    }

    fn finish(mut self, view: &View) -> Checked {
        self.fold(view);
        if let Some(version) = self.row_version()
            && self.newest < version
        {
            let newest = self.newest;
            self.report(format!(
                "the row is at version {version}, and the log ends at version {newest}"
            ));
        }
        if self.row.is_err() {
            let problem = "the row cannot be read".to_owned();
            self.report(problem);
        }
        let live = self.row.unwrap_or_default();
        Checked {
            id: self.id,
            version: live
                .as_ref()
                .map_or(self.claimed_to, |(version, _)| *version),
            live: live.map(|(_, json)| json),
            expected: self.folded,
            folded_to: self.folded_to,
            problem: self.problem,
        }
    }
}

/// The aggregates of a page.
pub(super) struct PageCheck {
    aggregates: BTreeMap<AggregateId, Aggregate>,
}

impl PageCheck {
    pub(super) fn new(begun: Option<Box<Aggregate>>) -> Self {
        let aggregates = begun.into_iter().map(|mut aggregate| {
            aggregate.is_continued = true;
            (aggregate.id, *aggregate)
        });
        Self {
            aggregates: aggregates.collect(),
        }
    }

    pub(super) fn add_row(&mut self, id: AggregateId, row: Result<Option<StoredRow>, FoldError>) {
        // An aggregate that is continued keeps the row of the page in which it began.
        self.aggregates
            .entry(id)
            .or_insert_with(|| Aggregate::new(id, row));
    }

    pub(super) fn add_event(
        &mut self,
        view: &View,
        id: AggregateId,
        version: Version,
        is_claimed: bool,
        event: Result<RecordedEvent, FoldError>,
    ) {
        let new = || Aggregate::new(id, Ok(None));
        let aggregate = self.aggregates.entry(id).or_insert_with(new);
        aggregate.add(view, version, is_claimed, event);
    }

    /// Ends all aggregates but `unfinished`, of which more events follow.
    pub(super) fn finish(
        mut self,
        view: &View,
        unfinished: Option<AggregateId>,
    ) -> (Vec<Checked>, Option<Box<Aggregate>>) {
        let begun = unfinished.and_then(|id| self.aggregates.remove(&id));
        // Rows after the last event of a page that is cut belong to the next page.
        let is_in_page = |id: &AggregateId| unfinished.is_none_or(|last| *id < last);
        let aggregates = self.aggregates.into_iter().filter(|(id, _)| is_in_page(id));
        let checked = aggregates.map(|(_, aggregate)| aggregate.finish(view));
        (checked.collect(), begun.map(Box::new))
    }
}

/// An aggregate whose events have all been read.
pub(super) struct Checked {
    id: AggregateId,
    version: Version,
    live: Option<Box<RawValue>>,
    expected: Option<Box<RawValue>>,
    folded_to: Version,
    problem: Option<String>,
}

impl Checked {
    pub(super) const fn id(&self) -> AggregateId {
        self.id
    }

    /// The row that the events give, if it seems to differ from the one in the view.
    pub(super) fn expected_row(&self) -> Option<(AggregateId, Version, &RawValue)> {
        let expected = self.expected.as_deref()?;
        let is_same = self
            .live
            .as_deref()
            .is_some_and(|live| have_same_fields(live, expected));
        (!is_same).then_some((self.id, self.folded_to, expected))
    }

    /// Replaces the row that the events give by what the table would store of it.
    pub(super) fn expect(&mut self, stored: Box<RawValue>) {
        self.expected = Some(stored);
    }

    /// Adds a problem, unless there is another one.
    pub(super) fn report(&mut self, problem: &str) {
        self.problem.get_or_insert_with(|| problem.to_owned());
    }

    /// What differs, if anything does.
    pub(super) fn into_difference(self, view: &View) -> Option<Difference> {
        let (live, expected) = (self.live.as_deref(), self.expected.as_deref());
        let rows_differ = match (live, expected) {
            (None, None) => false,
            (Some(live), Some(expected)) => !have_same_fields(live, expected),
            _ => true,
        };
        if !rows_differ && self.problem.is_none() {
            return None;
        }
        let shown = |row| view::shown_fields(view, row).unwrap_or_default();
        let changes = if rows_differ {
            view::changes(&shown(live), &shown(expected))
        } else {
            Changes::new()
        };
        let problem = self.problem.or_else(|| match (live, expected) {
            (None, Some(_)) => Some("the row is missing".to_owned()),
            (Some(_), None) => Some("the events give no row".to_owned()),
            // The value of a secret is not shown.
            _ if changes.is_empty() => Some("a field that is not shown differs".to_owned()),
            _ => None,
        });
        Some(Difference {
            id: self.id,
            version: self.version,
            changes,
            problem,
        })
    }
}
