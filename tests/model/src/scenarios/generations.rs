//! Scenarios of reprojections: fills, swaps and removals beside workers and appends.

use super::list::{append, append_inline, base};
use super::{Actor, Scenario};

fn reprojection() -> Scenario {
    Scenario {
        has_generations: true,
        passes: 2,
        limit: 2,
        ..base()
    }
}

/// The scenarios of reprojections.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    [fills(), swaps(), swaps_of_filled_generations(), removals()].concat()
}

fn fills() -> Vec<Scenario> {
    use Actor::{Begin, Fill, Quick, QuickNew};
    vec![
        Scenario {
            name: "fill, two workers, late appends",
            actors: vec![Begin, Fill, Fill, QuickNew, append(&[1, 0]), append(&[0])],
            log: &[(0, 1, 1), (1, 1, 1)],
            is_split: true,
            passes: 1,
            ..reprojection()
        },
        Scenario {
            name: "fill, two workers, crashes",
            actors: vec![Begin, Fill, Fill, QuickNew, append(&[0])],
            log: &[(0, 1, 2), (0, 2, 1), (1, 1, 1)],
            crashes: 2,
            ..reprojection()
        },
        Scenario {
            name: "fill beside the live generation",
            actors: vec![Begin, Fill, QuickNew, Quick, append(&[0, 1])],
            log: &[(0, 1, 1), (1, 1, 2)],
            is_split: true,
            crashes: 1,
            ..reprojection()
        },
        Scenario {
            name: "fill with poison and a deletion",
            actors: vec![Begin, Fill, QuickNew, append(&[1]), append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2), (1, 1, 1), (1, 2, 3)],
            crashes: 1,
            poison: Some((0, 2)),
            deletion: Some((1, 2)),
            ..reprojection()
        },
    ]
}

fn swaps() -> Vec<Scenario> {
    use Actor::{Begin, Drop, Fill, Fix, Quick, QuickNew, Retry, Swap};
    vec![
        Scenario {
            name: "swap beside inline appends",
            actors: vec![
                Begin,
                Fill,
                Swap,
                QuickNew,
                append_inline(&[0]),
                append_inline(&[0, 1]),
            ],
            log: &[(0, 1, 1)],
            claimed: 1,
            passes: 1,
            ..reprojection()
        },
        Scenario {
            name: "swap under a set-wide rule",
            actors: vec![Begin, Fill, Swap, append_inline(&[0]), append_inline(&[1])],
            is_unique: true,
            crashes: 1,
            retries: 2,
            ..reprojection()
        },
        Scenario {
            name: "swap beside workers",
            actors: vec![Begin, Fill, Swap, Quick, QuickNew, append(&[0])],
            log: &[(0, 1, 1), (1, 1, 2)],
            claimed: 2,
            crashes: 1,
            retries: 2,
            ..reprojection()
        },
        Scenario {
            name: "swap, inline appends, workers of both",
            actors: vec![Begin, Fill, Swap, Quick, QuickNew, append_inline(&[0])],
            log: &[(0, 1, 1)],
            claimed: 1,
            crashes: 1,
            ..reprojection()
        },
        Scenario {
            name: "swap with parked aggregates",
            actors: vec![Begin, Fill, Swap, Retry, Fix, Quick],
            log: &[(0, 1, 1), (0, 2, 2)],
            retries: 2,
            poison: Some((0, 1)),
            ..reprojection()
        },
        Scenario {
            name: "swap and drop",
            actors: vec![Begin, Fill, Swap, Drop, Quick, append_inline(&[0])],
            log: &[(0, 1, 1)],
            claimed: 1,
            crashes: 1,
            ..reprojection()
        },
    ]
}

fn swaps_of_filled_generations() -> Vec<Scenario> {
    use Actor::{Fix, Quick, QuickNew, Retry, RetryNew, Skip, Swap};
    vec![
        Scenario {
            name: "swap with an event that fails later",
            actors: vec![Swap, QuickNew, Retry, Fix, Quick, append(&[0])],
            log: &[(0, 1, 1)],
            claimed: 1,
            filled: Some(1),
            passes: 1,
            retries: 2,
            poison: Some((0, 2)),
            ..reprojection()
        },
        Scenario {
            name: "swap, two inline appends and a late one",
            actors: vec![
                Swap,
                QuickNew,
                Quick,
                append_inline(&[0]),
                append_inline(&[0, 1]),
            ],
            log: &[(0, 1, 1)],
            claimed: 1,
            filled: Some(0),
            crashes: 1,
            retries: 2,
            ..reprojection()
        },
        Scenario {
            name: "swap beside a skip",
            actors: vec![Swap, QuickNew, RetryNew, Quick, Skip, append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2)],
            claimed: 1,
            filled: Some(1),
            passes: 1,
            retries: 2,
            poison: Some((0, 2)),
            skip: Some(2),
            ..reprojection()
        },
        Scenario {
            name: "swap beside late and inverted appends",
            actors: vec![Swap, QuickNew, Quick, append(&[1, 0]), append(&[0])],
            log: &[(0, 1, 1), (0, 2, 3), (0, 3, 2)],
            claimed: 1,
            filled: Some(1),
            ..reprojection()
        },
    ]
}

fn removals() -> Vec<Scenario> {
    use Actor::{Begin, Cancel, Fill, Fix, Quick, QuickNew, RetryNew, Swap};
    vec![
        Scenario {
            name: "cancel beside workers",
            actors: vec![Begin, Fill, QuickNew, Cancel, Quick, append(&[0])],
            log: &[(0, 1, 1), (1, 1, 1)],
            crashes: 1,
            ..reprojection()
        },
        Scenario {
            name: "cancel beside a swap",
            actors: vec![Begin, Fill, Fill, Swap, Cancel, append_inline(&[0])],
            log: &[(0, 1, 1)],
            claimed: 1,
            crashes: 1,
            ..reprojection()
        },
        Scenario {
            name: "cancel beside a retry",
            actors: vec![Begin, Fill, RetryNew, Fix, Cancel, append(&[0])],
            log: &[(0, 1, 1), (0, 2, 2)],
            crashes: 1,
            retries: 2,
            poison: Some((0, 2)),
            ..reprojection()
        },
        Scenario {
            name: "cancel and begin again",
            actors: vec![Begin, Fill, QuickNew, Cancel, append(&[0]), append(&[1])],
            log: &[(0, 1, 1)],
            retries: 2,
            ..reprojection()
        },
    ]
}
