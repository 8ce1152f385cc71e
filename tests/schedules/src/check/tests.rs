//! The checks themselves: each kind of violation is found, and a correct end is not.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::log::{Log, Stored};
use super::views::{Projected, compare};
use super::{Seen, responses};
use crate::model::{Body, Event};
use crate::plan::{Append, Expected, Read, ReadMode, Request};
use crate::record::{Attempt, Loss, Outcome};

const ACCOUNT: Uuid = Uuid::from_u128(1);

fn stored(version: i32, body: Body) -> Stored {
    let number = u128::try_from(version).unwrap_or_default();
    Stored {
        id: Uuid::from_u128(100 + number),
        aggregate: ACCOUNT,
        version,
        position: i64::from(version) * 10,
        body,
    }
}

/// An account with deposits of 1, 2, 3 … cents.
fn account(deposits: i32) -> Vec<Stored> {
    let owner = "ada".to_owned();
    let mut events = vec![stored(1, Body::Opened { owner })];
    events.extend((1..=deposits).map(|cents| {
        let body = Body::Deposited {
            cents: cents.into(),
        };
        stored(cents + 1, body)
    }));
    events
}

fn row(version: i32, cents: i64) -> (i32, Value) {
    (version, json!({"owner": "ada", "balance_cents": cents}))
}

/// The projection of [`account`] with `claims` and this row.
fn projected(claims: &[i32], row: Option<(i32, Value)>) -> Projected {
    let id = |version: &i32| Uuid::from_u128(100 + u128::try_from(*version).unwrap());
    Projected {
        claims: claims
            .iter()
            .map(|version| (id(version), ACCOUNT))
            .collect(),
        rows: row.map(|row| (ACCOUNT, row)).into_iter().collect(),
        ..Projected::default()
    }
}

fn views(deposits: i32, claims: &[i32], row: (i32, Value)) -> Vec<String> {
    let log = Log::new(account(deposits));
    compare("accounts", &log, &projected(claims, Some(row)))
}

/// Fails when a view that was folded exactly once and in order is reported.
#[test]
fn a_correct_view_has_no_problems() {
    assert_eq!(views(2, &[1, 2, 3], row(3, 3)), [""; 0]);
}

/// Fails when a comparison of views misses an event that was not folded, folded twice, claimed too early, or claimed without being
/// folded.
#[test]
fn a_wrong_view_is_found() {
    for (what, problems) in [
        ("never claimed", views(2, &[1, 2], row(2, 1))),
        ("folded twice", views(2, &[1, 2, 3], row(3, 5))),
        ("claimed and not folded", views(2, &[1, 2, 3], row(2, 1))),
        ("folded and not claimed", views(2, &[1, 2], row(3, 3))),
        ("a gap in the claims", views(3, &[1, 2, 4], row(2, 1))),
        ("a claim without an event", views(1, &[1, 2, 3], row(2, 1))),
    ] {
        assert!(!problems.is_empty(), "{what}");
    }
}

/// Fails when a parked aggregate is accepted although its next event can be folded, or reported although it cannot.
#[test]
fn only_an_aggregate_with_a_reason_may_be_parked() {
    let ledger = |poison_at: i32| {
        let mut events = account(2);
        events.push(stored(4, Body::Deposited { cents: 13 }));
        let log = Log::new(events);
        let mut projected = projected(&[1, 2, 3], None);
        projected
            .rows
            .insert(ACCOUNT, (3, json!({"deposits": 2, "last_version": 3})));
        projected
            .parked
            .insert(ACCOUNT, (poison_at, "error".to_owned()));
        compare("ledger", &log, &projected)
    };
    assert_eq!(ledger(4), [""; 0]);
    assert!(!ledger(3).is_empty());
    let log = Log::new(account(2));
    let mut parked = projected(&[1, 2], Some(row(2, 1)));
    parked.parked.insert(ACCOUNT, (3, "error".to_owned()));
    assert!(!compare("accounts", &log, &parked).is_empty());
}

/// Fails when a log with a gap, with positions in another order, or with an event that the rules reject is accepted.
#[test]
fn a_wrong_log_is_found() {
    assert_eq!(Log::new(account(3)).problems(), [""; 0]);
    let mut gap = account(3);
    gap.remove(2);
    let mut inverted = account(3);
    inverted[3].position = 5;
    let mut twice = account(1);
    twice[1].body = Body::Opened {
        owner: "bob".to_owned(),
    };
    for events in [gap, inverted, twice] {
        assert!(
            !Log::new(events.clone()).problems().is_empty(),
            "{events:?}"
        );
    }
}

fn attempt(request: Request, sent: u64, status: u16, body: Value) -> Attempt {
    Attempt {
        host: "host".to_owned(),
        inline: Vec::new(),
        request,
        sent: Duration::from_millis(sent),
        received: Duration::from_millis(sent + 10),
        outcome: Outcome::Response {
            status,
            body,
            has_retry_after: false,
        },
    }
}

fn append(version: i32, body: Body, expected: Expected) -> Request {
    let Stored { id, aggregate, .. } = stored(version, body.clone());
    Request::Append(Append {
        events: vec![Event {
            id,
            aggregate,
            body,
        }],
        expected,
    })
}

/// The problems of these tries, next to those that stored [`account`] in the first 100 ms.
fn answers(deposits: i32, tries: &[Attempt], losses: &[Loss]) -> Vec<String> {
    let events = account(deposits);
    let mut attempts: Vec<_> = events
        .iter()
        .map(|event| {
            let request = append(event.version, event.body.clone(), Expected::Any);
            let sent = u64::try_from(event.version).unwrap();
            attempt(request, sent, 201, acknowledged(event.version))
        })
        .collect();
    attempts.extend_from_slice(tries);
    let observed = Seen {
        attempts: &attempts,
        losses,
        history: &HashMap::new(),
        stale_from: None,
    };
    responses::problems(&Log::new(events), &observed)
}

fn acknowledged(version: i32) -> Value {
    json!({"version": version, "position": version * 10})
}

/// Fails when a response that the log explains is reported.
#[test]
fn explained_responses_have_no_problems() {
    let deposited = || Body::Deposited { cents: 1 };
    let opened = Body::Opened {
        owner: "eve".to_owned(),
    };
    let read = Request::Read(Read {
        is_user: false,
        id: ACCOUNT,
        mode: ReadMode::Strong,
    });
    let shown = json!({"id": ACCOUNT, "version": 3, "owner": "ada", "balance_cents": 3});
    let tries = [
        attempt(
            append(2, deposited(), Expected::Any),
            200,
            200,
            acknowledged(2),
        ),
        attempt(
            append(9, deposited(), Expected::Exact(1)),
            200,
            412,
            json!({"version": 3}),
        ),
        attempt(append(9, opened, Expected::Any), 200, 409, json!({})),
        attempt(read, 200, 200, shown),
    ];
    assert_eq!(answers(2, &tries, &[]), [""; 0]);
}

/// Fails when a response that the log does not explain is accepted.
#[test]
fn unexplained_responses_are_found() {
    let deposited = || Body::Deposited { cents: 1 };
    let read = |mode| {
        Request::Read(Read {
            is_user: false,
            id: ACCOUNT,
            mode,
        })
    };
    let old = json!({"version": 2, "owner": "ada", "balance_cents": 1});
    let wrong = json!({"version": 3, "owner": "ada", "balance_cents": 1});
    for (what, attempt) in [
        (
            "lost",
            attempt(
                append(9, deposited(), Expected::Any),
                200,
                201,
                acknowledged(9),
            ),
        ),
        (
            "stored twice",
            attempt(
                append(2, deposited(), Expected::Any),
                200,
                201,
                acknowledged(2),
            ),
        ),
        (
            "another version",
            attempt(
                append(2, deposited(), Expected::Any),
                200,
                200,
                acknowledged(3),
            ),
        ),
        (
            "rules",
            attempt(append(9, deposited(), Expected::Any), 200, 409, json!({})),
        ),
        (
            "deleted",
            attempt(append(9, deposited(), Expected::Any), 200, 410, json!({})),
        ),
        (
            "mismatch",
            attempt(
                append(9, deposited(), Expected::Exact(3)),
                200,
                412,
                json!({"version": 2}),
            ),
        ),
        (
            "internal",
            attempt(append(9, deposited(), Expected::Any), 200, 500, json!({})),
        ),
        ("stale", attempt(read(ReadMode::Strong), 200, 200, old)),
        ("wrong fold", attempt(read(ReadMode::Any), 200, 200, wrong)),
        (
            "not found",
            attempt(read(ReadMode::Strong), 200, 404, json!({})),
        ),
    ] {
        assert!(!answers(2, &[attempt], &[]).is_empty(), "{what}");
    }
}

/// Fails when an acknowledged event may be missing although no commit was lost, or may not although a restore undid it.
#[test]
fn only_a_loss_excuses_a_missing_event() {
    let acknowledgement = attempt(
        append(9, Body::Deposited { cents: 1 }, Expected::Any),
        200,
        201,
        acknowledged(9),
    );
    let loss = |safe_until, over| Loss {
        safe_until: Duration::from_millis(safe_until),
        over: Duration::from_millis(over),
    };
    let problems = |loss| answers(2, std::slice::from_ref(&acknowledgement), &[loss]);
    assert_eq!(problems(loss(150, 300)), [""; 0]);
    assert!(!problems(loss(220, 300)).is_empty());
    assert!(!problems(loss(150, 190)).is_empty());
}
