//! The list of scenarios.

use super::{Actor, Scenario};

const BIG_TRANSACTION: &[(u8, u8, u8)] = &[(0, 1, 1), (1, 1, 1), (0, 2, 1), (1, 2, 1), (0, 3, 1)];

pub(super) const fn append(aggregates: &'static [u8]) -> Actor {
    Actor::Append {
        aggregates,
        is_inline: false,
        rolls_back: false,
    }
}

pub(super) const fn append_inline(aggregates: &'static [u8]) -> Actor {
    Actor::Append {
        aggregates,
        is_inline: true,
        rolls_back: false,
    }
}

const fn append_rolled_back(aggregates: &'static [u8]) -> Actor {
    Actor::Append {
        aggregates,
        is_inline: false,
        rolls_back: true,
    }
}

pub(super) const fn base() -> Scenario {
    Scenario {
        name: "",
        actors: Vec::new(),
        log: &[],
        claimed: 0,
        is_split: false,
        passes: 3,
        limit: 1,
        crashes: 0,
        retries: 1,
        poison: None,
        deletion: None,
        skip: None,
        has_generations: false,
        filled: None,
        is_unique: false,
        mutation: None,
    }
}

/// The scenarios of workers, appends and retries.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    [lanes(), order(), poison(), mixed()].concat()
}

/// Large and late transactions, and lanes.
fn lanes() -> Vec<Scenario> {
    use Actor::{Bulk, Merge, Quick};
    vec![
        Scenario {
            name: "one big transaction, two quick, crash",
            actors: vec![Quick, Quick],
            log: BIG_TRANSACTION,
            limit: 2,
            crashes: 1,
            ..base()
        },
        Scenario {
            name: "one big transaction, two bulk, crash",
            actors: vec![Bulk, Bulk],
            log: BIG_TRANSACTION,
            passes: 4,
            crashes: 1,
            ..base()
        },
        Scenario {
            name: "one big transaction, quick and two bulk",
            actors: vec![Quick, Bulk, Bulk],
            log: BIG_TRANSACTION,
            limit: 2,
            crashes: 1,
            ..base()
        },
        Scenario {
            name: "big transaction, split and merge",
            actors: vec![Quick, Bulk, Bulk, Merge],
            log: BIG_TRANSACTION,
            crashes: 1,
            ..base()
        },
        Scenario {
            name: "two lanes, merge, late appends",
            actors: vec![Quick, Bulk, Merge, append(&[0]), append(&[1])],
            log: &[(0, 1, 1), (1, 1, 1)],
            is_split: true,
            ..base()
        },
        Scenario {
            name: "late big transaction",
            actors: vec![Quick, Bulk, append(&[0, 0, 0]), append(&[1])],
            log: &[(1, 1, 1)],
            passes: 4,
            ..base()
        },
        Scenario {
            name: "two late transactions, abort",
            actors: vec![
                Quick,
                Quick,
                append(&[0, 1]),
                append_rolled_back(&[1, 0]),
                append(&[0]),
            ],
            passes: 2,
            ..base()
        },
    ]
}

/// Transactions whose order differs from that of the versions, and deletions.
fn order() -> Vec<Scenario> {
    use Actor::{Bulk, Quick};
    vec![
        Scenario {
            name: "inversion, late appends",
            actors: vec![Quick, Bulk, append(&[1, 0]), append(&[0]), append(&[0])],
            passes: 2,
            ..base()
        },
        Scenario {
            name: "inversion limit 2 crash",
            actors: vec![Quick, Bulk, append(&[1, 0]), append(&[0])],
            limit: 2,
            crashes: 1,
            ..base()
        },
        Scenario {
            name: "inverted backlog, three workers",
            actors: vec![Quick, Bulk, Bulk],
            log: &[(0, 1, 4), (0, 2, 2), (1, 1, 2), (0, 3, 3), (1, 2, 5)],
            crashes: 1,
            ..base()
        },
        Scenario {
            name: "inverted chain of three",
            actors: vec![Quick, Bulk],
            log: &[(0, 1, 3), (0, 2, 1), (0, 3, 2)],
            limit: 2,
            crashes: 2,
            ..base()
        },
        Scenario {
            name: "delete and create again",
            actors: vec![Quick, Bulk],
            log: &[(0, 1, 1), (0, 2, 2), (0, 3, 3), (0, 4, 4)],
            crashes: 1,
            deletion: Some((0, 2)),
            ..base()
        },
        Scenario {
            name: "delete, inverted, late",
            actors: vec![Quick, Bulk, append(&[0])],
            log: &[(0, 1, 2), (0, 2, 3), (0, 3, 1)],
            limit: 2,
            crashes: 1,
            deletion: Some((0, 2)),
            ..base()
        },
        Scenario {
            name: "deleted, claims not settled, inline",
            actors: vec![Quick, Bulk, append_inline(&[0])],
            log: &[(0, 1, 1), (0, 2, 2), (1, 1, 3)],
            claimed: 2,
            limit: 2,
            deletion: Some((0, 2)),
            ..base()
        },
        Scenario {
            name: "deleted, claims not settled",
            actors: vec![Quick, Bulk],
            log: &[(0, 1, 1), (0, 2, 2), (1, 1, 3)],
            claimed: 2,
            limit: 2,
            deletion: Some((0, 2)),
            ..base()
        },
        Scenario {
            name: "inverted, inline appends between",
            actors: vec![Quick, Bulk, append_inline(&[0]), append(&[0])],
            log: &[(0, 1, 1), (0, 2, 3), (0, 3, 2)],
            claimed: 1,
            passes: 2,
            limit: 2,
            ..base()
        },
    ]
}

/// Events that cannot be folded, and retries.
fn poison() -> Vec<Scenario> {
    use Actor::{Bulk, Fix, Merge, Quick, Retry};
    vec![
        Scenario {
            name: "poison, corrected, retry, append",
            actors: vec![Quick, Bulk, Retry, Fix, append(&[0])],
            log: &[(0, 1, 1)],
            retries: 2,
            poison: Some((0, 1)),
            ..base()
        },
        Scenario {
            name: "poison limit 2 crash",
            actors: vec![Quick, Bulk, Retry, Fix],
            log: &[(0, 1, 1), (1, 1, 1), (0, 2, 1), (0, 3, 2)],
            limit: 2,
            crashes: 1,
            retries: 2,
            poison: Some((0, 1)),
            ..base()
        },
        Scenario {
            name: "poison inverted, append",
            actors: vec![Quick, Quick, Retry, Fix, append(&[0])],
            log: &[(0, 1, 2), (0, 2, 1)],
            limit: 2,
            poison: Some((0, 1)),
            ..base()
        },
        Scenario {
            name: "poison in two lanes, merge",
            actors: vec![Bulk, Bulk, Retry, Fix, Merge],
            log: &[(0, 1, 1), (1, 1, 1), (0, 2, 1), (1, 2, 1)],
            is_split: true,
            retries: 2,
            poison: Some((0, 2)),
            ..base()
        },
        Scenario {
            name: "poison second, row exists, append",
            actors: vec![Quick, Bulk, Retry, append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2)],
            claimed: 1,
            limit: 2,
            retries: 2,
            poison: Some((0, 2)),
            ..base()
        },
    ]
}

/// Workers that do not settle, and inline projections.
fn mixed() -> Vec<Scenario> {
    use Actor::{Bulk, Fix, Lazy, Quick, Retry};
    vec![
        Scenario {
            name: "lazy beside bulk and quick, late",
            actors: vec![Lazy, Bulk, Quick, append(&[0]), append(&[1, 0])],
            log: &[(0, 1, 1)],
            passes: 2,
            limit: 2,
            ..base()
        },
        Scenario {
            name: "lazy, inverted, crash",
            actors: vec![Lazy, Lazy, Bulk],
            log: &[(0, 1, 4), (0, 2, 2), (1, 1, 2), (0, 3, 3), (1, 2, 5)],
            passes: 2,
            limit: 2,
            crashes: 1,
            ..base()
        },
        Scenario {
            name: "lazy, poison, retry",
            actors: vec![Lazy, Quick, Retry, Fix, append(&[0])],
            log: &[(0, 1, 1), (1, 1, 1)],
            limit: 2,
            retries: 2,
            poison: Some((0, 1)),
            ..base()
        },
        Scenario {
            name: "lazy, delete, inline",
            actors: vec![Lazy, Quick, append_inline(&[0]), append(&[0])],
            log: &[(0, 1, 2), (0, 2, 3), (0, 3, 1)],
            passes: 2,
            limit: 3,
            deletion: Some((0, 2)),
            ..base()
        },
        Scenario {
            name: "inline beside workers",
            actors: vec![Quick, Bulk, append_inline(&[0]), append_inline(&[0])],
            log: &[(0, 1, 1), (1, 1, 1)],
            ..base()
        },
        Scenario {
            name: "inline, two aggregates, crash",
            actors: vec![Quick, append_inline(&[0, 1]), append_inline(&[1, 0])],
            log: &[(1, 1, 1), (0, 1, 1)],
            limit: 2,
            crashes: 1,
            ..base()
        },
        Scenario {
            name: "inline with poison",
            actors: vec![Quick, Retry, Fix, append_inline(&[0]), append(&[0])],
            log: &[(0, 1, 1)],
            limit: 2,
            retries: 2,
            poison: Some((0, 1)),
            ..base()
        },
    ]
}
