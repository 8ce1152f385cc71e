//! Catch-up against the deadline of its invocation.

use serde_json::{Value, json};
use tokio::join;
use uuid::Uuid;

use super::function::{CATCH_UP, Function, QUERY, event};
use crate::support::events::append;
use crate::support::locks::Held;
use crate::support::runtime_api::in_ms;
use crate::support::{TestDb, created};

/// Users that a fold can make, a thousand a transaction.
async fn backlog(db: &TestDb, users: u32) {
    db.run(&format!(
        "do $$ begin \
           for part in 1..{users} / 1000 loop \
             insert into events (id, aggregate_id, version, type_id, payload) \
             select gen_random_uuid(), u.id, 1, 1000, \
                 jsonb_build_object('id', u.id, 'username', 'ada', 'email', u.id || '@example.org') \
             from (select gen_random_uuid() as id from generate_series(1, 1000)) u; \
             commit; \
           end loop; \
         end $$"
    ))
    .await;
    // As in a log that has stood for a minute.
    db.run("vacuum analyze events").await;
}

fn users(answer: &Value, field: &str) -> u64 {
    answer["projections"]["users"][field].as_u64().unwrap()
}

/// Fails when an invocation works until its deadline, when what it has committed is not counted, or when both fold the same
/// event.
#[tokio::test]
async fn two_invocations_share_a_backlog_and_meet_their_deadlines() {
    let (db, backlog_size) = (TestDb::new().await, 100_000);
    let one = Function::start(&db.options, CATCH_UP, &[]).await;
    let two = Function::start(&db.options, CATCH_UP, &[]).await;
    // Both have started, so that neither is through before the other one begins.
    let payload = event("schedule");
    join!(one.invoke(&payload), two.invoke(&payload));
    backlog(&db, backlog_size).await;
    let (mut applied, mut rounds, mut done) = ([0, 0], 0, false);
    while !done {
        rounds += 1;
        assert!(rounds < 60, "{applied:?}");
        let (payload, deadline) = (event("schedule"), in_ms(2000));
        // A function that is late is answered for, with an error, like Lambda does it.
        let (first, second) = join!(
            one.api.try_invoke(&payload, deadline),
            two.api.try_invoke(&payload, deadline)
        );
        let answers = [first.unwrap(), second.unwrap()];
        for (applied, answer) in applied.iter_mut().zip(&answers) {
            *applied += users(answer, "applied");
        }
        done = answers
            .iter()
            .all(|answer| answer["projections"]["users"]["done"] == true);
    }
    assert_eq!(
        applied[0] + applied[1],
        u64::from(backlog_size),
        "{applied:?}"
    );
    let claims = "select count(*) from locker where lock_domain = 'users'";
    assert_eq!(db.count(claims).await, i64::from(backlog_size));
    db.assert_views_equal_a_fold_from_scratch().await;
    one.end().await;
    two.end().await;
}

/// Catches up a backlog until the deadline, while another transaction holds the locks of the statement `held`.
async fn give_up(held: &str, batch_size: &str) {
    let db = TestDb::new().await;
    backlog(&db, 1000).await;
    let held = Held::open(&db, held).await;
    let function = Function::start(&db.options, CATCH_UP, &[("BATCH_SIZE", batch_size)]).await;
    let answer = function.api.try_invoke(&json!({}), in_ms(2000)).await;
    let answer = answer.unwrap_or_else(|error| panic!("{error}"));
    let applied = users(&answer, "applied");
    let claims = db.count("select count(*) from locker").await;
    assert!(
        applied > 0 && claims.unsigned_abs() == applied,
        "{claims} {answer}"
    );
    // A busy machine may not count them in the time that is left. Then their number is unknown, which is not 0.
    let remaining = &answer["projections"]["users"]["remaining"];
    assert!(
        remaining.is_null() || remaining.as_u64() > Some(0),
        "{answer}"
    );
    assert_eq!(answer["projections"]["users"]["done"], false, "{answer}");
    held.release().await;
    db.catch_up("users").await;
    db.assert_views_equal_a_fold_from_scratch().await;
    function.end().await;
}

/// Fails when the report leaves out a batch that was committed before the next batch waited for a claim.
#[tokio::test]
async fn an_invocation_that_stops_waiting_for_a_claim_reports_what_it_applied() {
    give_up(
        "insert into locker select id, aggregate_id, 'users' from events order by position offset 990",
        "2000",
    )
    .await;
}

/// Another transaction holds a row and the claims of the next batch. Fails when an invocation cannot report what it has applied,
/// because both of its connections are blocked.
#[tokio::test]
async fn an_invocation_with_all_connections_blocked_reports_what_it_applied() {
    // With batches of 1, 16, 16, … the row is the last one of its batch.
    give_up(
        "insert into users (id, version, username, email) \
             select aggregate_id, 1, 'x', 'x' from events order by position limit 1 offset 96; \
         insert into locker select id, aggregate_id, 'users' from events order by position offset 97",
        "16",
    )
    .await;
}

/// `cargo lambda watch` sends the same number for a deadline each time, long past.
/// Fails when a function takes it at its word, and applies nothing.
#[tokio::test]
async fn a_deadline_in_the_past_is_ignored() {
    let db = TestDb::new().await;
    append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    let function = Function::start(&db.options, CATCH_UP, &[]).await;
    let answer = function.api.try_invoke(&json!({}), 600_000).await.unwrap();
    let expected = json!({"applied": 1, "remaining": 0, "parked": 0, "done": true});
    assert_eq!(answer["projections"]["users"], expected);
    function.end().await;
}

/// Fails when a request that waits for the feed waits beyond the deadline of its invocation, or reads nothing before it.
#[tokio::test]
async fn a_long_poll_ends_before_the_deadline_of_its_invocation() {
    let db = TestDb::new().await;
    let query = Function::start(&db.options, QUERY, &[]).await;
    let mut waiting = event("apigw-v2-feed-list");
    waiting["rawQueryString"] = json!("wait=20");
    for expected in [0, 1] {
        // A function that is late is answered for, with an error, like Lambda does it.
        let answer = query.api.try_invoke(&waiting, in_ms(2000)).await.unwrap();
        assert_eq!(answer["statusCode"], 200, "{answer}");
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["result"].as_array().unwrap().len(), expected);
        append(&db.foldlog, &[created(Uuid::now_v7(), "ada")]).await;
    }
    query.end().await;
}
