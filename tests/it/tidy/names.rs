//! Names: errors, constants, functions, types, modules, and where SQL is kept. At commit a2aef02, before the names were revised,
//! each of these rules failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{files, read, sources};

/// How the name of a constant that counts or measures something begins or ends, so that it says which quantity it holds.
const QUANTITY_PREFIXES: &[&str] = &["MAX_", "MIN_", "DEFAULT_"];
const QUANTITY_SUFFIXES: &[&str] = &[
    "AGE",
    "ATTEMPTS",
    "BYTES",
    "COUNT",
    "DEADLINE",
    "DELAY",
    "FACTOR",
    "ID",
    "INTERVAL",
    "LEEWAY",
    "LENGTH",
    "LIFETIME",
    "LIMIT",
    "LINES",
    "MARGIN",
    "PERIOD",
    "PORT",
    "SECONDS",
    "SIZE",
    "THRESHOLD",
    "TIMEOUT",
    "VERSION",
];

/// Prepositions, moods and numbers, which do not say what a function does.
const NOT_VERBS: &[&str] = &[
    "after", "again", "at", "before", "behind", "by", "for", "give", "here", "known", "lacks",
    "must", "of", "on", "once", "one", "over", "say", "unless", "until", "why", "with", "words",
];

/// SQL in Rust code, and why it is not in a file.
const SQL_IN_RUST: &[(&str, &str)] = &[
    ("src/db/begin.rs", "transaction control"),
    (
        "src/db/mod.rs",
        "the two halves of the check for a pooler belong together",
    ),
    (
        "src/db/pooler.rs",
        "an error message with the statements that an operator has to run",
    ),
    ("src/db/session.rs", "transaction control"),
    ("src/db/transaction.rs", "transaction control"),
    (
        "src/testing.rs",
        "creates and drops databases, whose names are not parameters",
    ),
    (
        "src/view/statements.rs",
        "the statements of a view name its table and its columns",
    ),
];

/// Fails when the name of a type that implements `Error` does not end in `Error`.
#[test]
fn error_types_end_in_error() {
    let mut wrong = Vec::new();
    for path in rust_files() {
        for (line, name) in error_types(&read(&path)) {
            if !name.ends_with("Error") {
                wrong.push(format!("{}:{line}: {name}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "end these names in Error:\n{}",
        wrong.join("\n")
    );
}

/// Fails when the name of a constant does not say which duration, size or count it contains.
#[test]
fn constants_name_a_quantity() {
    let mut wrong = Vec::new();
    for path in rust_files() {
        for (line, name) in quantities(&read(&path)) {
            let named = QUANTITY_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
                || QUANTITY_SUFFIXES
                    .iter()
                    .any(|suffix| name.rsplit('_').next() == Some(suffix));
            if !named {
                wrong.push(format!("{}:{line}: {name}", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "begin these names with {QUANTITY_PREFIXES:?} or end them in {QUANTITY_SUFFIXES:?}:\n{}",
        wrong.join("\n")
    );
}

/// Fails when a function has a preposition or a mood as its name, like `of`, `of_url` or `must`.
#[test]
fn functions_are_named_by_verbs() {
    let mut wrong = Vec::new();
    for path in rust_files() {
        let names = declared(&read(&path), &["fn"]).into_iter();
        let bad =
            names.filter(|(_, name)| NOT_VERBS.contains(&name.as_str()) || name.starts_with("of_"));
        wrong.extend(bad.map(|(line, name)| format!("{}:{line}: {name}", path.display())));
    }
    assert!(
        wrong.is_empty(),
        "name these after what they do:\n{}",
        wrong.join("\n")
    );
}

/// Fails when two types of the library have the same name, because a search for it then finds the wrong one.
#[test]
fn no_two_types_share_a_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let is_library = |path: &PathBuf| path.starts_with("src") && !path.ends_with("tests.rs");
    for path in rust_files().into_iter().filter(is_library) {
        for (line, name) in declared(without_tests(&read(&path)), &["struct", "enum", "trait"]) {
            places
                .entry(name)
                .or_default()
                .push(format!("{}:{line}", path.display()));
        }
    }
    let shared: Vec<String> = places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert!(
        shared.is_empty(),
        "two concepts never share a name:\n{}",
        shared.join("\n")
    );
}

/// Fails when a module is a file beside its folder instead of the folder's `mod.rs`.
#[test]
fn modules_with_parts_are_mod_rs_files() {
    let mut paths = rust_files();
    paths.retain(|path| path.with_extension("").is_dir());
    assert!(
        paths.is_empty(),
        "move each to the mod.rs of its folder: {paths:?}"
    );
}

/// Fails when an SQL file is outside of `sql/` and `migrations/`, unless it defines the view of a domain.
#[test]
fn sql_files_are_in_sql_folders() {
    let is_misplaced = |path: &PathBuf| {
        let folder = path
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        let is_sql = path.extension().is_some_and(|extension| extension == "sql");
        is_sql && !matches!(folder, Some("sql" | "migrations")) && !path.ends_with("view.sql")
    };
    let misplaced: Vec<PathBuf> = sources().into_iter().filter(is_misplaced).collect();
    assert!(
        misplaced.is_empty(),
        "move each to a folder sql/: {misplaced:?}"
    );
}

/// Fails when Rust code contains a statement without a reason in [`SQL_IN_RUST`], or when such a reason is no longer needed.
#[test]
fn sql_in_rust_code_has_a_reason() {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in rust_files()
        .into_iter()
        .filter(|path| path.starts_with("src"))
    {
        if has_sql(without_tests(&read(&path))) {
            found.push(path);
        }
    }
    let excused: Vec<PathBuf> = SQL_IN_RUST.iter().map(|(path, _)| path.into()).collect();
    assert_eq!(
        found, excused,
        "move each statement to a file in sql/, or say above why not"
    );
}

/// Fails when one of the searches above no longer finds what its rule forbids.
#[test]
fn the_rules_for_names_see_what_they_ban() {
    let errors = "#[derive(Debug, thiserror::Error)]\n#[error(\"no\")]\npub struct NoLogin;\nimpl de::Error for Refused {}\n\
                  impl<T> From<Error> for X {}";
    let found: Vec<String> = error_types(errors)
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(found, ["NoLogin", "Refused"]);
    let constants = "    pub(super) const FRESH: Duration = X;\nconst B: (u16, u16) = Y;\nconst TEXT: &str = \"\";\nconst fn f() {}";
    let found: Vec<String> = quantities(constants)
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(found, ["FRESH", "B"]);
    let functions = "pub(crate) async fn once() {}\n// fn of() {}\nconst fn must<T>() {}";
    assert_eq!(
        declared(functions, &["fn"]),
        [(1, "once".to_owned()), (3, "must".to_owned())]
    );
    assert!(
        has_sql("query(\"select 1\")") && !has_sql("// \"select 1\"\nbail!(\"set DATABASE_URL\")")
    );
}

/// Every Rust file.
fn rust_files() -> Vec<PathBuf> {
    let folders = ["src", "bin", "crates", "examples", "benches", "tests"];
    folders
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .collect()
}

/// A file without the unit tests at its end.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

/// What a file declares with one of these keywords: the line and the name.
fn declared(text: &str, keywords: &[&str]) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut words = line.trim_start().split([' ', '(', '<', ':', ';', '{', ')']);
        let keyword = words.by_ref().find(|word| {
            !matches!(
                *word,
                "" | "pub" | "crate" | "super" | "in" | "async" | "const" | "unsafe" | "extern"
            )
        });
        let name = words.next().unwrap_or_default();
        let is_name = name.starts_with(|c: char| c.is_alphabetic());
        if is_name && keyword.is_some_and(|keyword| keywords.contains(&keyword)) {
            names.push((at + 1, name.to_owned()));
        }
    }
    names
}

/// The types that implement `Error`, by a derive or by hand.
fn error_types(text: &str) -> Vec<(usize, String)> {
    let mut types = Vec::new();
    let mut derived = false;
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if line.starts_with("#[derive(") {
            derived |= line.contains("Error");
        } else if let [(_, name)] = &declared(line, &["struct", "enum"])[..] {
            if derived {
                types.push((at + 1, name.clone()));
            }
            derived = false;
        } else if let Some((what, name)) = line
            .strip_prefix("impl")
            .and_then(|rest| rest.split_once(" for "))
        {
            let name = name.split(['<', ' ', '{']).next().unwrap();
            if what.ends_with("Error") && !what.ends_with("From<Error") {
                types.push((at + 1, name.to_owned()));
            }
        }
    }
    types
}

/// The constants whose type is a number, a duration, or a tuple of such.
fn quantities(text: &str) -> Vec<(usize, String)> {
    let measures = |line: &str| {
        let kind = line
            .split_once("const ")?
            .1
            .split_once(':')?
            .1
            .split('=')
            .next()?;
        let mut parts = kind
            .split(['(', ')', ',', ' ', '<', '>'])
            .filter(|part| !part.is_empty());
        let is_number = |part: &str| {
            let bits = part.strip_prefix(['u', 'i', 'f']).unwrap_or_default();
            part == "Duration"
                || bits == "size"
                || (!bits.is_empty() && bits.chars().all(|c| c.is_ascii_digit()))
        };
        parts.clone().next()?;
        Some(parts.all(is_number))
    };
    let constant = |(at, line): (usize, &str)| {
        let code = line.trim_start();
        let is_constant =
            code.starts_with("const ") || (code.starts_with("pub") && code.contains(" const "));
        let name = code
            .split_once("const ")?
            .1
            .split(':')
            .next()?
            .trim()
            .to_owned();
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase());
        (is_constant && is_name && measures(code) == Some(true)).then_some((at + 1, name))
    };
    text.lines().enumerate().filter_map(constant).collect()
}

/// Whether a line of code has a string that begins like a statement.
fn has_sql(code: &str) -> bool {
    let statements = [
        "select ",
        "insert into ",
        "update ",
        "delete from ",
        "create ",
        "alter ",
        "drop ",
        "grant ",
        "revoke ",
        "begin",
        "rollback",
        "commit",
        "savepoint ",
        "listen ",
        "notify ",
        "set local ",
        "set role ",
        "reset ",
        "with ",
        "explain ",
    ];
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .any(|text| {
            let text = text.trim_start();
            statements
                .iter()
                .any(|statement| text.starts_with(statement))
        })
}
