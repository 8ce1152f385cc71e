//! The responses: the log explains each of them.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::Seen;
use super::log::{Log, Stored};
use crate::model::{Body, Event, Verdict};
use crate::plan::{Append, Expected, Read, ReadMode, Request};
use crate::record::{Attempt, Outcome};

/// Checks all responses, and that each event of the log was sent.
pub(super) fn problems(log: &Log, seen: &Seen<'_>) -> Vec<String> {
    let check = Check::new(log, seen);
    let mut problems = Vec::new();
    for attempt in seen.attempts {
        if let Err(problem) = check.attempt(attempt) {
            problems.push(format!("{}: {problem}: {attempt:?}", attempt.host));
        }
    }
    problems.extend(check.unknown_events());
    problems
}

struct Check<'a> {
    log: &'a Log,
    seen: &'a Seen<'a>,
    /// By event id: the tries that sent it.
    senders: HashMap<Uuid, Vec<&'a Attempt>>,
}

/// What the log says about an aggregate during a request.
struct Window {
    /// The versions that the aggregate may have had.
    from: i32,
    to: i32,
}

type Checked = Result<(), String>;

impl<'a> Check<'a> {
    fn new(log: &'a Log, seen: &'a Seen<'a>) -> Self {
        let mut senders: HashMap<Uuid, Vec<&Attempt>> = HashMap::new();
        for attempt in seen.attempts {
            if let Request::Append(append) = &attempt.request {
                for event in &append.events {
                    senders.entry(event.id).or_default().push(attempt);
                }
            }
        }
        Self { log, seen, senders }
    }

    /// Whether what the response rests on may be lost, or was lost before it.
    fn is_excused(&self, attempt: &Attempt) -> bool {
        let losses = self.seen.losses.iter();
        losses
            .into_iter()
            .any(|loss| attempt.sent < loss.over && attempt.received > loss.safe_until)
    }

    fn attempt(&self, attempt: &Attempt) -> Checked {
        let Outcome::Response {
            status,
            body,
            has_retry_after,
        } = &attempt.outcome
        else {
            return self.not_answered(attempt);
        };
        match status {
            500 => return Err("500".to_owned()),
            503 if !has_retry_after => return Err("503 without Retry-After".to_owned()),
            503 => return self.all_or_none(attempt),
            _ if self.is_excused(attempt) => return Ok(()),
            _ => {}
        }
        match &attempt.request {
            Request::Append(append) => self.append(attempt, append, *status, body),
            Request::Read(read) => self.read(attempt, read, *status, body),
        }
    }

    fn not_answered(&self, attempt: &Attempt) -> Checked {
        if let (Request::Append(append), Outcome::RolledBack) = (&attempt.request, &attempt.outcome)
            && let Some(event) = append
                .events
                .iter()
                .find(|event| self.log.find(event.id).is_some())
        {
            return Err(format!(
                "the event {} was rolled back and is stored",
                event.id
            ));
        }
        self.all_or_none(attempt)
    }

    /// The events of a request are all stored or none. (One that was sent alone, too, may be stored alone.)
    fn all_or_none(&self, attempt: &Attempt) -> Checked {
        let Request::Append(append) = &attempt.request else {
            return Ok(());
        };
        let sent_otherwise = |event: &Event| {
            let mut senders = self.senders[&event.id].iter();
            senders.any(|other| match &other.request {
                Request::Append(other) => other.events != append.events,
                Request::Read(_) => false,
            })
        };
        let own = append.events.iter().filter(|event| !sent_otherwise(event));
        let stored: Vec<bool> = own.map(|event| self.log.find(event.id).is_some()).collect();
        if stored.iter().any(|is_stored| *is_stored != stored[0]) {
            return Err("some of the events are stored and others are not".to_owned());
        }
        Ok(())
    }

    fn append(&self, attempt: &Attempt, append: &Append, status: u16, body: &Value) -> Checked {
        match status {
            200 | 201 => self.stored(attempt, append, status, body),
            409 if body["type"] == "urn:foldlog:problem:id-reused" => self.reused(append),
            409 => self.rejected(attempt, append, Verdict::Broken),
            410 => self.rejected(attempt, append, Verdict::Deleted),
            412 => self.mismatched(attempt, append, body),
            422 => {
                let folds_ledger = attempt.inline.contains(&"ledger");
                let poison = append.events.iter().any(|event| event.body.is_poison());
                require(folds_ledger && poison, "422 to valid events")
            }
            _ => Err(format!("the status {status} is unexpected")),
        }
    }

    fn stored(&self, attempt: &Attempt, append: &Append, status: u16, body: &Value) -> Checked {
        for (index, event) in append.events.iter().enumerate() {
            let answer = if body["events"].is_array() {
                &body["events"][index]
            } else {
                body
            };
            let Some(stored) = self.log.find(event.id) else {
                return Err(format!("the acknowledged event {} is lost", event.id));
            };
            if stored.aggregate != event.aggregate || stored.body != event.body {
                return Err(format!("another event is stored: {stored:?}"));
            }
            if answer["version"] != stored.version || answer["position"] != stored.position {
                return Err(format!(
                    "the stored event has another version or position: {stored:?}"
                ));
            }
            let first = append.events[..index]
                .iter()
                .all(|earlier| earlier.aggregate != event.aggregate);
            let before = match append.expected {
                Expected::NoStream => Some(0),
                Expected::Exact(version) => Some(version),
                Expected::Any | Expected::Known(_) => None,
            };
            if first && status == 201 && before.is_some_and(|before| stored.version != before + 1) {
                return Err(format!("the expected version was ignored: {stored:?}"));
            }
            let others = self.senders[&event.id]
                .iter()
                .filter(|other| !std::ptr::eq(**other, attempt));
            let is_fresh =
                |other: &&Attempt| matches!(other.outcome, Outcome::Response { status: 201, .. });
            if status == 201
                && let Some(other) = others
                    .into_iter()
                    .find(|other| is_fresh(other) && !self.is_excused(other))
            {
                return Err(format!("stored twice; the other response: {other:?}"));
            }
        }
        Ok(())
    }

    fn reused(&self, append: &Append) -> Checked {
        let differs = |event: &Event| {
            self.log.find(event.id).is_some_and(|stored| {
                stored.aggregate != event.aggregate || stored.body != event.body
            })
        };
        let is_stored = |event: &Event| self.log.find(event.id).is_some();
        let partly = append.events.iter().any(is_stored) && !append.events.iter().all(is_stored);
        let is_reused = append.events.iter().any(differs) || partly;
        require(is_reused, "the id was not used with another content")
    }

    /// A rule rejects an event in a state that the aggregate may have had.
    fn rejected(&self, attempt: &Attempt, append: &Append, verdict: Verdict) -> Checked {
        for (index, event) in append.events.iter().enumerate() {
            let window = self.window(event.aggregate, attempt);
            for state in window.states_of(&self.log.states(event.aggregate)) {
                let mut state = state.clone();
                for earlier in &append.events[..index] {
                    if earlier.aggregate == event.aggregate {
                        state = state.apply(&earlier.body);
                    }
                }
                if state.decide(&event.body) == verdict {
                    return Ok(());
                }
            }
            if verdict == Verdict::Broken
                && attempt.inline.contains(&"users")
                && self.email_is_taken(event)
            {
                return Ok(());
            }
        }
        Err(format!("no state of the aggregates explains {verdict:?}"))
    }

    /// Whether another user had the event's e-mail address at some time, or was to get it by an event that is not stored.
    fn email_is_taken(&self, event: &Event) -> bool {
        let Some(email) = event.body.email().map(str::to_lowercase) else {
            return false;
        };
        let gives = |aggregate: Uuid, body: &Body| {
            aggregate != event.aggregate
                && body
                    .email()
                    .is_some_and(|other| other.to_lowercase() == email)
        };
        self.log
            .events()
            .any(|stored| gives(stored.aggregate, &stored.body))
    }

    fn mismatched(&self, attempt: &Attempt, append: &Append, body: &Value) -> Checked {
        let expected = match append.expected {
            Expected::NoStream => 0,
            Expected::Exact(version) => version,
            Expected::Any | Expected::Known(_) => return Err("no version was expected".to_owned()),
        };
        let actual = body["version"]
            .as_i64()
            .and_then(|version| i32::try_from(version).ok());
        let window = self.window(append.events[0].aggregate, attempt);
        match actual {
            Some(actual) if actual != expected && window.contains(actual) => Ok(()),
            _ => Err(format!(
                "the versions were {} to {}",
                window.from, window.to
            )),
        }
    }

    fn read(&self, attempt: &Attempt, read: &Read, status: u16, body: &Value) -> Checked {
        let history = self.log.states(read.id);
        let window = self.window(read.id, attempt);
        let fresh = read.mode == ReadMode::Strong
            && self
                .seen
                .stale_from
                .is_none_or(|stale| attempt.received < stale);
        let from = if fresh { window.from } else { 0 };
        let window = Window { from, ..window };
        match status {
            200 => {
                let version = body["version"]
                    .as_i64()
                    .and_then(|version| i32::try_from(version).ok());
                let version = version.filter(|version| window.contains(*version));
                let state = version.and_then(|version| history.get(usize::try_from(version).ok()?));
                let mut columns = body.clone();
                if let Some(fields) = columns.as_object_mut() {
                    fields.retain(|name, _| name != "id" && name != "version");
                }
                match state.and_then(super::super::model::State::row) {
                    Some(row) if row == columns => Ok(()),
                    row => Err(format!(
                        "versions {} to {} were expected, and the row {row:?}",
                        window.from, window.to
                    )),
                }
            }
            404 | 410
                if window
                    .states_of(&history)
                    .iter()
                    .any(|state| state.row().is_none()) =>
            {
                Ok(())
            }
            // Not projected yet.
            404 if !fresh => Ok(()),
            412 if read.mode == ReadMode::Known => Ok(()),
            _ => Err(format!(
                "versions {} to {} were expected",
                window.from, window.to
            )),
        }
    }

    /// The versions that the aggregate may have had while the request was processed: from the newest that was acknowledged before the
    /// request was sent.
    fn window(&self, aggregate: Uuid, attempt: &Attempt) -> Window {
        let acknowledged = self.log.chain(aggregate).iter().filter(|stored| {
            self.senders.get(&stored.id).is_some_and(|senders| {
                senders.iter().any(|sender| {
                    sender.received < attempt.sent
                        && matches!(
                            sender.outcome,
                            Outcome::Response {
                                status: 200 | 201,
                                ..
                            }
                        )
                        && !self.is_excused(sender)
                })
            })
        });
        Window {
            from: acknowledged
                .map(|stored| stored.version)
                .max()
                .unwrap_or_default(),
            to: self
                .log
                .chain(aggregate)
                .last()
                .map_or(0, |last| last.version),
        }
    }

    fn unknown_events(&self) -> Vec<String> {
        let is_known = |stored: &Stored| {
            let sent = self.senders.get(&stored.id).is_some_and(|senders| {
                senders.iter().any(|sender| match &sender.request {
                    Request::Append(append) => append.events.iter().any(|event| {
                        event.id == stored.id
                            && event.aggregate == stored.aggregate
                            && event.body == stored.body
                    }),
                    Request::Read(_) => false,
                })
            });
            sent || self
                .seen
                .history
                .get(&stored.id)
                .is_some_and(|event| event.body == stored.body)
        };
        let unknown = self.log.events().filter(|stored| !is_known(stored));
        unknown
            .map(|stored| format!("no client sent {stored:?}"))
            .collect()
    }
}

fn require(holds: bool, problem: &str) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(problem.to_owned())
    }
}

impl Window {
    fn contains(&self, version: i32) -> bool {
        (self.from..=self.to).contains(&version)
    }

    /// The states of these versions.
    fn states_of<'s>(&self, states: &'s [crate::model::State]) -> &'s [crate::model::State] {
        let from = usize::try_from(self.from).unwrap_or(0);
        states.get(from..).unwrap_or_default()
    }
}
