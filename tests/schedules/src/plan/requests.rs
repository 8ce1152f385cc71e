//! The requests of a schedule.

use uuid::Uuid;

use super::{Action, Append, End, Expected, Read, ReadMode, Request, SlowTransaction};
use crate::domains::{PANICKING_DEPOSIT_SIZE, UNFOLDABLE_DEPOSIT_SIZE};
use crate::model::{Body, Event};
use crate::rng::Rng;

const CLIENT_ACTIONS_COUNT: u64 = 26;
const MAX_PAUSE_MS: u64 = 80;

/// The aggregates of a schedule, which all clients share.
pub(super) struct Ids {
    users: Vec<Uuid>,
    accounts: Vec<Uuid>,
}

impl Ids {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let (users, accounts) = (rng.between(3, 10), rng.between(3, 9));
        Self {
            users: (0..users).map(|_| rng.uuid()).collect(),
            accounts: (0..accounts).map(|_| rng.uuid()).collect(),
        }
    }
}

/// What one client does, one request after the other.
pub(super) fn client(rng: &mut Rng, ids: &Ids, client: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut sent: Vec<Append> = Vec::new();
    for index in 0..CLIENT_ACTIONS_COUNT {
        let request = match rng.below(20) {
            // A resent event, and another event with its id.
            0 | 1 if !sent.is_empty() => Request::Append(rng.pick(&sent)),
            2 if !sent.is_empty() => Request::Append(reuse(rng, &sent)),
            3..=7 => Request::Read(read(rng, ids)),
            8 | 9 => Request::Append(several(rng, ids)),
            // The aggregates are created early.
            _ => Request::Append(single(rng, ids, index < 8 && client < 2)),
        };
        if let Request::Append(append) = &request {
            sent.push(append.clone());
        }
        actions.push(Action {
            pause_ms: rng.below(MAX_PAUSE_MS),
            host: rng.below(100),
            gives_up_after_ms: rng.percent(6).then(|| rng.below(30)),
            request,
        });
    }
    actions
}

/// Transactions that are open for long.
pub(super) fn transactions(rng: &mut Rng, ids: &Ids, duration_ms: u64) -> Vec<SlowTransaction> {
    let count = rng.below(5);
    let mut transactions: Vec<_> = (0..count)
        .map(|_| SlowTransaction {
            at_ms: rng.below(duration_ms * 3 / 4),
            before_append_ms: rng.pick(&[0, 50, 200, 500]),
            before_commit_ms: rng.pick(&[0, 50, 200, 500]),
            end: rng.pick(&[
                End::Commit,
                End::Commit,
                End::Commit,
                End::Prepare,
                End::Rollback,
            ]),
            inline: rng
                .pick(&[&[][..], &[], &["users", "accounts", "ledger"]])
                .to_vec(),
            events: {
                let is_user = rng.percent(40);
                let first = rng.percent(30);
                let aggregate = aggregate(rng, ids, is_user);
                let count = if first { 1 } else { rng.between(1, 4) };
                let bodies = (0..count).map(|_| body(rng, is_user, first));
                let bodies: Vec<_> = bodies.collect();
                bodies
                    .into_iter()
                    .map(|body| event(rng, aggregate, body))
                    .collect()
            },
        })
        .collect();
    if rng.percent(50) {
        transactions.push(backlog(rng, duration_ms));
    }
    transactions
}

/// Many events of new accounts in one transaction: more than the workers fold in one batch.
fn backlog(rng: &mut Rng, duration_ms: u64) -> SlowTransaction {
    let mut events = Vec::new();
    for _ in 0..rng.between(5, 30) {
        let aggregate = rng.uuid();
        let opened = body(rng, false, true);
        events.push(event(rng, aggregate, opened));
        for _ in 0..rng.between(1, 12) {
            let deposited = Body::Deposited {
                cents: if rng.percent(1) {
                    UNFOLDABLE_DEPOSIT_SIZE
                } else {
                    1
                },
            };
            events.push(event(rng, aggregate, deposited));
        }
    }
    SlowTransaction {
        at_ms: rng.below(duration_ms / 2),
        before_append_ms: 0,
        before_commit_ms: 0,
        end: End::Commit,
        inline: Vec::new(),
        events,
    }
}

fn single(rng: &mut Rng, ids: &Ids, first: bool) -> Append {
    let is_user = rng.percent(45);
    let first = first || rng.percent(15);
    let (aggregate, body) = (aggregate(rng, ids, is_user), body(rng, is_user, first));
    let expected = match rng.below(10) {
        0 => Expected::NoStream,
        1 | 2 => Expected::Known(0),
        3 => Expected::Known(1),
        _ => Expected::Any,
    };
    Append {
        events: vec![event(rng, aggregate, body)],
        expected,
    }
}

/// Events of several aggregates, or several of one aggregate.
fn several(rng: &mut Rng, ids: &Ids) -> Append {
    let mut events = Vec::new();
    for _ in 0..rng.between(2, 5) {
        let is_user = rng.percent(40);
        let first = rng.percent(20);
        let (aggregate, body) = (aggregate(rng, ids, is_user), body(rng, is_user, first));
        events.push(event(rng, aggregate, body));
    }
    Append {
        events,
        expected: Expected::Any,
    }
}

/// The id of an earlier event with different content.
fn reuse(rng: &mut Rng, sent: &[Append]) -> Append {
    let earlier = rng.pick(sent);
    let earlier = rng.pick(&earlier.events);
    let body = if earlier.body.is_user() {
        Body::Renamed {
            username: "reused".to_owned(),
        }
    } else {
        Body::Deposited { cents: 777_777 }
    };
    Append {
        events: vec![Event { body, ..earlier }],
        expected: Expected::Any,
    }
}

fn read(rng: &mut Rng, ids: &Ids) -> Read {
    let is_user = rng.percent(50);
    Read {
        is_user,
        id: aggregate(rng, ids, is_user),
        mode: rng.pick(&[
            ReadMode::Any,
            ReadMode::Strong,
            ReadMode::Strong,
            ReadMode::Known,
        ]),
    }
}

fn aggregate(rng: &mut Rng, ids: &Ids, is_user: bool) -> Uuid {
    rng.pick(if is_user { &ids.users } else { &ids.accounts })
}

fn event(rng: &mut Rng, aggregate: Uuid, body: Body) -> Event {
    Event {
        id: rng.uuid(),
        aggregate,
        body,
    }
}

fn body(rng: &mut Rng, is_user: bool, first: bool) -> Body {
    // A few addresses are used again and again.
    let email = |rng: &mut Rng| match rng.below(100) {
        number @ 0..5 => format!("Shared{number}@example.org"),
        number @ 5..10 => format!("shared{}@example.org", number - 5),
        _ => format!("{}@example.org", rng.uuid()),
    };
    let name = |rng: &mut Rng| format!("name {}", rng.below(1_000_000));
    match (is_user, rng.below(100)) {
        (true, _) if first => Body::Created {
            username: name(rng),
            email: email(rng),
        },
        (true, 0..6) => Body::Deleted,
        (true, 6..50) => Body::EmailChanged { email: email(rng) },
        (true, _) => Body::Renamed {
            username: name(rng),
        },
        (false, _) if first => Body::Opened { owner: name(rng) },
        (false, 0..4) => Body::Closed,
        (false, 4) => Body::Deposited {
            cents: UNFOLDABLE_DEPOSIT_SIZE,
        },
        (false, 5) => Body::Deposited {
            cents: PANICKING_DEPOSIT_SIZE,
        },
        (false, _) => Body::Deposited {
            // Not 13 or 1313.
            cents: i64::try_from(rng.below(100_000)).unwrap_or(0) * 10 + 1,
        },
    }
}
