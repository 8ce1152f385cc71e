//! What operators are told when something fails, and what the verbs have last answered.

use std::time::{Duration, Instant};

use axum::Extension;
use foldlog::http::{Auth, MaxPageBytes};
use foldlog::operate::{Deadline, OperateError, Operator, Verb};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{operate, parked_account};
use crate::support::TestDb;
use crate::support::app::App;
use crate::support::created;
use crate::support::events::append;
use crate::support::locks::Held;

/// Fails when one projection that fails hides what was done for the others, or when a response says 200 although nothing was done.
#[tokio::test]
async fn a_failing_projection_does_not_hide_the_reports_of_the_others() {
    let app = App::new().await;
    append(&app.db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    app.db.run("drop table ledger").await;
    let answer = operate(&app, json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let projections = &answer.body["projections"];
    let users = json!({"applied": 1, "remaining": 0, "parked": 0, "done": true});
    assert_eq!(projections["users"], users);
    let error = projections["ledger"]["error"].as_str().unwrap();
    assert!(error.contains("migrate"), "{error}");
    assert!(projections["ledger"]["done"].is_null());
    let alone = operate(&app, json!({"verify": "ledger"})).await;
    alone.problem(503, "unavailable");
}

/// Fails when the answer to a skip that has committed is an error, so that the operator repeats it and gets a 404.
#[tokio::test]
async fn a_skip_is_answered_even_if_the_lag_cannot_be_measured() {
    let app = App::new().await;
    parked_account(&app).await;
    app.db.catch_up("ledger").await;
    let entry = app.read("/projections/ledger/parked").await.body["result"][0].clone();
    // No verb but `status` reads this column.
    app.db
        .run("alter table settled alter settled_at drop default, alter settled_at type text")
        .await;
    operate(&app, json!({"status": true}))
        .await
        .problem(503, "unavailable");
    let skip =
        json!({"skip": {"domain": "ledger", "event_id": entry["event_id"], "reason": "a mistake"}});
    let skipped = operate(&app, skip).await;
    assert_eq!(skipped.status, 200, "{skipped:?}");
    let ledger = &skipped.body["projections"]["ledger"];
    assert_eq!(ledger["skipped"]["version"], 2);
    assert_eq!(
        (&ledger["remaining"], &ledger["done"]),
        (&json!(null), &json!(false))
    );
}

/// Fails when a path that is no text gets the framework's response, or an unknown projection is not named.
#[tokio::test]
async fn a_projection_in_the_path_that_is_no_text_or_unknown_is_a_problem() {
    let app = App::new().await;
    for below in ["", "/parked", "/differences"] {
        let answer = app.read(&format!("/projections/%ff{below}")).await;
        answer.problem(400, "malformed");
        for unknown in ["nothing", "Users", "users%00", "us%2Fers"] {
            let answer = app.read(&format!("/projections/{unknown}{below}")).await;
            let detail = answer.problem(404, "no-such-projection");
            assert!(detail.contains("users, accounts, ledger"), "{detail}");
        }
        let answer = app
            .read(&format!("/projections/users{below}?unknown=1"))
            .await;
        answer.problem(400, "malformed");
    }
}

/// Fails when a page of parked aggregates or differences is larger than a gateway passes on, or loses an entry at its end.
#[tokio::test]
async fn pages_of_operators_are_bounded_in_bytes() {
    let bounded = App::with_layers(Auth::None, |routes| {
        routes.layer(Extension(MaxPageBytes(3_000)))
    })
    .await;
    let app = &bounded;
    for _ in 0..20 {
        parked_account(app).await;
    }
    for _ in 0..20 {
        append(&app.db.foldlog, &[created(Uuid::now_v7(), &"é".repeat(50))]).await;
    }
    for projection in ["users", "ledger"] {
        app.db.catch_up(projection).await;
    }
    app.db
        .run("update users set username = repeat('x', 100)")
        .await;
    let verified = operate(app, json!({"verify": "users"})).await;
    assert_eq!(
        verified.body["projections"]["users"]["verification"]["differ"],
        20
    );
    for path in [
        "/projections/ledger/parked",
        "/projections/users/differences",
    ] {
        let (mut found, mut pages, mut after) = (Vec::new(), 0, String::new());
        loop {
            let page = app.read(&format!("{path}?limit=1000{after}")).await;
            assert!(page.body.to_string().len() < 3_500, "{page:?}");
            found.extend(page.body["result"].as_array().unwrap().clone());
            pages += 1;
            match page.body["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert!(pages > 1);
        let keys: Vec<String> = found
            .iter()
            .map(|entry| format!("{}{}", entry["aggregate_id"], entry["id"]))
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(keys.len(), 20, "{path}");
    }
}

/// Fails when the last answer of a verb cannot be read afterwards, which is the only answer to a verb that was handed over.
#[tokio::test]
async fn the_last_answer_of_each_verb_can_be_read() {
    let db = TestDb::new().await;
    let app = App::with_db(db).await;
    parked_account(&app).await;
    app.db.catch_up("ledger").await;
    let ledger = async || app.read("/projections/ledger").await.body;
    assert_eq!(ledger().await["last_results"], json!({}));
    let unknown =
        json!({"skip": {"domain": "ledger", "event_id": Uuid::nil(), "reason": "a typo"}});
    operate(&app, unknown).await.problem(404, "not-parked");
    operate(&app, json!({"preview": "ledger"}))
        .await
        .problem(409, "wrong-reprojection");
    app.db.run("update ledger set deposits = 99").await;
    for (payload, verb) in [
        (json!({"verify": "ledger"}), "verify"),
        (json!({"retry": "ledger"}), "retry"),
        (json!({"status": true}), "status"),
        (
            json!({"reproject": "ledger", "max_changes": 0}),
            "reproject",
        ),
        (json!({"preview": "ledger"}), "preview"),
    ] {
        let answer = operate(&app, payload).await;
        let mut answer = answer.body["projections"]["ledger"].clone();
        if verb == "verify" {
            answer.as_object_mut().unwrap().remove("differences");
        }
        assert_eq!(ledger().await["last_results"][verb]["result"], answer);
    }
    let shown = ledger().await;
    let results = &shown["last_results"];
    for (verb, text) in [("skip", "no aggregate"), ("verify", "")] {
        assert!(results[verb]["answered_at"].is_string(), "{results}");
        assert!(
            text.is_empty()
                || results[verb]["result"]["error"]
                    .as_str()
                    .unwrap()
                    .contains(text)
        );
    }
    assert_eq!(results["preview"]["result"]["preview"]["differ"], 1);
    // The reprojection was refused, so the new generation waits.
    assert_eq!(
        results["reproject"]["result"]["reprojection"]["state"],
        "refused"
    );
    assert_eq!(
        (
            &shown["reprojection"]["state"],
            &shown["reprojection"]["generation"]
        ),
        (&json!("refused"), &json!(2))
    );
    let all = app.read("/projections").await.body["projections"]["ledger"].clone();
    assert_eq!(all["reprojection"], shown["reprojection"]);
    assert_eq!(all["last_results"], Value::Null);
    // The list reads the answer of the reprojection only: that of the verification cannot be decoded now.
    app.db
        .run("update verb_results set result = '1e400' where verb = 'verify'")
        .await;
    assert_eq!(app.read("/projections/ledger").await.status, 500);
    let again = app.read("/projections").await.body["projections"]["ledger"].clone();
    assert_eq!(again["reprojection"], shown["reprojection"]);
    let health = app.read("/health").await.body["projections"]["ledger"].clone();
    let slices = shown["reprojection"]["slices"].clone();
    let progress = json!({"generation": 2, "slices_done": slices, "slices": slices});
    assert_eq!(health["reprojection"], progress);
}

/// Fails when a verb that has not ended in time leaves the answer before it as the last one: the sender of a verb that was handed over
/// would take it for the answer to its own.
#[tokio::test]
async fn a_verb_that_runs_out_of_time_records_the_error() {
    let app = App::new().await;
    let verify = json!({"verify": "users"});
    let results = async || app.read("/projections/users").await.body["last_results"].clone();
    assert_eq!(operate(&app, verify.clone()).await.status, 200);
    assert!(results().await["verify"]["result"]["error"].is_null());
    let held = Held::open(&app.db, "lock table verifications in access exclusive mode").await;
    let now = Instant::now();
    // The verification waits for the lock, for up to 5 s. The last step is long, and with it the time to record.
    let deadline = Deadline {
        stop_at: now + Duration::from_mins(1),
        abort_at: now,
        respond_by: now + Duration::from_secs(3),
    };
    let operator = Operator {
        foldlog: app.db.foldlog.clone(),
        batch_size: 100,
    };
    let run = operator.run(&Verb::parse(&verify).unwrap(), deadline).await;
    assert!(matches!(
        run.as_slice(),
        [("users", Err(OperateError::OutOfTime))]
    ));
    // The answer was recorded before, and the page also reads the locked table.
    held.release().await;
    let error = OperateError::OutOfTime.to_string();
    let expected = json!({ "error": error });
    assert_eq!(results().await["verify"]["result"], expected);
}
