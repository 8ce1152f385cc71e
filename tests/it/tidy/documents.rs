//! What documents say about the code: commands, files, tests, and the example domain.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{binaries, files, read, tests};

/// Fails when a document names a command that does not exist, or promises `cargo test` in a form that CI does not run.
#[test]
#[expect(clippy::too_many_lines, reason = "one match of commands")]
fn commands_in_documents_exist() {
    let (binaries, ci) = (binaries(), read(Path::new(".ci/run")));
    let mut seen = BTreeSet::new();
    for path in documents() {
        for line in shell_lines(&read(&path)) {
            let words: Vec<&str> = line
                .split_whitespace()
                .skip_while(|word| word.contains('='))
                .collect();
            let from = path.display();
            match words.as_slice() {
                ["cargo", "run", "--bin", name, ..] => {
                    assert!(binaries.contains(&(*name).to_owned()), "{from}: {line}");
                }
                ["cargo", "run", "--example", name, ..] => {
                    assert!(
                        Path::new(&format!("examples/{name}.rs")).is_file(),
                        "{from}: {line}"
                    );
                }
                ["cargo", "lambda", "invoke", name, "--data-file", file] => {
                    assert!(binaries.contains(&(*name).to_owned()), "{from}: {line}");
                    assert!(Path::new(file).is_file(), "{from}: {line}");
                }
                ["sam", "build"] | ["sam", "deploy", "--guided"] => {
                    assert!(Path::new("samconfig.toml").is_file());
                }
                [
                    "sam",
                    "remote",
                    "invoke",
                    function,
                    "--stack-name",
                    "foldlog",
                    "--event",
                    _,
                ] => {
                    let function = format!("\n  {function}:\n");
                    assert!(
                        read(Path::new("template.yaml")).contains(&function),
                        "{line}"
                    );
                }
                ["cargo", "run", "-p", package, ..] => {
                    let members = read(Path::new("Cargo.toml"));
                    let name = format!("name = \"{package}\"");
                    let is_member = |folder: &str| {
                        let path = Path::new(folder).join("Cargo.toml");
                        path.is_file() && read(&path).contains(&name)
                    };
                    assert!(members.split('"').any(is_member), "{from}: {line}");
                }
                ["cargo", "run"] => {
                    assert!(read(Path::new("Cargo.toml")).contains("default-run = \"local\""));
                }
                ["cargo", "test"] => assert!(
                    ci.lines().any(|l| l.contains(" cargo test --all-features")),
                    "{from}: {line}"
                ),
                [
                    "cargo",
                    "test" | "fmt" | "clippy" | "doc" | "bench" | "insta",
                    ..,
                ]
                | ["cargo", "lambda", "watch", "--features", "lambda"]
                | ["curl" | "cp" | "kill" | "docker", ..] => {}
                ["python3" | "node", script, ..] => {
                    assert!(Path::new(script).is_file(), "{from}: {line}");
                }
                [script, ..] if script.starts_with("scripts/") || script.starts_with(".ci/") => {
                    let mode = Path::new(script)
                        .metadata()
                        .unwrap_or_else(|e| panic!("{from}: {line}: {e}"));
                    assert!(
                        mode.permissions().mode() & 0o111 != 0,
                        "{script} is not executable"
                    );
                }
                _ => panic!("{from}: no rule above checks the command `{line}`"),
            }
            seen.insert(line);
        }
    }
    for command in ["cargo run", "cargo test --all-features"] {
        assert!(seen.contains(command), "no document contains `{command}`");
    }
}

/// Fails when a comment or a document refers to a test that does not exist.
#[test]
fn tests_named_in_comments_exist() {
    let known: BTreeSet<String> = tests().into_iter().collect();
    let mut missing = Vec::new();
    let mut named = 0;
    for path in files("src", "rs")
        .into_iter()
        .chain(files("migrations", "sql"))
        .chain(documents())
    {
        for name in named_tests(&read(&path)) {
            named += 1;
            if !known.contains(&name) {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(
        named > 10,
        "only {named} found: is the pattern still right?"
    );
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}

/// Fails when a document refers to a file that does not exist.
#[test]
fn files_named_in_documents_exist() {
    for path in documents() {
        let text = read(&path);
        let folder = path.parent().unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(folder.join(file).exists(), "{}: {link}", path.display());
            }
        }
        for word in text.split('`').skip(1).step_by(2) {
            let is_path =
                word.contains('/') && !word.contains(['{', ' ', '*', '…', '<', '$', '?', ':']);
            let ours = [
                "src/",
                "tests/",
                "bin/",
                "docs/",
                "scripts/",
                "examples/",
                "migrations/",
                ".ci/",
            ];
            if is_path && ours.iter().any(|folder| word.starts_with(folder)) {
                assert!(Path::new(word).exists(), "{}: {word}", path.display());
            }
        }
    }
}

/// Fails when ARCHITECTURE.md gets too long or misses a module.
#[test]
fn the_architecture_is_short_and_names_every_module() {
    let text = read(Path::new("ARCHITECTURE.md"));
    assert!(
        text.lines().count() <= 250,
        "{} lines",
        text.lines().count()
    );
    for path in files("src", "rs") {
        let below = path.strip_prefix("src").unwrap();
        let module = below.components().next().unwrap().as_os_str();
        let module = Path::new(module).file_stem().unwrap().to_str().unwrap();
        let named = module == "lib" || text.contains(&format!("`{module}"));
        assert!(named, "the code map does not name `{module}`");
    }
}

/// Fails when the README's domain is not the one that `examples/add_a_domain.rs` compiles and `promises.rs` runs.
#[test]
fn the_readme_shows_the_domain_of_the_example() {
    let example = read(Path::new("examples/add_a_domain.rs"));
    let domain = example.split_once("// The domain begins.\n").unwrap().1;
    let domain = domain.split_once("// The domain ends.").unwrap().0.trim();
    let readme = read(Path::new("README.md"));
    assert!(
        readme.contains(&format!("```rust\n{domain}\n```")),
        "copy it from the example"
    );
}

/// The documents of the repository.
pub(crate) fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ]
    .map(PathBuf::from)
    .into();
    documents.extend(files("docs", "md"));
    documents.extend(files("migrations", "md"));
    documents
}

/// The commands in shell blocks, without comments. A line that ends in a backslash continues on the next line.
fn shell_lines(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    let shell = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    let mut lines = Vec::new();
    for block in shell {
        let joined = block.replace("\\\n", " ");
        for line in joined.lines() {
            let line = line.split(" #").next().unwrap().trim();
            if !line.is_empty() && !line.starts_with('#') {
                lines.push(line.to_owned());
            }
        }
    }
    lines
}

/// The names in `(test: …)` and `(tests: …)`, which may span several lines of a comment.
fn named_tests(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches(['/', '!', '-', ' ']));
    let text = lines.collect::<Vec<_>>().join(" ");
    let mut names = Vec::new();
    for opening in ["(test: ", "(tests: "] {
        for rest in text.split(opening).skip(1) {
            let list = rest.split(')').next().unwrap();
            names.extend(list.split('`').skip(1).step_by(2).map(ToOwned::to_owned));
        }
    }
    names
}
