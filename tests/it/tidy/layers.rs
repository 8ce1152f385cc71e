//! Who may import whom. One direction, no cycles; what a module needs of another one that is not in its row is a sign that
//! something lives in the wrong place.

use std::collections::BTreeSet;
use std::path::Path;

use super::{files, read};

/// A module, what it may use of ours, and why no more.
const LAYERS: &[(&str, &[&str], &str)] = &[
    ("event", &[], "the words that all others speak"),
    (
        "domain",
        &["event"],
        "what a domain author reads: pure, synchronous, of no database",
    ),
    (
        "domains",
        &["event", "domain"],
        "the authors' part; and no domain knows another one",
    ),
    ("db", &[], "connections and their errors; a leaf"),
    (
        "config",
        &["event"],
        "the environment; a leaf, but for the type that keeps a secret out of logs",
    ),
    ("telemetry", &[], "a leaf"),
    (
        "store",
        &["event", "db"],
        "stores bytes and numbers and judges nothing, so it knows no domain",
    ),
    (
        "view",
        &["event", "domain", "db"],
        "rows of view tables; knows nothing of events and locker",
    ),
    (
        "state",
        &["event", "domain", "db", "store", "view"],
        "a view row and the events above it, in one statement",
    ),
    (
        "engine",
        &["event", "domain", "db", "state", "view"],
        "what is put together once a process",
    ),
    (
        "migrations",
        &["view"],
        "creates tables, and then the views",
    ),
    (
        "projection",
        &["event", "domain", "db", "store", "view", "state"],
        "folds; whoever appends or serves, it does not know them",
    ),
    (
        "command",
        &[
            "event",
            "domain",
            "db",
            "store",
            "view",
            "state",
            "engine",
            "projection",
        ],
        "appends; of projection only the inline fold, which is a part of the append's transaction",
    ),
    (
        "query",
        &["event", "domain", "db", "store", "view", "state", "engine"],
        "reads",
    ),
    (
        "http",
        &[
            "event",
            "domain",
            "db",
            "view",
            "engine",
            "command",
            "query",
            "projection",
            "config",
        ],
        "translates; of db only the errors, of view only rows and cursors, of projection only its status",
    ),
    (
        "aws",
        &["event", "config", "db"],
        "what is asked of AWS; a leaf beside `db`, for builds that want it",
    ),
    (
        "run",
        &[
            "config",
            "telemetry",
            "aws",
            "db",
            "domain",
            "engine",
            "migrations",
            "projection",
        ],
        "start-up of every host, so it knows none of them, and no HTTP",
    ),
    (
        "local",
        &[
            "run",
            "http",
            "projection",
            "config",
            "telemetry",
            "db",
            "domain",
            "engine",
            "migrations",
        ],
        "a host",
    ),
    (
        "lambda",
        &[
            "run",
            "http",
            "aws",
            "projection",
            "config",
            "telemetry",
            "db",
            "domain",
            "engine",
            "view",
        ],
        "a host",
    ),
];

/// What these modules may not even name, and why.
const FOREIGN: &[(&[&str], &[&str], &str)] = &[
    (
        &["event", "domain", "domains"],
        &[
            "sqlx::",
            "axum::",
            "tokio::",
            "async fn",
            "SystemTime",
            "Instant::",
            "now_utc",
            "rand::",
        ],
        "a fold gives the same view today, in a year, and on another machine",
    ),
    (
        &[
            "db",
            "store",
            "view",
            "state",
            "engine",
            "migrations",
            "projection",
            "command",
            "query",
        ],
        &["axum::", "tower", "http::"],
        "hosts and protocols come and go",
    ),
    (
        &["http"],
        &["sqlx", "locker", "from events"],
        "a handler that has a connection in its hands soon has SQL in it",
    ),
    (
        &["domains"],
        &["new_v4", "now_v7"],
        "ids come in with the event",
    ),
];

/// Macros at the crate's root, and where they live.
const MACROS: &[(&str, &str)] = &[("events", "event"), ("domains", "domain")];

/// Fails when a module uses one that is not in its row, or has no row yet.
#[test]
fn imports_follow_the_layers() {
    let modules: BTreeSet<String> = files("src", "rs").iter().map(|path| module(path)).collect();
    let rows: BTreeSet<String> = LAYERS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let without: Vec<_> = modules
        .difference(&rows)
        .filter(|m| *m != "lib" && *m != "lambda")
        .collect();
    assert!(
        without.is_empty(),
        "give a row of the table to: {without:?}"
    );
    for path in files("src", "rs") {
        let module = module(&path);
        let Some((_, may_use, reason)) = LAYERS.iter().find(|(name, ..)| *name == module) else {
            continue;
        };
        for used in used(&code(&path)) {
            let allowed = used == module || may_use.contains(&used.as_str());
            assert!(
                allowed,
                "{} uses {used}, but {module} may not: {reason}",
                path.display()
            );
        }
    }
}

/// Fails when the table itself allows a cycle.
#[test]
fn the_layers_have_one_direction() {
    for (at, (module, may_use, _)) in LAYERS.iter().enumerate() {
        for used in *may_use {
            let place = LAYERS.iter().position(|(name, ..)| name == used);
            let below = place.is_some_and(|place| place < at);
            assert!(
                below,
                "{module} may use {used}, which is not above it in the table"
            );
        }
    }
}

/// Fails when the pure part reaches for a clock or a database, or HTTP for the tables.
#[test]
fn what_a_layer_must_not_know_is_not_named_in_it() {
    for path in files("src", "rs") {
        let (module, code) = (module(&path), code(&path));
        for (modules, words, reason) in FOREIGN {
            if !modules.contains(&module.as_str()) || path.ends_with("http.rs") {
                continue;
            }
            let found = words.iter().find(|word| names(&code, word));
            assert!(
                found.is_none(),
                "{} names {found:?}: {reason}",
                path.display()
            );
        }
    }
}

/// Fails when SQL is put together outside of the one file where every identifier is checked.
#[test]
fn dynamic_sql_is_in_one_file() {
    for path in files("src", "rs") {
        let unchecked = code(&path).contains("AssertSqlSafe");
        assert_eq!(
            unchecked,
            path == Path::new("src/view/statements.rs"),
            "{}",
            path.display()
        );
    }
}

/// Fails when a binary does more than to call one function of the library.
#[test]
fn binaries_call_one_function() {
    for path in files("bin", "rs") {
        let code = code(&path);
        let allowed = ["run", "local", "lambda", "http", "domains"];
        for part in code.split("foldlog::").skip(1) {
            let used: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            assert!(
                allowed.contains(&used.as_str()),
                "{} uses {used}",
                path.display()
            );
        }
        assert!(
            code.lines().count() <= 12,
            "{} has logic in it",
            path.display()
        );
    }
}

/// The top-level module of a file.
fn module(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap();
    let first = below.components().next().unwrap().as_os_str();
    Path::new(first)
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// A file without comments and without its unit tests, which may use what they test with.
fn code(path: &Path) -> String {
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The modules of ours that a text names: `crate::x`, and each of `crate::{x, y::{z}}`.
fn used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    assert!(
        !code.contains("super::super::"),
        "say crate:: instead of super::super::"
    );
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => used.extend(identifier(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut fresh = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => fresh = true,
                        c if fresh && depth == 0 && !c.is_whitespace() => {
                            used.extend(identifier(&list[at..]));
                            fresh = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    used
}

/// The module that an import begins with.
fn identifier(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let rest = &text[name.len()..];
    let is_macro = rest.starts_with('!') || rest.starts_with(';');
    let home = MACROS
        .iter()
        .find(|(macro_name, _)| is_macro && *macro_name == name);
    match home {
        Some((_, home)) => Some((*home).to_owned()),
        None => Some(name).filter(|name| !name.is_empty() && name != "__private"),
    }
}

/// Whether a word is in the code, and not as a part of another one.
fn names(code: &str, word: &str) -> bool {
    let mut found = code.match_indices(word);
    found.any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}
