//! `{"retry": …, "aggregate_id": …}`: one parked aggregate.

use serde_json::json;
use uuid::Uuid;

use super::{operate, parked_account};
use crate::support::accounts::make_foldable;
use crate::support::app::App;

/// Fails when the retry of one aggregate retries the others, too, does not say how it ended, or does not fold the whole chain.
#[tokio::test]
async fn one_parked_aggregate_is_retried_and_the_others_are_not() {
    let app = App::new().await;
    let (account, other) = (parked_account(&app).await, parked_account(&app).await);
    app.db.catch_up("ledger").await;
    let attempts = async |account: Uuid| {
        let parked = app.read("/projections/ledger/parked").await.body["result"].clone();
        let parked = parked.as_array().unwrap();
        let entry = parked
            .iter()
            .find(|entry| entry["aggregate_id"] == json!(account));
        entry.map(|entry| entry["attempts"].as_i64().unwrap())
    };
    let retry = json!({"retry": "ledger", "aggregate_id": account});

    let failed = operate(&app, retry.clone()).await;
    let ledger = &failed.body["projections"]["ledger"];
    assert_eq!(
        (&ledger["failed"], &ledger["unparked"], &ledger["parked"]),
        (&json!(1), &json!(0), &json!(2))
    );
    assert_eq!(
        (attempts(account).await, attempts(other).await),
        (Some(2), Some(1))
    );

    make_foldable(account);
    make_foldable(other);
    let folded = operate(&app, retry.clone()).await;
    let ledger = &folded.body["projections"]["ledger"];
    let counts = ["applied", "failed", "unparked", "parked"].map(|name| ledger[name].clone());
    assert_eq!(counts, [3, 0, 1, 1].map(|count| json!(count)));
    assert_eq!(
        (attempts(account).await, attempts(other).await),
        (None, Some(1))
    );
    let recorded = app.read("/projections/ledger").await.body["last_results"]["retry"].clone();
    assert_eq!(recorded["result"], *ledger);

    let again = operate(&app, retry).await;
    let detail = again.problem(404, "not-parked");
    assert!(detail.contains(&account.to_string()), "{detail}");
}

/// Fails when an aggregate that is not parked is answered as if it had been retried, or an id that is none reaches the database.
#[tokio::test]
async fn an_aggregate_that_is_not_parked_is_not_retried() {
    let app = App::new().await;
    let account = parked_account(&app).await;
    app.db.catch_up("ledger").await;
    for (projection, id) in [("ledger", Uuid::nil()), ("users", account)] {
        let payload = json!({"retry": projection, "aggregate_id": id});
        operate(&app, payload).await.problem(404, "not-parked");
    }
    for id in [json!("ada"), json!(7), json!(null)] {
        let payload = json!({"retry": "ledger", "aggregate_id": id});
        let answer = operate(&app, payload).await;
        let detail = answer.problem(400, "malformed");
        assert!(detail.contains("aggregate_id"), "{detail}");
    }
    assert_eq!(app.db.count("select attempts::bigint from parked").await, 1);
}
