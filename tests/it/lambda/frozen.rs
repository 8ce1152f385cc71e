//! Between two invocations a function is frozen, for minutes: whatever ends its connections meanwhile, it hears nothing.

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::{Duration, sleep};
use uuid::Uuid;

use super::function::{CATCH_UP, COMMAND, Function, QUERY, event};
use super::wire::{Gateway, Heard, Request};
use crate::support::TestDb;
use crate::support::chaos::Chaos;
use crate::support::json::created;
use crate::support::locks::wait_until_true;

fn append() -> Request {
    let event = created(Uuid::now_v7(), "ada");
    Request::new("POST", "/users")
        .with_header("content-type", "application/json")
        .sending(event.to_string())
}

/// Fails when the first request after a thaw is answered with an error, or an append is stored twice.
#[tokio::test]
async fn a_function_that_thaws_reconnects() {
    let db = TestDb::new().await;
    let mut network = Chaos::start(&db.options).await;
    let command = Function::start(&network.options(), COMMAND, &[]).await;
    let query = Function::start(&network.options(), QUERY, &[]).await;
    let catch_up = Function::start(&network.options(), CATCH_UP, &[]).await;
    for turn in 1..=3 {
        let gateway = Gateway::HttpApi;
        let answer = command.invoke(&append().event(gateway)).await;
        assert_eq!(Heard::through(gateway, &answer).status, 201, "{answer}");
        let caught_up = catch_up.invoke(&json!({})).await;
        assert_eq!(caught_up["projections"]["users"]["applied"], 1);
        let answer = query.invoke(&event("apigw-v2-list")).await;
        assert_eq!(Heard::through(gateway, &answer).status, 200, "{answer}");
        let functions = [&command, &query, &catch_up];
        for function in functions {
            function.program.signal(Signal::SIGSTOP);
        }
        network.cut().await;
        for function in functions {
            function.program.signal(Signal::SIGCONT);
        }
        assert_eq!(db.count("select count(*) from events").await, turn);
    }
    for function in [command, query, catch_up] {
        function.end().await;
    }
}

/// An idle connection that a gateway in between has forgotten: what is sent on it is never answered, not even refused.
/// Fails when a request waits on it for as long as it would wait for a connection.
#[tokio::test]
async fn a_connection_dropped_by_a_nat_gateway_is_replaced_in_time() {
    let db = TestDb::new().await;
    let network = Chaos::start(&db.options).await;
    let command = Function::start(&network.options(), COMMAND, &[]).await;
    let query = Function::start(&network.options(), QUERY, &[]).await;
    let gateway = Gateway::HttpApi;
    for turn in 1..=2 {
        let answer = command.invoke(&append().event(gateway)).await;
        assert_eq!(Heard::through(gateway, &answer).status, 201, "{answer}");
        let answer = query.invoke(&event("apigw-v2-list")).await;
        assert_eq!(Heard::through(gateway, &answer).status, 200, "{answer}");
        assert_eq!(db.count("select count(*) from events").await, turn);
        let functions = [&command, &query];
        for function in functions {
            function.program.signal(Signal::SIGSTOP);
        }
        network.swallow();
        // A connection is pinged only after a second of idleness; the function sees the time pass, so it has to pass.
        sleep(Duration::from_millis(1200)).await;
        for function in functions {
            function.program.signal(Signal::SIGCONT);
        }
    }
    command.end().await;
    query.end().await;
}

/// A serverless database pauses only while it has no connections. Fails when catch-up keeps one open until the next invocation.
#[tokio::test]
async fn catch_up_closes_its_connections() {
    let db = TestDb::new().await;
    let function = Function::start(&db.options, CATCH_UP, &[]).await;
    function.invoke(&json!({})).await;
    // The server takes a moment to end a session that said goodbye.
    let none = "select count(*) = 0 from pg_stat_activity \
                where datname = current_database() and application_name = 'foldlog'";
    wait_until_true(&db, none).await;
    function.end().await;
}

/// Fails when a scheduled catch-up gives up at once because the database is away, or never looks again.
#[tokio::test]
async fn catch_up_waits_for_a_paused_database_to_resume() {
    let db = TestDb::new().await;
    let mut network = Chaos::start(&db.options).await;
    network.refuse().await;
    let Function { api, mut program } = Function::start(&network.options(), CATCH_UP, &[]).await;
    let payload = json!({});
    let wake = async {
        program
            .until_it_says("projection users waits for the database: the database is not available")
            .await;
        network.restore().await;
    };
    let (answer, ()) = tokio::join!(api.invoke(&payload), wake);
    assert_eq!(answer["projections"]["users"]["done"], true, "{answer}");
    program.terminate().await.well();
}
