//! `GET /events/activity`: how many events were appended over time.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::auth::issuer::{set, token, trusting};
use crate::support::TestDb;
use crate::support::app::{App, send};

/// The counts of the intervals of an answer.
fn counts(body: &Value) -> Vec<u64> {
    let intervals = body["result"].as_array().unwrap().iter();
    intervals
        .map(|interval| interval["events"].as_u64().unwrap())
        .collect()
}

/// The statement that stores so many events, as if they had been appended at this time.
fn planting(events: u32, at: &str) -> String {
    format!(
        "insert into events (id, aggregate_id, version, type_id, payload, created_at)
         select gen_random_uuid(), gen_random_uuid(), 1, 1000, '{{}}', '{at}' from generate_series(1, {events})"
    )
}

/// Stores so many events in one transaction, as if they had been appended at this time.
async fn plant(db: &TestDb, events: u32, at: &str) {
    db.run(&planting(events, at)).await;
}

const DAY: &str = "from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z";

/// Fails when an event is counted in an interval in which it was not appended, twice, or not at all.
#[tokio::test]
async fn activity_counts_the_events_of_each_interval() {
    let app = App::new().await;
    let read = async |query: &str| app.read(&format!("/events/activity?{query}")).await.body;
    let empty = read(&format!("{DAY}&intervals=4")).await;
    assert_eq!(counts(&empty), [0; 4]);
    for (events, at) in [
        (2, "2026-10-01 00:00Z"),
        (3, "2026-11-01 00:00Z"),
        (1, "2026-11-01 05:59:59.999999Z"),
        (40, "2026-11-01 12:00Z"),
        (7, "2026-11-01 12:00:00.000001Z"),
        (5, "2026-11-01 23:00Z"),
        (9, "2026-11-02 00:00Z"),
    ] {
        plant(&app.db, events, at).await;
    }
    let quarters = read(&format!("{DAY}&intervals=4")).await;
    assert_eq!(counts(&quarters), [4, 0, 47, 5]);
    let second = json!({"from": "2026-11-01T06:00:00Z", "to": "2026-11-01T12:00:00Z", "events": 0});
    assert_eq!(quarters["result"][1], second);
    // Without an end it is now, and sixty intervals are the default.
    let all = counts(&read("from=2026-10-01T00:00:00Z").await);
    assert_eq!((all.len(), all.iter().sum::<u64>()), (60, 67));
    let minutes = counts(&read("from=2026-11-01T11:30:00Z&to=2026-11-01T12:30:00Z").await);
    assert_eq!(
        (minutes[29], minutes[30], minutes.iter().sum::<u64>()),
        (0, 47, 47)
    );
    for query in [
        "from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z",
        "from=0001-01-01T00:00:00%2B14:00&intervals=1",
    ] {
        assert_eq!(
            counts(&read(query).await).iter().sum::<u64>(),
            67,
            "{query}"
        );
    }
}

/// Fails when the last interval ends before `to`, because a length does not divide evenly.
#[tokio::test]
async fn the_last_interval_of_activity_ends_where_the_request_says() {
    let app = App::new().await;
    plant(&app.db, 3, "2026-11-01 00:00:00.999999Z").await;
    let second = "from=2026-11-01T00:00:00Z&to=2026-11-01T00:00:01Z&intervals=7";
    let found = app.read(&format!("/events/activity?{second}")).await.body;
    assert_eq!(counts(&found), [0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(found["result"][6]["to"], "2026-11-01T00:00:01Z");
    for step in 1..7 {
        assert_eq!(
            found["result"][step]["from"],
            found["result"][step - 1]["to"]
        );
    }
}

/// Fails when the events of a transaction that got its id long before it appended make others count twice.
#[tokio::test]
async fn activity_counts_no_position_twice() {
    let app = App::new().await;
    plant(&app.db, 2, "2026-10-01 00:00Z").await;
    let mut early = app.db.connect().await;
    let mut run = async |sql: &str| {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut early)
            .await
            .unwrap();
    };
    run("begin; select pg_current_xact_id()").await;
    plant(&app.db, 10, "2026-11-01 07:00Z").await;
    run(&planting(3, "2026-11-01 01:00Z")).await;
    run("commit").await;
    plant(&app.db, 5, "2026-11-01 13:00Z").await;
    let found = app
        .read(&format!("/events/activity?{DAY}&intervals=4"))
        .await
        .body;
    assert_eq!(counts(&found), [13, 0, 5, 0]);
}

/// Fails when the search ends at another event than the one before the interval, in a log that is longer than the search.
#[tokio::test]
async fn activity_is_exact_over_a_long_log() {
    let app = App::new().await;
    for minute in 0..60 {
        plant(&app.db, 500, &format!("2026-11-01 00:{minute:02}:30Z")).await;
    }
    app.db.run("analyze events").await;
    let found = app
        .read("/events/activity?from=2026-11-01T00:00:00Z&to=2026-11-01T01:00:00Z")
        .await
        .body;
    assert_eq!(counts(&found), [500; 60]);
}

/// Fails when a request that cannot be answered is answered, or a token without the scope of a domain sees how much happens in it.
#[tokio::test]
async fn activity_refuses_what_it_cannot_count_or_may_not_tell() {
    let app = App::with_state(TestDb::new().await, |state| {
        state.auth = trusting(&set());
    })
    .await;
    let read = async |scope: &str, query: &str| {
        let request = app.request(Method::GET, &format!("/events/activity?{query}"));
        send(request.bearer_auth(token(scope))).await
    };
    let all = "users:read accounts:read";
    assert_eq!(read(all, DAY).await.status, 200);
    read("users:read", DAY).await.problem(403, "forbidden");
    for query in [
        "",
        "from=yesterday",
        "from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z",
        "from=2026-11-01T00:00:00Z&to=2026-11-01T00:00:00Z",
        &format!("{DAY}&intervals=0"),
        &format!("{DAY}&intervals=61"),
        &format!("{DAY}&intervals=some"),
        &format!("{DAY}&domain=users"),
    ] {
        read(all, query).await.problem(400, "malformed");
    }
    read("users:read", &format!("{DAY}&domain=users"))
        .await
        .problem(403, "forbidden");
}
