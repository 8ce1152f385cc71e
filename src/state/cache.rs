//! The states of recently appended aggregates, in the memory of a long-lived process. An append whose aggregate is here does
//! not load the state, which saves one of its two round trips.
//!
//! It also gives the row of an inline view; see [`append_known`](crate::projection). Nothing is stored or answered because of a remembered
//! state alone:
//!
//! 1. A remembered state names the last event that it includes, with the time of its append. The statement that appends
//!    compares both with the newest event of the aggregate, so it stores nothing if another process has appended, or if the
//!    log was restored and reached the same version with other events. (tests:
//!    `a_state_that_another_process_has_outdated_is_loaded_again`, `a_restored_log_with_the_same_versions_is_noticed`)
//! 2. Where the rules reject an event over a remembered state, the state is loaded and they decide again. (test:
//!    `the_rules_never_reject_by_memory`)
//! 3. A state is folded from payloads as the log holds them, which is what a load would read: the append returns them, or it compares
//!    them with those that were folded. Nothing is remembered before the commit.
//! 4. After [`MAX_AGE`] a state is loaded again, so content that the owner of the database erased from the log leaves the
//!    memory, too.
//!
//! States contain secrets, such as hashes of passwords. They are never logged.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::event::{AggregateId, Version};
use crate::store::{ExpectedHead, LastEvent, RowOrigin};

/// How long a state is used after it was loaded.
pub const MAX_AGE: Duration = Duration::from_mins(1);

/// What a state takes in memory besides its row.
const ENTRY_BYTES: usize = 256;

/// A state that was appended to by this process.
pub struct RememberedState {
    /// The domain of the events.
    pub domain: &'static str,
    /// The version of the newest event.
    pub version: Version,
    /// The newest event.
    pub last: LastEvent,
    /// The fold of all events, with secrets.
    pub row: Box<RawValue>,
    /// Where the row was read from which the fold began, or where the state was written as a row; `None` if neither is known.
    pub origin: Option<RowOrigin>,
    /// When the events were last read from the database.
    pub loaded_at: Instant,
}

impl RememberedState {
    /// Where the aggregate must be for the state to be current.
    #[must_use]
    pub const fn head(&self) -> ExpectedHead {
        ExpectedHead {
            version: self.version,
            last: Some(self.last),
        }
    }

    fn bytes(&self) -> usize {
        self.row.get().len() + ENTRY_BYTES
    }
}

impl fmt::Debug for RememberedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RememberedState")
            .field("domain", &self.domain)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The remembered states of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateCache {
    max_bytes: usize,
    states: Arc<Mutex<Generations>>,
}

/// States in two halves. When the young half is full it becomes the old one, and what was in the old one is forgotten. A state
/// that is used becomes young, so what is forgotten was not used for at least half of the memory.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<AggregateId, Arc<RememberedState>>,
    young_bytes: usize,
    old: HashMap<AggregateId, Arc<RememberedState>>,
}

impl StateCache {
    /// A cache of at most this size; with 0 nothing is remembered.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let states = Arc::default();
        Self { max_bytes, states }
    }

    /// Whether states are remembered.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.max_bytes > 0
    }

    /// The state of an aggregate of this domain.
    #[must_use]
    pub fn get(&self, domain: &str, id: AggregateId) -> Option<Arc<RememberedState>> {
        if !self.is_enabled() {
            return None;
        }
        self.update(|states| {
            let state = states.remove(id)?;
            if state.domain != domain || state.loaded_at.elapsed() > MAX_AGE {
                return None;
            }
            states.insert(id, Arc::clone(&state), self.max_bytes / 2);
            Some(state)
        })
    }

    /// Remembers a state, unless a newer one is there or it is too large.
    pub fn put(&self, id: AggregateId, state: RememberedState) {
        if state.bytes() > self.max_bytes / 2 {
            self.update(|states| states.remove(id));
            return;
        }
        self.update(|states| {
            let newest = states
                .remove(id)
                .filter(|other| other.version > state.version);
            let newest = newest.unwrap_or_else(|| Arc::new(state));
            states.insert(id, newest, self.max_bytes / 2);
        });
    }

    /// Forgets the state of an aggregate, unless it is another one than `head` says.
    pub fn forget(&self, id: AggregateId, head: ExpectedHead) {
        if self.is_enabled() {
            self.update(|states| {
                if let Some(other) = states.remove(id).filter(|state| state.head() != head) {
                    states.insert(id, other, self.max_bytes / 2);
                }
            });
        }
    }

    fn update<T>(&self, change: impl FnOnce(&mut Generations) -> T) -> T {
        change(&mut self.states.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Generations {
    fn remove(&mut self, id: AggregateId) -> Option<Arc<RememberedState>> {
        if let Some(state) = self.young.remove(&id) {
            self.young_bytes -= state.bytes();
            return Some(state);
        }
        self.old.remove(&id)
    }

    fn insert(&mut self, id: AggregateId, state: Arc<RememberedState>, half: usize) {
        if self.young_bytes + state.bytes() > half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += state.bytes();
        self.young.insert(id, state);
    }
}
