//! The verbs of the catch-up function.

use std::sync::Arc;

use foldlog::lambda::Worker;
use serde_json::{Value, json};
use uuid::Uuid;

use super::function::{CATCH_UP, Function, QUERY, event};
use crate::support::events::{append, opened};
use crate::support::locks::Held;
use crate::support::runtime_api::in_ms;
use crate::support::{TestDb, created};

/// A user whose event the view refuses.
async fn parked(db: &TestDb) {
    db.run("alter table users add constraint no_eve check (username <> 'eve')")
        .await;
    let [eve, ada] = ["eve", "ada"].map(|name| created(Uuid::now_v7(), name));
    append(&db.foldlog, &[eve]).await;
    append(&db.foldlog, &[ada]).await;
}

/// The lines that become metrics.
fn metrics(out: &str) -> Vec<Value> {
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Fails when a verb does the work of another verb, when `retry` waits until an aggregate is due, or when standard output contains
/// anything but the metrics of each invocation.
#[tokio::test]
async fn each_catch_up_verb_works_and_writes_metrics() {
    let db = TestDb::new().await;
    parked(&db).await;
    let function = Function::start(&db.options, CATCH_UP, &[]).await;
    let users =
        async |payload: &Value| function.invoke(payload).await["projections"]["users"].clone();

    let status = users(&event("status")).await;
    assert!(status["lag_seconds"].as_f64().unwrap() > 0.0, "{status}");
    let expected = json!({"applied": 0, "remaining": 2, "parked": 0, "done": false,
                          "lag_seconds": status["lag_seconds"], "state": "unprocessed", "fold_changed": false});
    assert_eq!(status, expected);

    let caught_up = json!({"applied": 1, "remaining": 0, "parked": 1, "done": true});
    assert_eq!(users(&event("schedule")).await, caught_up);
    let again = json!({"applied": 0, "remaining": 0, "parked": 1, "done": true});
    assert_eq!(users(&json!({})).await, again);

    let failed = json!({"applied": 0, "remaining": 0, "parked": 1, "done": true,
                        "unparked": 0, "failed": 1, "lag_seconds": 0.0});
    assert_eq!(users(&event("retry")).await, failed);
    db.run("alter table users drop constraint no_eve").await;
    let mended = json!({"applied": 1, "remaining": 0, "parked": 0, "done": true,
                        "unparked": 1, "failed": 0, "lag_seconds": 0.0});
    assert_eq!(users(&event("retry")).await, mended);
    db.assert_views_equal_a_fold_from_scratch().await;

    let ended = function.program.terminate().await;
    let metrics = metrics(&ended.well().out);
    let measured: Vec<_> = metrics
        .iter()
        .map(|line| ["LagEvents", "Parked", "Applied"].map(|name| line[name].as_u64().unwrap()))
        .collect();
    assert_eq!(
        measured,
        [[2, 0, 0], [0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    );
    for line in metrics {
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "foldlog");
        assert_eq!(
            (&line["Projection"], &directive["Dimensions"]),
            (&json!("users"), &json!([["Projection"]]))
        );
    }
}

/// Fails when a lag that cannot be measured is reported as 0, in the response or as a metric.
#[tokio::test]
async fn an_unknown_lag_is_null_and_has_no_metric() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let lock = Held::open(&db, "lock table parked in access exclusive mode").await;
    let catch_up = Function::start(&db.options, CATCH_UP, &[]).await;
    let status = catch_up
        .api
        .try_invoke(&event("status"), in_ms(2_000))
        .await;
    let unknown = json!({"applied": 0, "remaining": null, "parked": null, "done": false,
                         "lag_seconds": null, "state": "unknown", "fold_changed": null});
    assert_eq!(status.unwrap()["projections"]["users"], unknown);
    let query = Function::start(&db.options, QUERY, &[]).await;
    let health = query.invoke(&event("health")).await;
    let health: Value = serde_json::from_str(health["body"].as_str().unwrap()).unwrap();
    let unknown = json!({"lag_events": null, "lag_seconds": null, "newest_event_at": null, "oldest_waiting_at": null,
                         "parked": null, "state": "unknown", "worker_seen_at": null, "fold_changed": null, "reprojection": null});
    assert_eq!(health["projections"]["users"], unknown);
    lock.release().await;

    let [worker, server] = [catch_up, query].map(async |function| {
        let ended = function.program.terminate().await;
        metrics(&ended.well().out)
    });
    let (worker, server) = (worker.await, server.await);
    for line in worker.iter().chain(&server) {
        assert_eq!(line["Unmeasured"], 1, "{line}");
        for name in ["LagEvents", "LagSeconds", "ServedLagSeconds", "Parked"] {
            assert_eq!(line[name], Value::Null, "{line}");
        }
    }
    assert_eq!((worker.len(), server.len()), (1, 1));
}

/// Fails when the function that serves a view does not report that no worker projects it, or when any client can make it write
/// metrics.
#[tokio::test]
async fn a_view_without_a_worker_is_reported_by_the_function_that_serves_it() {
    let db = TestDb::new().await;
    db.run(
        "insert into events (id, aggregate_id, version, type_id, payload, created_at) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}', now() - interval '1 hour')",
    )
    .await;
    let query = Function::start(&db.options, QUERY, &[]).await;
    let mut from_client = event("health");
    from_client["requestContext"]["apiId"] = json!("a");
    for health in [event("health"), from_client] {
        let health = query.invoke(&health).await;
        let health: Value = serde_json::from_str(health["body"].as_str().unwrap()).unwrap();
        assert_eq!(health["projections"]["users"]["state"], "unprocessed");
    }
    let ended = query.program.terminate().await;
    let metrics = metrics(&ended.well().out);
    let [line] = metrics.as_slice() else {
        panic!("{metrics:?}")
    };
    assert_eq!(
        (&line["Projection"], &line["Unmeasured"]),
        (&json!("users"), &json!(0))
    );
    assert!(
        line["ServedLagSeconds"].as_f64().unwrap() >= 3600.0,
        "{line}"
    );
}

/// Fails when an unknown verb is taken for `{}`, or is refused without a word of what is known.
#[tokio::test]
async fn an_unknown_verb_is_rejected_with_the_list_of_verbs() {
    let db = TestDb::new().await;
    let function = Function::start(&db.options, CATCH_UP, &[]).await;
    for payload in [
        json!({"sing": "users"}),
        json!({"retry": "users", "status": true}),
        json!({"status": "users"}),
        json!({"Records": []}),
        json!("retry"),
    ] {
        let error = function
            .api
            .try_invoke(&payload, in_ms(60_000))
            .await
            .unwrap_err();
        let said = error["errorMessage"].as_str().unwrap();
        assert_eq!(error["errorType"], "UnknownVerb");
        let known = ["{}", r#"{"status":true}"#, r#"{"retry":"#];
        assert!(known.iter().all(|verb| said.contains(verb)), "{said}");
    }
    let unknown = json!({"retry": "nobody"});
    let error = function
        .api
        .try_invoke(&unknown, in_ms(60_000))
        .await
        .unwrap_err();
    assert_eq!(
        error["errorMessage"],
        "unknown projection `nobody`: use one of users"
    );
    let migrate = Function::start(&db.options, crate::bins::program::MIGRATE, &[]).await;
    for payload in [
        json!({"migrate": "sideways"}),
        json!({}),
        json!({"migrate": "up", "x": 1}),
    ] {
        let error = migrate
            .api
            .try_invoke(&payload, in_ms(60_000))
            .await
            .unwrap_err();
        assert!(
            error["errorMessage"]
                .as_str()
                .unwrap()
                .contains(r#"{"migrate":"up"}"#)
        );
    }
    migrate.end().await;
    function.end().await;
}

/// Another worker is on its way through a backlog: it has claimed more events than a look takes in, and settled none.
/// Fails when such a look, which finds nothing to do, is taken for the whole.
#[tokio::test]
async fn status_is_not_done_while_unclaimed_events_lie_beyond_its_limit() {
    let db = TestDb::new().await;
    db.run(
        "insert into events (id, aggregate_id, version, type_id, payload) \
         select gen_random_uuid(), gen_random_uuid(), 1, 1000, '{}' from generate_series(1, 10001); \
         insert into locker (event_id, aggregate_id, lock_domain) \
         select id, aggregate_id, 'users' from events order by position limit 10000",
    )
    .await;
    let worker = Arc::new(Worker {
        foldlog: db.foldlog.clone(),
        batch_size: 100,
    });
    let answer = worker.handle(json!({"status": true}), in_ms(60_000)).await;
    let users = &answer.unwrap()["projections"]["users"];
    // The newest events are looked at in any case, and one of them is not claimed.
    let expected = json!({"applied": 0, "remaining": 1, "parked": 0, "done": false,
                          "lag_seconds": users["lag_seconds"], "state": "unprocessed", "fold_changed": false});
    assert_eq!(*users, expected);
}

/// Fails when one projection's failure ends the invocation before the others have done their work, hides what they did, or
/// lets the invocation pass for a good one.
#[tokio::test]
async fn a_failing_projection_does_not_stop_the_others() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    append(&db.foldlog, &[opened(Uuid::now_v7())]).await;
    db.run("alter table accounts rename to elsewhere").await;
    let worker = Arc::new(Worker {
        foldlog: db.foldlog.clone(),
        batch_size: 100,
    });
    let error = worker.handle(json!({}), in_ms(60_000)).await.unwrap_err();
    assert_eq!(error.error_type, "ProjectionFailed");
    let answer: Value = serde_json::from_str(&error.error_message).unwrap();
    let good = json!({"applied": 1, "remaining": 0, "parked": 0, "done": true});
    let bad = json!({"error": "the database is not set up for this build: a table is missing (SQLSTATE 42P01); run `migrate up` and `migrate status`"});
    assert_eq!(
        answer,
        json!({"projections": {"users": good, "accounts": bad, "ledger": good}})
    );
}
