//! Scenarios in which an operator skips an event that cannot be folded.

use super::list::{append, append_inline, base};
use super::{Actor, Scenario};

/// The scenarios of skips.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    [beside_workers(), beside_retries()].concat()
}

fn beside_workers() -> Vec<Scenario> {
    use Actor::{Bulk, Lazy, Quick, Skip};
    vec![
        Scenario {
            name: "skip the first event, late append",
            actors: vec![Quick, Quick, Skip, append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2)],
            limit: 2,
            crashes: 1,
            retries: 2,
            poison: Some((0, 1)),
            skip: Some(1),
            ..base()
        },
        Scenario {
            name: "skip the second event, row exists",
            actors: vec![Quick, Bulk, Skip, append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2), (0, 3, 3)],
            claimed: 1,
            limit: 2,
            crashes: 1,
            retries: 2,
            poison: Some((0, 2)),
            skip: Some(2),
            ..base()
        },
        Scenario {
            name: "skip the newest event, inline append",
            actors: vec![Quick, Skip, append_inline(&[0]), append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2)],
            claimed: 1,
            limit: 2,
            retries: 2,
            poison: Some((0, 2)),
            skip: Some(2),
            ..base()
        },
        Scenario {
            name: "skip, inverted, inline append",
            actors: vec![Quick, Quick, Skip, append_inline(&[0])],
            log: &[(0, 1, 2), (0, 2, 1)],
            limit: 2,
            crashes: 1,
            retries: 2,
            poison: Some((0, 1)),
            skip: Some(1),
            ..base()
        },
        Scenario {
            name: "skip a deletion's successor, lazy worker",
            actors: vec![Lazy, Quick, Skip, append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2), (0, 3, 3)],
            claimed: 2,
            limit: 2,
            retries: 2,
            poison: Some((0, 3)),
            deletion: Some((0, 2)),
            skip: Some(3),
            ..base()
        },
    ]
}

fn beside_retries() -> Vec<Scenario> {
    use Actor::{Fix, Quick, Retry, Skip};
    vec![
        Scenario {
            name: "skip beside a retry of the corrected fold",
            actors: vec![Quick, Retry, Fix, Skip, append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2)],
            limit: 2,
            crashes: 1,
            retries: 2,
            poison: Some((0, 1)),
            skip: Some(1),
            ..base()
        },
        Scenario {
            name: "skip an event after the one that fails",
            actors: vec![Quick, Retry, Fix, Skip],
            log: &[(0, 1, 1), (0, 2, 2), (0, 3, 2)],
            limit: 2,
            retries: 2,
            poison: Some((0, 1)),
            skip: Some(2),
            ..base()
        },
        Scenario {
            name: "two skips of one event",
            actors: vec![Quick, Skip, Skip, append(&[0])],
            log: &[(0, 1, 1), (1, 1, 1), (0, 2, 2)],
            crashes: 1,
            retries: 2,
            poison: Some((0, 1)),
            skip: Some(1),
            ..base()
        },
    ]
}
