//! The promises of the README and the tests that verify them. Each promise has an id in the README and a row here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::accounts::example;
use crate::support::app::{self, App};
use crate::tidy;

/// The id of a promise, and the tests that fail when it is broken.
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
            "every_role_has_exactly_the_privileges_it_needs",
        ],
    ),
    (
        "P4",
        &[
            "four_workers_claim_each_event_once",
            "a_worker_killed_by_sigkill_at_any_step_loses_no_event",
        ],
    ),
    (
        "P5",
        &[
            "an_event_of_a_transaction_that_commits_late_is_not_skipped",
            "a_version_with_an_older_txid_than_its_predecessor_pulls_it_in",
        ],
    ),
    (
        "P6",
        &[
            "one_poison_event_parks_its_aggregate_and_a_thousand_others_go_on",
            "a_retry_folds_the_whole_chain_before_it_unparks",
        ],
    ),
    (
        "P7",
        &["a_listener_loses_no_event_when_every_connection_is_cut"],
    ),
    ("P8", &["appends_and_catch_up_continue_on_a_restored_log"]),
    ("P9", &["a_batch_reads_only_new_events"]),
    (
        "P10",
        &[
            "the_readme_shows_the_domain_of_the_example",
            "the_domain_of_the_readme_behaves_as_documented",
        ],
    ),
    (
        "P11",
        &[
            "responses_are_equal_on_a_socket_and_through_every_gateway",
            "two_invocations_share_a_backlog_and_meet_their_deadlines",
            "a_pass_at_its_deadline_settles_what_it_applied",
        ],
    ),
    (
        "P12",
        &[
            "many_clients_share_a_few_server_connections_of_a_pooler",
            "behind_a_pooler_the_role_is_set_per_transaction",
            "every_answer_is_right_behind_a_pooler_that_tracks_names",
            "a_pooler_that_tracks_names_adds_no_round_trips",
        ],
    ),
    (
        "P13",
        &[
            "what_is_planted_in_requests_is_in_no_log_and_in_no_error",
            "a_lambda_event_appears_in_no_log_at_any_level",
            "a_token_appears_in_no_log_and_no_response",
            "a_rotated_secret_is_read_again_after_a_failed_login",
        ],
    ),
    (
        "P14",
        &[
            "the_past_of_random_histories_equals_a_fold_in_memory",
            "no_route_about_the_past_shows_a_secret",
            "old_revisions_are_read_as_the_newest",
            "lists_of_the_past_equal_a_fold_in_memory_at_every_instant",
        ],
    ),
    (
        "P15",
        &[
            "all_readers_see_the_same_order_and_each_event_once",
            "a_late_commit_delays_the_feed_and_is_not_skipped",
            "a_cursor_continues_on_a_dump_restored_into_a_new_cluster",
            "a_cursor_of_lost_events_is_refused",
        ],
    ),
    (
        "P16",
        &[
            "a_revert_restores_what_events_can_restore_and_reports_the_rest",
            "a_revert_is_idempotent_by_its_id",
            "a_revert_sent_several_times_at_once_is_stored_once",
        ],
    ),
    (
        "P17",
        &[
            "a_changed_fold_is_reported_until_the_view_is_reprojected",
            "a_reprojected_view_is_the_fold_of_all_events",
            "a_reprojection_killed_at_every_step_folds_every_event_once",
            "reads_and_appends_continue_during_a_reprojection_that_is_killed_again_and_again",
            "an_inline_append_beside_a_reprojection_is_in_the_live_view",
        ],
    ),
    (
        "P18",
        &[
            "repair_folds_exactly_the_aggregates_that_differ",
            "an_aggregate_larger_than_a_page_is_verified",
        ],
    ),
];

/// Fails when the README makes a promise that has no row here, or when a row names a test that does not exist.
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
    assert_eq!(
        promised, kept,
        "the README's table differs from the one here"
    );
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

/// Fails when a request of `test.http` gets another response than the file says. Its first two bodies must be those of the README.
#[tokio::test]
async fn requests_in_test_http_get_the_documented_responses() {
    let app = App::new().await;
    let requests = tidy::read(Path::new("test.http"));
    let mut answers = Vec::new();
    for block in requests.split("\n### ").skip(1) {
        let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
        let mut lines = head.lines().skip(1);
        let status: u16 = lines
            .next()
            .unwrap()
            .strip_prefix("# answers ")
            .unwrap()
            .parse()
            .unwrap();
        let (method, url) = lines.next().unwrap().split_once(' ').unwrap();
        let path = url.strip_prefix("http://localhost:7755").unwrap();
        let mut request = app
            .client
            .request(method.parse().unwrap(), format!("{}{path}", app.url));
        for header in lines {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let answer = app::send(request.body(body.trim().to_owned())).await;
        let (found, json) = (answer.status, answer.body);
        assert_eq!(found, status, "{head}\n{json}");
        answers.push(json);
        app.db.catch_up("users").await;
    }
    let user = "100000bb-1111-2222-3333-000000000001";
    let view = json!({"result": [{"id": user, "username": "test", "email": "test@test.test", "version": 2}], "next": null});
    assert_eq!(answers[2], view);
    let readme = tidy::read(Path::new("README.md"));
    for request in requests
        .split("\n\n")
        .filter(|text| text.starts_with('{'))
        .take(2)
    {
        assert!(
            readme.contains(request.trim()),
            "the README does not contain {request}"
        );
    }
}

/// Fails when a `curl` command of the README gets another response than the one that follows it. Times and positions may differ.
#[tokio::test]
async fn requests_in_the_readme_get_the_documented_responses() {
    let app = App::new().await;
    let readme = tidy::read(Path::new("README.md"));
    let (mut last, mut compared) = (json!(null), 0);
    for block in readme.split("```").skip(1).step_by(2) {
        if let Some(commands) = block
            .strip_prefix("sh\n")
            .filter(|text| text.contains("curl "))
        {
            for command in commands.split("curl ").skip(1) {
                let Some((_, rest)) = command.split_once("http://localhost:7755") else {
                    continue;
                };
                let end = rest.find(['\'', ' ', '\n']).unwrap();
                let (path, rest) = rest.split_at(end);
                let body = rest
                    .split_once("-d '")
                    .map(|(_, body)| body.split('\'').next().unwrap());
                let answer = match body {
                    Some(body) => app.append_raw(path, body).await,
                    None => app.read(path).await,
                };
                assert!(answer.status < 300, "{command}: {answer:?}");
                last = answer.body;
                app.db.catch_up("users").await;
            }
        } else if let Some(expected) = block.strip_prefix("json\n") {
            let mut expected = serde_json::from_str(expected).unwrap();
            for json in [&mut last, &mut expected] {
                hide_times_and_positions(json);
            }
            assert_eq!(last, expected, "{last:#}");
            compared += 1;
        }
    }
    assert_eq!(compared, 5);
}

fn hide_times_and_positions(json: &mut Value) {
    match json {
        Value::Object(members) => {
            for (name, value) in members {
                match name.as_str() {
                    "created_at" | "position" => *value = json!(null),
                    _ => hide_times_and_positions(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_times_and_positions),
        _ => {}
    }
}

/// Fails when the example of the README behaves differently from what the README says.
#[test]
fn the_domain_of_the_readme_behaves_as_documented() {
    insta::assert_snapshot!(example::transcript(), @r#"
    2001 rejected: there is no open account
    2000 accepted: Some(Account { owner: "ada", balance_cents: 0 })
    2001 accepted: Some(Account { owner: "ada", balance_cents: 1250 })
    2000 rejected: the account is already open
    2002 accepted: None
    "#);
    let known: Vec<&str> = example::ALL
        .iter()
        .map(foldlog::domain::AnyDomain::name)
        .collect();
    assert_eq!(known, ["users", "accounts"]);
}
