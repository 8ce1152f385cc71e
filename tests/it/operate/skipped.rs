//! The list of the events that operators have skipped.

use serde_json::json;

use super::{operate, parked_account};
use crate::support::app::App;

// Fails when a skipped event is missing in the list, is listed twice, or is listed without who skipped it and why.
#[tokio::test]
async fn skipped_events_are_listed_in_pages_with_their_reasons() {
    let app = App::new().await;
    let (mut accounts, mut skipped) = (Vec::new(), Vec::new());
    for number in 0..5 {
        accounts.push((parked_account(&app).await, number));
    }
    accounts.sort_unstable();
    app.db.catch_up("ledger").await;
    let parked = app.read("/projections/ledger/parked").await;
    for (account, number) in &accounts {
        let entries = parked.body["result"].as_array().unwrap();
        let mut entries = entries.iter();
        let entry = entries.find(|entry| entry["aggregate_id"] == json!(account));
        let event = &entry.unwrap()["event_id"];
        let mut skip =
            json!({"domain": "ledger", "event_id": event, "reason": format!("no. {number}")});
        if *number > 0 {
            skip["actor"] = json!("ada");
        }
        let answer = operate(&app, json!({ "skip": skip })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        skipped.push(json!([
            account,
            event,
            2,
            format!("no. {number}"),
            skip["actor"]
        ]));
    }

    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/projections/ledger/skipped?limit=2{after}");
        let page = app.read(&path).await;
        for entry in page.body["result"].as_array().unwrap() {
            assert!(entry["skipped_at"].is_string(), "{entry}");
            let fields = ["aggregate_id", "event_id", "version", "reason", "actor"];
            found.push(json!(fields.map(|field| &entry[field])));
        }
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found, skipped);
    let others = app.read("/projections/users/skipped").await;
    assert_eq!(others.body, json!({"result": [], "next": null}));
    for query in ["limit=0", "after=x", "unknown=1"] {
        let path = format!("/projections/ledger/skipped?{query}");
        app.read(&path).await.problem(400, "malformed");
    }
    app.read("/projections/nothing/skipped")
        .await
        .problem(404, "no-such-projection");
}
