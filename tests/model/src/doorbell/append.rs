//! Appends, with the trigger `events_doorbell` after each statement.

use super::{MAX_APPENDS, Mutation, Next, Scenario, State};
use crate::doorbell::listener::Step;
use crate::set::Set;

/// How far an append is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    #[default]
    Open,
    /// The commit is visible. K may still be held, and the notification may still be on its way.
    Committed,
    RolledBack,
}

/// A transaction that appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Append {
    pub(super) phase: Phase,
    pub(super) statements_left: u8,
    pub(super) has_inserted: bool,
    /// Whether it holds K shared.
    pub(super) holds_key: bool,
    pub(super) will_notify: bool,
    /// The listeners that receive its notification: those that listened when it committed.
    pub(super) recipients: Set,
}

pub(super) fn moves(scenario: &Scenario, state: &State, me: u8, next: &mut Next) {
    let append = state.appends[usize::from(me)];
    let mut push = |text, change: &dyn Fn(&mut State, &mut Append)| {
        let (mut after, mut changed) = (state.clone(), append);
        change(&mut after, &mut changed);
        after.appends[usize::from(me)] = changed;
        next.push((me, text, after));
    };
    if append.phase == Phase::Open {
        if append.statements_left > 0 {
            insert(scenario, state, &mut push);
        }
        if append.has_inserted {
            push("commits and is visible", &|after, append| {
                after.committed.insert(me);
                append.phase = Phase::Committed;
                append.statements_left = 0;
                append.recipients = listening(after);
            });
            push("rolls back", &|_, append| {
                *append = Append {
                    phase: Phase::RolledBack,
                    ..Append::default()
                };
            });
        }
    }
    let may_release =
        append.phase == Phase::Committed || scenario.has(Mutation::KeyReleasedBeforeVisible);
    if append.holds_key && may_release {
        push("releases K", &|_, append| append.holds_key = false);
    }
    if append.phase == Phase::Committed && append.will_notify {
        push("notifies", &|after, append| {
            notify(after, append.recipients);
            append.will_notify = false;
            append.recipients = Set::EMPTY;
        });
    }
}

/// A statement inserts, and its trigger tries to share K until the end of the transaction. If K is taken, the transaction sends
/// NOTIFY at its commit.
fn insert(
    scenario: &Scenario,
    state: &State,
    push: &mut impl FnMut(&'static str, &dyn Fn(&mut State, &mut Append)),
) {
    let is_requested = state
        .listeners
        .iter()
        .any(|other| other.step == Step::WaitingForKey);
    if state.key.is_none() && !is_requested {
        push("inserts and shares K", &|_, append| {
            append.statements_left -= 1;
            append.has_inserted = true;
            append.holds_key = !scenario.has(Mutation::KeyReleasedAfterStatement);
        });
    } else if scenario.has(Mutation::NotifyBeforeCommit) {
        push("inserts and notifies at once", &|after, append| {
            append.statements_left -= 1;
            append.has_inserted = true;
            notify(after, listening(after));
        });
    } else {
        push("inserts and will notify", &|_, append| {
            append.statements_left -= 1;
            append.has_inserted = true;
            append.will_notify = true;
        });
    }
}

fn listening(state: &State) -> Set {
    let listeners = (0u8..).zip(&state.listeners);
    let listening = listeners.filter(|(_, listener)| listener.listens && listener.is_linked);
    listening.map(|(index, _)| index).collect()
}

fn notify(state: &mut State, recipients: Set) {
    for index in recipients.iter() {
        let listener = &mut state.listeners[usize::from(index)];
        listener.has_notification |= listener.listens && listener.is_linked;
    }
}

/// Whether no append holds K shared.
pub(super) fn is_key_unshared(appends: &[Append; MAX_APPENDS as usize]) -> bool {
    appends.iter().all(|append| !append.holds_key)
}
