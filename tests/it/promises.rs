//! What the README promises, and the tests that keep it. Each promise has an id there, and a row here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tidy;

#[expect(dead_code, reason = "the example's main function")]
#[path = "../../examples/add_a_domain.rs"]
mod add_a_domain;

/// A promise and the tests that would fail if it were broken.
const PROMISES: &[(&str, &[&str])] = &[
    ("P1", &["twenty_senders_of_one_event_store_it_once"]),
    (
        "P2",
        &[
            "sixty_four_writers_leave_no_holes",
            "an_expected_version_holds_at_the_moment_of_the_append",
        ],
    ),
    (
        "P3",
        &[
            "the_log_cannot_be_rewritten",
            "every_role_may_do_what_it_must_and_no_more",
        ],
    ),
    (
        "P4",
        &[
            "four_workers_claim_each_event_once",
            "a_worker_killed_at_any_step_leaves_nothing_behind",
        ],
    ),
    (
        "P5",
        &[
            "an_event_of_a_slow_transaction_is_not_skipped",
            "a_version_that_is_older_than_its_predecessor_waits_for_it",
        ],
    ),
    (
        "P6",
        &[
            "one_bad_aggregate_parks_and_a_thousand_go_on",
            "a_retry_folds_the_whole_chain",
        ],
    ),
    ("P7", &["cutting_every_connection_costs_time_not_events"]),
    ("P8", &["a_restored_log_goes_on_where_it_was"]),
    ("P9", &["finding_what_is_new_reads_no_more_than_that"]),
    (
        "P10",
        &[
            "the_readme_shows_the_domain_of_the_example",
            "the_example_does_what_it_says",
        ],
    ),
];

/// Fails when the README promises something that no test keeps, or a test that kept it is gone.
#[test]
fn every_promise_is_kept_by_a_test() {
    let readme = tidy::read(Path::new("README.md"));
    let promised: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| P"))
        .map(|row| row.split(' ').next().unwrap())
        .collect();
    let kept: Vec<&str> = PROMISES
        .iter()
        .map(|(id, _)| id.trim_start_matches('P'))
        .collect();
    assert_eq!(promised, kept, "the README's table against the one here");
    let known: BTreeSet<String> = tidy::tests().into_iter().collect();
    let missing: BTreeMap<&str, Vec<&&str>> = PROMISES
        .iter()
        .map(|(id, tests)| {
            (
                *id,
                tests
                    .iter()
                    .filter(|name| !known.contains(**name))
                    .collect::<Vec<_>>(),
            )
        })
        .filter(|(_, missing)| !missing.is_empty())
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// Fails when the example of the README does something else than its readers are told.
#[test]
fn the_example_does_what_it_says() {
    insta::assert_snapshot!(add_a_domain::story(), @r#"
    2001 refused: there is no open account
    2000 taken: Some(Account { owner: "ada", balance_cents: 0 })
    2001 taken: Some(Account { owner: "ada", balance_cents: 1250 })
    2000 refused: the account is open already
    2002 taken: None
    "#);
    let known: Vec<&str> = add_a_domain::ALL
        .iter()
        .map(foldlog::domain::AnyDomain::name)
        .collect();
    assert_eq!(known, ["users", "accounts"]);
}
