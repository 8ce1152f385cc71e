//! Log lines: their fields, their spans, and JSON on Lambda.

use std::collections::BTreeSet;
use std::path::Path;

use foldlog::telemetry::FIELDS;
use serde_json::Value;

use crate::lambda::function::{CATCH_UP, COMMAND, Function, event};
use crate::support::TestDb;
use crate::tidy::{files, read};

/// The JSON lines of a function that has ended; fails on a line that is not JSON.
fn json_lines(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect()
}

/// The line's span of this name.
fn span<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    let spans = line["spans"].as_array()?;
    spans.iter().find(|span| span["name"] == name)
}

/// Fails when a function logs text instead of JSON, when the request's line lacks a field or has a number as text, or when a
/// statement is not within the spans of its append and its request.
#[tokio::test]
async fn lambda_logs_json_with_the_fields_of_request_append_and_statement() {
    let db = TestDb::new().await;
    let function = Function::start(&db.options, COMMAND, &[("RUST_LOG", "debug")]).await;
    let mut append = event("apigw-v2-append");
    append["headers"]["x-request-id"] = "request-7".into();
    assert_eq!(function.invoke(&append).await["statusCode"], 201);
    let sent: Value = serde_json::from_str(append["body"].as_str().unwrap()).unwrap();
    let ended = function.program.terminate().await;
    let lines = json_lines(&ended.well().err);

    let request = lines.iter().find(|line| line["http.status"] == 201);
    let request = request.expect("a line for the request");
    assert_eq!(request["level"], "INFO");
    assert_eq!(request["message"], "POST /{domain} 201");
    assert_eq!(request["http.route"], "/{domain}");
    assert_eq!(request["request.id"], "request-7");
    assert!(request["duration_ms"].is_u64(), "{request}");

    let mut spans = lines.iter().filter_map(|line| span(line, "request"));
    assert!(spans.any(|span| span["request.id"] == "request-7"));
    let statement = lines.iter().find(|line| {
        span(line, "statement").is_some_and(|span| {
            let summary = span["db.summary"].as_str();
            summary.is_some_and(|summary| summary.starts_with("Appends"))
        })
    });
    let statement = statement.expect("a line within the statement that appends");
    assert!(span(statement, "request").is_some(), "{statement}");
    let append = span(statement, "append").expect("the span of the append");
    assert_eq!(append["domain"], "users");
    assert_eq!(append["event.id"], sent["id"]);
    assert_eq!(append["event.type_id"], sent["type_id"]);
    assert_eq!(append["aggregate.id"], sent["aggregate_id"]);
    let appended = lines.iter().find(|line| line["aggregate.version"] == 1);
    let appended = appended.expect("a line for the appended event");
    assert!(appended["event.position"].is_u64(), "{appended}");
}

/// Fails when the line of a projection's pass lacks the lag, or a batch has no span.
#[tokio::test]
async fn catch_up_logs_the_lag_and_each_batch() {
    let db = TestDb::new().await;
    let command = Function::start(&db.options, COMMAND, &[]).await;
    let append = event("apigw-v2-append");
    assert_eq!(command.invoke(&append).await["statusCode"], 201);
    command.end().await;
    let function = Function::start(&db.options, CATCH_UP, &[]).await;
    function.invoke(&event("schedule")).await;
    let ended = function.program.terminate().await;
    let lines = json_lines(&ended.well().err);
    let batch = lines.iter().find_map(|line| span(line, "batch"));
    let batch = batch.expect("a line within a batch");
    assert_eq!(batch["projection"], "users");
    assert_eq!(batch["batch.events"], 1);
    let lag = lines.iter().find(|line| line["lag.events"].is_u64());
    let lag = lag.expect("a line with the lag");
    assert_eq!(
        (&lag["projection"], &lag["lag.events"]),
        (&"users".into(), &0.into())
    );
    assert_eq!(
        (&lag["lag.ms"], &lag["parked.count"]),
        (&0.into(), &0.into())
    );
}

/// The names of the fields in the macros of tracing: `name = value` or `name`, in a call or in `fields(…)`.
fn fields_in_code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files("src", "rs") {
        let text = read(&path);
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = text.lines().filter(is_code).collect::<Vec<_>>().join("\n");
        for opening in [
            "error!(",
            "warn!(",
            "info!(",
            "debug!(",
            "info_span!(",
            "debug_span!(",
            "fields(",
            "tracing::$level!(",
        ] {
            for call in code.split(opening).skip(1) {
                names.extend(field_names(arguments(call)));
            }
        }
    }
    names
}

/// The text up to the parenthesis that closes the call.
fn arguments(call: &str) -> &str {
    let (mut depth, mut quoted) = (1, false);
    let end = call.char_indices().find(|(_, c)| {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    &call[..end.map_or(call.len(), |(at, _)| at)]
}

fn field_names(arguments: &str) -> Vec<String> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || "._#".contains(c))
    };
    let parts = arguments.split([',', '\n']).map(str::trim);
    parts
        .filter_map(|part| match part.split_once(" = ") {
            Some((name, _)) => Some(name.trim()),
            // Without a value it is a field in short form, or an argument of the message, which may have a dot.
            None => (!part.contains('.')).then_some(part),
        })
        .filter(|name| is_name(name))
        .map(|name| name.replace("r#", ""))
        .collect()
}

/// Fails when code logs a field that no table describes, when a described field is never written, or when the table of
/// CONTRIBUTING.md differs from the code's.
#[test]
fn every_log_field_is_written_and_documented() {
    let described: BTreeSet<String> = FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let written = fields_in_code();
    let unwritten: Vec<_> = described.difference(&written).collect();
    assert!(unwritten.is_empty(), "never written: {unwritten:?}");
    let undescribed: Vec<_> = written
        .iter()
        .filter(|name| name.contains('.') && !described.contains(*name))
        .collect();
    assert!(undescribed.is_empty(), "not in FIELDS: {undescribed:?}");

    let contributing = read(Path::new("CONTRIBUTING.md"));
    let (_, table) = contributing
        .split_once("| field | meaning |\n| --- | --- |\n")
        .unwrap();
    let table = table.split("\n\n").next().unwrap();
    let expected: Vec<_> = FIELDS
        .iter()
        .map(|(name, meaning)| format!("| `{name}` | {meaning} |"))
        .collect();
    assert_eq!(table.lines().collect::<Vec<_>>(), expected);
}
