//! Listeners: a session that listens, takes K and sleeps, and catch-ups on other connections.

use super::append::is_key_unshared;
use super::{Holder, MAX_APPENDS, Mutation, Next, Scenario, State};
use crate::set::Set;

/// What a listener does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// It connects.
    #[default]
    Disconnected,
    /// It commits LISTEN.
    Connected,
    /// It begins a poll.
    Awake,
    /// It waits for the catch-up of the poll.
    Polling,
    /// The poll has found nothing, so it tries to take K.
    Idle,
    /// A variant waits for K.
    WaitingForKey,
    /// It has K, and drops the notifications that have arrived.
    HasKey,
    /// It begins the last poll.
    Cleared,
    /// It waits for the catch-up of the last poll.
    LastPoll,
    /// A mutation drops notifications after the last poll.
    Clearing,
    /// It waits for a notification.
    Asleep,
    /// It releases K.
    Leaving,
}

/// A listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Listener {
    pub(super) step: Step,
    /// The frozen snapshot of the running catch-up.
    pub(super) catch_up: Option<Set>,
    /// The appends that its catch-ups have seen.
    pub(super) seen: Set,
    /// Whether its session exists on the server, and whether LISTEN is in effect there.
    pub(super) is_linked: bool,
    pub(super) listens: bool,
    pub(super) has_notification: bool,
}

impl Listener {
    /// Starts a catch-up, unless one is running.
    fn start_catch_up(&mut self, committed: Set) {
        self.catch_up = self.catch_up.or(Some(committed));
    }

    /// Ends the running catch-up; returns whether it has folded anything.
    fn end_catch_up(&mut self) -> bool {
        let before = self.seen;
        self.seen = self.seen.union(self.catch_up.take().unwrap_or_default());
        self.seen != before
    }

    fn disconnect(&mut self) {
        *self = Self {
            seen: self.seen,
            ..Self::default()
        };
    }
}

/// Changes the state, or the listener that moves.
type Push<'a> = dyn FnMut(&'static str, &dyn Fn(&mut State, &mut Listener)) + 'a;

pub(super) fn moves(scenario: &Scenario, state: &State, me: u8, next: &mut Next) {
    let listener = state.listeners[usize::from(me)];
    let mut push = |text, change: &dyn Fn(&mut State, &mut Listener)| {
        let (mut after, mut changed) = (state.clone(), listener);
        change(&mut after, &mut changed);
        after.listeners[usize::from(me)] = changed;
        next.push((MAX_APPENDS + me, text, after));
    };
    lose_connection(scenario, state, me, &mut push);
    // The next statement of a session that the server has ended returns an error.
    let uses_session = matches!(
        listener.step,
        Step::Connected | Step::Idle | Step::WaitingForKey | Step::Asleep | Step::Leaving
    );
    if uses_session && !listener.is_linked {
        if listener.step == Step::Asleep && scenario.has(Mutation::KeyNotTakenAfterReconnect) {
            push("connects again and goes on sleeping", &|_, listener| {
                listener.is_linked = true;
                listener.listens = true;
            });
        } else {
            push("learns that its session has ended", &|_, listener| {
                listener.disconnect();
            });
        }
        return;
    }
    match listener.step {
        Step::Disconnected => push("connects", &|_, listener| {
            listener.step = Step::Connected;
            listener.is_linked = true;
        }),
        Step::Connected => push("listens", &|_, listener| {
            listener.step = Step::Awake;
            listener.listens = !scenario.has(Mutation::KeyTakenBeforeListen);
        }),
        Step::Awake | Step::Polling => poll(scenario, listener, &mut push),
        Step::Idle | Step::WaitingForKey => take_key(scenario, state, me, &mut push),
        Step::HasKey | Step::Cleared | Step::LastPoll | Step::Clearing => {
            last_poll(scenario, listener, &mut push);
        }
        Step::Asleep => {
            if listener.has_notification && !scenario.has(Mutation::KeyHeldInTransaction) {
                push("wakes", &|_, listener| {
                    listener.step = Step::Leaving;
                    listener.has_notification = false;
                });
            }
        }
        Step::Leaving => {
            push("releases K", &|after, listener| {
                release_key(after, me);
                listener.step = Step::Awake;
            });
            if listener.catch_up.is_none() {
                push(
                    "starts a catch-up before K is released",
                    &|after, listener| {
                        listener.start_catch_up(after.committed);
                    },
                );
            }
        }
    }
}

fn release_key(state: &mut State, me: u8) {
    state.key = state.key.filter(|holder| *holder != Holder::Listener(me));
}

/// The server ends the session, and the client learns it later; or the client gives up, and the server learns it later.
fn lose_connection(scenario: &Scenario, state: &State, me: u8, push: &mut Push<'_>) {
    if state.losses_left == 0 || !state.listeners[usize::from(me)].is_linked {
        return;
    }
    push("loses its session on the server", &|after, listener| {
        after.losses_left -= 1;
        release_key(after, me);
        listener.is_linked = false;
        listener.listens = false;
        listener.has_notification = false;
    });
    if !scenario.has(Mutation::KeyNotTakenAfterReconnect) {
        push("gives up its connection", &|after, listener| {
            after.losses_left -= 1;
            if after.key == Some(Holder::Listener(me)) {
                after.key = Some(Holder::LostSession);
            }
            listener.disconnect();
        });
    }
}

/// A poll starts a catch-up, unless one is running, and waits for it for a limited time.
fn poll(scenario: &Scenario, listener: Listener, push: &mut Push<'_>) {
    if listener.step == Step::Awake {
        if listener.catch_up.is_none() {
            push("begins a poll", &|after, listener| {
                listener.start_catch_up(after.committed);
                listener.step = Step::Polling;
            });
            return;
        }
        push("ends a catch-up in the background", &|_, listener| {
            listener.end_catch_up();
        });
        if scenario.has(Mutation::RunningCatchUpIgnored) {
            push("wants K while a catch-up runs", &|_, listener| {
                listener.step = Step::Idle;
            });
        }
        return;
    }
    push("ends the poll", &|_, listener| {
        listener.step = if listener.end_catch_up() {
            Step::Awake
        } else {
            Step::Idle
        };
    });
    push("does not wait longer for its catch-up", &|_, listener| {
        listener.step = Step::Awake;
    });
}

/// K is free if no append shares it and no other listener holds it. Without K, the listener polls.
fn take_key(scenario: &Scenario, state: &State, me: u8, push: &mut Push<'_>) {
    if state.key.is_none() && is_key_unshared(&state.appends) {
        push("takes K", &|after, listener| {
            after.key = Some(Holder::Listener(me));
            listener.step = Step::HasKey;
        });
    } else if scenario.has(Mutation::WaitForKey)
        && state.listeners[usize::from(me)].step == Step::Idle
    {
        push("waits for K", &|_, listener| {
            listener.step = Step::WaitingForKey;
        });
    } else if scenario.has(Mutation::SleepWithoutKey)
        && matches!(state.key, Some(Holder::Listener(other)) if other != me)
    {
        push("sleeps without K", &|_, listener| {
            listener.step = Step::Asleep;
        });
    }
    push("polls without K", &|_, listener| {
        listener.step = Step::Awake;
    });
}

/// Drops what has arrived, polls a last time, and falls asleep if the poll finds nothing.
fn last_poll(scenario: &Scenario, listener: Listener, push: &mut Push<'_>) {
    let drops_late = scenario.has(Mutation::DropAfterLastPoll);
    match listener.step {
        Step::HasKey => push("drops the notifications", &|_, listener| {
            listener.has_notification &= drops_late;
            listener.step = if scenario.has(Mutation::NoLastPoll) {
                Step::Asleep
            } else {
                Step::Cleared
            };
        }),
        Step::Cleared => push("begins the last poll", &|after, listener| {
            listener.start_catch_up(after.committed);
            listener.step = Step::LastPoll;
        }),
        Step::LastPoll => {
            push("ends the last poll", &|_, listener| {
                listener.step = match listener.end_catch_up() {
                    true => Step::Leaving,
                    false if drops_late => Step::Clearing,
                    false => Step::Asleep,
                };
                listener.listens |= listener.is_linked;
            });
            push("does not wait longer for the last poll", &|_, listener| {
                listener.step = Step::Leaving;
            });
        }
        _ => push("drops the notifications and sleeps", &|_, listener| {
            listener.has_notification = false;
            listener.step = Step::Asleep;
        }),
    }
}
