//! Explores every scenario with the protocols themselves, with their harmless variants and with their mutations.

use std::fmt::Debug;
use std::iter;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use projection_model::doorbell;
use projection_model::explore::{Model, Report, explore};
use projection_model::mutations::{
    GENERATION_MUTATIONS, GENERATION_VARIANTS, MUTATIONS, Mutation, SKIP_MUTATIONS, SKIP_VARIANTS,
    VARIANTS,
};
use projection_model::scenarios::{Scenario, generation_scenarios, scenarios, skip_scenarios};

/// More states than any scenario has, or than a mutation needs to show.
const MAX_STATES: usize = 1_500_000;
/// How many states of a scenario are explored for a variant.
const MAX_VARIANT_STATES: usize = 30_000;

/// A scenario of one of the models.
trait Named: Model + Clone + Sync {
    type Mutation: Debug + Copy;

    fn name(&self) -> &'static str;
    fn mutation(&self) -> Option<Self::Mutation>;
    fn mutate(self, mutation: Self::Mutation) -> Self;
}

impl Named for Scenario {
    type Mutation = Mutation;

    fn name(&self) -> &'static str {
        self.name
    }

    fn mutation(&self) -> Option<Mutation> {
        self.mutation
    }

    fn mutate(self, mutation: Mutation) -> Self {
        let mutation = Some(mutation);
        Self { mutation, ..self }
    }
}

impl Named for doorbell::Scenario {
    type Mutation = doorbell::Mutation;

    fn name(&self) -> &'static str {
        self.name
    }

    fn mutation(&self) -> Option<doorbell::Mutation> {
        self.mutation
    }

    fn mutate(self, mutation: doorbell::Mutation) -> Self {
        let mutation = Some(mutation);
        Self { mutation, ..self }
    }
}

/// Explores the scenarios on all cores.
fn explore_all<S: Named>(scenarios: &[S], max_states: usize) -> Vec<(&S, Report)> {
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

fn assert_holds<S: Named>(scenario: &S, report: &Report) {
    if let Some(violation) = &report.violation {
        panic!(
            "{} ({:?}): {}\n{}",
            scenario.name(),
            scenario.mutation(),
            violation.error,
            violation.trace.join("\n")
        );
    }
}

/// Explores all states of the scenarios, in none of which a violation may be found; returns the sums of the counters.
fn assert_all_hold<S: Named>(scenarios: &[S]) -> Report {
    let mut total = Report::default();
    for (scenario, report) in explore_all(scenarios, MAX_STATES) {
        assert_holds(scenario, &report);
        assert!(!report.is_capped, "{} has more states", scenario.name());
        total.deadlocks += report.deadlocks;
        total.splits += report.splits;
        total.merges += report.merges;
        total.lost_batches += report.lost_batches;
        total.chains += report.chains;
        total.skips += report.skips;
        total.swaps += report.swaps;
        total.removals += report.removals;
        total.sleeps += report.sleeps;
    }
    total
}

fn assert_all_caught<S: Named>(scenarios: &[S], mutations: &[(S::Mutation, &str)]) {
    let find = |(mutation, name): &(S::Mutation, &str)| {
        let scenario = scenarios.iter().find(|scenario| scenario.name() == *name);
        let scenario = scenario.unwrap_or_else(|| panic!("there is no scenario {name:?}"));
        scenario.clone().mutate(*mutation)
    };
    let mutated: Vec<S> = mutations.iter().map(find).collect();
    let missed: Vec<String> = explore_all(&mutated, MAX_STATES)
        .iter()
        .filter(|(_, report)| report.violation.is_none())
        .map(|(scenario, _)| format!("{:?} in {:?}", scenario.mutation(), scenario.name()))
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}

fn assert_tolerated<S: Named>(scenarios: &[S], variants: &[S::Mutation]) {
    let apply = |variant: &S::Mutation| {
        let variant = *variant;
        scenarios
            .iter()
            .map(move |scenario| scenario.clone().mutate(variant))
    };
    let variants: Vec<S> = variants.iter().flat_map(apply).collect();
    for (scenario, report) in explore_all(&variants, MAX_VARIANT_STATES) {
        assert_holds(scenario, &report);
    }
}

// Fails when an interleaving of the protocol's statements, crashes and deadlocks loses an event, repeats one, folds one out
// of order, stops making progress, or leaves a slot without a lane.
#[test]
fn the_protocol_holds_in_every_reachable_state() {
    let scenarios = scenarios();
    assert_eq!(scenarios.len(), 28);
    let total = assert_all_hold(&scenarios);
    // The result would mean little if no scenario reached the rare transitions.
    assert!(total.lost_batches > 0);
    assert!(total.splits > 0);
    assert!(total.merges > 0);
    assert!(total.chains > 0);
    assert!(total.deadlocks > 0);
}

// Fails when the model does not notice that a rule of the protocol is missing: then it would not notice a mistake in that
// rule either.
#[test]
fn every_mutation_of_the_protocol_is_caught() {
    assert_all_caught(&scenarios(), &MUTATIONS);
}

// Fails when the protocol depends on a detail that the documentation says it does not depend on.
#[test]
fn variants_of_the_protocol_hold() {
    assert_tolerated(&scenarios(), &VARIANTS);
}

// Fails when a skipped event is folded, when an event after it is not, or when a skip makes a worker, a retry or an append lose an
// event.
#[test]
fn skips_hold_in_every_reachable_state() {
    let total = assert_all_hold(&skip_scenarios());
    assert!(total.skips > 0);
}

// Fails when the model does not notice that a rule of skips is missing.
#[test]
fn every_mutation_of_skips_is_caught() {
    assert_all_caught(&skip_scenarios(), &SKIP_MUTATIONS);
}

// Fails when a skip depends on a detail that the documentation says it does not depend on.
#[test]
fn variants_of_skips_hold() {
    assert_tolerated(&skip_scenarios(), &SKIP_VARIANTS);
}

// Fails when a generation loses or repeats an event while it is filled, goes live or is removed, when the live view lacks an inline
// append or goes back in time, when a set-wide rule is broken, or when a removal leaves something behind.
#[test]
fn reprojections_hold_in_every_reachable_state() {
    let total = assert_all_hold(&generation_scenarios());
    assert!(total.swaps > 0);
    assert!(total.removals > 0);
    assert!(total.lost_batches > 0);
    assert!(total.chains > 0);
}

// Fails when the model does not notice that a rule of reprojections is missing.
#[test]
fn every_mutation_of_reprojections_is_caught() {
    assert_all_caught(&generation_scenarios(), &GENERATION_MUTATIONS);
}

// Fails when a reprojection depends on a detail that the documentation says it does not depend on.
#[test]
fn variants_of_reprojections_hold() {
    assert_tolerated(&generation_scenarios(), &GENERATION_VARIANTS);
}

// Fails when a listener can sleep through an append although its connection is not lost.
#[test]
fn the_doorbell_holds_in_every_reachable_state() {
    let total = assert_all_hold(&doorbell::scenarios());
    assert!(total.sleeps > 0);
}

// Fails when the model does not notice that a rule of the doorbell is missing.
#[test]
fn every_mutation_of_the_doorbell_is_caught() {
    assert_all_caught(&doorbell::scenarios(), &doorbell::mutations::MUTATIONS);
}

// Fails when the doorbell depends on a detail that the documentation says it does not depend on.
#[test]
fn variants_of_the_doorbell_hold() {
    assert_tolerated(&doorbell::scenarios(), &doorbell::mutations::VARIANTS);
}
