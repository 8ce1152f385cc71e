//! Explores every scenario with the protocol itself, with its harmless variants and with its mutations.

use std::iter;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use projection_model::explore::{Report, explore};
use projection_model::mutations::{MUTATIONS, Mutation, VARIANTS};
use projection_model::scenarios::{Scenario, scenarios};

/// More states than any scenario has, or than a mutation needs to show.
const MAX_STATES: usize = 1_500_000;
/// How many states of a scenario are explored for a variant.
const MAX_VARIANT_STATES: usize = 30_000;

/// Explores the scenarios on all cores.
fn explore_all(scenarios: &[Scenario], max_states: usize) -> Vec<(&Scenario, Report)> {
    let next = AtomicUsize::new(0);
    let explore_next = || {
        let scenario = scenarios.get(next.fetch_add(1, Ordering::Relaxed))?;
        Some((scenario, explore(scenario, max_states)))
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let explore_rest = || iter::from_fn(&explore_next).collect::<Vec<_>>();
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(explore_rest)).collect();
        let join = |worker: ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    })
}

fn mutated(mutation: Mutation, name: &str) -> Scenario {
    let scenario = scenarios()
        .into_iter()
        .find(|scenario| scenario.name == name);
    let scenario = scenario.unwrap_or_else(|| panic!("there is no scenario {name:?}"));
    Scenario {
        mutation: Some(mutation),
        ..scenario
    }
}

fn assert_holds(scenario: &Scenario, report: &Report) {
    if let Some(violation) = &report.violation {
        panic!(
            "{} ({:?}): {}\n{}",
            scenario.name,
            scenario.mutation,
            violation.error,
            violation.trace.join("\n")
        );
    }
}

// Fails when an interleaving of the protocol's statements, crashes and deadlocks loses an event, repeats one, folds one out
// of order, stops making progress, or leaves a slot without a lane.
#[test]
fn the_protocol_holds_in_every_reachable_state() {
    let scenarios = scenarios();
    let reports = explore_all(&scenarios, MAX_STATES);
    assert_eq!(reports.len(), 28);
    for (scenario, report) in &reports {
        assert_holds(scenario, report);
        assert!(!report.is_capped, "{} has more states", scenario.name);
    }
    // The result would mean little if no scenario reached the rare transitions.
    let total = |count: fn(&Report) -> usize| reports.iter().map(|(_, r)| count(r)).sum::<usize>();
    assert!(total(|report| report.lost_batches) > 0);
    assert!(total(|report| report.splits) > 0);
    assert!(total(|report| report.merges) > 0);
    assert!(total(|report| report.chains) > 0);
    assert!(total(|report| report.deadlocks) > 0);
}

// Fails when the model does not notice that a rule of the protocol is missing: then it would not notice a mistake in that
// rule either.
#[test]
fn every_mutation_of_the_protocol_is_caught() {
    let scenarios: Vec<Scenario> = MUTATIONS
        .iter()
        .map(|(mutation, name)| mutated(*mutation, name))
        .collect();
    for (scenario, report) in explore_all(&scenarios, MAX_STATES) {
        let (mutation, name) = (scenario.mutation, scenario.name);
        assert!(
            report.violation.is_some(),
            "{mutation:?} is not caught in the scenario {name:?}"
        );
    }
}

// Fails when the protocol depends on a detail that the documentation says it does not depend on.
#[test]
fn variants_of_the_protocol_hold() {
    let variants: Vec<Scenario> = VARIANTS
        .iter()
        .flat_map(|variant| {
            scenarios().into_iter().map(|scenario| Scenario {
                mutation: Some(*variant),
                ..scenario
            })
        })
        .collect();
    for (scenario, report) in explore_all(&variants, MAX_VARIANT_STATES) {
        assert_holds(scenario, &report);
    }
}
