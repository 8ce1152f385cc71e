//! The events of one append.

use std::collections::HashMap;

use super::{AppendError, MARK_KEY};
use crate::app::{Foldlog, Served};
use crate::event::{AggregateId, EventId, Metadata, Prepared, UntypedEvent};

/// The most events that one append may contain.
pub const MAX_EVENTS: usize = 1000;

/// The most passwords that one append may contain. Hashing one keeps a core busy for 20 ms, and a function with 512 MB has
/// less than a third of a core, so this many take 7 s there, of the 25 s that a request has.
pub const MAX_PASSWORDS: usize = 100;

/// The prepared events of one append, grouped by their aggregates.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    /// The events, in the order of the request.
    pub events: Vec<Prepared>,
    /// One group per aggregate, in the order of their first events.
    pub groups: Vec<Group<'a>>,
    passwords: usize,
    index_of: HashMap<EventId, usize>,
    group_of: HashMap<AggregateId, usize>,
}

/// The events of one aggregate.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub aggregate_id: AggregateId,
    pub served: &'a Served,
    /// The positions of its events in [`Batch::events`].
    pub indexes: Vec<usize>,
}

impl<'a> Batch<'a> {
    /// Decodes and validates the events of a request.
    pub(super) fn prepare(
        foldlog: &'a Foldlog,
        events: &[UntypedEvent],
        only: Option<&'a Served>,
    ) -> Result<Self, AppendError> {
        check_count(events.len())?;
        let mut batch = Self::default();
        for (index, event) in events.iter().enumerate() {
            check_metadata(index, &event.metadata)?;
            let type_id = event.type_id;
            let served = match only {
                Some(served) if served.domain.block().contains(&type_id.0) => served,
                Some(served) => {
                    return Err(AppendError::NotOfDomain {
                        index,
                        type_id,
                        domain: served.domain.name(),
                    });
                }
                None => foldlog
                    .owning(type_id)
                    .ok_or(AppendError::NoDomain { index, type_id })?,
            };
            let rejected = |error| AppendError::Rejected { index, error };
            batch.push(served, served.domain.prepare(event).map_err(rejected)?)?;
        }
        Ok(batch)
    }

    /// Groups prepared events of one domain, which a client of the crate sent.
    pub(crate) fn from_prepared(
        served: &'a Served,
        events: Vec<Prepared>,
    ) -> Result<Self, AppendError> {
        for (index, event) in events.iter().enumerate() {
            check_metadata(index, &event.metadata)?;
        }
        Self::from_revert(served, events)
    }

    /// Groups the events of a revert, which have its mark.
    pub(super) fn from_revert(
        served: &'a Served,
        events: Vec<Prepared>,
    ) -> Result<Self, AppendError> {
        check_count(events.len())?;
        let mut batch = Self::default();
        for event in events {
            batch.push(served, event)?;
        }
        Ok(batch)
    }

    fn push(&mut self, served: &'a Served, event: Prepared) -> Result<(), AppendError> {
        let index = self.events.len();
        if let Some(first) = self.index_of.insert(event.id, index) {
            return Err(AppendError::DuplicateId { first, index });
        }
        self.passwords += event.unhashed_passwords().len();
        if self.passwords > MAX_PASSWORDS {
            return Err(AppendError::TooManyPasswords { index });
        }
        let aggregate_id = event.aggregate_id;
        let at = *self
            .group_of
            .entry(aggregate_id)
            .or_insert(self.groups.len());
        if at == self.groups.len() {
            self.groups.push(Group {
                aggregate_id,
                served,
                indexes: Vec::new(),
            });
        }
        let group = &mut self.groups[at];
        if group.served.domain.name() != served.domain.name() {
            return Err(AppendError::MixedAggregate { index });
        }
        group.indexes.push(index);
        self.events.push(event);
        Ok(())
    }

    /// The events of a group, in the order of the request.
    pub(super) fn events_of(&self, group: &Group<'_>) -> Vec<&Prepared> {
        group
            .indexes
            .iter()
            .map(|index| &self.events[*index])
            .collect()
    }

    /// The aggregates of each domain.
    pub(super) fn aggregates_by_domain(&self) -> Vec<(&'a Served, Vec<AggregateId>)> {
        let mut domains: Vec<(&'a Served, Vec<AggregateId>)> = Vec::new();
        for group in &self.groups {
            let name = group.served.domain.name();
            match domains
                .iter_mut()
                .find(|(served, _)| served.domain.name() == name)
            {
                Some((_, ids)) => ids.push(group.aggregate_id),
                None => domains.push((group.served, vec![group.aggregate_id])),
            }
        }
        domains
    }

    /// Whether passwords have to be hashed before the events can be stored.
    pub(super) fn has_unhashed_passwords(&self) -> bool {
        self.events
            .iter()
            .any(|event| !event.unhashed_passwords().is_empty())
    }
}

/// Rejects the mark of a revert: a revert with the id of such an event would be taken for done.
fn check_metadata(index: usize, metadata: &Metadata) -> Result<(), AppendError> {
    match metadata.get(MARK_KEY) {
        Some(_) => Err(AppendError::ReservedMetadata { index }),
        None => Ok(()),
    }
}

const fn check_count(count: usize) -> Result<(), AppendError> {
    match count {
        0 => Err(AppendError::Empty),
        1..=MAX_EVENTS => Ok(()),
        _ => Err(AppendError::TooMany(count)),
    }
}
