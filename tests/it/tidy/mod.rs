//! House rules that the compiler does not check. Each rule stands beside its reason; long lists are tables.

mod documents;
mod layers;
mod names;
mod prose;
mod settings;
mod statements;
mod template;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use crate::sql::file::walk;

/// Unit tests in the same file count, too.
const MAX_LINES: usize = 350;

/// Files that may be longer, and why.
const LONGER: &[(&str, &str)] = &[];

/// Fails when a file of `src` is too long, or when an exception is no longer needed.
#[test]
fn files_of_src_have_at_most_350_lines() {
    for path in files("src", "rs") {
        let lines = read(&path).lines().count();
        let excused = LONGER.iter().any(|(name, _)| Path::new(name) == path);
        assert!(
            lines <= MAX_LINES || excused,
            "{} has {lines} lines",
            path.display()
        );
        assert!(
            lines > MAX_LINES || !excused,
            "{} is short again",
            path.display()
        );
    }
}

/// Fails when a reminder or a debug macro was left behind.
#[test]
fn no_file_has_a_reminder_or_a_debug_macro() {
    let marks = [
        concat!("to", "do"),
        concat!("fix", "me"),
        concat!("x", "xx"),
        concat!("db", "g!"),
    ];
    // The manifest names the lints that say the same to the compiler.
    let is_text = |path: &PathBuf| !path.ends_with("Cargo.toml");
    for path in sources().into_iter().filter(is_text) {
        for (number, line) in read(&path).lines().enumerate() {
            let lower = line.to_lowercase();
            let words = lower.split(|c: char| !c.is_alphanumeric() && c != '!' && c != '_');
            let found = words.clone().find(|word| marks.contains(word));
            assert!(found.is_none(), "{}:{}: {line}", path.display(), number + 1);
        }
    }
}

/// Fails when the address of a private registry gets into the repository: other machines cannot reach it.
#[test]
fn no_file_names_a_registry() {
    let needles = [
        concat!("--index", "-url"),
        concat!("--extra-", "index"),
        concat!("--reg", "istry"),
        concat!("npmjs", ".org"),
        concat!("pypi", ".org"),
        concat!("python", "hosted"),
        concat!("index.", "crates.io"),
    ];
    for path in sources() {
        let text = read(&path);
        let found = needles.iter().find(|needle| text.contains(**needle));
        assert!(found.is_none(), "{} names {found:?}", path.display());
    }
}

/// Fails when no test starts a binary: a broken binary would go unnoticed.
#[test]
fn every_binary_is_started_by_a_test() {
    let tests: String = files("tests", "rs").iter().map(|path| read(path)).collect();
    for name in binaries() {
        let started = format!("CARGO_BIN_EXE_{name}");
        assert!(tests.contains(&started), "no test starts the binary {name}");
        let source = format!("bin/{name}.rs");
        assert!(Path::new(&source).is_file(), "there is no {source}");
    }
}

/// Where tests let time pass, and why there.
const SLEEPS: &[(&str, &str)] = &[
    (
        "tests/it/support/poll.rs",
        "the bounded poll that every other test uses",
    ),
    (
        "tests/it/lambda/frozen.rs",
        "the frozen function compares its clock with the time at which a connection was last used",
    ),
    (
        "tests/schedules/src/clock.rs",
        "a fault schedule says when its faults happen; its checks use no times",
    ),
];

/// Where Postgres sleeps, and why there.
const SLOW_STATEMENTS: &[(&str, &str)] = &[
    (
        "tests/it/deadline.rs",
        "a fold that is slower than the deadline",
    ),
    (
        "tests/it/hostile/sql_text.rs",
        "the text of an attempted injection",
    ),
    ("tests/it/pooler.rs", "a statement that its client gives up"),
    (
        "tests/it/pooler_prepared.rs",
        "a statement that its client gives up",
    ),
];

/// A test waits for an event, never for time; where nothing announces the event, the test polls for it with a limit. Fails when a
/// test calls `sleep` anywhere but in that poll.
#[test]
fn tests_wait_by_bounded_polls_and_never_sleep() {
    for (call, allowed) in [
        (concat!("sl", "eep("), SLEEPS),
        (concat!("pg_sl", "eep("), SLOW_STATEMENTS),
    ] {
        let mut found: Vec<String> = Vec::new();
        for path in files("tests", "rs") {
            let text = read(&path);
            let mut calls = text.match_indices(call).map(|(at, _)| &text[..at]);
            if calls.any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')) {
                found.push(path.display().to_string());
            }
        }
        let mut allowed: Vec<&str> = allowed.iter().map(|(path, _)| *path).collect();
        allowed.sort_unstable();
        assert_eq!(
            found, allowed,
            "wait with support::poll::wait_until instead of {call}…)"
        );
    }
}

/// Fails when a test is switched off, or passes whichever panic it ends with.
#[test]
fn every_test_is_run_and_asserts_its_own_failure() {
    let banned = [concat!("#[ig", "nore"), concat!("#[should", "_panic")];
    for path in files("tests", "rs").into_iter().chain(files("src", "rs")) {
        let text = read(&path);
        let found = banned.iter().find(|banned| text.contains(**banned));
        assert!(found.is_none(), "{}: {found:?}", path.display());
    }
}

/// The names of the binaries in `Cargo.toml`.
fn binaries() -> Vec<String> {
    let manifest = read(Path::new("Cargo.toml"));
    let tables = manifest.split("[[bin]]").skip(1);
    let names: Vec<String> = tables
        .map(|table| table.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    names
}

/// The names of all tests, unit tests included: functions behind a line that ends in `test]`.
pub(crate) fn tests() -> Vec<String> {
    let mut names = Vec::new();
    for path in files("tests", "rs").into_iter().chain(files("src", "rs")) {
        let text = read(&path);
        let mut marked = text.contains("proptest! {");
        for line in text.lines().map(str::trim) {
            marked |= line.starts_with("#[") && line.contains("test");
            let function = line.strip_prefix("async ").unwrap_or(line);
            if let (true, Some(rest)) = (marked, function.strip_prefix("fn ")) {
                names.push(rest.split(['(', '<']).next().unwrap().to_owned());
                marked = text.contains("proptest! {");
            }
        }
    }
    names
}

/// Lists the files of a folder with this extension; the folder may be missing.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if Path::new(folder).is_dir() {
        walk(Path::new(folder), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths
}

/// Every file of the repository that is written by hand.
fn sources() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for folder in [
        ".ci",
        "benches",
        "bin",
        "console",
        "crates",
        "docs",
        "events",
        "examples",
        "migrations",
        "scripts",
        "src",
        "tests",
    ] {
        if Path::new(folder).is_dir() {
            walk(Path::new(folder), &mut paths);
        }
    }
    let top = fs::read_dir(".")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let top = top.filter(|path| path.is_file() && !path.ends_with("Cargo.lock"));
    paths.extend(top.map(|path| path.strip_prefix(".").unwrap().to_owned()));
    paths
}

pub(crate) fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .into_owned()
}
