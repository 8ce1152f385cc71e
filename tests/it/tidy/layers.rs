//! Which module may import which. Imports have one direction and no cycles. A module that needs something from a module outside
//! its row shows that code lives in the wrong place.

use std::collections::BTreeSet;
use std::path::Path;

use super::{files, read};

/// A module, the modules that it may use, and why no others.
const LAYERS: &[(&str, &[&str], &str)] = &[
    ("event", &[], "the vocabulary of all other modules"),
    (
        "domain",
        &["event"],
        "what a domain author reads: pure, synchronous, without a database",
    ),
    (
        "domains",
        &["event", "domain"],
        "the domains themselves; no domain knows another one",
    ),
    ("db", &[], "connections and their errors; a leaf"),
    (
        "config",
        &["event", "db"],
        "the environment; a leaf, except for the types that keep a secret out of logs and check a schema's name",
    ),
    ("telemetry", &[], "a leaf"),
    (
        "store",
        &["event", "db"],
        "stores bytes and numbers and decides nothing, so it needs no domain",
    ),
    (
        "view",
        &["event", "domain", "db"],
        "rows of view tables; never touches the tables events and locker",
    ),
    (
        "state",
        &["event", "domain", "db", "store", "view"],
        "loads a view row and the events after it in one statement",
    ),
    (
        "app",
        &["event", "domain", "db", "view", "store", "state"],
        "put together once per process: uses of store and state only what a process has one of",
    ),
    (
        "migrations",
        &["db", "view"],
        "creates tables, and then the views",
    ),
    (
        "projection",
        &[
            "event",
            "domain",
            "db",
            "store",
            "view",
            "state",
            "telemetry",
        ],
        "folds; independent of serving, and of appending except for the statement of an inline append",
    ),
    (
        "operate",
        &[
            "event",
            "app",
            "db",
            "migrations",
            "projection",
            "telemetry",
            "view",
        ],
        "what operators ask for, for every host and for HTTP; uses only the names of migrations",
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
            "app",
            "projection",
        ],
        "appends; uses projection only for the inline fold, which is part of the append's transaction",
    ),
    (
        "query",
        &["event", "domain", "db", "store", "view", "state", "app"],
        "reads",
    ),
    (
        "typed",
        &["event", "domain", "view", "app", "command", "query"],
        "the typed calls of a process that embeds foldlog",
    ),
    (
        "http",
        &[
            "event",
            "domain",
            "db",
            "view",
            "app",
            "command",
            "query",
            "projection",
            "operate",
            "config",
            "telemetry",
        ],
        "translates; uses only the errors of db, rows and cursors of view, and the status of projection",
    ),
    (
        "client",
        &["domain", "http"],
        "writes the web client, and knows the API only by its OpenAPI document",
    ),
    (
        "aws",
        &["event", "config", "db"],
        "requests to AWS; beside `db`, and only in builds with the feature",
    ),
    (
        "run",
        &[
            "config",
            "telemetry",
            "aws",
            "db",
            "domain",
            "app",
            "migrations",
            "projection",
        ],
        "start-up of every host, so it knows neither the hosts nor HTTP",
    ),
    (
        "local",
        &[
            "run",
            "http",
            "projection",
            "operate",
            "config",
            "telemetry",
            "db",
            "domain",
            "app",
            "migrations",
        ],
        "a host",
    ),
    (
        "testing",
        &[
            "local",
            "db",
            "domain",
            "app",
            "migrations",
            "projection",
            "view",
        ],
        "databases for tests, on the server of the local host",
    ),
    (
        "lambda",
        &[
            "run",
            "http",
            "aws",
            "projection",
            "operate",
            "config",
            "telemetry",
            "db",
            "domain",
            "app",
            "view",
        ],
        "a host",
    ),
    (
        "hosts",
        &["run", "local", "lambda", "http", "client", "domain"],
        "the whole main of each program, one line each",
    ),
];

/// Crates, tables and functions that these modules must not name, and why.
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
            "app",
            "migrations",
            "projection",
            "command",
            "query",
        ],
        &["axum::", "tower", "http::"],
        "hosts and protocols can be replaced",
    ),
    (
        &["http"],
        &["sqlx", "locker", "from events"],
        "a handler with access to a connection soon contains SQL",
    ),
    (
        &["domains"],
        &["new_v4", "now_v7"],
        "ids arrive with the event",
    ),
];

/// Macros at the root of the crate, and the modules that define them.
const MACROS: &[(&str, &str)] = &[
    ("events", "event"),
    ("rules", "domain"),
    ("domains", "domain"),
];

/// Fails when a module imports one that is not in its row, or has no row.
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
        "add these modules to the table: {without:?}"
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

/// Fails when a pure module uses a clock or a database, or when the HTTP module uses tables.
#[test]
fn layers_do_not_name_foreign_crates_or_tables() {
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

/// Fails when SQL is assembled outside of the files that check every identifier: the statements over a view's table, and the
/// schema's name in front of a table.
#[test]
fn dynamic_sql_is_in_three_files() {
    let composing = [
        "src/db/schema.rs",
        "src/testing.rs",
        "src/view/statements.rs",
    ]
    .map(Path::new);
    for path in files("src", "rs") {
        let unchecked = code(&path).contains("AssertSqlSafe");
        assert_eq!(
            unchecked,
            composing.contains(&path.as_path()),
            "{}",
            path.display()
        );
    }
}

/// Fails when a binary does more than call one function of the library.
#[test]
fn binaries_call_one_function() {
    for path in files("bin", "rs") {
        let code = code(&path);
        let allowed = ["hosts", "domains"];
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
            code.lines().count() <= 6,
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

/// A file without its comments and unit tests. Unit tests may import any module.
fn code(path: &Path) -> String {
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// The modules that a text names: `crate::x`, and each of `crate::{x, y::{z}}`.
fn used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    assert!(
        !code.contains("super::super::"),
        "write crate:: instead of super::super::"
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

/// The first module of an import's path.
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

/// Whether a word occurs in the code as a whole word.
fn names(code: &str, word: &str) -> bool {
    let mut found = code.match_indices(word);
    found.any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}
