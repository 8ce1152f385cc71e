//! `template.yaml`, as it belongs to the binaries, the routes, the environment and the events. Whether it is a template at
//! all is asked by `scripts/check-template.sh`. It is read as text, line by line: it is ours, and written in one way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::settings::{in_code, is_variable};
use super::{binaries, files, read};
use crate::lambda::watch::routes;
use crate::support::TestDb;

/// Binaries that are no functions.
const HOSTS: [&str; 2] = ["listener", "local"];

/// Variables that no function is given, and why.
const NOT_GIVEN: &[(&str, &str)] = &[
    ("APP_SERVER_PORT", "of the local server"),
    ("LOCAL_POSTGRES", "of the local server"),
    ("LOCAL_DATA_DIR", "of the local server"),
    ("FOLDLOG_PG_BIN", "of the local server"),
    (
        "CORS_ORIGINS",
        "the gateway answers preflights and writes the headers",
    ),
    ("JWT_JWKS", "the gateway verifies tokens"),
    (
        "PGSSLMODE",
        "by default a certificate is checked up to the host's name",
    ),
];

/// A resource: its name and its lines.
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

/// The functions: the binary of each, and its lines.
fn functions() -> BTreeMap<String, Vec<String>> {
    let of_functions = |(name, lines): (String, Vec<String>)| {
        let binary = snake(name.strip_suffix("Function")?);
        let is = lines.contains(&"Type: AWS::Serverless::Function".to_owned());
        assert!(is, "{name} is no function");
        Some((binary, lines))
    };
    resources().into_iter().filter_map(of_functions).collect()
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

/// What stands behind `key` in a line like `{ ApiId: !Ref Api, Method: GET, Path: "/{domain}" }`.
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

/// Fails when a binary is deployed nowhere, cannot be built by `sam build`, or a function has no binary.
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

/// Fails when a route is missing at the gateway, is there twice or leads to the wrong function, or is open that should not
/// be: exactly those are that ask nobody for a token.
#[test]
fn the_gateway_has_the_routes_of_the_routers() {
    let mut at_gateway = BTreeSet::new();
    let mut open = BTreeSet::new();
    for (function, lines) in functions() {
        for line in lines.iter().filter(|line| line.contains("ApiId:")) {
            let (method, path) = (value(line, "Method:"), value(line, "Path:"));
            let new = at_gateway.insert((function.clone(), method.to_owned(), path.to_owned()));
            assert!(new, "{method} {path} is there twice");
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

/// Fails when a function is given a variable that nobody reads, or one that is read was forgotten.
#[test]
fn every_variable_of_the_template_is_read_and_every_other_one_is_left_out_for_a_reason() {
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

/// Fails when an event is for no function, or a function has none: then nobody has tried it.
#[test]
fn every_function_has_its_events() {
    let function = |event: &str| match event {
        "schedule" | "status" | "retry" => "catch_up",
        event if event.starts_with("migrate-") => "migrate",
        event if event.ends_with("-append") => "command",
        event if event.ends_with("-list") => "query",
        event => panic!("events/{event}.json is for no function"),
    };
    let events = files("events", "json");
    let tried = events
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap());
    let tried: BTreeSet<String> = tried.map(|event| function(event).to_owned()).collect();
    assert_eq!(tried, functions().into_keys().collect());
}

/// Fails when a role may do more than its function needs: to everything, or with any action.
#[test]
fn roles_name_what_they_are_for() {
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
        "one a function, and the schedule's"
    );
    // Those that a VPC needs know no resources.
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

/// Fails when an alarm looks at a metric that no function writes, waits for more of it than a rare schedule brings, or an
/// operator is not told what to do about one.
#[test]
fn every_alarm_looks_at_what_is_written_and_is_in_the_guide() {
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
        assert!(told, "the guide is silent about {name}");
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
                "nobody writes {metric}"
            );
            let written = metrics.contains("\"foldlog\"") && metrics.contains("\"Projection\"");
            assert!(line.contains("SCHEMA(\"foldlog\", Projection)") && written);
            ours += 1;
        }
    }
    assert!(alarms >= 9 && ours == 2, "{alarms} {ours}");
    // With a schedule of an hour there is one measurement in the five minutes, and what is missing is no reason to alarm.
    let lag = &resources()["LagAlarm"];
    for line in [
        "DatapointsToAlarm: !If [EveryMinute, 5, 1]",
        "TreatMissingData: !If [EveryMinute, breaching, notBreaching]",
    ] {
        assert!(lag.contains(&line.to_owned()), "{lag:?}");
    }
}

/// Fails when a parameter is not explained.
#[test]
fn every_parameter_is_in_the_guide() {
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
            "the guide is silent about {name}"
        );
    }
}

/// Fails when Postgres does not understand what the guide tells an operator to say to it. All of it is taken back: roles
/// belong to the cluster.
#[tokio::test]
async fn the_sql_of_the_guide_is_understood() {
    let guide = read(Path::new("docs/OPERATIONS.md"));
    let blocks = guide.split("```sql\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 4, "{blocks:?}");
    let db = TestDb::new().await;
    // What RDS has of its own.
    let all = format!("begin; create role rds_iam; {} rollback;", blocks.concat());
    db.run(&all).await;
}

/// Fails when a sum in the table of costs is none of its column.
#[test]
fn the_costs_add_up() {
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
