//! What the database has stored: events, and per generation of the projection its claims, rows, parked aggregates and lanes.

use std::fmt;

use crate::set::Set;

/// How many events a log can contain.
pub const MAX_EVENTS: u8 = 8;
/// How many aggregates there are.
pub const AGGREGATE_COUNT: u8 = 2;
/// How many generations of the projection there are.
pub const GENERATION_COUNT: u8 = 2;
/// The generation that is live at the beginning.
pub(crate) const OLD_ID: u8 = 0;
/// The generation that a reprojection fills.
pub(crate) const NEW_ID: u8 = 1;

/// One value per aggregate.
pub(crate) type PerAggregate<T> = [T; AGGREGATE_COUNT as usize];

/// The name of an aggregate: A or B.
pub(crate) fn name(aggregate: u8) -> char {
    char::from(b'A' + aggregate)
}

/// A view row. `folded` lists the versions folded into it, one hexadecimal digit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row {
    pub(crate) exists: bool,
    pub(crate) version: u8,
    pub(crate) folded: u32,
}

/// A row of `events`; version 0 marks an unused slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Event {
    pub(crate) aggregate: u8,
    pub(crate) version: u8,
    pub(crate) txid: u8,
    pub(crate) position: u8,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            txid,
            position,
            ..
        } = self;
        write!(
            f,
            "{}{version} (txid {txid}, position {position})",
            name(self.aggregate)
        )
    }
}

/// A row of `locker`, by the event that it claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Claim {
    /// The event is unclaimed.
    #[default]
    Free,
    /// An open transaction of this actor has inserted it.
    Held(u8),
    /// It is committed.
    Committed,
}

/// What a lane has settled: every event that is visible in `snapshot`, and the events of transaction `begun` up to `position`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settled {
    pub(crate) snapshot: Set,
    pub(crate) begun: Option<u8>,
    pub(crate) position: u8,
}

/// A row of `settled`: a lane, and what it has settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lane {
    pub(crate) exists: bool,
    pub(crate) first: u8,
    pub(crate) last: u8,
    pub(crate) settled: Settled,
    pub(crate) turn: u8,
}

impl Lane {
    /// The lane of a projection that has only one.
    pub(crate) const WHOLE: Self = Self {
        exists: true,
        first: 0,
        last: 1,
        settled: Settled {
            snapshot: Set::EMPTY,
            begun: None,
            position: 0,
        },
        turn: 0,
    };

    pub(crate) const fn has_slot(&self, aggregate: u8) -> bool {
        self.first <= aggregate && aggregate <= self.last
    }

    /// Whether this lane has settled the event.
    pub(crate) fn covers(&self, event: Event) -> bool {
        let Settled {
            snapshot,
            begun,
            position,
        } = self.settled;
        self.exists
            && self.has_slot(event.aggregate)
            && (snapshot.contains(event.txid)
                || (begun == Some(event.txid) && event.position <= position))
    }
}

/// The state of a generation, as it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// There is no such generation.
    #[default]
    Absent,
    /// It is being filled, or catches up.
    Filling,
    /// Queries read it, and inline appends fold into it.
    Live,
    /// Another generation went live in its place. It is still projected.
    Retired,
    /// It is being removed.
    Cancelled,
}

/// A slice of a fill: the aggregates from `next` to `last` are not filled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slice {
    pub(crate) exists: bool,
    pub(crate) next: u8,
    pub(crate) last: u8,
    pub(crate) holder: Option<u8>,
}

impl Slice {
    pub(crate) const fn is_done(self) -> bool {
        !self.exists || self.next > self.last
    }
}

/// A generation of the projection: what the projection's tables have stored under its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generation {
    pub(crate) phase: Phase,
    /// How many generations have been begun here. Each may have another fold.
    pub(crate) begun: u8,
    /// The snapshot C under which it is filled, and its slices.
    pub(crate) frozen: Set,
    pub(crate) slices: [Slice; 2],
    pub(crate) claims: [Claim; MAX_EVENTS as usize],
    pub(crate) view: PerAggregate<Row>,
    /// Who has written a view row in an open transaction, and what.
    pub(crate) view_writer: PerAggregate<Option<u8>>,
    pub(crate) view_written: PerAggregate<Row>,
    pub(crate) parked: PerAggregate<bool>,
    /// Who holds a parked row in an open transaction, and whether it will be inserted (true) or deleted (false).
    pub(crate) parked_writer: PerAggregate<Option<u8>>,
    pub(crate) parked_written: PerAggregate<Option<bool>>,
    pub(crate) parked_shared_by: PerAggregate<Set>,
    pub(crate) lanes: [Lane; 2],
    pub(crate) lane_holder: [Option<u8>; 2],
    /// Events that were skipped here: they are claimed and have no effect.
    pub(crate) skipped: Set,
}

impl Generation {
    /// Whether nothing is stored under its name.
    pub(crate) fn is_empty(&self) -> bool {
        self.slices.iter().all(|slice| !slice.exists)
            && self.claims.iter().all(|claim| *claim == Claim::Free)
            && self.view.iter().all(|row| !row.exists)
            && self.view_writer == [None; 2]
            && self.parked == [false; 2]
            && self.lanes.iter().all(|lane| !lane.exists)
    }

    /// Whether a fill has ended, so that the generation is projected like any other.
    pub(crate) fn has_lanes(&self) -> bool {
        self.lanes.iter().any(|lane| lane.exists)
    }

    /// Ends what the actor has written here: commits it or rolls it back, and releases its locks.
    pub(crate) fn finish(&mut self, actor: u8, commit: bool) {
        let held = |claim: &&mut Claim| **claim == Claim::Held(actor);
        for claim in self.claims.iter_mut().filter(held) {
            *claim = if commit {
                Claim::Committed
            } else {
                Claim::Free
            };
        }
        for aggregate in 0..usize::from(AGGREGATE_COUNT) {
            if self.view_writer[aggregate] == Some(actor) {
                if commit {
                    self.view[aggregate] = self.view_written[aggregate];
                }
                self.view_writer[aggregate] = None;
                self.view_written[aggregate] = Row::default();
            }
            if self.parked_writer[aggregate] == Some(actor) {
                if let (true, Some(parked)) = (commit, self.parked_written[aggregate]) {
                    self.parked[aggregate] = parked;
                }
                self.parked_writer[aggregate] = None;
                self.parked_written[aggregate] = None;
            }
            self.parked_shared_by[aggregate].remove(actor);
        }
        for holder in &mut self.lane_holder {
            *holder = holder.filter(|holder| *holder != actor);
        }
        for slice in &mut self.slices {
            slice.holder = slice.holder.filter(|holder| *holder != actor);
        }
    }
}
