//! `template.yaml` must agree with the binaries, the routes, the environment and the sample events. `scripts/check-template.sh`
//! checks that `CloudFormation` accepts it. These tests read it line by line, because its formatting is uniform.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::settings::{in_code, is_variable};
use super::watch::routes;
use super::{binaries, files, read};
use crate::support::TestDb;

/// Binaries that do not run on Lambda.
const HOSTS: [&str; 3] = ["client", "listener", "local"];

/// Variables that the template does not set, and why.
const NOT_GIVEN: &[(&str, &str)] = &[
    ("APP_SERVER_PORT", "used by the local server only"),
    ("CONSOLE", "used by the local server only"),
    ("CONSOLE_AUDIENCE", "used by the local server only"),
    ("CONSOLE_CLIENT_ID", "used by the local server only"),
    ("CONSOLE_CONNECT", "used by the local server only"),
    ("CONSOLE_ISSUER", "used by the local server only"),
    ("CONSOLE_SCOPE", "used by the local server only"),
    ("LOCAL_POSTGRES", "used by the local server only"),
    ("STATE_CACHE_BYTES", "functions remember no states"),
    ("LOCAL_DATA_DIR", "used by the local server only"),
    ("FOLDLOG_PG_BIN", "used by the local server only"),
    (
        "CORS_ORIGINS",
        "the gateway answers preflights and writes the headers",
    ),
    ("JWT_JWKS", "the gateway verifies tokens"),
    (
        "PGSSLMODE",
        "the default verifies the certificate and the host name",
    ),
];

/// The resources: the lines of each, by name.
fn resources() -> BTreeMap<String, Vec<String>> {
    let template = read(Path::new("template.yaml"));
    let (_, resources) = template.split_once("\nResources:\n").unwrap();
    let mut all = BTreeMap::<String, Vec<String>>::new();
    let mut name = String::new();
    for line in resources.split("\nOutputs:\n").next().unwrap().lines() {
        match line
            .strip_prefix("  ")
            .and_then(|line| line.strip_suffix(':'))
        {
            Some(key) if key.chars().all(char::is_alphanumeric) => key.clone_into(&mut name),
            _ => all
                .entry(name.clone())
                .or_default()
                .push(line.trim().to_owned()),
        }
    }
    all.remove("");
    all
}

/// The functions: the lines of each, by binary.
fn functions() -> BTreeMap<String, Vec<String>> {
    let function = |(name, lines): (String, Vec<String>)| {
        let binary = snake(name.strip_suffix("Function")?);
        let is = lines.contains(&"Type: AWS::Serverless::Function".to_owned());
        assert!(is, "{name} has another type than a function");
        Some((binary, lines))
    };
    resources().into_iter().filter_map(function).collect()
}

fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for c in camel.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// The value of `key` in a line like `{ ApiId: !Ref Api, Method: GET, Path: "/{domain}" }`.
fn value<'a>(line: &'a str, key: &str) -> &'a str {
    let (_, rest) = line
        .split_once(key)
        .unwrap_or_else(|| panic!("no {key} in {line}"));
    let rest = rest.trim_start();
    let quoted = rest
        .strip_prefix('"')
        .and_then(|rest| rest.split('"').next());
    quoted.unwrap_or_else(|| rest.split([',', ' ']).next().unwrap())
}

/// Fails when a binary for Lambda is not deployed or cannot be built by `sam build`, or when a function has no binary.
#[test]
fn every_binary_for_lambda_is_a_function_of_the_template() {
    let functions = functions();
    let names: BTreeSet<String> = functions.keys().cloned().collect();
    let binaries = binaries()
        .into_iter()
        .filter(|name| !HOSTS.contains(&name.as_str()));
    assert_eq!(names, binaries.collect());
    let makefile = read(Path::new("Makefile"));
    let mut built = BTreeSet::new();
    for line in makefile.lines() {
        if let Some((function, binary)) = line.split_once("Function: bin = ") {
            assert_eq!(snake(function.strip_prefix("build-").unwrap()), binary);
            built.insert(binary.to_owned());
        }
    }
    assert_eq!(built, names, "the Makefile");
    for (name, lines) in &functions {
        for line in [
            "BuildMethod: makefile",
            "Timeout: ",
            "LogGroup: !Ref ",
            "Role: !GetAtt ",
        ] {
            let has = lines.iter().any(|l| l.starts_with(line));
            assert!(has, "{name} has no line `{line}`");
        }
    }
}

/// Fails when a route is missing at API Gateway, occurs twice or leads to the wrong function, or when the gateway does not ask for
/// a token on a route that is not public.
#[test]
fn api_gateway_routes_match_the_routers() {
    let mut at_gateway = BTreeSet::new();
    let mut open = BTreeSet::new();
    for (function, lines) in functions() {
        for line in lines.iter().filter(|line| line.contains("ApiId:")) {
            let (method, path) = (value(line, "Method:"), value(line, "Path:"));
            let new = at_gateway.insert((function.clone(), method.to_owned(), path.to_owned()));
            assert!(new, "{method} {path} occurs twice");
            if line.contains("NONE") {
                open.insert(path.to_owned());
            }
        }
    }
    let routes = routes();
    let in_code: BTreeSet<_> = routes
        .iter()
        .map(|route| {
            let (function, method) = (route.function.to_owned(), route.method.to_owned());
            (function, method, route.path.clone())
        })
        .collect();
    assert!(in_code.len() >= 5, "{in_code:?}");
    assert_eq!(at_gateway, in_code);
    let public = routes.iter().filter(|route| route.is_public);
    assert_eq!(open, public.map(|route| route.path.clone()).collect());
}

/// Fails when the template sets a variable that the code never reads, or omits one without a reason in [`NOT_GIVEN`].
#[test]
fn template_sets_the_environment_variables_that_the_code_reads() {
    let template = read(Path::new("template.yaml"));
    let keys = template
        .lines()
        .filter_map(|line| line.trim().split_once(':'));
    let given: BTreeSet<String> = keys
        .map(|(key, _)| key.to_owned())
        .filter(|key| is_variable(key) && key != "AWS")
        .collect();
    let not_given = NOT_GIVEN.iter().map(|(name, _)| (*name).to_owned());
    let known: BTreeSet<String> = given.iter().cloned().chain(not_given).collect();
    let read: BTreeSet<String> = in_code()
        .into_iter()
        .filter(|name| !name.starts_with("AWS_") && !name.starts_with('_'))
        .collect();
    assert_eq!(known, read);
    for (function, lines) in functions() {
        let has = |name: &str| {
            lines
                .iter()
                .any(|line| line.starts_with(&format!("{name}:")))
        };
        let serves = ["command", "query"].contains(&function.as_str());
        assert_eq!(has("AUTH"), serves, "{function}: AUTH");
        assert_eq!(
            has("DB_POOLER"),
            function != "migrate",
            "{function}: DB_POOLER"
        );
        assert!(
            has("DATABASE_URL") && has("DB_SECRET_ARN") && has("DB_USER"),
            "{function}"
        );
    }
}

/// Fails when a sample event belongs to no function, or a function has no sample event to try it with.
#[test]
fn every_lambda_function_has_a_sample_event() {
    let function = |event: &str| match event {
        "schedule" | "status" | "retry" | "skip" | "reproject" | "preview" | "cancel"
        | "verify" => "catch_up",
        event if event.starts_with("migrate-") => "migrate",
        event if event.ends_with("-append") || event.ends_with("-revert") => "command",
        "health" => "query",
        event if event.ends_with("-list") => "query",
        event
            if [
                "-history",
                "-diff",
                "-blame",
                "-explain",
                "-projections",
                "-projection",
            ]
            .iter()
            .any(|end| event.ends_with(end)) =>
        {
            "query"
        }
        event => panic!("events/{event}.json belongs to no function"),
    };
    let events = files("events", "json");
    let tried = events
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap());
    let tried: BTreeSet<String> = tried.map(|event| function(event).to_owned()).collect();
    assert_eq!(tried, functions().into_keys().collect());
}

/// Fails when the schedule of the query function sends another event than the sample, which the tests of the function send.
#[test]
fn the_health_schedule_sends_the_sample_event() {
    let lines = &functions()["query"];
    let input = lines.iter().skip_while(|line| *line != "Input: >-").skip(1);
    let input: Vec<&str> = input
        .take_while(|line| !line.starts_with("RoleArn"))
        .map(String::as_str)
        .collect();
    let sent: Value = serde_json::from_str(&input.join(" ")).unwrap();
    let sample: Value = serde_json::from_str(&read(Path::new("events/health.json"))).unwrap();
    assert_eq!(sent, sample);
}

/// Fails when a role has a managed policy or a wildcard as resource or action.
#[test]
fn iam_roles_have_no_wildcard_permissions() {
    let mut wide = Vec::new();
    let mut roles = 0;
    for (name, lines) in resources() {
        if !name.ends_with("Role") {
            continue;
        }
        roles += 1;
        for (at, line) in lines.iter().enumerate() {
            assert!(!line.contains("ManagedPolicyArns"), "{name}: {line}");
            if line.contains('*') && !line.contains("*interfaces") && !line.contains("*lambda") {
                let before = at.saturating_sub(8)..at;
                wide.push((name.clone(), line.clone(), lines[before].join(" ")));
            }
        }
    }
    assert_eq!(
        roles,
        functions().len() + 1,
        "one role per function and one for the schedule"
    );
    // The actions that a VPC needs cannot be limited to a resource.
    let [(name, line, before)] = wide.as_slice() else {
        panic!("{wide:?}")
    };
    assert_eq!(
        (name.as_str(), line.as_str()),
        ("CommandRole", "Resource: \"*\"")
    );
    let actions = before.split("Action:").nth(1).unwrap().split_whitespace();
    let actions: Vec<&str> = actions.filter(|word| word.contains(':')).collect();
    assert!(
        actions.iter().all(|action| action.starts_with("ec2:")),
        "{actions:?}"
    );
    assert_eq!(actions.len(), 6, "{actions:?}");
}

/// Fails when an alarm uses a metric that no function writes, expects more data points than a rare schedule produces, or is missing
/// in the operations guide.
#[test]
fn cloudwatch_alarms_use_metrics_that_are_written_and_documented() {
    let metrics = read(Path::new("src/lambda/metrics.rs"));
    let guide = read(Path::new("docs/OPERATIONS.md"));
    let (mut alarms, mut ours) = (0, 0);
    for (name, lines) in resources()
        .iter()
        .filter(|(name, _)| name.ends_with("Alarm"))
    {
        alarms += 1;
        let mut rows = guide.lines().filter(|line| line.starts_with("| `"));
        let told = rows.any(|row| row.contains(&format!("`{name}`")));
        assert!(told, "docs/OPERATIONS.md does not mention {name}");
        if let Some(line) = lines.iter().find(|line| line.contains("SELECT")) {
            let metric = line
                .split("MAX(")
                .nth(1)
                .unwrap()
                .split(')')
                .next()
                .unwrap();
            assert!(
                metrics.contains(&format!("\"{metric}\"")),
                "no function writes {metric}"
            );
            let written = metrics.contains("\"foldlog\"") && metrics.contains("\"Projection\"");
            assert!(line.contains("SCHEMA(\"foldlog\", Projection)") && written);
            ours += 1;
        }
    }
    assert!(alarms >= 11 && ours == 4, "{alarms} {ours}");
    // A schedule of an hour leaves most periods of a minute without a data point, and they must not count as breaching.
    // A projection that is not measured writes no lag, so a missing metric must not look healthy.
    for name in ["LagAlarm", "UnprocessedAlarm", "UnmeasuredAlarm"] {
        let lines = &resources()[name];
        for line in [
            "DatapointsToAlarm: !If [EveryMinute, 5, 1]",
            "TreatMissingData: !If [EveryMinute, breaching, notBreaching]",
        ] {
            assert!(lines.contains(&line.to_owned()), "{name}: {lines:?}");
        }
    }
}

/// Fails when the operations guide does not explain a parameter.
#[test]
fn every_template_parameter_is_in_the_operations_guide() {
    let template = read(Path::new("template.yaml"));
    let (_, parameters) = template.split_once("\nParameters:\n").unwrap();
    let parameters = parameters.split("\nRules:\n").next().unwrap();
    let guide = read(Path::new("docs/OPERATIONS.md"));
    let names = parameters.lines().filter(|line| !line.starts_with("   "));
    let names: Vec<&str> = names
        .filter_map(|line| line.trim().strip_suffix(':'))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(
            guide.contains(&format!("`{name}`")),
            "docs/OPERATIONS.md does not mention {name}"
        );
    }
}

/// Fails when Postgres rejects SQL of the operations guide. The test rolls it back, because roles belong to the whole cluster.
#[tokio::test]
async fn sql_in_the_operations_guide_runs() {
    let guide = read(Path::new("docs/OPERATIONS.md"));
    let blocks = guide.split("```sql\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 4, "{blocks:?}");
    let db = TestDb::new().await;
    // RDS creates this role itself.
    let all = format!("begin; create role rds_iam; {} rollback;", blocks.concat());
    db.run(&all).await;
}

/// Fails when a total in the cost table differs from the sum of its column.
#[test]
fn the_cost_table_adds_up() {
    let guide = read(Path::new("docs/OPERATIONS.md"));
    let (_, table) = guide.split_once("\n| requests, in millions |").unwrap();
    let cents = |cell: &str| {
        let digits: String = cell.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<i64>().unwrap()
    };
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> = rows
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let (sum, parts) = rows.split_last().unwrap();
    assert!(sum[1].contains("together") && parts.len() >= 9, "{rows:?}");
    for column in 3..6 {
        let together: i64 = parts.iter().map(|row| cents(row[column])).sum();
        assert_eq!(together, cents(sum[column]), "column {column}");
    }
}
