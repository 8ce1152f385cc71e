//! What the clients saw, and what may be lost.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::plan::Request;

/// One try of a request.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The host's name, or `transaction`.
    pub host: String,
    /// The projections that the host folds inline.
    pub inline: Vec<&'static str>,
    pub request: Request,
    pub sent: Duration,
    pub received: Duration,
    pub outcome: Outcome,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A response.
    Response {
        status: u16,
        body: Value,
        has_retry_after: bool,
    },
    /// No response: the client gave up, or the connection was lost. The events may be stored.
    Unknown,
    /// The transaction was rolled back: the events are not stored.
    RolledBack,
}

/// A span in which commits may be lost: those that were acknowledged after `safe_until`, and requests that were sent before `over`.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    pub safe_until: Duration,
    pub over: Duration,
}

/// Collects attempts, losses and notes while the schedule runs.
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    attempts: Mutex<Vec<Attempt>>,
    losses: Mutex<Vec<Loss>>,
    notes: Mutex<String>,
    /// From when on reads may be answered by a replica.
    stale_from: Mutex<Option<Duration>>,
}

impl Recorder {
    /// Starts the clock of the schedule.
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            attempts: Mutex::default(),
            losses: Mutex::default(),
            notes: Mutex::default(),
            stale_from: Mutex::default(),
        }
    }

    /// The time since the schedule began.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    pub fn attempt(&self, attempt: Attempt) {
        lock(&self.attempts).push(attempt);
    }

    pub fn loss(&self, why: &str, safe_until: Duration) {
        let over = self.now();
        self.note(&format!(
            "{why}: commits since {} ms may be lost",
            safe_until.as_millis()
        ));
        lock(&self.losses).push(Loss { safe_until, over });
    }

    pub fn note(&self, text: &str) {
        let ms = self.now().as_millis();
        // Writing to a string does not fail.
        let _ = writeln!(lock(&self.notes), "{ms:>6} ms  {text}");
    }

    pub fn reads_may_be_stale(&self) {
        lock(&self.stale_from).get_or_insert(self.now());
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        lock(&self.attempts).clone()
    }

    pub fn losses(&self) -> Vec<Loss> {
        lock(&self.losses).clone()
    }

    pub fn notes(&self) -> String {
        lock(&self.notes).clone()
    }

    pub fn stale_from(&self) -> Option<Duration> {
        *lock(&self.stale_from)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
