//! The mutations of the model, replayed against the real code and a real Postgres: for each rule of the projection protocol, the tests
//! that fail when foldlog does not follow it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tidy;

mod generations;
mod lanes;
mod settling;
mod stepwise;

/// A mutation of `tests/model`, and the tests that fail when the code has this defect.
const REPLAYS: [(&str, &[&str]); 25] = [
    (
        "AllSettledThoughFull",
        &[
            "a_batch_settles_no_transaction_after_the_one_in_which_it_stops",
            "a_batch_that_ends_within_a_transaction_settles_only_its_part",
        ],
    ),
    (
        "CursorWithoutSnapshot",
        &["an_event_of_a_transaction_that_commits_late_is_not_skipped"],
    ),
    (
        "StoppedTransactionSettled",
        &["a_batch_that_ends_within_a_transaction_settles_only_its_part"],
    ),
    (
        "AllButStoppedTransactionSettled",
        &[
            "a_batch_settles_no_transaction_after_the_one_in_which_it_stops",
            "a_batch_settles_exactly_what_it_looked_at",
        ],
    ),
    (
        "PositionOfOtherTransaction",
        &["a_position_counts_only_for_the_transaction_that_it_was_settled_in"],
    ),
    (
        "BegunTransactionLast",
        &["a_begun_transaction_is_finished_before_another_one_is_begun"],
    ),
    (
        "StaleSnapshotAccepted",
        &["a_snapshot_older_than_the_begun_transaction_is_not_used"],
    ),
    (
        "SettledInOwnTransaction",
        &["a_batch_settles_in_the_transaction_that_claims"],
    ),
    (
        "LaneNotCompared",
        &["a_write_has_no_effect_after_another_write_of_the_lane"],
    ),
    (
        "TurnReadAgain",
        &["a_write_that_waits_for_the_lane_compares_its_newest_turn"],
    ),
    (
        "TurnNotIncremented",
        &[
            "a_write_has_no_effect_after_another_write_of_the_lane",
            "a_write_has_no_effect_after_a_split_and_a_merge",
        ],
    ),
    (
        "ClaimsOnConflictDoNothing",
        &["a_row_that_changed_after_the_read_is_not_overwritten"],
    ),
    (
        "HeldClaimSkipped",
        &[
            "a_pass_reads_exactly_what_its_frozen_snapshot_sees",
            "a_lock_timeout_on_a_claim_loses_no_event",
        ],
    ),
    (
        "OrderNotChecked",
        &["a_version_with_an_older_txid_than_its_predecessor_pulls_it_in"],
    ),
    (
        "PredecessorLeftOut",
        &["a_version_with_an_older_txid_than_its_predecessor_pulls_it_in"],
    ),
    (
        "FoldInLogOrder",
        &["a_version_with_an_older_txid_than_its_predecessor_pulls_it_in"],
    ),
    (
        "LockerNotProbed",
        &["claimed_events_without_a_row_do_not_stop_a_pass"],
    ),
    (
        "ParkedNotReadAgain",
        &["a_pass_waits_for_a_retry_that_locks_the_parked_row"],
    ),
    (
        "ParkedReadWithoutLock",
        &[
            "a_pass_waits_for_a_retry_that_locks_the_parked_row",
            "a_retry_waits_for_passes_that_share_lock_the_parked_row",
        ],
    ),
    (
        "ChainReadBeforeLock",
        &["a_retry_waits_for_passes_that_share_lock_the_parked_row"],
    ),
    (
        "UnparkAfterOneEvent",
        &["a_retry_folds_the_whole_chain_before_it_unparks"],
    ),
    (
        "MergeToUnion",
        &[
            "a_merge_settles_only_what_all_lanes_have_settled",
            "merged_lanes_settle_only_what_all_of_them_have_settled",
        ],
    ),
    (
        "MergeWithoutLocks",
        &["a_merge_leaves_lanes_alone_that_a_worker_holds"],
    ),
    (
        "SplitWithCurrentSnapshot",
        &[
            "a_split_waits_for_the_batch_of_the_worker_that_holds_the_lane",
            "both_halves_of_a_split_lane_continue_where_the_lane_was",
        ],
    ),
    (
        "SplitWithoutWaiting",
        &["a_split_waits_for_the_batch_of_the_worker_that_holds_the_lane"],
    ),
];

/// A mutation of the model of the doorbell, and the tests that fail when the code has this defect.
const DOORBELL_REPLAYS: [(&str, &[&str]); 10] = [
    (
        "NoLastPoll",
        &["an_append_that_sent_no_notify_is_found_by_the_last_poll_before_sleep"],
    ),
    (
        "RunningCatchUpIgnored",
        &["a_blocked_projection_does_not_block_the_others"],
    ),
    (
        "KeyTakenBeforeListen",
        &["an_append_during_the_last_poll_wakes_the_listener"],
    ),
    (
        "DropAfterLastPoll",
        &["an_append_during_the_last_poll_wakes_the_listener"],
    ),
    (
        "KeyHeldInTransaction",
        &["a_notify_wakes_a_sleeping_listener"],
    ),
    (
        "KeyNotTakenAfterReconnect",
        &["a_listener_loses_no_event_when_every_connection_is_cut"],
    ),
    (
        "SleepWithoutKey",
        &["only_one_of_two_listeners_sleeps_and_the_other_takes_over"],
    ),
    (
        "KeyReleasedAfterStatement",
        &[
            "an_append_that_sent_no_notify_is_found_by_the_last_poll_before_sleep",
            "an_append_holds_k_until_its_commit_is_visible",
        ],
    ),
    (
        "KeyReleasedBeforeVisible",
        &["an_append_holds_k_until_its_commit_is_visible"],
    ),
    (
        "NotifyBeforeCommit",
        &["a_notification_arrives_only_after_the_commit"],
    ),
];

/// A mutation of the model of skips, and the tests that fail when the code has this defect.
const SKIP_REPLAYS: [(&str, &[&str]); 4] = [
    (
        "SkipKeepsVersion",
        &[
            "a_skipped_event_has_no_effect_and_the_later_ones_are_folded",
            "each_event_that_cannot_be_folded_is_skipped_by_itself",
        ],
    ),
    (
        "SkipUnparksAtOnce",
        &["a_skipped_event_has_no_effect_and_the_later_ones_are_folded"],
    ),
    (
        "SkipWithoutClaim",
        &[
            "a_skipped_event_has_no_effect_and_the_later_ones_are_folded",
            "the_first_event_of_an_aggregate_can_be_skipped",
        ],
    ),
    (
        "SkipAheadOfParked",
        &["only_the_event_that_parks_an_aggregate_can_be_skipped"],
    ),
];

/// A mutation of the model of reprojections, and the tests that fail when the code has this defect.
const GENERATION_REPLAYS: [(&str, &[&str]); 26] = [
    (
        "PlanNotCompared",
        &["a_generation_that_was_cancelled_is_not_planned"],
    ),
    (
        "SnapshotPerSlice",
        &["a_reprojection_killed_at_every_step_folds_every_event_once"],
    ),
    (
        "SettledAtCurrentSnapshot",
        &["a_reprojection_killed_at_every_step_folds_every_event_once"],
    ),
    (
        "SettledWhileSliceHeld",
        &["a_generation_is_not_filled_while_a_worker_holds_a_slice"],
    ),
    (
        "SlicesNotCompared",
        &["a_generation_is_not_filled_while_a_worker_holds_a_slice"],
    ),
    (
        "CursorBeforeClaims",
        &["a_reprojection_killed_at_every_step_folds_every_event_once"],
    ),
    (
        "CursorAfterCommit",
        &["a_reprojection_killed_at_every_step_folds_every_event_once"],
    ),
    (
        "SliceNotLocked",
        &["a_generation_is_not_filled_while_a_worker_holds_a_slice"],
    ),
    (
        "LaneCreatedByPass",
        &["a_worker_creates_no_lane_for_a_generation_that_is_being_filled_or_removed"],
    ),
    (
        "SwapWithoutLock",
        &["an_inline_append_beside_a_reprojection_is_in_the_live_view"],
    ),
    (
        "SwapWithoutCatchUp",
        &["an_inline_append_beside_a_reprojection_is_in_the_live_view"],
    ),
    (
        "SwapSnapshotBeforeLock",
        &["an_inline_append_beside_a_reprojection_is_in_the_live_view"],
    ),
    (
        "SwapBeforeFilled",
        &["a_generation_is_not_filled_while_a_worker_holds_a_slice"],
    ),
    (
        "LiveBatchesNotStopped",
        &["a_generation_does_not_go_live_during_a_batch_of_the_live_one"],
    ),
    (
        "ParkedNotCompared",
        &[
            "a_generation_that_lacks_an_event_of_the_live_one_does_not_go_live",
            "an_aggregate_that_the_last_catch_up_parks_is_compared_too",
        ],
    ),
    (
        "RetryWithoutLock",
        &["a_retry_waits_for_a_generation_that_goes_live"],
    ),
    (
        "PhaseNotCompared",
        &["each_transaction_compares_the_state_of_its_generation"],
    ),
    (
        "AppendWithoutLock",
        &["an_inline_append_beside_a_reprojection_is_in_the_live_view"],
    ),
    (
        "LiveReadBeforeLock",
        &["an_inline_append_beside_a_reprojection_is_in_the_live_view"],
    ),
    (
        "SkipPerGeneration",
        &["a_skip_holds_for_later_generations_and_repairs"],
    ),
    (
        "NameReused",
        &["a_generation_that_was_cancelled_is_not_planned"],
    ),
    (
        "RetiredNotProjected",
        &["old_and_new_code_read_their_own_generations"],
    ),
    (
        "RemovalNotMarked",
        &["a_removal_deletes_claims_after_it_has_waited_for_the_workers"],
    ),
    (
        "ClaimsRemovedBeforeSlices",
        &["a_removal_deletes_claims_after_it_has_waited_for_the_workers"],
    ),
    (
        "ClaimsRemovedBeforeLanes",
        &["a_removal_deletes_claims_after_it_has_waited_for_the_workers"],
    ),
    (
        "ClaimsRemovedBeforeParked",
        &["a_removal_deletes_claims_after_it_has_waited_for_the_workers"],
    ),
];

/// Fails when the model has a mutation that is not replayed against the code, or when a table names a test that does not exist.
#[test]
fn every_mutation_of_the_model_is_replayed_against_the_code() {
    assert_replayed("mutations.rs", "MUTATIONS", &REPLAYS);
    assert_replayed("mutations.rs", "SKIP_MUTATIONS", &SKIP_REPLAYS);
    assert_replayed("mutations.rs", "GENERATION_MUTATIONS", &GENERATION_REPLAYS);
    assert_replayed("doorbell/mutations.rs", "MUTATIONS", &DOORBELL_REPLAYS);
}

fn assert_replayed(file: &str, table: &str, replays: &[(&str, &[&str])]) {
    let text = tidy::read(&Path::new("tests/model/src").join(file));
    let start = text.find(&format!("pub const {table}:")).unwrap();
    let list = &text[start..];
    let list = &list[..list.find("\n];").unwrap()];
    let mutations: Vec<&str> = list
        .split("Mutation::")
        .skip(1)
        .map(|rest| rest.split(',').next().unwrap())
        .collect();
    let replayed: Vec<&str> = replays.iter().map(|(mutation, _)| *mutation).collect();
    assert_eq!(mutations, replayed, "{table} of {file}, the table here");
    let known: BTreeSet<String> = tidy::tests().into_iter().collect();
    let missing: Vec<&&str> = replays
        .iter()
        .flat_map(|(_, tests)| *tests)
        .filter(|name| !known.contains(**name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}
