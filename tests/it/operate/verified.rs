//! Verifications that need several invocations, as their callers see them.

use std::time::{Duration, Instant};

use foldlog::operate::{Deadline, Operator, Verb};
use foldlog::projection::Budget;
use foldlog::projection::verify::{VerifyOptions, verify};
use serde_json::json;
use uuid::Uuid;

use super::operate;
use crate::support::app::App;
use crate::support::events::{append, created};
use crate::support::locks::{Held, wait_until_blocked};

/// Fails when an invocation with a short deadline does not leave its place to the next one, whatever the interface, or when operators do not
/// see how far a verification is.
#[tokio::test]
async fn invocations_with_short_deadlines_continue_each_other() {
    let app = App::new().await;
    let users: Vec<_> = (0..250).map(|_| created(Uuid::now_v7(), "ada")).collect();
    append(&app.db.foldlog, &users).await;
    app.db.catch_up("users").await;
    app.db.run("analyze users").await;
    let payload = json!({"verify": "users"});
    let operator = Operator {
        foldlog: app.db.foldlog.clone(),
        batch_size: 100,
    };
    for aggregates in [99, 198] {
        let now = Instant::now();
        let deadline = Deadline {
            stop_at: now,
            abort_at: now + Duration::from_mins(1),
            respond_by: now + Duration::from_mins(1),
        };
        let verb = Verb::parse(&payload).unwrap();
        let mut results = operator.run(&verb, deadline).await;
        let report = results.remove(0).1.unwrap();
        assert!(!report.done);
        assert_eq!(report.answer["verification"]["aggregates"], aggregates);
        let shown = app.read("/projections").await.body["projections"]["users"].clone();
        let progress = &shown["last_verify"];
        assert_eq!(
            (&progress["aggregates"], &progress["estimated_aggregates"]),
            (&json!(aggregates), &json!(250))
        );
        assert_eq!(
            (&progress["complete"], &progress["repair"]),
            (&json!(false), &json!(false))
        );
        let last = app.read("/projections/users").await.body["last_results"]["verify"].clone();
        assert_eq!(last["result"]["done"], false);
    }
    let started = app.read("/projections/users").await.body["last_verify"]["started_at"].clone();
    let verified = operate(&app, payload.clone()).await.body["projections"]["users"].clone();
    assert_eq!(
        (&verified["done"], &verified["verification"]["aggregates"]),
        (&json!(true), &json!(250))
    );
    assert_eq!(verified["verification"]["removed_claims"], 0);
    let last = app.read("/projections/users").await.body["last_verify"].clone();
    assert_eq!(
        (&last["complete"], &last["started_at"]),
        (&json!(true), &started)
    );
}

/// Fails when an invocation whose verification was replaced answers as if it had found nothing.
#[tokio::test]
async fn an_invocation_whose_verification_was_replaced_is_told() {
    let app = App::new().await;
    append(&app.db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    app.db.catch_up("users").await;
    let held = Held::open(&app.db, "lock table users in access exclusive mode").await;
    let replaced = operate(&app, json!({"verify": "users"}));
    let replace = async {
        let mut watch = app.db.connect().await;
        wait_until_blocked(&mut watch, "Reads a page for a verification").await;
        let budget = Budget::default();
        budget.stop.cancel();
        let restart = VerifyOptions {
            restart: true,
            ..VerifyOptions::default()
        };
        let view = app.db.foldlog.view("users").unwrap();
        verify(app.db.pool(), view, restart, &budget).await.unwrap();
        held.release().await;
    };
    let (replaced, ()) = tokio::join!(replaced, replace);
    replaced.problem(409, "verification-replaced");
}
