//! Decides about an append by the rules of the domains: over no state, over remembered states, or over loaded ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::{AppendError, Batch, Group};
use crate::app::Foldlog;
use crate::event::{AggregateId, ExpectedVersion, Metadata, Position, RecordedEvent, Version};
use crate::state::{RememberedState, State};
use crate::store::{self, ExpectedHeads, KnownRow, LastEvent, RowOrigin, StoredEvent};
use crate::view::View;

/// An append that the rules accept.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// Where the aggregates must be for the decision to hold.
    pub heads: ExpectedHeads,
    /// The states that the rules have seen. An aggregate whose rules see none is missing.
    basis: HashMap<AggregateId, Basis>,
    /// The row after the append of a single event, if an inline view is known to need no other one.
    pub known_row: Option<KnownRow>,
}

/// The state that the rules have seen.
#[derive(Debug)]
enum Basis {
    /// The aggregate does not exist.
    New,
    Remembered(Arc<RememberedState>),
    Loaded(State, Instant),
}

/// What memory says about an append.
#[derive(Debug)]
pub(super) enum Remembered {
    /// The rules accept it.
    Accepted(Decision),
    /// The states of the aggregates have to be loaded.
    Load,
    /// Not all aggregates are remembered.
    Unknown,
}

impl Basis {
    fn row(&self) -> Option<&RawValue> {
        match self {
            Self::New => None,
            Self::Remembered(state) => Some(&state.row),
            Self::Loaded(state, _) => state.row_json(),
        }
    }

    /// The events that are not part of the row.
    fn take_tail(&mut self) -> Vec<RecordedEvent> {
        match self {
            Self::New | Self::Remembered(_) => Vec::new(),
            Self::Loaded(state, _) => std::mem::take(&mut state.tail),
        }
    }

    /// Whether the view's row is the state, or the aggregate is new and has none.
    fn is_in_view(&self) -> bool {
        match self {
            Self::New => true,
            Self::Remembered(state) => state.origin.is_some(),
            Self::Loaded(state, _) => {
                state.tail.is_empty() && state.is_projected == (state.version() > Version(0))
            }
        }
    }

    /// Where the row was read that the state was folded from.
    fn origin(&self) -> Option<RowOrigin> {
        match self {
            Self::New => None,
            Self::Remembered(state) => state.origin,
            Self::Loaded(state, _) => state.origin.filter(|_| state.folded > Version(0)),
        }
    }

    /// Remembers the state after this event.
    fn remember(
        &self,
        foldlog: &Foldlog,
        group: &Group<'_>,
        (version, last): (Version, LastEvent),
        (row, origin): (Box<RawValue>, Option<RowOrigin>),
    ) {
        let state = RememberedState {
            domain: group.served.domain.name(),
            version,
            last,
            row,
            origin,
            loaded_at: self.loaded_at(),
        };
        foldlog.states.put(group.aggregate_id, state);
    }

    fn loaded_at(&self) -> Instant {
        match self {
            Self::New => Instant::now(),
            Self::Remembered(state) => state.loaded_at,
            Self::Loaded(_, at) => *at,
        }
    }
}

/// Decides over remembered states.
pub(super) fn from_memory(
    foldlog: &Foldlog,
    batch: &Batch<'_>,
    expected: ExpectedVersion,
) -> Remembered {
    let mut decision = Decision::default();
    for group in &batch.groups {
        let (id, domain) = (group.aggregate_id, group.served.domain);
        if domain.stateless() {
            return Remembered::Unknown;
        }
        let Some(state) = foldlog.states.get(domain.name(), id) else {
            return Remembered::Unknown;
        };
        // Whether the row may be written that the state gives, is known once the state is read with the row.
        if state.origin.is_none() && has_only_own_view_inline(foldlog, batch) {
            return Remembered::Load;
        }
        // The client gets no error that rests on memory, because the state may be outdated.
        if !expected.matches(state.version)
            || domain
                .decide(Some(&state.row), &[], false, &batch.events_of(group))
                .is_err()
        {
            return Remembered::Load;
        }
        decision.heads.insert(id, state.head());
        decision.basis.insert(id, Basis::Remembered(state));
    }
    Remembered::Accepted(decision)
}

/// Decides as if the aggregates did not exist; `None` if they must be loaded.
pub(super) fn without_state(batch: &Batch<'_>, expected: ExpectedVersion) -> Option<Decision> {
    let mut decision = Decision::default();
    for group in &batch.groups {
        let (id, domain) = (group.aggregate_id, group.served.domain);
        match expected {
            ExpectedVersion::Any if domain.stateless() => {}
            ExpectedVersion::Exact(version) if domain.stateless() => {
                decision.heads.insert(id, version.into());
            }
            ExpectedVersion::Any | ExpectedVersion::NoStream => {
                domain
                    .decide(None, &[], false, &batch.events_of(group))
                    .ok()?;
                decision.heads.insert(id, Version(0).into());
                decision.basis.insert(id, Basis::New);
            }
            ExpectedVersion::Exact(_) | ExpectedVersion::Exists | ExpectedVersion::OneOf(_) => {
                return None;
            }
        }
    }
    Some(decision)
}

/// Decides over states that were loaded at this time.
pub(super) fn over_states(
    batch: &Batch<'_>,
    expected: ExpectedVersion,
    mut states: HashMap<AggregateId, State>,
    loaded_at: Instant,
) -> Result<Decision, AppendError> {
    let mut decision = Decision::default();
    for group in &batch.groups {
        let id = group.aggregate_id;
        let state = states.remove(&id).unwrap_or_default();
        let actual = state.version();
        if !expected.matches(actual) {
            return Err(AppendError::VersionMismatch {
                aggregate_id: id,
                actual,
            });
        }
        let domain = group.served.domain;
        let events = batch.events_of(group);
        let decided = domain.decide(state.row_json(), &state.tail, state.has_ended(), &events);
        decided.map_err(|(at, error)| AppendError::Rejected {
            index: group.indexes[at],
            error,
        })?;
        decision.heads.insert(id, actual.into());
        if !domain.stateless() {
            decision.basis.insert(id, Basis::Loaded(state, loaded_at));
        }
    }
    Ok(decision)
}

/// Whether this is a single event that is folded into the view of its domain inline, and into no other one.
fn has_only_own_view_inline(foldlog: &Foldlog, batch: &Batch<'_>) -> bool {
    let ([event], [group]) = (&batch.events[..], &batch.groups[..]) else {
        return false;
    };
    let types = std::iter::once(event.type_id);
    let mut views = foldlog.inline_views(&types);
    let is_own = |view: &View| view.name() == group.served.view.name();
    views.next().is_some_and(is_own) && views.next().is_none()
}

impl Decision {
    /// Whether the states after the append can be remembered, for which it has to return the payloads.
    pub(super) fn has_states(&self) -> bool {
        !self.basis.is_empty()
    }

    /// Forgets the states that the rules have seen, because the append has not stored anything.
    pub(super) fn forget(&self, foldlog: &Foldlog) {
        for (id, basis) in &self.basis {
            if let Basis::Remembered(state) = basis {
                foldlog.states.forget(*id, state.head());
            }
        }
    }

    /// Folds a single event before it is appended, if the only view that it is folded into inline is that of its domain: that row is the
    /// state that the rules have seen.
    pub(super) fn fold_known_row(&self, foldlog: &Foldlog, batch: &Batch<'_>) -> Option<KnownRow> {
        let ([event], [group]) = (&batch.events[..], &batch.groups[..]) else {
            return None;
        };
        let basis = self.basis.get(&event.aggregate_id)?;
        if !has_only_own_view_inline(foldlog, batch) || !basis.is_in_view() {
            return None;
        }
        let payload = store::spell_as_jsonb(event.stored_payload()?).ok()?;
        let recorded = RecordedEvent {
            id: event.id,
            aggregate_id: event.aggregate_id,
            type_id: event.type_id,
            version: Version(0),
            position: Position(0),
            created_at: OffsetDateTime::UNIX_EPOCH,
            payload: payload.clone(),
            metadata: Metadata::default(),
        };
        let projection = group.served.view.projection;
        let folded = projection.fold(basis.row(), &[recorded]);
        Some(KnownRow {
            payload,
            row: folded.row.filter(|_| folded.failure.is_none())?,
            origin: basis.origin(),
        })
    }

    /// Remembers the states after the append of these events, which are committed.
    pub(super) fn remember(
        mut self,
        foldlog: &Foldlog,
        batch: &Batch<'_>,
        stored: Vec<StoredEvent>,
    ) {
        if let (Some(known), [group], [stored]) =
            (self.known_row.take(), &batch.groups[..], &stored[..])
            && stored.origin.is_some()
        {
            if let Some(basis) = self.basis.get(&group.aggregate_id) {
                let last = LastEvent::from(&stored.appended);
                let head = (stored.appended.version, last);
                basis.remember(foldlog, group, head, (known.row, stored.origin));
            }
            return;
        }
        let mut stored: Vec<Option<StoredEvent>> = stored.into_iter().map(Some).collect();
        for group in &batch.groups {
            let id = group.aggregate_id;
            let Some(mut basis) = self.basis.remove(&id) else {
                continue;
            };
            let mut events = basis.take_tail();
            for index in &group.indexes {
                let stored = stored.get_mut(*index).and_then(Option::take);
                let type_id = batch.events[*index].type_id;
                events.extend(stored.and_then(|stored| stored.into_recorded(type_id)));
            }
            let Some(last) = events.last() else {
                continue;
            };
            let domain = group.served.domain;
            let folded = domain.projection().fold(basis.row(), &events);
            if let (None, Some(row)) = (folded.failure, folded.row) {
                let event = LastEvent {
                    id: last.id,
                    created_at: last.created_at,
                };
                basis.remember(foldlog, group, (last.version, event), (row, basis.origin()));
            } else if let Basis::Remembered(state) = basis {
                // An aggregate that has ended is not remembered: the rules have to see that it existed.
                foldlog.states.forget(id, state.head());
            }
        }
    }
}
