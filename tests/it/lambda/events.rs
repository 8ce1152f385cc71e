//! Every event of `events/`, to the function that it is for.

use std::collections::BTreeSet;
use std::path::Path;

use foldlog::Foldlog;
use foldlog::db::Pool;
use foldlog::domains::ALL;
use foldlog::local::postgres::{ManagedPostgres, Settings};
use foldlog::migrations;
use foldlog::view::Inline;
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::function::{CATCH_UP, COMMAND, Function, QUERY, event};
use crate::bins::program::MIGRATE;
use crate::sql::file::walk;
use crate::support::TestDb;
use crate::support::events::assert_equals_fold;
use crate::support::locks::{Held, wait_until_blocked};
use crate::support::runtime_api::in_ms;

/// How the names of some reads end, and a member of each response.
const READS: [(&str, &str); 6] = [
    ("-history", "result"),
    ("-diff", "changes"),
    ("-blame", "fields"),
    ("-explain", "state"),
    ("-projections", "projections"),
    ("-projection", "last_results"),
];

/// The verbs of operators.
const VERBS: [&str; 7] = [
    "status",
    "retry",
    "skip",
    "reproject",
    "preview",
    "cancel",
    "verify",
];

/// Verbs that find nothing to do here, and what their error says.
const REFUSED: [(&str, &str); 2] = [
    ("preview", "there is no reprojection"),
    ("skip", "no aggregate of the projection is parked"),
];

/// The function that an event is for.
fn function(event: &str) -> &'static str {
    match event {
        "schedule" => CATCH_UP,
        _ if VERBS.contains(&event) => CATCH_UP,
        _ if event.ends_with("-append") || event.ends_with("-revert") => COMMAND,
        _ if event.ends_with("-list") || event == "health" => QUERY,
        _ if READS.iter().any(|(end, _)| event.ends_with(end)) => QUERY,
        _ if event.starts_with("migrate-") => MIGRATE,
        _ => panic!("no function is known for events/{event}.json"),
    }
}

fn names() -> BTreeSet<String> {
    let mut paths = Vec::new();
    walk(Path::new("events"), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    let stem = |path: &std::path::PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(stem).collect()
}

/// Asserts that the invocation succeeded.
#[track_caller]
fn assert_well(name: &str, answer: &Value) {
    match name {
        _ if name == "schedule" || VERBS.contains(&name) => {
            let users = &answer["projections"]["users"];
            for field in ["applied", "remaining", "parked"] {
                assert!(users[field].is_u64(), "{name}: {answer}");
            }
            assert!(users["done"].is_boolean(), "{name}: {answer}");
        }
        _ if name.starts_with("migrate-") => {
            let lines = answer["migrate"].as_array().unwrap();
            assert!(lines.len() >= 6, "{answer}");
            let applied = |line: &Value| line.as_str().unwrap().starts_with("applied  ");
            assert!(lines.iter().all(applied), "{answer}");
        }
        _ => {
            let status = answer["statusCode"].as_u64().unwrap();
            assert!(matches!(status, 200 | 201), "{name}: {answer}");
            assert_eq!(answer["isBase64Encoded"], false);
            let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
            let past = READS.iter().find(|(end, _)| name.ends_with(end));
            let member = match past {
                Some((_, member)) => member,
                None if name == "health" => "status",
                None => "result",
            };
            assert!(!body[member].is_null(), "{name}: {answer}");
        }
    }
}

/// Fails when a binary cannot take an event, takes it once only, does not get over a restart of the database, or does not
/// end on SIGTERM.
#[tokio::test]
async fn every_function_handles_its_events_across_a_database_restart() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let settings = Settings::managed(place.path().join("cluster")).unwrap();
    let mut server = ManagedPostgres::start(settings.clone()).await.unwrap();
    let options = server.connect_options();
    let foldlog = Foldlog::new(Pool::new(options.clone(), 1), ALL, Inline::new()).unwrap();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    migrations::up(
        &mut connection,
        foldlog.pool.schema(),
        &foldlog.views,
        foldlog.inline(),
    )
    .await
    .unwrap();
    connection.close().await.unwrap();
    let mut functions = Vec::new();
    for binary in [COMMAND, QUERY, CATCH_UP, MIGRATE] {
        functions.push((binary, Function::start(&options, binary, &[]).await));
    }
    let names = names();
    assert!(names.len() >= 15, "{names:?}");
    for turn in 0..2 {
        if turn == 1 {
            assert!(server.stop_if_unused().await.unwrap());
            server = ManagedPostgres::start(settings.clone()).await.unwrap();
        }
        for name in &names {
            let wanted = function(name);
            let (_, function) = functions
                .iter()
                .find(|(binary, _)| *binary == wanted)
                .unwrap();
            let answer = function.api.try_invoke(&event(name), in_ms(60_000)).await;
            match (answer, REFUSED.iter().find(|(verb, _)| verb == name)) {
                (Ok(answer), None) => assert_well(name, &answer),
                (Err(error), Some((_, text))) => {
                    let message = error["errorMessage"].as_str().unwrap();
                    assert!(message.contains(text), "{name}: {message}");
                }
                (answer, _) => panic!("{name}: {answer:?}"),
            }
        }
    }
    let appends = names
        .iter()
        .filter(|name| name.ends_with("-append"))
        .count();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let stored: i64 = sqlx::query_scalar("select count(*) from events")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(usize::try_from(stored).unwrap(), appends);
    for view in foldlog.views.iter() {
        let mut session = foldlog.pool.acquire().await.unwrap();
        foldlog::view::resolve(&mut session, view).await.unwrap();
        assert_equals_fold(&mut connection, &view.current()).await;
    }
    foldlog.pool.close_idle().await;
    connection.close().await.unwrap();
    for (_, function) in functions {
        function.end().await;
    }
    assert!(server.stop_if_unused().await.unwrap());
}

/// Fails when SIGTERM cuts off an invocation that is under way.
#[tokio::test]
async fn sigterm_lets_an_invocation_finish() {
    let db = TestDb::new().await;
    let function = Function::start(&db.options, COMMAND, &[]).await;
    let append = event("apigw-v2-append");
    assert_eq!(function.invoke(&append).await["statusCode"], 201);
    let gate = Held::open(&db, "lock table events in exclusive mode").await;
    let append = event("alb-append");
    let answer = function.invoke(&append);
    let stop = async {
        wait_until_blocked(&mut db.connect().await, "insert into \"public\".events").await;
        function.program.signal(Signal::SIGTERM);
        gate.release().await;
    };
    let (answer, ()) = tokio::join!(answer, stop);
    assert_eq!(answer["statusCode"], 201);
    function.program.end().await.well();
}

/// Fails when a Lambda binary panics outside of Lambda, hangs there, or does not say how to run it.
#[tokio::test]
async fn a_function_started_outside_lambda_says_how_to_run_it() {
    for binary in [COMMAND, QUERY, CATCH_UP] {
        let ended = crate::bins::program::Program::run(binary, &[], &[]).await;
        let line = ended.one_line_of_error();
        for how in ["`cargo run`", "`cargo lambda watch --features lambda`"] {
            assert!(line.contains(how), "{line}");
        }
    }
}

/// Fails when what is switched on, be it by name, makes a library log an event: with it a payload, and a token.
#[tokio::test]
async fn a_lambda_event_appears_in_no_log_at_any_level() {
    let db = TestDb::new().await;
    let all = "trace,lambda_runtime=trace,lambda_runtime_api_client=trace,hyper=trace";
    let function = Function::start(&db.options, COMMAND, &[("RUST_LOG", all)]).await;
    let mut append = event("apigw-v2-append");
    append["headers"]["authorization"] = "Bearer planted-token".into();
    let body = append["body"].as_str().unwrap();
    let mut sent: Value = serde_json::from_str(body).unwrap();
    sent["payload"]["username"] = "planted-name".into();
    append["body"] = sent.to_string().into();
    assert_eq!(function.invoke(&append).await["statusCode"], 201);
    let ended = function.program.terminate().await;
    let said = format!("{}{}", ended.well().out, ended.err);
    assert!(
        said.contains("DEBUG") && said.contains("POST /{domain} 201"),
        "{said}"
    );
    assert!(!said.contains("planted"), "{said}");
}
